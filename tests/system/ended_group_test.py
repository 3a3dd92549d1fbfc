# A topic, or a group alone, that is removed and added again: its consumers are told, wait for it, and go on with what is
# published from then on, weircat and the example in Python alike.
#
#   producers ---- weir, 1 worker ---- consumers
import os
import signal

from judge import check_equal, full_pipe
from lab import TOP, program, topic, wait_until

SECONDS = 7
GROUP = {'name': 'all', 'kind': 'hold', 'mode': 'keyed', 'start': 'latest'}


def weircat(address):
    return [program('weircat'), 'subscribe', 'positions', '--group', 'all', '--router', address]


def python(address):
    example = os.path.join(TOP, 'client', 'examples', 'consumer.py')
    return ['python3', example, address.removeprefix('udp://'), 'positions', 'all']


def publish(lab, router, host, first, count):
    path = lab.path(f'lines-{first}')
    with open(path, 'w') as file:
        file.write(''.join(f'{number}\n' for number in range(first, first + count)))
    with open(path) as lines:
        command = [program('weircat'), 'publish', 'positions', '--router', router.address(host)]
        lab.start(f'publisher-{first}', command, host, stdin=lines).wait(30)


def has_member(router):
    return router.members('positions', 'all')['members'] == 1


def held(router):
    return sum(group['held'] for group in router.ledger()['groups'])


# What it would say finds no room: that costs it neither its membership nor an event.
def test_a_subscriber_whose_standard_error_is_full_is_kept_too(lab):
    left, right = lab.host('producers'), lab.host('consumers')
    router = lab.router([topic('positions', groups=[GROUP])]).start()
    reader, writer = full_pipe()
    sink = lab.start('subscriber', weircat(router.address(right)), right, stderr=writer)
    for life in range(2):
        wait_until(lambda: has_member(router), 'a member', 15)
        publish(lab, router, left, 100 * life, 50)
        wait_until(lambda: held(router) == 0 and len(sink.out().splitlines()) == 50 * (life + 1), 'the lines came out', 15)
        if life == 0:
            router.apply([topic('positions', groups=[])], discard=('positions/all',))
            router.apply([topic('positions', groups=[GROUP])])
    sink.stop(15)
    os.close(reader)
    os.close(writer)
    router.stop()


# without: the topics of the apply that ends it.
def end_and_begin_again(lab, subscriber, without):
    left, right = lab.host('producers'), lab.host('consumers')
    router = lab.router([topic('positions', groups=[GROUP])]).start()
    sink = lab.start('subscriber', subscriber(router.address(right)), right)
    wait_until(lambda: has_member(router), 'a member', 15)
    for life in range(3):
        publish(lab, router, left, 100 * life, 50)
        wait_until(lambda: held(router) == 0 and len(sink.out().splitlines()) == 50 * (life + 1), 'the lines came out', 15)
        if life == 2:
            break
        router.apply(without, discard=('positions', 'positions/all'))
        wait_until(lambda: sink.err().count('ended') == life + 1, 'the subscriber says so', 15)
        router.apply([topic('positions', groups=[GROUP])])
        wait_until(lambda: has_member(router), 'a member again', 15)
    sink.signal(signal.SIGTERM)
    sink.wait(15, expect=None)
    numbers = sorted(int(line) for line in sink.out().splitlines())
    check_equal(numbers, [100 * life + n for life in range(3) for n in range(50)], 'the lines that came out')
    router.stop()


def test_a_topic_that_ends_and_comes_again_keeps_its_subscriber(lab):
    end_and_begin_again(lab, weircat, [topic('others', groups=())])


def test_a_group_that_ends_and_comes_again_keeps_its_subscriber(lab):
    end_and_begin_again(lab, weircat, [topic('positions', groups=())])


def test_a_subscriber_in_python_is_kept_too(lab):
    end_and_begin_again(lab, lambda address: weircat(address) if address.startswith('unix:') else python(address),
                        [topic('others', groups=())])

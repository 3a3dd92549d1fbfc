# The examples do what they show, also with each other: a producer and a consumer in Python, written from the protocol page
# alone, and weircat, which is built on libweir.
#
#   producers ---- weir, 1 worker ---- consumers
import os
import signal

from judge import check, check_equal, check_ledger
from lab import TOP, program, topic, wait_until

SECONDS = 12
LINES = [f'vehicle{number % 7} at {number}' for number in range(300)]


def python(name, *words):
    return ['python3', os.path.join(TOP, 'client', 'examples', name), *words]


def publish(lab, command, host):
    with open(lab.path('lines'), 'w') as file:
        file.write(''.join(line + '\n' for line in LINES))
    with open(lab.path('lines')) as lines:
        lab.start('publisher', command, host, stdin=lines).wait(30)


# Runs both ends; the lines that came out, in the order of their key.
def carry(lab, subscriber, publisher):
    left, right = lab.host('producers'), lab.host('consumers')
    router = lab.router([topic('positions')]).start()
    sink = lab.start('subscriber', subscriber(router.address(right)), right)
    wait_until(lambda: all(s['state'] == 'active' for s in router.members('positions', 'all')['shards']), 'a consumer', 15)
    publish(lab, publisher(router.address(left)), left)
    wait_until(lambda: sum(group['held'] for group in router.ledger()['groups']) == 0, 'all lines are settled', 15)
    sink.signal(signal.SIGTERM)
    sink.wait(15, expect=None)
    lines = sink.out().splitlines()
    check_equal(sorted(lines), sorted(LINES), 'the lines that came out')
    for vehicle in range(7):
        mine = [line for line in lines if line.startswith(f'vehicle{vehicle} ')]
        check(mine == [line for line in LINES if line.startswith(f'vehicle{vehicle} ')], f'vehicle{vehicle} is out of order')
    check_ledger(router, 'positions', len(LINES))
    router.stop()


def plain(address):
    return address.removeprefix('udp://')


def weircat(verb, address):
    more = ['--group', 'all'] if verb == 'subscribe' else ['--key', 'field:1']
    return [program('weircat'), verb, 'positions', '--router', address, *more]


def test_python_to_python(lab):
    carry(lab, lambda a: python('consumer.py', plain(a), 'positions', 'all'),
          lambda a: python('producer.py', plain(a), 'positions'))


def test_python_to_weircat(lab):
    carry(lab, lambda a: weircat('subscribe', a), lambda a: python('producer.py', plain(a), 'positions'))


def test_weircat_to_python(lab):
    carry(lab, lambda a: python('consumer.py', plain(a), 'positions', 'all'), lambda a: weircat('publish', a))

# The router stands still for longer than every lease, as in the hands of a debugger or on a host that is moved, and goes on:
# everything comes, in order, and weircat says what it saw. What comes again is counted alike by the router and the client.
#
#   publisher ---- weir, 1 worker ---- subscriber
#                  positions: 1 shard
import json
import os
import signal
import time

from judge import check, check_equal, check_ledger
from lab import UDP_PORT, program, run, topic, wait_until

SECONDS = 15
LIMITS = {'ping': '300ms', 'lease': '1s'}
EVENTS, PAUSE_S = 2000, 3


def held(router):
    return sum(group['held'] for group in router.ledger()['groups'])


def test_a_router_that_stood_still_loses_and_repeats_nothing(lab):
    producers, consumers = lab.host('producers'), lab.host('consumers')
    router = lab.router([topic('positions', shards=1)], limits=LIMITS).start()
    subscriber = lab.start('subscriber', [program('weircat'), 'subscribe', 'positions', '--group', 'all', '--router',
                                          router.address(consumers)], consumers)
    ends = os.pipe()
    publisher = lab.start('publisher', [program('weircat'), 'publish', 'positions', '--router',
                                        router.address(producers)], producers, stdin=ends[0])
    os.close(ends[0])
    half = EVENTS // 2
    os.write(ends[1], b''.join(b'%d\n' % number for number in range(1, half + 1)))
    wait_until(lambda: len(subscriber.out().splitlines()) == half and held(router) == 0, 'the first half is written', 10)
    router.process.signal(signal.SIGSTOP)
    time.sleep(PAUSE_S / 2)
    os.write(ends[1], b''.join(b'%d\n' % number for number in range(half + 1, EVENTS + 1)))
    time.sleep(PAUSE_S / 2)
    router.process.signal(signal.SIGCONT)
    os.close(ends[1])
    publisher.wait(20)
    wait_until(lambda: len(subscriber.out().splitlines()) >= EVENTS and held(router) == 0, 'all is written', 20)
    subscriber.stop()
    check_equal([int(line) for line in subscriber.out().splitlines()], list(range(1, EVENTS + 1)), 'lines, in order, each once')
    check('router lost' in subscriber.err() and 'router back after' in subscriber.err(), f'it said {subscriber.err()!r}')
    check_ledger(router, 'positions', EVENTS)
    router.stop()


def subscribe(lab, router, address, host):
    subscriber = lab.start('subscriber', [program('weircat'), 'subscribe', 'positions', '--group', 'all', '--stats', '--router',
                                          address], host)
    wait_until(lambda: router.members('positions', 'all')['shards'][0]['state'] == 'active', 'a member', 10)
    return subscriber


def publish(lab, router, host):
    with open(lab.path('lines'), 'w') as file:
        file.write(''.join(f'{number}\n' for number in range(1, EVENTS + 1)))
    with open(lab.path('lines')) as lines:
        lab.start('publisher', [program('weircat'), 'publish', 'positions', '--router', router.address(host)], host,
                  stdin=lines).wait(20)


def is_written(subscriber):
    return len(subscriber.out().splitlines()) == EVENTS


# What came again is one number, in the router's books and in the client's; of it the client passed over so many.
def check_accounts(router, subscriber, passed_over):
    wait_until(lambda: is_written(subscriber) and held(router) == 0, 'all is written and settled', 20)
    subscriber.stop()
    check_equal([int(line) for line in subscriber.out().splitlines()], list(range(1, EVENTS + 1)), 'lines, in order, each once')
    counts = json.loads(subscriber.err().splitlines()[-1])
    check_equal(counts['redelivered'], router.ledger()['totals']['redelivered'], 'came again, says the client')
    check_equal(counts['passed_over'], passed_over(counts), 'of them passed over')
    check_ledger(router, 'positions', EVENTS)
    router.stop()
    return counts['redelivered']


# The subscriber settles, and the router does not hear of it: what it sends goes to an address of nobody.
def test_what_comes_again_in_frames_is_counted_alike(lab):
    producers, members = lab.host('producers'), lab.host('members')
    router = lab.router([topic('positions', shards=1)], limits=LIMITS).start()
    subscriber = subscribe(lab, router, f'udp://{members.router_address}:{UDP_PORT}', members)  # never on a lane
    neighbour = (members.router_address, 'dev', members.interface)
    run('ip', '-n', members.netns, 'neighbour', 'replace', *neighbour, 'lladdr', '02:00:00:00:00:77', 'nud', 'permanent')
    publish(lab, router, producers)
    wait_until(lambda: subscriber.out(), 'the first lines are written', 10)
    time.sleep(PAUSE_S)
    run('ip', '-n', members.netns, 'neighbour', 'del', *neighbour)
    check(check_accounts(router, subscriber, lambda counts: counts['redelivered']) > 0, 'nothing came again')


def test_what_comes_again_in_place_is_counted_alike(lab):
    producers = lab.host('producers')
    router = lab.router([topic('positions', shards=1)], limits=LIMITS).start()
    subscriber = subscribe(lab, router, f'unix:{router.lanes_socket}', producers)
    subscriber.signal(signal.SIGSTOP)
    publish(lab, router, producers)
    time.sleep(PAUSE_S)
    subscriber.signal(signal.SIGCONT)
    check_equal(check_accounts(router, subscriber, lambda _: 0), EVENTS, 'came again')


def test_what_comes_again_in_place_after_a_pause_of_the_router_is_counted_alike(lab):
    producers = lab.host('producers')
    router = lab.router([topic('positions', shards=1)], limits=LIMITS).start()
    subscriber = subscribe(lab, router, f'unix:{router.lanes_socket}', producers)
    subscriber.signal(signal.SIGSTOP)
    publish(lab, router, producers)
    router.process.signal(signal.SIGSTOP)
    subscriber.signal(signal.SIGCONT)
    wait_until(lambda: is_written(subscriber), 'the lines are written', 10)
    time.sleep(PAUSE_S)
    router.process.signal(signal.SIGCONT)
    check_accounts(router, subscriber, lambda counts: counts['redelivered'])

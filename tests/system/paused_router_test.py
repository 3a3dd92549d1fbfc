# The router stands still for longer than every lease, as in the hands of a debugger or on a host that is moved, and goes on:
# everything comes, in order, and weircat says what it saw.
#
#   publisher ---- weir, 1 worker ---- subscriber
#                  positions: 1 shard
import os
import signal
import time

from judge import check, check_equal, check_ledger
from lab import program, topic, wait_until

SECONDS = 9
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

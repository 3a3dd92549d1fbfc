# What weircat writes to stands still for several leases: a terminal stopped by Ctrl-S, a file on a disk that does not answer
# (here a FIFO without a reader), a reader that takes its time. The member stays a member, and every line is written once.
#
#   publisher ---- weir, 1 worker ---- subscriber > terminal, file, pipe
#                  positions: 2 shards
import os
import re
import signal
import subprocess
import time

from judge import check, check_equal, check_ledger
from lab import program, topic, wait_until

SECONDS = 15
LINES = 3000
LIMITS = {'ping': '300ms', 'lease': '1s'}
STILL_S = 3.5
CTRL_S, CTRL_Q = b'\x13', b'\x11'


def begin(lab):
    producers, consumers = lab.host('producers'), lab.host('consumers')
    router = lab.router([topic('positions', shards=2)], limits=LIMITS).start()
    return producers, consumers, router


def publish(lab, router, host, *options, first=1):
    source = subprocess.Popen(['seq', '-f', '%0100.0f', str(first), str(first + LINES - 1)], stdout=subprocess.PIPE)
    lab.start('weircat', [program('weircat'), 'publish', 'positions', '--router', router.address(host), *options], host,
              stdin=source.stdout).wait(30)
    source.wait()


def subscribe(lab, router, host, *options, **more):
    return lab.start('weircat', [program('weircat'), 'subscribe', 'positions', '--group', 'all', '--router',
                                 router.address(host), *options], host, **more)


def terms(router):
    return {row['shard']: (row['session'], row['term']) for row in router.members('positions', 'all')['shards']}


def wait_member(router):
    rows = lambda: router.members('positions', 'all')['shards']  # noqa: E731
    wait_until(lambda: all(row['state'] == 'active' for row in rows()), 'the subscriber has the shards', 15)
    return terms(router)


def held(router):
    return sum(group['held'] for group in router.ledger()['groups'])


# Waits through several leases: nobody takes the shards away.
def stand_still(router, before):
    wait_until(lambda: held(router) > 0, 'the output stands still', 10)
    time.sleep(STILL_S)
    check_equal(terms(router), before, 'sessions and terms of the shards after several leases')
    check(held(router) > 0, 'everything was settled although nothing takes it')


def read_numbers(descriptor, wanted, pause_s=0.0):
    found, text = [], b''
    deadline = time.monotonic() + 60
    while len(found) < wanted and time.monotonic() < deadline:
        text += os.read(descriptor, 4096)
        *whole, text = text.split(b'\n')
        found += [int(line) for line in whole if line.strip()]
        time.sleep(pause_s)
    return found


def check_once_each(numbers, what):
    check_equal(len(numbers), LINES, f'lines {what}')
    check_equal(sorted(numbers), list(range(1, LINES + 1)), f'the lines {what}, each once')


def test_a_stopped_terminal_costs_neither_membership_nor_lines(lab):
    producers, consumers, router = begin(lab)
    master, slave = os.openpty()
    subscriber = subscribe(lab, router, consumers, stdout=slave)
    before = wait_member(router)
    os.write(master, CTRL_S)
    publish(lab, router, producers)
    stand_still(router, before)
    os.write(master, CTRL_Q)
    numbers = read_numbers(master, LINES)
    check_once_each(numbers, 'on the terminal')
    wait_until(lambda: held(router) == 0, 'all is settled', 10)
    # Stopped again, and ended: it goes at once, says what it leaves, and settles nothing of that.
    os.write(master, CTRL_S)
    publish(lab, router, producers, first=LINES + 1)
    wait_until(lambda: held(router) > 0, 'the output stands still', 10)
    subscriber.signal(signal.SIGTERM)
    check_equal(subscriber.wait(10, expect=None), 128 + signal.SIGTERM, 'status of the one that was ended')
    left = re.search(r'standard output takes nothing: (\d+) events', subscriber.err())
    check(left and 0 < int(left.group(1)) <= LINES, f'it said {subscriber.err()!r}')
    os.set_blocking(master, False)
    os.write(master, CTRL_Q)
    os.close(slave)
    other = subscribe(lab, router, consumers, '--idle-ms', '1500')
    other.wait(30)
    check(int(left.group(1)) <= len(other.out().splitlines()) <= LINES, 'what was left did not come to the next member')
    check_equal(held(router), 0, 'held in the end')
    check_ledger(router, 'positions', 2 * LINES)
    os.close(master)
    router.stop()


def test_a_disk_that_does_not_answer_costs_neither_membership_nor_lines(lab):
    producers, consumers, router = begin(lab)
    folder = lab.path('keys')
    os.mkdir(folder)
    name = os.path.join(folder, 'key-0ac7093f4700b5db')  # of the text "positions"
    os.mkfifo(name)
    subscriber = subscribe(lab, router, consumers, '--per-key', folder)
    before = wait_member(router)
    publish(lab, router, producers, '--key', 'fixed:positions')
    stand_still(router, before)
    reader = os.open(name, os.O_RDONLY)
    numbers = read_numbers(reader, LINES)
    check_equal(numbers, list(range(1, LINES + 1)), 'the lines of the file, in order')
    wait_until(lambda: held(router) == 0, 'all is settled', 10)
    subscriber.stop()
    os.close(reader)
    router.stop()


def test_a_slow_reader_gets_every_line_once_and_settles_on_the_way(lab):
    producers, consumers, router = begin(lab)
    ends = os.pipe()
    subscriber = subscribe(lab, router, consumers, stdout=ends[1])
    os.close(ends[1])
    before = wait_member(router)
    publish(lab, router, producers, '--key', 'fixed:positions')
    wait_until(lambda: held(router) > 0, 'the output stands still', 10)
    was_held = held(router)
    numbers = read_numbers(ends[0], LINES // 2, 0.05)
    check(0 < held(router) < was_held, 'nothing was settled while half of the lines were read')
    check_equal(terms(router), before, 'sessions and terms of the shards')
    numbers += read_numbers(ends[0], LINES - len(numbers))
    check_equal(numbers, list(range(1, LINES + 1)), 'the lines, in order')
    subscriber.stop()
    os.close(ends[0])
    router.stop()

# What programs do with what their callers do to them: descriptors that are closed, signals in the middle, waits that are as
# long as they were said to be.
#
#   weircat ---- weir <- weirctl
import json
import os
import signal
import subprocess
import time

from judge import check, check_between, check_equal, check_ledger
from lab import program, topic, wait_until

SECONDS = 12
PORTS = ('kernel',)


# A program in the router's namespace, its descriptors closed as asked; status, what it wrote to stdout and to stderr.
def call(lab, *words, closed=(), stdin=subprocess.DEVNULL, timeout_s=20):
    done = subprocess.run(['nsenter', f'--net=/run/netns/{lab.router_netns}', *words], stdin=stdin, capture_output=True,
                          timeout=timeout_s, preexec_fn=lambda: [os.close(number) for number in closed])
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def weircat(*words):
    return [program('weircat'), *words]


def test_closed_descriptors_take_no_events(lab):
    lab.host('clients')
    router = lab.router([topic('positions')]).start()
    with open(lab.path('lines'), 'w') as file:
        file.write(''.join(f'{number}\n' for number in range(10)))
    status, _, _ = call(lab, *weircat('publish', 'positions', lab.path('lines')), closed=(0, 1, 2))
    check_equal(status, 0, 'publish FILE <&- >&- 2>&-')
    status, _, said = call(lab, *weircat('publish', 'positions'), closed=(0,))
    check(status == 1 and 'standard input' in said, f'publish <&-: status {status}, {said}')
    status, _, said = call(lab, *weircat('subscribe', 'positions', '--group', 'all', '--count', '10'), closed=(1,))
    check(status == 1 and 'standard output' in said, f'subscribe >&-: status {status}, {said}')
    held = sum(row['held'] for row in router.ledger()['groups'])
    check_equal(held, 10, 'events held after they could not be written')
    # Through a lane too; and then they are all there.
    status, written, _ = call(lab, *weircat('subscribe', 'positions', '--group', 'all', '--count', '10', '--router',
                                            f'unix:{router.socket}'), closed=(0, 2))
    check_equal((status, sorted(map(int, written.split()))), (0, list(range(10))), 'subscribe <&- 2>&-')
    check_ledger(router, 'positions', 10)
    router.stop()


def test_a_router_without_descriptors_writes_into_none_of_its_files(lab):
    lab.host('clients')
    router = lab.router([topic('positions')])
    daemon = subprocess.Popen(['setpriv', '--pdeathsig', 'KILL', 'nsenter', f'--net=/run/netns/{lab.router_netns}',
                               program('weir'), '--config', router.write()], preexec_fn=lambda: os.closerange(0, 3))
    try:
        wait_until(lambda: router.ctl('version', check=False).returncode == 0, 'it answers')
        with open(f'/run/weir/{router.instance}.lock') as file:
            check_equal(file.read().strip(), str(daemon.pid), 'the lock file')
        for number in range(3):
            check_equal(os.readlink(f'/proc/{daemon.pid}/fd/{number}'), '/dev/null', f'descriptor {number}')
    finally:
        daemon.send_signal(signal.SIGTERM)
        check_equal(daemon.wait(20), 0, 'status of weir')


# `publish FILE && rm FILE` keeps the file, and what is said to be published is what the router has.
def test_an_interrupted_publish_says_so(lab):
    lab.host('clients')
    router = lab.router([topic('positions', groups=({'name': 'all', 'kind': 'follow'},))]).start()
    endless = weircat('publish', 'positions', '--length-prefixed', '/dev/zero', '--stats')  # records of no bytes
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        before = router.ledger()['totals']['accepted']
        process = lab.start('publisher', endless, netns=lab.router_netns)
        wait_until(lambda: router.ledger()['totals']['accepted'] > before, 'it publishes')
        process.signal(number)
        process.wait(20, expect=128 + number)
        said = process.err()
        counts = json.loads(next(line for line in said.splitlines() if line.startswith('{')))
        check(f'{counts["published"]} events are published, {counts["routed"]} of them acknowledged' in said, said)
        check_equal(router.ledger()['totals']['accepted'] - before, counts['routed'], 'accepted')
    check_ledger(router)
    router.stop()


def test_a_wait_is_as_long_as_it_was_said_to_be(lab):
    lab.host('clients')
    for words in (('publish', 'positions'), ('subscribe', 'positions', '--group', 'all')):
        started = time.monotonic()
        status, _, said = call(lab, *weircat(*words, '--wait-ms', '1500'))
        check(status == 1 and '1500 ms' in said, f'{words[0]} without a router: status {status}, {said}')
        check_between(time.monotonic() - started, 1.5, 2.6, f'{words[0]} --wait-ms 1500 without a router, s')

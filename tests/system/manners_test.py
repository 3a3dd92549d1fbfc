# What programs do with what their callers do to them: descriptors that are closed, signals in the middle, waits that are as
# long as they were said to be.
#
#   weircat ---- weir <- weirctl
import json
import os
import signal
import socket
import subprocess
import time

from judge import check, check_between, check_equal, check_ledger
from lab import program, topic, wait_until

SECONDS = 8
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
                                            f'unix:{router.lanes_socket}'), closed=(0, 2))
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
    load = program('weirload')
    for words in (weircat('publish', 'positions', '--wait-ms', '1000'),
                  weircat('subscribe', 'positions', '--group', 'all', '--wait-ms', '1000'),
                  (load, 'produce', '--timeout', '1'), (load, 'consume', '--timeout', '1')):
        started = time.monotonic()
        status, _, said = call(lab, *words)
        is_said = 'no answer' in said or 'nobody listens' in said
        check(status == 1 and is_said, f'{words[:2]} without a router: status {status}, {said}')
        check_between(time.monotonic() - started, 1, 1.8, f'{words[:2]} without a router, s')


def timed(*words, stdin=None):
    started = time.monotonic()
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=60)
    return done, time.monotonic() - started


# A stopped router takes connections as long as its queue has room, and answers none; then it takes none either.
def test_weirctl_waits_for_a_stopped_router_no_longer_than_it_may(lab):
    lab.host('clients')
    router = lab.router([topic('positions')]).start()
    ctl = (program('weirctl'), '--socket', router.socket, '--json')
    os.kill(router.process.pid, signal.SIGSTOP)
    waiting = []
    try:
        done, took = timed(*ctl, '--timeout', '0.7', 'status')
        check_equal(done.returncode, 3, 'status of weirctl')
        check('in time' in json.loads(done.stdout)['error']['reason'], done.stdout)
        check_between(took, 0.7, 5, 'weirctl --timeout 0.7, s')
        for _ in range(100):
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            waiting.append(client)
            try:
                client.connect(router.socket)
            except BlockingIOError:
                break
        done, took = timed(*ctl, '--timeout', '0.7', 'apply', router.write())
        check_equal(done.returncode, 3, 'status of weirctl behind a full queue')
        check_between(took, 0.7, 5, 'weirctl --timeout 0.7 behind a full queue, s')
    finally:
        for client in waiting:
            client.close()
        os.kill(router.process.pid, signal.SIGCONT)
    wait_until(lambda: router.ctl('version', check=False).returncode == 0, 'it answers again')
    router.stop()


def test_a_misspelt_instance_is_answered_by_the_one_that_is_there(lab):
    lab.host('clients')
    router = lab.router([topic('positions')]).start()
    done, _ = timed(program('weirctl'), '--instance', f'{router.instance}x', '--json', 'status')
    check_equal(done.returncode, 3, 'status of weirctl')
    fix = json.loads(done.stdout)['error']['fix']
    check(fix.endswith(f'--instance {router.instance}'), fix)
    router.stop()


def test_weirctl_applies_standard_input(lab):
    lab.host('clients')
    router = lab.router([topic('positions')]).start()
    wanted = json.dumps(router.topology | {'topics': [topic('positions'), topic('more')]})
    done, _ = timed(program('weirctl'), '--socket', router.socket, '--json', 'apply', '-', stdin=wanted)
    check_equal([change['topic'] for change in json.loads(done.stdout)['changes']], ['more', 'more'], 'changes')
    done, _ = timed(program('weirctl'), '--socket', router.socket, '--json', 'plan', '-', stdin='nonsense: 1\n')
    error = json.loads(done.stdout)['error']
    check_equal((error['file'], error['line']), ('standard input', 1), 'where the mistake is')
    router.stop()


# What is written again and again ends with its reader, and only a terminal is cleared.
def test_watching_is_for_terminals_and_for_pipes(lab):
    lab.host('clients')
    router = lab.router([topic('positions')]).start()
    ctl = (program('weirctl'), '--socket', router.socket)
    for more in ((), ('--json',)):
        watching = subprocess.Popen([*ctl, '--watch=0.05', *more, 'ledger'], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        first = watching.stdout.readline()
        check(b'\x1b' not in first, f'escapes in a pipe: {first}')
        watching.stdout.close()
        check_equal(watching.wait(20), 1, f'status of weirctl --watch {more} whose reader went')
        check(b'standard output' in watching.stderr.read(), 'the end is not explained')
    terminal, side = os.openpty()
    watching = subprocess.Popen([*ctl, '--watch=0.05', 'ledger'], stdout=side, stderr=subprocess.DEVNULL)
    os.close(side)
    check(os.read(terminal, 3).startswith(b'\x1b['), 'a terminal is not cleared')
    watching.terminate()
    watching.wait(20)
    os.close(terminal)
    for value in ('1e300', 'nan', '-1', '0', '1x', ''):
        done, _ = timed(*ctl, '--json', f'--watch={value}', 'ledger')
        check_equal((done.returncode, json.loads(done.stdout)['error']['object']), (2, '--watch'), f'--watch={value}')
    router.stop()


# Nothing that weirctl or weir --check prints into a full disk is taken for printed.
def test_output_into_a_full_disk_is_no_success(lab):
    lab.host('clients')
    router = lab.router([topic('positions')]).start()
    commands = [(program('weirctl'), '--socket', router.socket, *json_or_not, command) for json_or_not in ((), ('--json',))
                for command in ('status', 'ledger', 'plan', 'version')]
    for words in commands + [(program('weir'), '--config', router.write(), '--check')]:
        with open('/dev/full', 'w') as full:
            done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=20)
        check_equal(done.returncode, 1, ' '.join(words))
        check('standard output: cannot write it' in done.stderr, done.stderr)
    router.stop()

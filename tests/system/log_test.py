# The daemon's standard error is a pipe that nobody reads, full from the start: a log shipper that is stuck, a terminal
# after Ctrl-S. Control, local clients and the end go on; what was not written is counted in what is written later.
#
#   weir --- stderr --> a full pipe
#    ^ control socket, lanes
import json
import os
import re
import signal
import socket

from judge import check, check_equal, full_pipe
from lab import program, run, topic, wait_until

SECONDS = 2
PORTS = ('kernel',)
REQUESTS = 1500


def read_all(reader):
    os.set_blocking(reader, False)
    try:
        return os.read(reader, 1 << 20)
    except BlockingIOError:
        return b''


# Each is refused and logged, in a line of some hundred bytes.
def refuse_many(router, count):
    wanted = json.dumps(router.topology | {'topics': [topic('positions', shards=8)]})
    request = json.dumps({'command': 'apply', 'arguments': {'file': 'f' * 300, 'text': wanted}}) + '\n'
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(20)
        control.connect(router.socket)
        answers = control.makefile()
        for _ in range(count):
            control.sendall(request.encode())
            check(not json.loads(answers.readline())['ok'], 'a change of shards was applied')


def test_a_standard_error_that_nobody_reads_holds_nothing_up(lab):
    producers = lab.host('producers')
    reader, writer = full_pipe()
    router = lab.router([topic('positions')]).start(stderr=writer)
    os.close(writer)
    refuse_many(router, REQUESTS)
    check_equal(json.loads(router.ctl('version', timeout_s=10).stdout)['protocol'], 1, 'protocol')
    lane = f'unix:{router.lanes_socket}'
    lab.start('weircat', [program('weircat'), 'publish', 'positions', '--router', lane], producers).wait(10)
    text = b''

    # The reader comes back: every refusal is either there or counted where it is missing.
    def is_accounted():
        nonlocal text
        text += read_all(reader)
        told = [int(number) for number in re.findall(rb'log: (\d+) lines were dropped', text)]
        written = len(re.findall(rb'error: fff', text))
        return told and written + told[-1] == REQUESTS
    wait_until(is_accounted, 'every line is written or counted', 20)
    router.process.stop(10)
    os.close(reader)


def test_the_end_does_not_wait_for_standard_error(lab):
    lab.host('producers')
    reader, writer = full_pipe()
    router = lab.router([topic('positions')]).start(stderr=writer)
    refuse_many(router, REQUESTS)
    router.process.signal(signal.SIGTERM)
    router.process.wait(10)
    check(not os.path.exists(router.socket), f'{router.socket} stayed')
    os.close(reader)
    os.close(writer)
    check_equal(run(program('weirctl'), '--socket', router.socket, 'version', check=False).returncode, 3, 'weirctl afterwards')

#!/usr/bin/env python3
# weirpeer against our own clients, prints TAP: what libweir and the Python clients do over a bad link and through a restart
# breaks no rule, and each fault planted into a copy of the Python clients is named. Loopback alone; no namespaces.
# Runs of different ports go on side by side: nearly all of their time is waiting.
import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(TOP, os.environ.get('WEIR_BUILD', 'build/release'))
EXAMPLES = os.path.join(TOP, 'client', 'examples')
WEIRPEER = os.path.join(BUILD, 'tests', 'peer', 'weirpeer')
WEIRCAT = os.path.join(BUILD, 'client', 'weircat', 'weircat')
IS_LONG = os.environ.get('WEIR_LONG') == '1'
LOSSY = '0% drop 5\n0% reorder 10\n0% twice 5\n70% calm\n'
CALM = '0% calm\n'
RESTART = '0% drop 3\n0% reorder 10\n30% restart\n60% calm\n'
SIDE_BY_SIDE = 4


# Which clients play, and what has to be found: (rule, file, old text, new text, clients, script, more options of weirpeer).
# Each is one mistake that an author of a client could make.
FAULTS = [
    ('frame', 'weir.py', "struct.pack('<I', crc32c(head[:44],", "struct.pack('<I', 1 ^ crc32c(head[:44],", 'consumer', CALM),
    ('unused-fields', 'weir.py', 'self.send(PING, sequence=self.pings)', 'self.send(PING, sequence=self.pings, topic=1)',
     'consumer', CALM),
    ('hello-size', 'weir.py', "struct.pack('<QII8s', 0, self.frame_size,", "struct.pack('<QII8s', 0, self.frame_size + 8,",
     'consumer', CALM),
    ('hello-cookie', 'weir.py', 'cookie = frame.body[8:16]', 'cookie = bytes(7) + b"x"', 'consumer', CALM),
    ('identity', 'weir.py', 'frame_size, os.urandom(8), 0, None', 'frame_size, bytes(8), 0, None', 'consumer', CALM),
    ('nonce', 'weir.py', 'True, os.urandom(8), self.asked_size', 'True, bytes(8), self.asked_size', 'consumer', CALM),
    ('session', 'weir.py', 'self.send(PING, sequence=self.pings)',
     'self.send_frame(build(PING, self.id ^ 1, sequence=self.pings))', 'consumer', CALM),
    ('ping', 'weir.py', 'self.ping(now)', 'pass', 'idle', CALM),
    ('topic-id', 'producer.py', 'OPENED, topic=topic, shard=shard)', 'OPENED, topic=topic + 7, shard=shard)', 'producer', CALM),
    ('open-first', 'producer.py', "{'stream': frame.stream,", "{'stream': frame.stream + 1,", 'producer', CALM),
    ('next', 'producer.py', 'self.next, self.incarnation = self.open(topic, shard)',
     'self.next, self.incarnation = self.open(topic, shard); self.next += 1', 'producer', CALM),
    ('sequence', 'producer.py', 'self.next, self.events, self.size = end, [], 0',
     'self.next, self.events, self.size = end + 1, [], 0', 'producer', CALM),
    ('repeat', 'producer.py', 'self.session.send_frame(data)\n\n    def is',
     'f = data; e = bytearray(f[48:]); e[16] ^= 1; self.session.send_frame(build(PUBLISH, self.session.id, '
     'bytes(e), '
     'count=f[6] + 256 * f[7], sequence=struct.unpack_from("<Q", f, 24)[0], **self.where))\n\n    def is', 'producer', LOSSY),
    ('events', 'producer.py', 'shard = shard_of(key, shards)', 'shard = key % shards', 'producer', CALM),
    ('credit', 'producer.py', 'while end > self.limit or', 'while False and', 'producer', '0% delay 100\n'),
    ('window', 'producer.py', '>= WINDOW', '>= 3200', 'producer', '0% delay 100\n'),
    ('retransmission', 'producer.py', '            self.session.send_frame(data)\n\n    def is',
     '            pass\n\n    def is', 'producer', LOSSY),
    ('close', 'producer.py', 'self.opened, sequence=self.next,', 'self.opened, sequence=self.next + 1,', 'producer', CALM),
    ('frame-size', 'producer.py', 'session = Session(sys.argv[1])\n    SIZE[0] = session.frame_size',
     'session = Session(sys.argv[1])\n    SIZE[0] = 4000', 'producer', CALM),
    ('assign', 'consumer.py', '            delivery.report(self.session)\n\n    def revoked',
     '            pass\n\n    def revoked', 'consumer', CALM),
    ('term', 'consumer.py', 'self.stream, self.term,\n', 'self.stream, self.term - 1,\n', 'consumer', CALM),
    ('report-falls', 'consumer.py', 'self.received_to, self.settled_to,',
     'self.received_to, self.settled_to if time.monotonic() % 1 < 0.5 else max(0, self.settled_to - 50),', 'consumer', CALM),
    ('report-beyond', 'consumer.py', 'self.received_to, self.settled_to,', 'self.received_to + 1000, self.settled_to,',
     'consumer', CALM),
    ('charged', 'consumer.py', 'self.limit, self.charged, len', 'self.limit, self.charged + 1, len', 'consumer',
     CALM),
    ('grant', 'consumer.py', 'CREDIT = 1 << 18', 'CREDIT = 1 << 28', 'consumer', CALM),
    ('gap', 'consumer.py', 'self.is_gap = is_ahead and', 'self.is_gap = False and', 'consumer', LOSSY),
    ('progress', 'consumer.py', 'self.received_to, self.pieces = to, ', 'self.received_to, self.pieces = min(to, 40), ',
     'consumer', CALM),
    ('report-pace', 'consumer.py',
     'delivery.settled_to = delivery.received_to  # written is settled\n            delivery.report(self.session)',
     'if time.monotonic() > delivery.reported + 3:\n                delivery.report(self.session)', 'consumer', CALM),
    ('revoked', 'consumer.py', 'elif frame.kind == REVOKE:', 'elif frame.kind == REVOKE and not write:', 'consumers', CALM),
]


def port_of(process):
    for line in process.stderr:
        found = re.search(r'ready at port (\d+)', line)
        if found:
            return int(found[1])
    raise AssertionError('weirpeer did not start')


def lines(count):
    return b''.join(b'key%d line %d %s\n' % (n % 40, n, b'x' * 60) for n in range(count))


# Runs weirpeer and clients of a folder beside it, and returns what it says. A client may give up: that is its own affair.
def play(folder, clients, script, seconds, *options):
    with tempfile.NamedTemporaryFile('w', suffix='.script') as file:
        file.write(script)
        file.flush()
        command = [WEIRPEER, 'check', '--json', '--port', '0', '--seconds', str(seconds), '--script', file.name, *options]
        peer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        port = port_of(peer)
        started = [start(folder, port, client, seconds) for client in clients]
        out, err = peer.communicate(timeout=seconds + 30)
        for process in started:
            process.kill()
            process.wait()
        assert out, f'weirpeer said nothing: {err}'
        return json.loads(out)


def start(folder, port, client, seconds):
    quiet = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}
    if client == 'weircat publish':
        feeder = subprocess.Popen([sys.executable, '-uc', 'import time\nfor n in range(10**6): print(n); time.sleep(0.002)'],
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return subprocess.Popen([WEIRCAT, 'publish', 'in', '--key', 'field:1', '--router', f'udp://127.0.0.1:{port}',
                                 '--wait-ms', '60000'], stdin=feeder.stdout, **quiet)
    if client == 'weircat subscribe':
        return subprocess.Popen([WEIRCAT, 'subscribe', 'out', '--group', 'all', '--router', f'udp://127.0.0.1:{port}'], **quiet)
    if client == 'producer':
        with tempfile.TemporaryFile() as file:
            file.write(lines(20000))
            file.seek(0)
            return subprocess.Popen([sys.executable, os.path.join(folder, 'producer.py'), f'127.0.0.1:{port}', 'in'],
                                    stdin=file, **quiet)
    if client == 'later consumer':
        return subprocess.Popen(['sh', '-c', 'sleep 1; exec "$@"', 'sh', sys.executable, os.path.join(folder, 'consumer.py'),
                                 f'127.0.0.1:{port}', 'out', 'all'], **quiet)
    return subprocess.Popen([sys.executable, os.path.join(folder, 'consumer.py'), f'127.0.0.1:{port}', 'out', 'all'], **quiet)


CLIENTS = {'consumer': ['consumer'], 'idle': ['consumer'], 'producer': ['producer'],
           'consumers': ['consumer', 'later consumer']}


def fault_is_named(fault):
    rule, name, old, new, clients, script = fault
    with tempfile.TemporaryDirectory() as folder:
        for example in ('weir.py', 'producer.py', 'consumer.py'):
            with open(os.path.join(EXAMPLES, example)) as file:
                text = file.read()
            if example == name:
                assert text.count(old) >= 1, f'{name} has no {old!r} any more: plant the fault anew'
                text = text.replace(old, new, 1)
            with open(os.path.join(folder, example), 'w') as file:
                file.write(text)
        options = ['--rate', '0'] if clients == 'idle' else ['--log', '64'] if rule == 'credit' else []
        found = play(folder, CLIENTS[clients], script, 5, *options)
        names = [row['rule'] for row in found['rules']]
        assert rule in names, f'{rule} is not among the rules named: {names}; {found}'


def clean(clients, script, seconds, what, *options):
    found = play(EXAMPLES, clients, script, seconds, *options)
    assert found['broken'] == 0, f'{found["rules"]}'
    for counter in what:
        assert found[counter] > 0, f'{counter} is 0: {found}'


USUAL = ('20% drop 3\n35% calm\n35% twice 10\n35% reorder 20\n50% calm\n50% delay 30\n60% calm\n60% restart\n75% drop 10\n'
         '75% twice 10\n75% reorder 20\n85% calm\n')


def tests():
    seconds = 60 if IS_LONG else 10
    yield ('libweir publishes and consumes by the rules through loss and a restart',
           lambda: clean(['weircat publish', 'weircat subscribe'], USUAL, seconds, ['taken', 'delivered', 'restarts']))
    yield ('libweir takes large events by the rules through loss',
           lambda: clean(['weircat subscribe', 'weircat subscribe'], USUAL, seconds, ['delivered'], '--large', '20000'))
    yield ('the Python clients keep the rules over a bad link',
           lambda: clean(['producer', 'consumer', 'later consumer'], LOSSY, 8, ['taken', 'delivered']))
    yield ('the Python clients keep the rules through a restart and go on',
           lambda: clean(['producer', 'consumer', 'later consumer'], RESTART, 12, ['taken', 'delivered', 'restarts']))
    for fault in FAULTS:
        yield f'a client that breaks {fault[0]} is told so', lambda fault=fault: fault_is_named(fault)


def attempt(function):
    try:
        function()
    except Exception as error:  # the reader wants all of them
        return f'{type(error).__name__}: {error}'
    return None


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = [test for test in tests() if not sys.argv[1:] or any(word in test[0] for word in sys.argv[1:])]
    print(f'1..{len(chosen)}', flush=True)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for number, (test, error) in enumerate(zip(chosen, pool.map(lambda test: attempt(test[1]), chosen)), 1):
            failed += error is not None
            print(f'{"not ok" if error else "ok"} {number} - {test[0]}', flush=True)
            if error:
                print('# ' + error.replace('\n', '\n# '), flush=True)
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()

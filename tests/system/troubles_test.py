# Everything that befalls a router in a year, at random and at once: readers that stop, interfaces that go down and away and
# come back, addresses and path MTUs that change, topics removed and added, processes stopped, the topology file read again,
# the log's reader gone, silent connections. What was acknowledged arrives, in order, repeats are marked, and nothing has to
# be started anew. With --long for 30 minutes.
#
#   afxdp host  ---- bridge ---- AF_XDP port \
#                                              weir, 1 worker: steady, 4 shards; comes, 2 shards, removed and added
#   kernel host ---- bridge ---- kernel port /
#   lane host   == shared memory ===========/
#
# Each host has a publisher and a subscriber of `steady`, the subscriber with a reader behind it that may be stopped; all
# subscribers are members of one group.
import json
import os
import random
import re
import signal
import socket
import subprocess
import time

from judge import check, check_between, check_equal, check_ledger, descriptors, process_status
from lab import UDP_PORT, Process, program, run, topic, wait_until

SECONDS = 35
PORTS = ('kernel',)  # it has ports of both kinds, and lanes, of its own
LIMITS = {'ping': '500ms', 'lease': '2s'}
LONG_SECONDS = 30 * 60
KINDS = ('afxdp', 'kernel', 'lane')
RATE = 500  # events a second of each publisher
MTU, SMALL_MTU = 1500, 1280
SILENT = 64


# A publisher of numbered lines and a subscriber with a reader, on one host.
class Pair:
    def __init__(self, lab, kind, host, address):
        self.lab, self.kind, self.host, self.address = lab, kind, host, address
        self.sent, self.path = 0, lab.path(f'{kind}.events')
        pipe, self.feed = os.pipe()
        self.publisher = lab.start(f'publish-{kind}', [program('weircat'), 'publish', 'steady', '--key', f'fixed:{kind}',
                                                       '--router', address, '--wait-ms', '120000'], host, stdin=pipe)
        os.close(pipe)
        os.set_blocking(self.feed, False)
        self.subscribe()

    def subscribe(self):
        pipe, out = os.pipe()
        with open(self.path, 'ab') as file:
            self.reader = subprocess.Popen(['setpriv', '--pdeathsig', 'KILL', 'cat'], stdin=pipe, stdout=file)
        os.close(pipe)
        command = [program('weircat'), 'subscribe', 'steady', '--group', 'all', '--json', '--router', self.address, '--wait-ms',
                   '60000']
        self.subscriber = self.lab.start(f'subscribe-{self.kind}', command, self.host, stdout=out)
        os.close(out)

    # As many lines as are due; those that a full pipe does not take stay due.
    def publish(self, due):
        while self.sent < due:
            lines = [f'{self.kind} {number}\n' for number in range(self.sent, min(due, self.sent + 20))]
            try:
                os.write(self.feed, ''.join(lines).encode())  # below PIPE_BUF: whole or not at all
            except BlockingIOError:
                return
            self.sent += len(lines)


class Troubles:
    def __init__(self, lab, router, pairs, dice, log_path):
        self.lab, self.router, self.pairs, self.dice, self.log_path = lab, router, pairs, dice, log_path
        self.count, self.under_way, self.log_reader = {}, {}, None
        self.read_log()

    def read_log(self):
        out = open(self.lab.path('router.log'), 'ab')
        self.log_reader = subprocess.Popen(['setpriv', '--pdeathsig', 'KILL', 'cat', self.log_path], stdout=out)
        out.close()

    # ---- Each begins a trouble and returns what ends it ----

    def stop(self, process):
        process.send_signal(signal.SIGSTOP)
        return lambda: process.send_signal(signal.SIGCONT)

    def reader_stops(self, pair):
        return self.stop(pair.reader)

    def publisher_stops(self, pair):
        return self.stop(pair.publisher.child)

    def subscriber_stops(self, pair):
        return self.stop(pair.subscriber.child)

    def router_stops(self):
        return self.stop(self.router.process.child)

    def link_down(self, pair):
        interface = ('-n', self.lab.router_netns, 'link', 'set', pair.host.router_interface)
        run('ip', *interface, 'down')

        def end():
            run('ip', *interface, 'up')
        return end

    def link_gone(self, pair):
        run('ip', '-n', self.lab.router_netns, 'link', 'del', pair.host.router_interface)

        def end():
            host = pair.host
            self.lab.link(self.lab.router_netns, host.router_interface, host.path_netns, 'far', MTU)
            run('ip', '-n', host.path_netns, 'link', 'set', 'far', 'master', 'bridge')
            run('ip', '-n', self.lab.router_netns, 'address', 'add', f'{host.router_address}/24', 'dev',
                host.router_interface)
        return end

    def path_shrinks(self, pair):
        def resize(mtu):
            for interface in ('near', 'far', 'bridge'):
                run('ip', '-n', pair.host.path_netns, 'link', 'set', interface, 'mtu', str(mtu), check=False)
        resize(SMALL_MTU)
        return lambda: resize(MTU)

    def address_changes(self, pair):
        host, old = pair.host, pair.host.address
        host.address = f'10.77.{host.number}.{self.dice.choice([n for n in range(2, 250) if not old.endswith(f".{n}")])}'
        address = ('ip', '-n', host.netns, 'address')
        run(*address, 'del', f'{old}/24', 'dev', host.interface)
        run(*address, 'add', f'{host.address}/24', 'dev', host.interface)
        run('ip', '-n', host.netns, 'route', 'add', 'default', 'via', host.router_address, check=False)
        return lambda: None

    def topic_goes(self):
        self.router.apply_all([steady()])
        return lambda: self.router.apply_all([steady(), comes()])

    def file_read_again(self):
        self.router.process.signal(signal.SIGHUP)
        return lambda: None

    def log_reader_dies(self):
        self.log_reader.kill()
        self.log_reader.wait()
        return self.read_log

    def log_reader_stops(self):
        return self.stop(self.log_reader)

    def silent_connections(self):
        silent = []
        for path in (self.router.socket, self.router.socket.replace('.sock', '.lanes.sock')):
            for _ in range(SILENT):
                one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                one.setblocking(False)
                if one.connect_ex(path) == 0:
                    silent.append(one)

        def end():
            for one in silent:
                one.close()
        return end

    # ---- Which, when ----

    # What may begin: (what it touches, name, how it begins, its longest time).
    def choices(self):
        free = [('router', 'router stops', self.router_stops, 6), ('router', 'file read again', self.file_read_again, 1),
                ('topic', 'topic removed', self.topic_goes, 6), ('log', 'log reader dies', self.log_reader_dies, 6),
                ('log', 'log reader stops', self.log_reader_stops, 6),
                ('sockets', 'silent connections', self.silent_connections, 6)]
        for pair in self.pairs:
            free += [(f'{pair.kind} reader', 'reader stops', lambda p=pair: self.reader_stops(p), 12),
                     (f'{pair.kind} publisher', 'publisher stops', lambda p=pair: self.publisher_stops(p), 6),
                     (f'{pair.kind} subscriber', 'subscriber stops', lambda p=pair: self.subscriber_stops(p), 6)]
            if pair.kind != 'lane':
                free += [(f'{pair.kind} path', 'link down', lambda p=pair: self.link_down(p), 6),
                         (f'{pair.kind} path', 'link gone', lambda p=pair: self.link_gone(p), 6),
                         (f'{pair.kind} path', 'path shrinks', lambda p=pair: self.path_shrinks(p), 20),
                         (f'{pair.kind} path', 'address changes', lambda p=pair: self.address_changes(p), 1)]
        return [choice for choice in free if choice[0] not in self.under_way]

    # Whoever asks the router while it is stopped would wait with it.
    def is_answering(self):
        return 'router' not in self.under_way

    def step(self, now, may_begin=True):
        for touched in [t for t, (_, due) in self.under_way.items() if due <= now]:
            if touched == 'topic' and not self.is_answering():
                continue
            self.under_way.pop(touched)[0]()
        choices = self.choices()
        # What is rare among so many is as likely as what each pair can have.
        names = sorted({choice[1] for choice in choices if choice[0] != 'topic' or self.is_answering()})
        if not may_begin or not names or self.dice.random() > 0.3:
            return
        name = self.dice.choice(names)
        touched, name, begin, most_s = self.dice.choice([choice for choice in choices if choice[1] == name])
        self.count[name] = self.count.get(name, 0) + 1
        self.under_way[touched] = (begin(), now + self.dice.uniform(0.2, most_s))

    def end(self):
        while self.under_way:
            self.step(time.monotonic(), may_begin=False)
            time.sleep(0.1)


def steady():
    return topic('steady')


def comes():
    return topic('comes', shards=2)


# Starts the router with its log in a FIFO, whose reader may stop or die, and returns that.
def start(lab, router):
    path = lab.path('router.fifo')
    os.mkfifo(path)

    # What it was started with is what was applied last: SIGHUP reads that file again.
    def apply_all(topics):
        router.topology['topics'] = topics
        router.ctl('apply', '--discard', 'comes', router.write())

    router.apply_all = apply_all
    first = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening to write waits for a reader
    log = os.open(path, os.O_WRONLY)
    router.start(stderr=log)
    os.close(first)
    os.close(log)
    return path


def weight(router):
    words = process_status(router.process)
    return {'descriptors': descriptors(router.process), 'threads': int(words['Threads'][0]), 'kib': int(words['VmRSS'][0])}


# kind -> number -> offset, of what was handed out; events that came more than once without a mark; and all that came. From the
# files of all readers, whole lines only.
def judge(pairs):
    seen, plain, twice, events = {pair.kind: {} for pair in pairs}, set(), 0, 0
    for pair in pairs:
        with open(pair.path) as file:
            for line in file:
                if not line.endswith('}\n'):
                    continue
                event = json.loads(line)
                events += 1
                kind, number = event['payload'].split()
                offset = int(str(event['offset']), 0)
                check(seen[kind].setdefault(number, offset) == offset, f'event {kind} {number} was appended twice: {event}')
                place = (event['shard'], offset)
                twice += not event['redelivered'] and place in plain
                if not event['redelivered']:
                    plain.add(place)
    return seen, twice, events


# What the router weighs when all is well again.
def calm_weight(troubles):
    router = troubles.router
    troubles.end()
    wait_until(lambda: all(queue['link'] for port in router.status()['ports'] for queue in port['queues']),
               'all links are up', 30)
    time.sleep(1)
    return weight(router)


# Publishes and makes trouble for so long. Returns what the router weighed when it had warmed up.
def run_troubles(pairs, troubles, comer, seconds):
    started, before, router = time.monotonic(), None, troubles.router
    while time.monotonic() < started + seconds:
        now = time.monotonic()
        for pair in pairs:
            pair.publish(int((now - started) * RATE))
        troubles.step(now)
        if before is None and now > started + min(60, seconds / 3):
            before = calm_weight(troubles)
        for process in [p.publisher for p in pairs] + [p.subscriber for p in pairs] + [router.process, comer]:
            check(process.is_running(),
                  f'{process.name} ended by itself with status {process.child.returncode}\n{process.tail()}')
        time.sleep(0.1)
    troubles.end()
    return before


# A subscriber of the topic that came and went hears it whenever it is there.
def check_comer(troubles, comer, address):
    for probe in range(2):
        run(program('weircat'), 'publish', 'comes', '--router', address, timeout_s=30, stdin_text=f'probe {probe}\n')
        wait_until(lambda n=probe: f'probe {n}\n' in comer.out(), f'event {probe} of the topic that came back', 30)
        troubles.topic_goes()()


# A person who reads the log and what the clients said knows what befell them.
def check_words(lab, troubles, comer):
    with open(lab.path('router.log')) as file:
        log = file.read()
    if troubles.count.get('link gone', 0) + troubles.count.get('link down', 0) > 2:
        check('cannot receive and send' in log and 'works again' in log, f'the log says nothing of interfaces:\n{log}')
    if troubles.count.get('log reader stops', 0) + troubles.count.get('log reader dies', 0) < 3:
        check('applied' in log, f'the log says nothing of what was applied:\n{log}')
    check('waiting for it' in comer.err() and 'is there again' in comer.err(), 'a subscriber said nothing of its topic')


# All that is due is published, acknowledged and settled, and the subscribers end.
def finish(pairs, router, due):
    for pair in pairs:
        deadline = time.monotonic() + 60
        while pair.sent < due and time.monotonic() < deadline:
            pair.publish(due)
            time.sleep(0.02)
        os.close(pair.feed)
    for pair in pairs:
        # Longer out of reach than the dedup window, which in half an hour may be: what is in doubt is named.
        pair.publisher.wait(90, expect=None)
        doubt = re.search(r'(\d+) of \d+ events without acknowledgement', pair.publisher.err())
        pair.unknown = int(doubt[1]) if doubt else 0
    wait_until(lambda: sum(g['held'] for g in router.ledger()['groups'] if g['topic'] == 'steady') == 0,
               'everything is settled', 60)
    for pair in pairs:
        pair.subscriber.stop(30)
        pair.reader.wait(30)


def check_events(lab, pairs):
    seen, twice, events = judge(pairs)
    for pair in pairs:
        numbers = seen[pair.kind]
        missing = [n for n in range(pair.sent) if str(n) not in numbers]
        check(len(missing) <= pair.unknown,
              f'{len(missing)} of {pair.sent} events of {pair.kind} never came, {pair.unknown} in doubt: {missing[:5]} ...')
        order = [numbers[str(n)] for n in range(pair.sent) if str(n) in numbers]
        check(all(a < b for a, b in zip(order, order[1:])), f'events of {pair.kind} were appended out of order')
    check_equal(twice, 0, 'events that came twice without a mark')
    lab.note(f'{sum(pair.sent for pair in pairs)} events, {events} handed out, in doubt: '
             + ', '.join(f'{pair.kind} {pair.unknown}' for pair in pairs))


def test_whatever_befalls_it_loses_nothing_and_needs_no_restart(lab):
    seed = int(os.environ.get('WEIR_SEED') or random.SystemRandom().randrange(1 << 32))
    lab.note(f'WEIR_SEED={seed}')
    hosts = {kind: lab.host(kind, is_far=kind != 'lane') for kind in KINDS}
    router = lab.router([steady(), comes()], limits=LIMITS, lanes={'socket_mode': '0666'})
    router.topology['ports'] = [
        {'name': 'afxdp', 'kind': 'afxdp', 'interface': hosts['afxdp'].router_interface, 'udp_port': UDP_PORT},
        {'name': 'kernel', 'kind': 'kernel', 'address': hosts['kernel'].router_address, 'udp_port': UDP_PORT}]
    log_path = start(lab, router)
    addresses = {kind: f'udp://{hosts[kind].router_address}:{UDP_PORT}' for kind in ('afxdp', 'kernel')}
    addresses['lane'] = f'unix:{router.socket.replace(".sock", ".lanes.sock")}'
    pairs = [Pair(lab, kind, hosts[kind], addresses[kind]) for kind in KINDS]
    comer = lab.start('subscribe-comes', [program('weircat'), 'subscribe', 'comes', '--group', 'all', '--router',
                                          addresses['lane'], '--wait-ms', '60000'])
    wait_until(lambda: all(row['state'] == 'active' for row in router.members('comes', 'all')['shards']), 'comes has a member')
    troubles = Troubles(lab, router, pairs, random.Random(seed), log_path)
    seconds = LONG_SECONDS if lab.is_long else 20
    before = run_troubles(pairs, troubles, comer, seconds)
    lab.note('troubles: ' + ', '.join(f'{name} {count}' for name, count in sorted(troubles.count.items())))

    check_comer(troubles, comer, addresses['lane'])
    check_words(lab, troubles, comer)
    finish(pairs, router, int(seconds * RATE))
    check_events(lab, pairs)
    check_ledger(router)
    after = calm_weight(troubles)
    lab.note(f'router before {before}, after {after}')
    check_between(after['descriptors'], 0, before['descriptors'] + 2, 'descriptors')
    check_equal(after['threads'], before['threads'], 'threads')
    check_between(after['kib'], 0, before['kib'] + 4096, 'resident KiB')
    router.stop()

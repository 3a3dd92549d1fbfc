# tools/bench peers: weir and what users would pick instead do the same job (perf/peers/job.h) in turn, round after round
# (A B C A B C ...), in one session on one machine; what counts is the median of the ratios within a round. docs/PEERS.md
# says which settings each peer gets, and why. Everything runs on the loopback of one network namespace of its own, from a
# temporary folder, and ends with it. Standard library only.
import argparse
import datetime
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time

import lab as laboratory
from lab import Failure, program, run, topic, wait_until

SHARDS = 4
NOISY = 0.15
ROUNDS_LEAST = 3  # fewer show that it works, and prove nothing
NICE = -15
HOST = '127.0.0.1'
CLIENT_CORE, SERVER_CORE = laboratory.CORES[0], laboratory.CORES[-1]
LATENCY_RATE = 100000
RAW_FRAME, RAW_WINDOW, RAW_BASE = 1552, 512, 20001  # of perf/peers/client.c
MUST = {'raw': 20e6, 'gro': 0.5, 'zmq': 5.0, 'nats': 7.0, 'redis': 7.0, 'routed': 0.85, 'p50': 0.6, 'p99': 1.0}


# ---- What is measured beside each figure ----

# Time that the hypervisor gave to others, and what a process's threads were pushed off their cores.
class Disturbance:
    def __init__(self, pids):
        self.pids = pids
        self.steal, self.switched, self.begun = self.steal_ticks(), self.switches(), time.monotonic()

    @staticmethod
    def steal_ticks():
        with open('/proc/stat') as file:
            return int(file.readline().split()[8])

    # Involuntary context switches of all threads.
    def switches(self):
        total = 0
        for pid in self.pids:
            try:
                threads = os.listdir(f'/proc/{pid}/task')
            except OSError:
                continue
            for thread in threads:
                try:
                    with open(f'/proc/{pid}/task/{thread}/status') as file:
                        total += next(int(line.split()[1]) for line in file if line.startswith('nonvoluntary_ctxt'))
                except (OSError, StopIteration):
                    continue
        return total

    def result(self):
        ticks = (time.monotonic() - self.begun) * os.sysconf('SC_CLK_TCK') * (os.cpu_count() or 1)
        return {'steal': round((self.steal_ticks() - self.steal) / ticks, 4), 'switched': self.switches() - self.switched}


# ---- Peers: each starts its server, and says where it is ----

class Peer:
    client = ''           # peer of peer-load; none: not through it
    guarantees = ('at-most-once',)
    is_fixed = True       # the server has the last core, the client the first; otherwise both go where they like
    is_lasting = False    # one server for the whole session, stopped in its tracks while others are measured
    idle = 'spin'
    durable_means = ''

    def __init__(self, session, name):
        self.session, self.name, self.processes = session, name, []

    def start(self, job):
        raise NotImplementedError

    def stop(self):
        for process in self.processes:
            process.kill()
        self.processes = []

    def launch(self, name, command, env=None):
        lab = self.session.lab
        words = ['env', *(f'{k}={v}' for k, v in (env or {}).items()), *command]
        process = laboratory.Process(lab, f'{name}-{lab.take_number(name)}', words, lab.router_netns,
                                     [SERVER_CORE] if self.is_fixed else laboratory.CORES, NICE)
        lab.processes.append(process)
        self.processes.append(process)
        return process

    def ready(self, process, port):
        def listens():
            if not process.is_running():
                raise Failure(f'{self.name} ended while starting\n{process.tail()}')
            return f':{port:04X} ' in self.session.in_netns('cat', '/proc/net/tcp', '/proc/net/udp')
        wait_until(listens, f'{self.name} listens on port {port}', 60)

    # Every process of the server.
    def pids(self):
        return [pid for process in self.processes for pid in self.session.descendants(process.pid)]

    def freeze(self, is_frozen):
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGSTOP if is_frozen else signal.SIGCONT)
            except ProcessLookupError:
                pass


class Weir(Peer):
    client, guarantees = 'weir', ('at-most-once', 'at-least-once')
    frame_size = 1472

    def groups(self, job):
        return [f'g{i}' for i in range(job['groups'])]

    def start(self, job):
        level = 'none' if job['guarantee'] == 'at-most-once' else 'routed'
        limits = {'frame_size': self.frame_size, 'window_frames': 4 * RAW_WINDOW}
        self.router = laboratory.Router(self.session.lab, 'kernel', [], [topic('positions', self.groups(job), ack=level)],
                                        limits=limits)
        self.router.topology['ports'][0]['address'] = HOST
        self.router.start()
        self.processes = [self.router.process]
        return self.address()

    def address(self):
        return f'udp://{HOST}:{laboratory.UDP_PORT}'

    def stop(self):
        self.router.stop()
        self.processes = []


# The same through shared memory; beside lanes the router listens to the network, where nobody talks to it.
class WeirLane(Weir):
    def address(self):
        return f'unix:{self.router.lanes_socket}'


# The relays' own client of tools/bench relay, prebuilt frames, no library: what the router itself bears.
class RawWeir(Weir):
    client, frame_size = '', RAW_FRAME

    def groups(self, job):
        return ['all']


class Relay(Peer):
    client, program = 'relay', 'relay'
    port = 19900

    def start(self, job):
        words = [program(self.program), str(self.port), HOST, str(job.get('base', self.port + 1)), str(SHARDS),
                 str(job['groups'])]
        self.ready(self.launch(self.program, words), self.port)
        return f'{HOST}:{self.port}'


class GroRelay(Relay):
    program = 'gro-relay'


class Zmq(Peer):
    client, port, is_fixed, idle = 'zmq', 21000, False, 'yield'

    def start(self, job):
        words = [program('zmq-relay'), HOST, str(self.port), str(job['groups'])]
        self.ready(self.launch('zmq-relay', words), self.port + job['groups'] * SHARDS)
        return f'{HOST}:{self.port}'


class Nats(Peer):
    client, port, is_fixed, is_lasting, idle = 'nats', 22000, False, True, 'yield'

    def start(self, job):
        path = self.session.folder(self.name)
        config = os.path.join(path, 'nats.conf')
        with open(config, 'w') as file:
            file.write(f'listen: {HOST}:{self.port}\nmax_pending: 1GB\nwrite_deadline: "60s"\n')
            if self.name == 'jetstream':
                file.write(f'jetstream {{ store_dir: "{path}/store", max_mem: 2GB, max_file: 8GB }}\n')
        self.ready(self.launch(self.name, ['nats-server', '-c', config]), self.port)
        return f'{HOST}:{self.port}'


class JetStream(Nats):
    client, port, guarantees = 'jetstream', 22001, ('at-least-once', 'durable')
    durable_means = 'file store, synced every 2 minutes: 2.9 has no other way'


class Redis(Peer):
    client, port, is_lasting = 'redis', 23000, True
    more = ('--save', '', '--appendonly', 'no')

    def start(self, job):
        words = ['redis-server', '--bind', HOST, '--port', str(self.port), '--dir', self.session.folder(self.name),
                 '--client-output-buffer-limit', 'pubsub', '0', '0', '0', '--protected-mode', 'no', *self.more]
        self.ready(self.launch(self.name, words), self.port)
        return f'{HOST}:{self.port}'


class RedisStreams(Redis):
    client, port, guarantees = 'redis-streams', 23001, ('at-least-once',)


class RedisDurable(Redis):
    client, port, guarantees = 'redis-streams', 23002, ('durable',)
    more = ('--save', '', '--appendonly', 'yes', '--appendfsync', 'always', '--auto-aof-rewrite-percentage', '0')
    durable_means = 'append-only file, fsync before each answer'


class Rabbit(Peer):
    client, port, epmd, is_fixed, is_lasting = 'rabbit', 24000, 24001, False, True
    guarantees = ('at-most-once', 'at-least-once', 'durable')
    durable_means = 'durable queues, persistent messages, confirmed when written'

    def start(self, job):
        path = self.session.folder(self.name)
        config = os.path.join(path, 'rabbitmq.conf')
        with open(config, 'w') as file:
            file.write(f'listeners.tcp.1 = {HOST}:{self.port}\nvm_memory_high_watermark.relative = 0.6\n'
                       'disk_free_limit.absolute = 100MB\nheartbeat = 0\nlog.console = false\n')
        open(os.path.join(path, 'plugins'), 'w').write('[].\n')
        environment = {
            'HOME': path, 'RABBITMQ_NODENAME': 'weirpeer@localhost', 'RABBITMQ_CONFIG_FILE': config,
            'RABBITMQ_CONF_ENV_FILE': os.path.join(path, 'none'), 'RABBITMQ_MNESIA_BASE': os.path.join(path, 'mnesia'),
            'RABBITMQ_LOG_BASE': os.path.join(path, 'log'), 'RABBITMQ_ENABLED_PLUGINS_FILE': os.path.join(path, 'plugins'),
            'RABBITMQ_PID_FILE': os.path.join(path, 'pid'), 'RABBITMQ_DIST_PORT': str(self.port + 2),
            'ERL_EPMD_PORT': str(self.epmd), 'ERL_EPMD_ADDRESS': HOST,
            'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS': '-kernel inet_dist_use_interface {127,0,0,1}'}
        self.ready(self.launch('epmd', ['epmd', '-address', HOST, '-port', str(self.epmd)]), self.epmd)
        self.ready(self.launch(self.name, ['/usr/lib/rabbitmq/bin/rabbitmq-server'], environment), self.port)
        return f'{HOST}:{self.port}'


PEERS = {'weir': Weir, 'weir-lane': WeirLane, 'relay': Relay, 'gro-relay': GroRelay, 'zmq': Zmq, 'nats': Nats,
         'jetstream': JetStream, 'redis': Redis, 'redis-streams': RedisStreams, 'redis-durable': RedisDurable, 'rabbit': Rabbit}
ALWAYS = ('weir', 'weir-lane', 'relay', 'gro-relay')  # are never taken from a cache

# name -> what peer-load is told.
CASES = {
    '64 B': {'payload': 64}, '256 B': {'payload': 256}, '1 KiB': {'payload': 1024, 'window': 8192},
    'fan-out to 4': {'groups': 4, 'window': 8192},
    'latency': {'rate': LATENCY_RATE},
    'at least once': {'guarantee': 'at-least-once'},
    'durable': {'guarantee': 'durable'},
}


def job_of(case):
    return {'guarantee': 'at-most-once', 'payload': 64, 'groups': 1, 'rate': 0, 'window': 16384, **CASES[case]}


# ---- A session: the namespace, the servers, the figures ----

class Session:
    def __init__(self, arguments):
        self.arguments = arguments
        self.lab = laboratory.Lab('kernel')
        self.peers, self.started = {}, {}
        self.figures = {}  # case -> peer -> [result of each round]
        self.failed = {}   # case -> peer -> rounds in which it did not do the job

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for peer in self.started:
            peer.freeze(False)
        # What a server left behind has no other home than this namespace.
        for pid in run('ip', 'netns', 'pids', self.lab.router_netns, check=False).stdout.split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.lab.close()

    def folder(self, name):
        path = self.lab.path(f'{name}-{self.lab.take_number("folder-" + name)}')
        os.makedirs(path)
        return path

    def in_netns(self, *words):
        return run('ip', 'netns', 'exec', self.lab.router_netns, *words, check=False).stdout

    @staticmethod
    def descendants(pid):
        found = [pid]
        for parent in found:
            try:
                with open(f'/proc/{parent}/task/{parent}/children') as file:
                    found += [int(child) for child in file.read().split()]
            except OSError:
                pass
        return found

    def peer(self, name):
        if name not in self.peers:
            self.peers[name] = PEERS[name](self, name)
        return self.peers[name]

    # One run of one peer.
    def measure(self, name, job):
        peer = self.peer(name)
        if peer in self.started:
            address = self.started[peer]
            peer.freeze(False)
        else:
            address = peer.start(job)
            if peer.is_lasting:
                self.started[peer] = address
        try:
            disturbance = Disturbance(peer.pids())
            result = self.load(peer, address, job)
            result.update(disturbance.result())
        finally:
            if peer in self.started:
                peer.freeze(True)
            else:
                peer.stop()
        return result

    def load(self, peer, address, job):
        seconds = self.arguments.seconds
        words = [program('peer-load'), '--guarantee', job['guarantee'], '--payload', str(job['payload']), '--groups',
                 str(job['groups']), '--rate', str(job['rate']), '--window', str(job['window']), '--seconds', str(seconds),
                 '--idle', peer.idle, peer.client, address]
        return self.client(peer, words, seconds)

    # Words of a program that prints one JSON object.
    def client(self, peer, words, seconds):
        lab = self.lab
        cores = [CLIENT_CORE] if peer.is_fixed else laboratory.CORES
        process = laboratory.Process(lab, f'client-{lab.take_number("client")}', words, lab.router_netns, cores, NICE)
        lab.processes.append(process)
        try:
            process.wait(30 + 3 * seconds)
        finally:
            process.kill()
        return process.json()

    # Of the raw client: weir at a level, or a relay.
    def measure_raw(self, kind):
        job = {'guarantee': 'at-least-once' if kind == 'weir routed' else 'at-most-once', 'groups': 1,
               'base': RAW_BASE}
        is_weir = kind.startswith('weir')
        peer = (RawWeir if is_weir else PEERS[kind])(self, kind)
        peer.start(job)
        try:
            port = laboratory.UDP_PORT if is_weir else Relay.port
            words = [program('peer-client'), 'weir' if is_weir else 'relay', HOST, str(port), str(RAW_BASE), str(SHARDS),
                     str(self.arguments.seconds), str(RAW_WINDOW), 'routed' if kind == 'weir routed' else 'none']
            disturbance = Disturbance(peer.pids())
            result = self.client(peer, words, self.arguments.seconds)
            return {**result, **disturbance.result()}
        finally:
            peer.stop()

    def keep(self, case, name, result):
        self.figures.setdefault(case, {}).setdefault(name, []).append(result)


# ---- The figures ----

def spread(values):
    middle = statistics.median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def summary(values):
    return {'median': statistics.median(values), 'min': min(values), 'max': max(values), 'spread': round(spread(values), 3),
            'noisy': spread(values) > NOISY or len(values) < ROUNDS_LEAST, 'values': values}


# The runs of one peer in one case, summed up.
def figure_of(case, runs):
    answer = {'steal': max(r['steal'] for r in runs), 'switched': max(r['switched'] for r in runs), 'runs': len(runs)}
    if case == 'latency':
        for name in ('p50', 'p99', 'p99_9', 'max'):
            answer[name + '_us'] = summary([round(r['latency_ns'][name] / 1000, 1) for r in runs])
        answer['generator_late_p99_us'] = round(statistics.median(r['generator_late_ns']['p99'] for r in runs) / 1000, 1)
        answer['reached'] = min(r['events_per_second'] for r in runs) > 0.98 * LATENCY_RATE
    else:
        key = 'deliveries_per_second' if case == 'fan-out to 4' else 'events_per_second'
        answer['per_second'] = summary([r[key] for r in runs])
    answer['missing'] = sum(r.get('missing', r.get('lost', 0)) for r in runs)
    return answer


# Median of the ratios of pairs (a from one round, b from the same); a figure from a cache stands for every round.
def pair_ratio(a, b):
    a, b = a['values'], b['values']
    if len(b) != len(a):
        b = [statistics.median(b)] * len(a)
    return summary([round(x / y, 3) for x, y in zip(a, b)]) if all(a) and all(b) else None


class Targets:
    def __init__(self):
        self.lines = []

    # A ratio, or a plain value, that should be at least (sign 1) or at most (sign -1) `must`.
    def add(self, text, value, must, unit='', sign=1):
        if value is None:
            self.lines.append({'target': text, 'value': None, 'must': must, 'at': 'least' if sign > 0 else 'most', 'unit': unit,
                               'met': False})
            return
        median = value['median'] if isinstance(value, dict) else value
        line = {'target': text, 'value': round(median, 3), 'must': must, 'at': 'least' if sign > 0 else 'most', 'unit': unit,
                'met': sign * median >= sign * must}
        if isinstance(value, dict):
            line.update({k: value[k] for k in ('min', 'max', 'noisy')})
        self.lines.append(line)


def judge(cases, raw):
    targets = Targets()
    if 'weir routed' in raw:
        ours = raw['weir routed']['per_second']
        million = {**ours, **{k: ours[k] / 1e6 for k in ('median', 'min', 'max')}}
        targets.add('kernel port, 64 B, routed, prebuilt frames', million, MUST['raw'] / 1e6, ' M/s')
        targets.add('kernel port over the GRO/GSO relay', pair_ratio(ours, raw['gro-relay']['per_second']), MUST['gro'], 'x')
    if 'weir routed' in raw and 'weir none' in raw:
        targets.add('at least once over at most once, prebuilt frames',
                    pair_ratio(raw['weir routed']['per_second'], raw['weir none']['per_second']), MUST['routed'], 'x')
    rates = cases.get('64 B', {})
    for name in ('zmq', 'nats', 'redis'):
        if name in rates and 'weir routed' in raw:
            targets.add(f'kernel port, routed, prebuilt frames, over {name}',
                        pair_ratio(raw['weir routed']['per_second'], rates[name]['per_second']), MUST[name], 'x')
        if name in rates and 'weir' in rates:
            targets.add(f'libweir over {name}, 64 B, at most once',
                        pair_ratio(rates['weir']['per_second'], rates[name]['per_second']), MUST[name], 'x')
    if 'weir' in rates and 'weir' in cases.get('at least once', {}):
        targets.add('at least once over at most once, libweir',
                    pair_ratio(cases['at least once']['weir']['per_second'], rates['weir']['per_second']), MUST['routed'], 'x')
    judge_latency(targets, cases.get('latency', {}))
    return targets.lines


def judge_latency(targets, latency):
    others = {name: figure for name, figure in latency.items() if name not in ('weir', 'weir-lane') and figure['reached']}
    if 'weir' not in latency or not others:
        return
    for key in ('p50', 'p99'):
        best = min(others, key=lambda name: others[name][f'{key}_us']['median'])
        ratio = pair_ratio(latency['weir'][f'{key}_us'], others[best][f'{key}_us'])
        targets.add(f'{key} at {LATENCY_RATE}/s over the best socket peer ({best})', ratio, MUST[key], 'x', -1)


# ---- What is shown ----

def cell(figure, case):
    if case == 'latency':
        if not figure['reached']:
            return 'not reached'
        return ' / '.join(f'{figure[name + "_us"]["median"]:.0f}' for name in ('p50', 'p99', 'p99_9', 'max'))
    rate = figure['per_second']
    return f'{rate["median"] / 1e6:.3f}{" noisy" if rate["noisy"] else ""}'


def table(answer):
    lines = [f'{answer["date"]}, {answer["machine"]}, {answer["pairs"]} rounds of {answer["seconds"]} s', '']
    for case, figures in {'prebuilt frames, 64 B': answer['raw'], **answer['cases']}.items():
        if not figures:
            continue
        unit = {'latency': f'us at {LATENCY_RATE}/s, p50 / p99 / p99.9 / longest', 'fan-out to 4': 'M deliveries/s'}
        lines.append(f'{case} ({unit.get(case, "M events/s")})')
        for name, figure in sorted(figures.items(), key=lambda item: order_of(case, item[1])):
            rate = figure.get('per_second') or figure['p99_us']
            scale = 1 if case == 'latency' else 1e6
            lines.append(f'  {name:<14} {cell(figure, case):<28} {"p99 " if scale == 1 else ""}{rate["min"] / scale:.3f} to '
                         f'{rate["max"] / scale:.3f}; steal {figure["steal"] * 100:.1f} %, switched {figure["switched"]}'
                         + (f', lost {figure["missing"]}' if figure['missing'] else '')
                         + (', cached' if figure.get('cached') else ''))
        lines.append('')
    for line in answer['targets']:
        range_text = f' ({line["min"]:.2f} to {line["max"]:.2f}{", noisy" if line["noisy"] else ""})' if 'min' in line else ''
        if line['value'] is None:
            lines.append(f'MISSED {line["target"]}: nothing arrived')
            continue
        lines.append(f'{"met   " if line["met"] else "MISSED"} {line["target"]}: {line["value"]}{line["unit"]}{range_text}, '
                     f'must be at {line["at"]} {line["must"]:g}{line["unit"]}')
    for case, names in answer['failed_rounds'].items():
        lines += [f'{name} did not do {case} in {rounds} of {answer["pairs"]} rounds' for name, rounds in names.items()]
    for name, what in answer['durable_means'].items():
        lines.append(f'durable of {name}: {what}')
    return '\n'.join(lines)


def order_of(case, figure):
    return figure['p99_us']['median'] if case == 'latency' else -figure['per_second']['median']


# Bars on a logarithmic scale: what is compared spans a factor of a thousand.
def plot(answer, path):
    cases = [case for case in answer['cases'] if case != 'latency' and answer['cases'][case]]
    names = [name for name in PEERS if any(name in answer['cases'][case] for case in cases)]
    if not cases or not shutil.which('gnuplot'):
        return None
    rows = []
    for case in cases:
        values = [answer['cases'][case].get(name, {}).get('per_second', {}).get('median') for name in names]
        rows.append(' '.join([f'"{case}"', *(f'{v / 1e6:.4f}' if v else 'NaN' for v in values)]))
    script = [f'set terminal svg size 1100,520 font "sans,12"', f'set output "{path}"', 'set style data histograms',
              'set style histogram clustered gap 1', 'set style fill solid 0.8', 'set logscale y', 'set grid ytics',
              'set ylabel "M events/s (fan-out: deliveries)"', 'set key outside right noenhanced',
              f'set title "weir and its peers, {answer["date"]}, {answer["machine"]}" noenhanced',
              'set yrange [0.01:*]', '$figures << END', *rows, 'END',
              'plot ' + ', '.join(f'$figures using {i + 2}:xtic(1) title "{name}"' for i, name in enumerate(names))]
    done = subprocess.run(['gnuplot'], input='\n'.join(script) + '\n', capture_output=True, text=True)
    if done.returncode:
        raise Failure(f'gnuplot: {done.stderr.strip()}')
    return path


# What scripts look for, without descending.
def flat(cases):
    answer = {}
    for name, figure in cases.get('64 B', {}).items():
        answer[f'{name.replace("-", "_")}_events_per_second'] = round(figure['per_second']['median'])
    for name, figure in cases.get('latency', {}).items():
        for key in ('p50_us', 'p99_us'):
            answer[f'{name.replace("-", "_")}_{key}'] = figure[key]['median']
    return answer


def machine():
    with open('/proc/cpuinfo') as file:
        model = next((line.split(':', 1)[1].strip() for line in file if line.startswith('model name')), 'unknown')
    return f'{os.cpu_count()} cores, {model}, Linux {os.uname().release}'


# ---- The command ----

def can_run(name):
    needs = {'zmq': 'zmq-relay', 'nats': 'nats-server', 'jetstream': 'nats-server', 'redis': 'redis-server',
             'redis-streams': 'redis-server', 'redis-durable': 'redis-server',
             'rabbit': '/usr/lib/rabbitmq/bin/rabbitmq-server'}
    if name not in needs:
        return True
    known = subprocess.run([program('peer-load')], capture_output=True, text=True).stderr
    if PEERS[name].client not in known.split('ADDRESS:')[-1].split():
        return False
    try:
        return bool(program(needs[name]) if name == 'zmq' else shutil.which(needs[name]))
    except Failure:
        return False


def read_cache(path):
    try:
        with open(path) as file:
            return json.load(file)['cases']
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError) as error:
        raise Failure(f'--cached {path}: not what tools/bench peers --json prints ({error}): remove it') from None


# Peers of a case, ours first; those that a cache knows are not run again.
def peers_of(case, names, cached):
    guarantee = job_of(case)['guarantee']
    chosen = [name for name in names if guarantee in PEERS[name].guarantees]
    if case == 'durable' or case == 'at least once':
        chosen = [name for name in chosen if name != 'relay' and name != 'gro-relay']
    return [name for name in chosen if name in ALWAYS or name not in cached.get(case, {})]


def run_rounds(session, arguments, names, cached):
    for number in range(arguments.pairs):
        for kind in ('weir routed', 'gro-relay', 'weir none', 'relay') if arguments.raw else ():
            result = session.measure_raw(kind)
            session.keep('raw', kind, result)
            print(f'round {number + 1}, prebuilt frames, {kind}: {result["events_per_second"] / 1e6:.3f} M/s', file=sys.stderr,
                  flush=True)
        for case in arguments.cases:
            for name in peers_of(case, names, cached):
                try:
                    result = session.measure(name, job_of(case))
                except Failure as failure:
                    if name in ALWAYS:
                        raise
                    # Somebody else's server that did not do the job this time takes no part in this round.
                    print(f'round {number + 1}, {case}, {name}: did not do it: {str(failure).splitlines()[-1]}',
                          file=sys.stderr, flush=True)
                    rounds = session.failed.setdefault(case, {})
                    rounds[name] = rounds.get(name, 0) + 1
                    continue
                session.keep(case, name, result)
                print(f'round {number + 1}, {case}, {name}: {brief(case, result)}', file=sys.stderr, flush=True)


def brief(case, result):
    if case == 'latency':
        return ', '.join(f'{name} {result["latency_ns"][name] / 1000:.1f} us' for name in ('p50', 'p99', 'p99_9', 'max'))
    return f'{result["deliveries_per_second"] / 1e6:.3f} M/s'


def bench(arguments):
    names = [name for name in arguments.peers if can_run(name)]
    for name in set(arguments.peers) - set(names):
        print(f'tools/bench: {name} is not installed or not built in: left out', file=sys.stderr)
    cached = read_cache(arguments.cached) if arguments.cached else {}
    with Session(arguments) as session:
        run_rounds(session, arguments, names, cached)
        figures, failed = session.figures, session.failed
    raw = {kind: figure_of('raw', runs) for kind, runs in figures.pop('raw', {}).items()}
    cases = {case: {name: figure_of(case, runs) for name, runs in figures.get(case, {}).items()} for case in arguments.cases}
    for case in cases:
        for name, figure in cached.get(case, {}).items():
            cases[case].setdefault(name, {**figure, 'cached': True})
    answer = {'date': datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%d %H:%M UTC'), 'machine': machine(),
              'pairs': arguments.pairs, 'seconds': arguments.seconds, 'raw': raw, 'cases': cases,
              'targets': judge(cases, raw), 'failed_rounds': failed,
              **flat(cases),
              'durable_means': {name: PEERS[name].durable_means for name in cases.get('durable', {})}}
    answer['plot'] = plot(answer, arguments.svg)
    if arguments.cached and not os.path.exists(arguments.cached):
        with open(arguments.cached, 'w') as file:
            json.dump(answer, file)
    return answer


def arguments_of(words):
    parser = argparse.ArgumentParser(prog='tools/bench peers', description='Weir and its peers, the same job, one session.')
    parser.add_argument('--json', action='store_true', help='one object on stdout')
    parser.add_argument('--pairs', type=int, default=5, help='rounds (5)')
    parser.add_argument('--seconds', type=float, default=2, help='length of each run (2)')
    parser.add_argument('--quick', action='store_true', help='1 round of 0.5 s: shows that it works, proves no speed')
    parser.add_argument('--peers', type=lambda text: text.split(','), default=list(PEERS),
                        help=f'comma-separated ({",".join(PEERS)})')
    parser.add_argument('--cases', type=lambda text: text.split(','), default=list(CASES),
                        help=f'comma-separated ({",".join(CASES)})')
    parser.add_argument('--no-raw', dest='raw', action='store_false', help='leave out the runs with prebuilt frames')
    parser.add_argument('--cached', metavar='FILE',
                        help='take what is in it for the peers but relays; written when it is not there')
    parser.add_argument('--svg', metavar='FILE', default=os.path.join(laboratory.TOP, 'build', 'peers.svg'),
                        help='the bar plot')
    arguments = parser.parse_args(words)
    if arguments.quick:
        arguments.pairs, arguments.seconds = 1, 0.5
    for given, known in ((arguments.peers, PEERS), (arguments.cases, CASES)):
        for name in given:
            if name not in known:
                parser.error(f'no {name}; there are {", ".join(known)}')
    return arguments


def main(words):
    arguments = arguments_of(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        answer = bench(arguments)
    except Failure as failure:
        sys.exit(f'tools/bench: {failure}')
    except KeyboardInterrupt:
        sys.exit(130)
    print(json.dumps(answer) if arguments.json else table(answer))
    if answer['plot'] and not arguments.json:
        print(f'plot: {answer["plot"]}')

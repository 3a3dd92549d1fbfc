# A laboratory on one machine: hosts made of network namespaces, each linked by a veth pair to the namespace of a weir
# daemon, and the processes that run on them. tools/demo and the system tests are written on top of it. All that it makes
# carries its own prefix and goes away with it, also when it fails; what a killed one left is removed by the next.
# Standard library only; needs root.
import atexit
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(TOP, os.environ.get('WEIR_BUILD', 'build/release'))
PREFIX = 'wrlab'
UDP_PORT = 9347
CORES = sorted(os.sched_getaffinity(0))


class Failure(Exception):
    pass


def run(*command, check=True, timeout_s=30, stdin_text=None):
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, input=stdin_text)
    if check and done.returncode:
        raise Failure(f'{" ".join(command)}: {(done.stderr or done.stdout).strip()}')
    return done


# Path of a program of this build.
def program(name):
    for folder in ('control/daemon', 'control/ctl', 'client', 'client/weircat', 'perf', 'tests/support', 'tests/bpf',
                   'client/examples', 'perf/micro', 'perf/peers', ''):
        path = os.path.join(BUILD, folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise Failure(f'no program {name} in {BUILD}: build it with tools/test build')


def is_alive(pid):
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False


# Namespaces of laboratories whose process is dead, and what still runs in them.
def remove_leftovers():
    for name in os.listdir('/run/netns') if os.path.isdir('/run/netns') else []:
        parts = name.split('-')
        if parts[0] != PREFIX or len(parts) < 3 or not parts[1].isdigit() or is_alive(int(parts[1])):
            continue
        for pid in run('ip', 'netns', 'pids', name, check=False).stdout.split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass
        run('ip', 'netns', 'delete', name, check=False)


# A host: a namespace with one link, to the router. number is unique in its laboratory.
class Host:
    def __init__(self, lab, name, number):
        self.lab, self.name, self.number = lab, name, number
        self.netns = f'{lab.prefix}-{name}'
        self.interface = 'weir0'             # here
        self.router_interface = f'to{number}'  # on the router
        self.address = f'10.77.{number}.2'
        self.router_address = f'10.77.{number}.1'


class Process:
    # stdout, stderr None: files, which out() and err() read.
    def __init__(self, lab, name, command, netns, cores=(), nice=0, stdin=None, stdout=None, stderr=None):
        self.lab, self.name, self.command = lab, name, command
        self.out_path = os.path.join(lab.folder, f'{name}.out')
        self.err_path = os.path.join(lab.folder, f'{name}.err')
        prefix = ['setpriv', '--pdeathsig', 'KILL']
        if cores:
            prefix += ['taskset', '-c', ','.join(map(str, cores))]
        if nice:
            prefix += ['nice', '-n', str(nice)]
        if netns:
            prefix += ['nsenter', f'--net=/run/netns/{netns}']
        with open(self.out_path, 'w') as out, open(self.err_path, 'w') as err:
            self.child = subprocess.Popen(prefix + command, stdin=stdin or subprocess.DEVNULL,
                                          stdout=out if stdout is None else stdout,
                                          stderr=err if stderr is None else stderr)
        self.pid = self.child.pid

    def is_running(self):
        return self.child.poll() is None

    # Waits for its end; a status other than `expect` is a failure. expect None: any.
    def wait(self, timeout_s, expect=0):
        try:
            status = self.child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise Failure(f'{self.name} still runs after {timeout_s:.0f} s\n{self.tail()}') from None
        if expect is not None and status != expect:
            raise Failure(f'{self.name} ended with status {status}, not {expect}\n{self.tail()}')
        return status

    def signal(self, number):
        if self.is_running():
            self.child.send_signal(number)

    def stop(self, timeout_s=10, expect=0):
        self.signal(signal.SIGTERM)
        return self.wait(timeout_s, expect)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.child.wait()

    def out(self):
        with open(self.out_path, errors='replace') as file:
            return file.read()

    def err(self):
        with open(self.err_path, errors='replace') as file:
            return file.read()

    def json(self):
        try:
            return json.loads(self.out())
        except ValueError:
            raise Failure(f'{self.name} printed no JSON object\n{self.tail()}') from None

    def tail(self, lines=15):
        text = [f'$ {" ".join(self.command)}']
        for path in (self.out_path, self.err_path):
            with open(path, errors='replace') as file:
                text += file.read().splitlines()[-lines:]
        return '\n'.join(text)


# The topic of a topology file, with what most want as defaults.
def topic(name, groups=('all',), shards=4, **more):
    specs = [g if isinstance(g, dict) else {'name': g, 'kind': 'hold', 'mode': 'keyed', 'start': 'earliest'} for g in groups]
    return {'name': name, 'shards': shards, 'policy': 'block', 'ack': 'routed', 'log': '1MiB', 'groups': specs, **more}


# A weir daemon with a port to each of its hosts: kind afxdp has one port per link, kind kernel one for all.
class Router:
    def __init__(self, lab, kind, hosts, topics, workers=1, poll='adaptive', **more):
        self.lab, self.kind, self.hosts, self.workers = lab, kind, list(hosts), workers
        self.number = lab.take_number('router')
        self.instance = f'{lab.prefix}-{self.number}'
        self.socket = f'/run/weir/{self.instance}.sock'
        self.lanes_socket = f'/run/weir/{self.instance}.lanes.sock'
        self.process = None
        # Workers have cores of their own where there are enough, and go before the clients then.
        is_roomy = workers < len(CORES)
        cores = CORES[-workers:] if is_roomy else [CORES[i % len(CORES)] for i in range(workers)]
        self.nice = -15 if is_roomy else 0
        lab.client_cores = [core for core in lab.client_cores if core not in cores] or CORES if is_roomy else CORES
        self.topology = {'instance': self.instance, 'poll': poll, 'hugepages': 'prefer',
                         'workers': [{'core': core} for core in cores], 'ports': self.ports(),
                         'topics': list(topics), **more}

    # Links are dealt to the workers in turn, so that with two workers frames cross the mesh.
    def ports(self):
        if self.kind == 'kernel':
            return [{'name': 'kernel', 'kind': 'kernel', 'address': '0.0.0.0', 'udp_port': UDP_PORT}]
        return [{'name': host.name, 'kind': 'afxdp', 'interface': host.router_interface, 'udp_port': UDP_PORT,
                 'workers': [i % self.workers]} for i, host in enumerate(self.hosts)]

    # Kernel ports too, one on each link: what each host sends is then counted apart. Before start.
    def give_each_host_a_port(self):
        if self.kind == 'kernel':
            self.topology['ports'] = [{'name': host.name, 'kind': 'kernel', 'address': host.router_address,
                                       'udp_port': UDP_PORT} for host in self.hosts]

    # What a client on that host is told. Lanes need no link: a namespace of network is none of files.
    def address(self, host):
        if any(host.name.startswith(name) for name in self.lab.on_lanes):
            return f'unix:{self.lanes_socket}'
        worker = self.hosts.index(host) % self.workers
        port = UDP_PORT + (worker if self.kind == 'kernel' else 0)
        for entry in self.status()['ports'] if self.kind != 'kernel' else []:
            if entry['name'] == host.name:
                port = entry['queues'][0]['udp_port']
        return f'udp://{host.router_address}:{port}'

    def write(self, name='weir.yaml'):
        path = os.path.join(self.lab.folder, f'{self.number}-{name}')
        with open(path, 'w') as file:
            json.dump(self.topology, file, indent=1)  # which is YAML too
        return path

    def launch(self, stderr=None):
        self.process = Process(self.lab, f'weir{self.number}-{self.lab.take_number("life")}',
                               [program('weir'), '--config', self.write()], self.lab.router_netns, nice=self.nice,
                               stderr=stderr)
        self.lab.processes.append(self.process)
        return self.process

    def start(self, timeout_s=20, stderr=None):
        self.launch(stderr)
        return self.wait_ready(timeout_s)

    def wait_ready(self, timeout_s=20):
        deadline = time.monotonic() + timeout_s
        while True:
            if not self.process.is_running():
                raise Failure(f'weir ended with status {self.process.child.returncode} while starting\n{self.process.tail()}')
            answer = self.ctl('status', check=False)
            if answer.returncode == 0 and json.loads(answer.stdout)['pid'] == self.process.pid:
                return self
            if time.monotonic() > deadline:
                raise Failure(f'weir is not ready after {timeout_s} s: {answer.stderr.strip()}\n{self.process.tail()}')
            time.sleep(0.05)

    def ctl(self, *arguments, check=True, timeout_s=60):
        return run(program('weirctl'), '--socket', self.socket, '--json', *arguments, check=check, timeout_s=timeout_s)

    def status(self):
        return json.loads(self.ctl('status').stdout)

    def ledger(self):
        return json.loads(self.ctl('ledger', check=False).stdout)

    # discard: topics and TOPIC/GROUPs that may go with what they hold and whom they serve.
    def apply(self, topics=None, discard=()):
        if topics is not None:
            self.topology['topics'] = list(topics)
        may_go = [word for name in discard for word in ('--discard', name)]
        return json.loads(self.ctl(*may_go, 'apply', self.write('apply.yaml')).stdout)

    def stop(self):
        if self.process:
            self.process.stop(15)

    def topic_status(self, name):
        return next(t for t in self.status()['topics'] if t['topic'] == name)

    def members(self, topic_name, group):
        return next(g for g in self.topic_status(topic_name)['groups'] if g['group'] == group)


class Lab:
    def __init__(self, kind='kernel'):
        self.kind = kind
        self.prefix = f'{PREFIX}-{os.getpid()}'
        self.router_netns = f'{self.prefix}-router'
        self.hosts, self.processes, self.namespaces = [], [], []
        self.numbers, self.client_cores = {}, CORES
        self.on_lanes = ()  # clients of hosts whose names begin so use lanes
        # In memory where it can be: a disk that is slow to write back would hold up what is timed here.
        self.folder = tempfile.mkdtemp(prefix='weir-lab-', dir='/dev/shm' if os.path.isdir('/dev/shm') else None)
        os.chmod(self.folder, 0o755)  # a daemon without rights reads its topology too
        remove_leftovers()
        atexit.register(self.close)
        os.makedirs('/run/weir', exist_ok=True)
        os.environ['STATE_DIRECTORY'] = os.path.join(self.folder, 'state')
        try:
            self.add_netns(self.router_netns)
        except Failure:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def take_number(self, what):
        self.numbers[what] = self.numbers.get(what, 0) + 1
        return self.numbers[what]

    def add_netns(self, name):
        run('ip', 'netns', 'add', name)
        self.namespaces.append(name)
        run('ip', '-n', name, 'link', 'set', 'lo', 'up')

    def link(self, netns, interface, peer_netns, peer, mtu=1500):
        run('ip', 'link', 'add', interface, 'mtu', str(mtu), 'netns', netns, 'type', 'veth', 'peer', 'name', peer, 'mtu',
            str(mtu), 'netns', peer_netns)
        run('ip', '-n', netns, 'link', 'set', interface, 'up')
        run('ip', '-n', peer_netns, 'link', 'set', peer, 'up')

    # is_far: a bridge stands in the path, host.path_netns, with the interfaces `near` (the host's side) and `far`.
    def host(self, name, mtu=1500, is_far=False):
        host = Host(self, name, self.take_number('host'))
        self.hosts.append(host)
        self.add_netns(host.netns)
        if is_far:
            host.path_netns = f'{host.netns}-path'
            self.add_netns(host.path_netns)
            self.link(host.netns, host.interface, host.path_netns, 'near', mtu)
            self.link(self.router_netns, host.router_interface, host.path_netns, 'far', mtu)
            run('ip', '-n', host.path_netns, 'link', 'add', 'bridge', 'mtu', str(mtu), 'type', 'bridge')
            for interface in ('near', 'far'):
                run('ip', '-n', host.path_netns, 'link', 'set', interface, 'master', 'bridge')
            run('ip', '-n', host.path_netns, 'link', 'set', 'bridge', 'up')
        else:
            self.link(host.netns, host.interface, self.router_netns, host.router_interface, mtu)
        for netns, interface, address in ((self.router_netns, host.router_interface, host.router_address),
                                          (host.netns, host.interface, host.address)):
            run('ip', '-n', netns, 'address', 'add', f'{address}/24', 'dev', interface)
        run('ip', '-n', host.netns, 'route', 'add', 'default', 'via', host.router_address)
        return host

    def router(self, topics, hosts=None, **more):
        return Router(self, more.pop('kind', self.kind), hosts or self.hosts, topics, **more)

    # Clients stay off the workers' cores where there are others.
    def start(self, name, command, host=None, netns=None, **more):
        process = Process(self, f'{name}-{self.take_number(name)}', command, host.netns if host else netns, self.client_cores,
                          **more)
        self.processes.append(process)
        return process

    def path(self, name):
        return os.path.join(self.folder, name)

    # What the processes said last, for a person who looks at a failure.
    def tails(self):
        return '\n'.join(process.tail() for process in self.processes)

    def close(self):
        if self.folder is None:
            return
        atexit.unregister(self.close)
        running = [p for p in self.processes if p.is_running()]
        for process in running:
            process.signal(signal.SIGTERM)
        deadline = time.monotonic() + 5
        for process in running:
            try:
                process.child.wait(max(0.05, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
        for name in self.namespaces:
            run('ip', 'netns', 'delete', name, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder = None


# Repeats until it holds; a failure after timeout_s names what was waited for.
def wait_until(condition, what, timeout_s=10, every_s=0.05):
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f'after {timeout_s} s still not: {what}')
        time.sleep(every_s)


# What an interface dropped on its way in and out, as the kernel counts.
def interface_drops(netns, interface):
    link = json.loads(run('ip', '-n', netns, '-s', '-j', 'link', 'show', interface).stdout)[0]
    return {way: link['stats64'][way]['dropped'] for way in ('rx', 'tx')}


# Frames refused by name, by workers and XDP programs together, of a status.
def refused_frames(status):
    total = {}
    for part in [worker['refused'] for worker in status['workers']] + [(port['xdp'] or {}).get('drops', {})
                                                                       for port in status['ports']]:
        for reason, frames in part.items():
            total[reason] = total.get(reason, 0) + frames
    return total

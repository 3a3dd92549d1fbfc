# tools/bench bound: what DPDK's own testpmd forwards on a port, and what weir routes on the same port, with the same client and
# the same frames, in turn. testpmd swaps addresses and sends each frame back (5tswap): nothing is checked, kept, ordered or
# acknowledged, so it is the bound of the port, not a rival. Ports: AF_XDP over veth, where the client has kernel sockets,
# and vhost-user, where it has a virtio_user device. One core is the client's, the other testpmd's or the worker's.
import os
import shutil
import statistics
import sys

import lab as laboratory
from lab import Failure, program, run, topic, wait_until

SHARDS, WINDOW, PORT, BASE_PORT = 4, 512, 9347, 20001
EVENTS = 17  # of 64 bytes: a publish of 1,408 bytes, delivered in 1,472, the most that fits an MTU of 1500
PORTS = ('afxdp', 'vhost')
LEAST, NOISY = 0.7, 0.15
OWN, THEIRS = '10.78.0.1', '10.78.0.2'  # on the vhost port: router and client
BUFFERS, DESCRIPTORS = 16384, 1024


# Times the polling thread was taken from its core although it wanted to run.
def switches_of(process):
    total = 0
    for task in os.listdir(f'/proc/{process.pid}/task'):
        with open(f'/proc/{process.pid}/task/{task}/status') as file:
            status = dict(line.split(':', 1) for line in file)
        if status['Name'].strip().startswith(('weir-w', 'rte-worker', 'lcore-worker')):
            total += int(status['nonvoluntary_ctxt_switches'])
    return total


class Bound:
    def __init__(self, lab, arguments):
        self.lab, self.arguments = lab, arguments
        self.core = laboratory.CORES[-1]
        self.host = lab.host('clients')
        self.socket = f'/run/weir/{lab.prefix}-bound.vhost'
        # testpmd leaves checksums as they came, and the kernel takes back only those that were finished.
        run('ip', 'netns', 'exec', self.host.netns, 'ethtool', '-K', self.host.interface, 'tx', 'off')

    # What came of a run through `process`, testpmd or weir.
    def client(self, port, kind, process):
        before = switches_of(process)
        result = self.run_client(port, kind)
        result['switches'] = switches_of(process) - before
        return result

    def run_client(self, port, kind):
        a = self.arguments
        address = OWN if port == 'vhost' else self.host.router_address
        words = [kind, address, PORT, BASE_PORT, SHARDS, a.seconds, WINDOW, a.level, EVENTS]
        if port == 'vhost':
            words += [f'net_virtio_user0,path={self.socket},queue_size={DESCRIPTORS}', THEIRS]
        self.lab.client_cores = laboratory.CORES[:1]
        process = self.lab.start('client', [program('peer-client'), *map(str, words)],
                                 None if port == 'vhost' else self.host, nice=-15)
        process.wait(60 + 2 * a.seconds)
        return process.json()

    # testpmd in the router's place; it must not be asked for its address.
    def testpmd(self, port):
        if port == 'vhost':
            device, netns = f'net_vhost0,iface={self.socket},queues=1', None
        else:
            device = f'net_af_xdp0,iface={self.host.router_interface},busy_budget=0'
            netns = self.lab.router_netns
            self.neighbour('replace')
        command = ['dpdk-testpmd', '--in-memory', '--single-file-segments', '--no-pci', '--no-telemetry', '--log-level=*:error',
                   f'--file-prefix={self.lab.prefix}', f'--lcores=0@{laboratory.CORES[0]},1@{self.core}', f'--vdev={device}',
                   '--', '--forward-mode=5tswap', '--burst=64', f'--total-num-mbufs={BUFFERS}', f'--rxd={DESCRIPTORS}',
                   f'--txd={DESCRIPTORS}', '--stats-period=1']
        process = laboratory.Process(self.lab, f'testpmd-{self.lab.take_number("testpmd")}', command, netns, (), -15)
        self.lab.processes.append(process)
        try:
            wait_until(lambda: 'Forward statistics' in process.out() or 'NIC statistics' in process.out() or
                       not process.is_running(), 'testpmd forwards', 30)
            if not process.is_running():
                raise Failure(f'testpmd does not start\n{process.tail()}')
            return self.client(port, 'echo', process)
        finally:
            process.kill()
            self.tidy(port)

    # What a killed testpmd leaves: its socket, its XDP program.
    def tidy(self, port):
        if port == 'vhost' and os.path.exists(self.socket):
            os.unlink(self.socket)
        if port == 'afxdp':
            run('ip', '-n', self.lab.router_netns, 'link', 'set', 'dev', self.host.router_interface, 'xdp', 'off', check=False)
            self.neighbour('delete')

    def neighbour(self, verb):
        link = run('ip', '-n', self.lab.router_netns, '-o', 'link', 'show', self.host.router_interface).stdout.split()
        mac = link[link.index('link/ether') + 1]
        run('ip', '-n', self.host.netns, 'neighbour', verb, self.host.router_address, 'lladdr', mac, 'dev', self.host.interface,
            *(['nud', 'permanent'] if verb == 'replace' else []), check=verb == 'replace')

    def weir(self, port):
        more = {'limits': {'window_frames': 4 * WINDOW}, 'poll': 'always'}
        if port == 'vhost':
            more['ports'] = [{'name': 'memory', 'kind': 'vhost', 'socket': self.socket, 'address': OWN, 'udp_port': PORT}]
        router = self.lab.router([topic('positions', ack=self.arguments.level)], kind='afxdp', **more).start()
        try:
            return self.client(port, 'weir', router.process)
        finally:
            router.stop()
            wait_until(lambda: not router.process.is_running(), 'weir ends')


def bench_bound(arguments, steal):
    if not shutil.which('dpdk-testpmd'):
        raise Failure('dpdk-testpmd is not here: apt-get install dpdk-dev')
    ports = [port for port in PORTS if port not in arguments.without]
    rates = {(port, who): [] for port in ports for who in ('testpmd', 'weir')}
    lost, switches = dict.fromkeys(rates, 0), dict.fromkeys(rates, 0)
    with laboratory.Lab('kernel') as lab:
        bound = Bound(lab, arguments)
        for number in range(arguments.pairs):
            for port, who in rates:
                result = bound.testpmd(port) if who == 'testpmd' else bound.weir(port)
                if result['wrong']:
                    raise Failure(f'{port}, {who}: {result["wrong"]} events or frames were wrong')
                rates[port, who].append(result['frames_per_second'])
                lost[port, who] += result['lost']
                switches[port, who] += result['switches']
            print(f'round {number + 1}: ' + ', '.join(f'{port} {who} {values[-1] / 1e6:.3f} M/s'
                                                      for (port, who), values in rates.items()), file=sys.stderr)
    answer = {'level': arguments.level, 'pairs': arguments.pairs, 'seconds': arguments.seconds, 'events_a_frame': EVENTS,
              'frame_bytes': 1408}
    widest = 0.0
    for port in ports:
        for who in ('testpmd', 'weir'):
            answer[f'{port}_{who}_frames_per_second'] = round(statistics.median(rates[port, who]))
            answer[f'{port}_{who}_lost_events'] = lost[port, who]
            answer[f'{port}_{who}_involuntary_switches'] = switches[port, who]
        ratios = [ours / theirs for ours, theirs in zip(rates[port, 'weir'], rates[port, 'testpmd'])]
        middle = statistics.median(ratios)
        answer[f'ratio_{port}'] = round(middle, 3)
        answer[f'ratios_{port}'] = {'median': round(middle, 3), 'min': round(min(ratios), 3), 'max': round(max(ratios), 3)}
        widest = max(widest, (max(ratios) - min(ratios)) / middle)
    answer.update(steal=round(steal.share(), 4), spread=round(widest, 3), noisy=widest > NOISY)
    answer['met'] = {f'ratio_{port}': answer[f'ratio_{port}'] >= LEAST for port in ports}
    return answer


def report_bound(answer):
    print(f'frames/s in and as many out through one core, {answer["frame_bytes"]} bytes, {answer["events_a_frame"]} events '
          f'a frame, level {answer["level"]}, median of {answer["pairs"]} rounds:')
    for port in PORTS:
        if f'ratio_{port}' in answer:
            ratios = answer[f'ratios_{port}']
            print(f'  {port:<6} testpmd {answer[f"{port}_testpmd_frames_per_second"] / 1e6:6.3f} M, weir '
                  f'{answer[f"{port}_weir_frames_per_second"] / 1e6:6.3f} M: {answer[f"ratio_{port}"]} of the bound '
                  f'({ratios["min"]} to {ratios["max"]}), {"met" if answer["met"][f"ratio_{port}"] else "missed"}: {LEAST}; '
                  f'switched out {answer[f"{port}_testpmd_involuntary_switches"]} and '
                  f'{answer[f"{port}_weir_involuntary_switches"]} times')

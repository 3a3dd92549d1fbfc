#!/usr/bin/env python3
# Compares, and says how sure it is. `relay`: the same producer and consumers through weir's AF_XDP port, weir's kernel UDP
# port, a plain relay and a relay with GRO and GSO, one after the other, again and again; what counts is the median of the
# ratios within a round, for the machine's mood changes between rounds. `micro`: the core alone. Standard library only.
import argparse
import json
import statistics
import sys

import lab as laboratory
import micro
import peers
import targets
from bound import bench_bound, report_bound
from lab import Failure, program, topic, wait_until
from lanes import add_lanes_options, bench_lanes, report_lanes

SHARDS, WINDOW, PORT, BASE_PORT = 4, 512, 9347, 20001
MTU = 1600  # a delivery of 18 events of 64 bytes is a datagram of 1552 bytes
NOISY = 0.15


def steal_ticks():
    with open('/proc/stat') as file:
        return int(file.readline().split()[8])


# Share of the machine's time that the hypervisor gave to others.
class Steal:
    def __init__(self):
        self.before, self.started = steal_ticks(), laboratory.time.monotonic()

    def share(self):
        took = laboratory.time.monotonic() - self.started
        hz = laboratory.os.sysconf('SC_CLK_TCK')
        return (steal_ticks() - self.before) / (took * hz * (laboratory.os.cpu_count() or 1))


def spread(values):
    middle = statistics.median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def summary(values):
    return {'median': round(statistics.median(values), 3), 'min': round(min(values), 3), 'max': round(max(values), 3)}


# One host whose clients share core 0; the worker, or the relay, has the last core to itself.
class Relays:
    def __init__(self, lab, arguments):
        self.lab, self.arguments = lab, arguments
        self.host = lab.host('clients', mtu=MTU)
        self.core = laboratory.CORES[-1]
        lab.client_cores = laboratory.CORES[:1]

    def client(self, kind, port):
        a = self.arguments
        process = self.lab.start('client', [program('peer-client'), kind, self.host.router_address, str(port), str(BASE_PORT),
                                            str(SHARDS), str(a.seconds), str(WINDOW), a.level], self.host, nice=-15)
        process.wait(60 + 2 * a.seconds)
        return process.json()

    def relay(self, name):
        command = [program(name), str(PORT), self.host.address, str(BASE_PORT), str(SHARDS)]
        process = laboratory.Process(self.lab, f'{name}-{self.lab.take_number(name)}', command, self.lab.router_netns,
                                     [self.core], -15)
        self.lab.processes.append(process)
        laboratory.time.sleep(0.2)
        try:
            return self.client('relay', PORT)
        finally:
            process.kill()

    def weir(self, kind):
        limits = {'frame_size': MTU - 28, 'window_frames': 4 * WINDOW}
        router = self.lab.router([topic('positions', ack=self.arguments.level)], kind=kind, limits=limits)
        self.lab.client_cores = laboratory.CORES[:1]
        router.start()
        try:
            return self.client('weir', int(router.address(self.host).rsplit(':', 1)[1]))
        finally:
            router.stop()
            wait_until(lambda: not router.process.is_running(), 'weir ends')

    def once(self, what):
        return {'afxdp': lambda: self.weir('afxdp'), 'kernel': lambda: self.weir('kernel'),
                'relay': lambda: self.relay('relay'), 'gro_relay': lambda: self.relay('gro-relay')}[what]()


def bench_relay(arguments):
    kinds = [kind for kind in ('afxdp', 'relay', 'kernel', 'gro_relay') if kind not in arguments.without]
    rates = {kind: [] for kind in kinds}
    lost = {kind: 0 for kind in kinds}
    steal = Steal()
    with laboratory.Lab('kernel') as lab:
        relays = Relays(lab, arguments)
        for number in range(arguments.pairs):
            for kind in kinds:
                result = relays.once(kind)
                if result['wrong']:
                    raise Failure(f'{kind}: {result["wrong"]} events or frames were wrong')
                rates[kind].append(result['events_per_second'])
                lost[kind] += result['lost']
            print(f'round {number + 1}: ' + ', '.join(f'{k} {rates[k][-1] / 1e6:.2f} M/s' for k in kinds), file=sys.stderr)
    answer = {'level': arguments.level, 'pairs': arguments.pairs, 'seconds': arguments.seconds, 'events_a_frame': 18}
    for kind in kinds:
        name = f'weir_{kind}' if kind in ('afxdp', 'kernel') else kind
        answer[f'{name}_events_per_second'] = round(statistics.median(rates[kind]))
        answer[f'{name}_lost'] = lost[kind]
    spreads = []
    if 'kernel' in kinds and 'gro_relay' in kinds:
        answer['kernel_over_gro_relay'] = round(statistics.median([ours / plain for ours, plain in
                                                                   zip(rates['kernel'], rates['gro_relay'])]), 3)
    for kind in ('afxdp', 'kernel'):
        if kind in kinds:
            ratios = [ours / plain for ours, plain in zip(rates[kind], rates['relay'])]
            answer[f'ratio_{kind}'] = round(statistics.median(ratios), 3)
            answer[f'ratios_{kind}'] = summary(ratios)
            spreads.append(spread(ratios))
    answer.update(steal=round(steal.share(), 4), spread=round(max(spreads), 3), noisy=max(spreads) > NOISY)
    return answer


def bench_micro(arguments):
    steal = Steal()
    answer = micro.measure(arguments.pairs, arguments.seconds, arguments.table)
    answer.update(steal=round(steal.share(), 4), noisy=answer['spread'] > NOISY)
    return answer


def worst_show(arguments):
    answer = micro.worst(rounds=4 if arguments.pairs == 1 else 16)
    if arguments.json:
        print(json.dumps(answer))
    else:
        micro.worst_report(answer)
    return 0 if answer['is_met'] else 1


def report_relay(answer):
    print(f'events/s through one core, 64 B, 18 a frame, level {answer["level"]}, median of {answer["pairs"]} rounds:')
    for key, value in answer.items():
        if key.endswith('_events_per_second'):
            print(f'  {key.removesuffix("_events_per_second"):<12} {value / 1e6:6.2f} M')
    for kind in ('afxdp', 'kernel'):
        if f'ratio_{kind}' in answer:
            ratios = answer[f'ratios_{kind}']
            print(f'  weir {kind} / relay: {answer[f"ratio_{kind}"]} ({ratios["min"]} to {ratios["max"]})')


# Name -> what measures, what prints for people, seconds of a run.
BENCHES = {
    'relay': (bench_relay, report_relay, 3),
    'micro': (bench_micro, micro.report, 0.3),
    'lanes': (lambda arguments: bench_lanes(arguments, Steal()), report_lanes, 2),
    'bound': (lambda arguments: bench_bound(arguments, Steal()), report_bound, 3),
}


def main():
    # targets first: peers may be one of its parts.
    for name, module in (('targets', targets), ('peers', peers)):
        if name in sys.argv[1:]:
            return module.main([word for word in sys.argv[1:] if word != name])
    parser = argparse.ArgumentParser(prog='tools/bench', description='Measures weir on this machine.')
    parser.add_argument('what', choices=(*BENCHES, 'peers', 'targets'),
                        help='peers and targets have options of their own: peers --help')
    parser.add_argument('--json', action='store_true', help='one object on stdout')
    parser.add_argument('--pairs', type=int, default=5, help='rounds (5)')
    parser.add_argument('--seconds', type=float, default=None, help='length of each run (relay 3, micro 0.3, lanes 2, bound 3)')
    parser.add_argument('--level', choices=('none', 'routed'), default='routed', help='of weir\'s streams (routed)')
    parser.add_argument('--without', action='append', default=[], choices=('afxdp', 'kernel', 'gro_relay', 'vhost'),
                        help='leave one out')
    parser.add_argument('--table', action='store_true', help='micro: also over payload, frame, shards, sessions, groups, log')
    parser.add_argument('--accept', action='store_true', help='micro: write the instruction counts of now to perf/baseline')
    parser.add_argument('--worst', action='store_true',
                        help='micro: instead, what one frame of each kind can cost; exit status 1 above the target')
    add_lanes_options(parser)
    arguments = parser.parse_args()
    measure, report, seconds = BENCHES[arguments.what]
    arguments.seconds = arguments.seconds or seconds
    try:
        if arguments.accept:
            print(json.dumps(micro.baseline_write()['counts']))
            return
        if arguments.worst:
            sys.exit(worst_show(arguments))
        answer = measure(arguments)
    except Failure as failure:
        sys.exit(f'tools/bench: {failure}')
    if arguments.json:
        print(json.dumps(answer))
        return
    report(answer)
    print(f'  steal {answer["steal"] * 100:.1f} %, spread {answer["spread"] * 100:.0f} %'
          + (': noisy, do not trust it' if answer['noisy'] else ''))


main()

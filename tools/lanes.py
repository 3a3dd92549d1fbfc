# tools/bench lanes: what a lane carries, one client thread that publishes and consumes on one core, the router's worker on the
# other. 64-byte events over 4 shards, order checked; 1 KiB events against a cold copy of 64 MB, turn by turn; four groups; the
# round trip; beside them a bare copy between the same two cores. Medians of rounds with minimum and maximum, steal time and
# the worker's involuntary context switches.
#
# A hypervisor may move the machine's cores while they are measured: two that share a cache pass a line to and fro in about
# 0.1 us, two that do not take five times that, and whatever goes through shared memory follows. So the distance is measured
# before and after each run. A run in which it changed is done again; the figures are those of near cores where there
# are enough of them, and those of far cores stand beside.
import json
import os
import statistics
import sys

import lab as laboratory
from lab import program, topic, wait_until

SHARDS, PACKED, NOISY = 4, 18, 0.15
# (figure, whether more is better, bound)
TARGETS = (('packed_events_per_second', True, 85e6), ('single_events_per_second', True, 45e6),
           ('kib_share_of_memcpy', True, 0.6), ('four_groups_cost', False, 2.5), ('round_trip_p50_ns', False, 2000))
NEAR_NS = 250  # a line's round trip between cores that share a cache
AGAIN = 3      # tries of one run while the cores move, and times as many rounds as asked for until enough were near
GROUPS = 'all', 'second', 'third', 'fourth'
# Name -> what is published: topic, groups, events a frame, payload, frames outstanding.
RUNS = {'packed': ('load', 1, PACKED, 64, 256), 'packed_64_outstanding': ('load', 1, PACKED, 64, 64),
        'packed_16_outstanding': ('load', 1, PACKED, 64, 16), 'single': ('load', 1, 1, 64, 1024),
        'single_64_outstanding': ('load', 1, 1, 64, 64), 'single_16_outstanding': ('load', 1, 1, 64, 16),
        'kib': ('load', 1, 3, 1024, 64), 'four_groups': ('fan', 4, PACKED, 64, 256)}


# Times the worker was taken from its core although it wanted to run.
def involuntary_switches(pid):
    total = 0
    for task in os.listdir(f'/proc/{pid}/task'):
        with open(f'/proc/{pid}/task/{task}/status') as file:
            lines = file.read().splitlines()
        if lines[0].split()[1].startswith('weir-w'):
            total += int(next(line for line in lines if line.startswith('nonvoluntary')).split()[1])
    return total


class Lanes:
    def __init__(self, lab, arguments):
        self.lab, self.arguments = lab, arguments
        topics = [topic('load', shards=SHARDS, log=arguments.log, ack='none'), topic('ask', shards=1), topic('reply', shards=1),
                  topic('fan', groups=GROUPS, shards=SHARDS, log=arguments.log, ack='none')]
        # Beside lanes a router listens to the network; nobody talks to it there.
        self.router = lab.router(topics, hosts=[lab.host('nobody')], poll='always', limits={'window_frames': 4096})
        lab.client_cores = laboratory.CORES[:1]
        self.router.start()
        self.address = f'unix:{self.router.lanes_socket}'
        self.core = laboratory.CORES[-1]
        self.switches = self.moves = 0

    def client(self, *words):
        before = involuntary_switches(self.router.process.pid)
        process = self.lab.start('lanes', [program('lanes'), *map(str, words)], nice=-15)
        process.wait(60 + 2 * self.arguments.seconds)
        self.switches += involuntary_switches(self.router.process.pid) - before
        return process.json()

    # ns; the answering thread takes the worker's core for a moment.
    def distance(self):
        process = self.lab.start('distance', [program('lanes'), 'distance', str(self.core)], nice=-20)
        process.wait(30)
        return process.json()['line_round_trip_ns']

    # What a run said, and the distance of the cores that it ran on.
    def placed(self, run):
        for _ in range(AGAIN):
            before = self.distance()
            said = run()
            after = self.distance()
            if (before < NEAR_NS) == (after < NEAR_NS):
                break
            self.moves += 1
        return said, max(before, after)

    def throughput(self, what, groups, frame_events, payload, outstanding):
        return self.client('throughput', self.address, what, ','.join(GROUPS[:groups]), frame_events, payload, outstanding,
                           self.arguments.seconds)

    def round_trip(self):
        return self.client('round-trip', self.address, 'ask', 'all', 'reply', 'all', self.arguments.seconds)

    def memcpy(self):
        return self.client('memcpy', min(1, self.arguments.seconds))

    # The worker has gone from its core by then.
    def bare(self, frame_events, payload, outstanding):
        process = self.lab.start('bare', [program('lanes'), 'bare', *map(str, (self.core, frame_events, payload, outstanding,
                                                                              min(1, self.arguments.seconds)))], nice=-20)
        process.wait(60)
        return process.json()['events_per_second']


def median(values):
    return statistics.median(values)


def spread(values):
    return (max(values) - min(values)) / median(values) if median(values) else 0.0


# Values of one figure by how far the cores were.
class Figure:
    def __init__(self):
        self.near, self.far = [], []

    def add(self, value, distance_ns):
        (self.near if distance_ns < NEAR_NS else self.far).append(value)

    def has(self, rounds):
        return len(self.near) >= rounds

    # Those that count, and whether they are of near cores.
    def values(self):
        return (self.near, True) if len(self.near) >= min(3, len(self.near) + len(self.far)) else (self.near + self.far, False)


def measure_round(lanes, figures):
    rates = {}
    for name, shape in RUNS.items():
        said, distance_ns = lanes.placed(lambda shape=shape: lanes.throughput(*shape))
        rates[name] = said['bytes_per_second' if name == 'kib' else 'events_per_second'], distance_ns
        figures.setdefault(name, Figure()).add(*rates[name])
    copied = lanes.memcpy()['memcpy_bytes_per_second']
    figures.setdefault('memcpy', Figure()).add(copied, 0)
    figures.setdefault('kib_share', Figure()).add(rates['kib'][0] / copied, rates['kib'][1])
    if (rates['packed'][1] < NEAR_NS) == (rates['four_groups'][1] < NEAR_NS):
        figures.setdefault('four_groups_cost', Figure()).add(rates['packed'][0] / rates['four_groups'][0], rates['packed'][1])
    trip, distance_ns = lanes.placed(lanes.round_trip)
    for key in ('p50', 'p99', 'p99_9'):
        figures.setdefault(f'round_trip_{key}_ns', Figure()).add(trip[f'round_trip_{key}_ns'], distance_ns)
    return ', '.join(f'{name} {rate / 1e6:.1f}{"" if distance < NEAR_NS else " (far)"}' for name, (rate, distance) in
                     rates.items()) + f' M/s, round trip {trip["round_trip_p50_ns"]} ns'


# As long as the cores are where they were not: what is copied between far cores says nothing of near ones.
def measure_bare(lanes, figures, rounds):
    bare = {name: figures.setdefault(f'bare_{name}', Figure()) for name in ('packed', 'single')}
    for number in range(rounds * AGAIN):
        for name, figure in bare.items():
            figure.add(*lanes.placed(lambda name=name: lanes.bare(*RUNS[name][2:])))
        if number + 1 >= rounds and all(figure.has(min(3, rounds)) for figure in bare.values()):
            break


def key_of(name):
    if name in RUNS or name.startswith('bare_'):
        return 'kib_bytes_per_second' if name == 'kib' else f'{name}_events_per_second'
    return {'memcpy': 'memcpy_bytes_per_second', 'kib_share': 'kib_share_of_memcpy'}.get(name, name)


def rounded(value):
    return round(value) if value > 100 else round(value, 3)


def bench_lanes(arguments, steal):
    figures = {}
    with laboratory.Lab('kernel') as lab:
        lanes = Lanes(lab, arguments)
        for number in range(arguments.pairs * AGAIN):
            print(f'round {number + 1}: {measure_round(lanes, figures)}', file=sys.stderr)
            if number + 1 >= arguments.pairs and all(figure.has(min(3, arguments.pairs)) for figure in figures.values()):
                break
        ledger = lanes.router.ledger()
        wait_until(lambda: lanes.router.status().get('sessions') == 0, 'sessions end')
        lanes.router.stop()
        measure_bare(lanes, figures, arguments.pairs)
    answer = {'rounds': number + 1, 'seconds': arguments.seconds, 'events_a_frame': PACKED, 'shards': SHARDS,
              'log': arguments.log, 'ledger_unexplained': ledger['unexplained'], 'cores_moved_runs': lanes.moves}
    widest, are_near = 0.0, True
    for name, figure in figures.items():
        values, is_near = figure.values()
        are_near &= is_near
        answer[key_of(name)] = rounded(median(values))
        if name in RUNS:
            answer[f'{name}_range'] = [round(min(values)), round(max(values))]
            widest = max(widest, spread(values))
    answer['near_cores'] = are_near
    answer['bare_is_alike'] = all(figures[f'bare_{name}'].values()[1] == figures[name].values()[1]
                                  for name in ('packed', 'single'))
    answer['far'] = {key_of(name): rounded(median(figure.far)) for name, figure in figures.items() if figure.far}
    answer.update({'worker_involuntary_switches': lanes.switches, 'steal': round(steal.share(), 4),
                   'spread': round(widest, 3), 'noisy': widest > NOISY})
    answer['met'] = {key: key in answer and (answer[key] >= bound if is_more else answer[key] <= bound)
                     for key, is_more, bound in TARGETS}
    return answer


def report_lanes(answer):
    print(f'one client thread publishes and consumes through a lane; {answer["shards"]} shards, order checked; '
          + ('cores that share a cache:' if answer['near_cores'] else 'the cores were near and far, both together here:'))
    for outstanding, suffix in (('at will', ''), (64, '_64_outstanding'), (16, '_16_outstanding')):
        packed, single = answer[f'packed{suffix}_events_per_second'], answer[f'single{suffix}_events_per_second']
        print(f'  frames outstanding {outstanding:>7}: {packed / 1e6:7.1f} M events/s packed {answer["events_a_frame"]} a '
              f'frame, {single / 1e6:6.1f} M with one a frame')
    print(f'  a bare copy, nothing promised: {answer["bare_packed_events_per_second"] / 1e6:6.1f} M packed, '
          f'{answer["bare_single_events_per_second"] / 1e6:6.1f} M one a frame'
          + ('' if answer['bare_is_alike'] else ' (not comparable: the cores had moved apart)'))
    print(f'  1 KiB events: {answer["kib_bytes_per_second"] / 1e9:.2f} GB/s, {answer["kib_share_of_memcpy"] * 100:.0f} % of a '
          f'cold copy of 64 MB ({answer["memcpy_bytes_per_second"] / 1e9:.2f} GB/s)')
    print(f'  four groups: {answer["four_groups_events_per_second"] / 1e6:.1f} M events/s, each read four times'
          + (f'; {answer["four_groups_cost"]:.2f} times the cost of one group' if 'four_groups_cost' in answer else ''))
    print(f'  round trip, two passes: p50 {answer["round_trip_p50_ns"]} ns, p99 {answer["round_trip_p99_ns"]} ns')
    far = answer['far']
    if far:
        print('  while the cores shared no cache: ' + ', '.join(
            f'{name} {far[key] / 1e6:.1f} M/s' for name, key in (('packed', 'packed_events_per_second'),
                                                                  ('bare', 'bare_packed_events_per_second'),
                                                                  ('single', 'single_events_per_second'),
                                                                  ('bare', 'bare_single_events_per_second')) if key in far)
            + (f', round trip {far["round_trip_p50_ns"]} ns' if 'round_trip_p50_ns' in far else ''))
    missed = [key for key, is_met in answer['met'].items() if not is_met]
    print(f'  targets missed: {", ".join(missed) or "none"}; ledger unexplained {answer["ledger_unexplained"]}; worker '
          f'switched out {answer["worker_involuntary_switches"]} times; cores moved in {answer["cores_moved_runs"]} runs')


def add_lanes_options(parser):
    parser.add_argument('--log', default='1MiB', help='lanes: size of each shard log (1MiB)')


__all__ = ['bench_lanes', 'report_lanes', 'add_lanes_options', 'TARGETS']

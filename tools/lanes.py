# tools/bench lanes: what a lane carries, one client thread that publishes and consumes on one core, the router's worker on the
# other. 64-byte events over 4 shards, order checked; 1 KiB events against a cold copy of 64 MB, turn by turn; the round trip.
# Medians of rounds with minimum and maximum, steal time and the worker's involuntary context switches beside them.
import json
import os
import statistics
import sys

import lab as laboratory
from lab import program, topic, wait_until

SHARDS, PACKED, NOISY = 4, 18, 0.15
TARGETS = {'packed_events_per_second': 85e6, 'single_events_per_second': 45e6, 'kib_share_of_memcpy': 0.6}
ROUND_TRIP_NS = 2000


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
        topics = [topic('load', shards=SHARDS, log=arguments.log, ack='none'), topic('ask', shards=1), topic('reply', shards=1)]
        # Beside lanes a router listens to the network; nobody talks to it there.
        self.router = lab.router(topics, hosts=[lab.host('nobody')], poll='always', limits={'window_frames': 4096})
        lab.client_cores = laboratory.CORES[:1]
        self.router.start()
        self.address = f'unix:{self.router.socket}'
        self.switches = 0

    def client(self, *words):
        before = involuntary_switches(self.router.process.pid)
        process = self.lab.start('lanes', [program('lanes'), *map(str, words)], nice=-15)
        process.wait(60 + 2 * self.arguments.seconds)
        self.switches += involuntary_switches(self.router.process.pid) - before
        return process.json()

    def throughput(self, frame_events, payload, outstanding):
        return self.client('throughput', self.address, 'load', 'all', frame_events, payload, outstanding,
                           self.arguments.seconds)

    def round_trip(self):
        return self.client('round-trip', self.address, 'ask', 'all', 'reply', 'all', self.arguments.seconds)

    def memcpy(self):
        return self.client('memcpy', min(1, self.arguments.seconds))


def median(values):
    return statistics.median(values)


def spread(values):
    return (max(values) - min(values)) / median(values) if median(values) else 0.0


def bench_lanes(arguments, steal):
    runs = {'packed': (PACKED, 64, 256), 'packed_64_outstanding': (PACKED, 64, 64), 'packed_16_outstanding': (PACKED, 64, 16),
            'single': (1, 64, 1024), 'single_64_outstanding': (1, 64, 64), 'single_16_outstanding': (1, 64, 16),
            'kib': (3, 1024, 64)}
    rates = {name: [] for name in runs}
    copies, shares, trips = [], [], []
    with laboratory.Lab('kernel') as lab:
        lanes = Lanes(lab, arguments)
        for number in range(arguments.pairs):
            for name, shape in runs.items():
                result = lanes.throughput(*shape)
                rates[name].append(result['bytes_per_second' if name == 'kib' else 'events_per_second'])
            copies.append(lanes.memcpy()['memcpy_bytes_per_second'])
            shares.append(rates['kib'][-1] / copies[-1])
            trips.append(lanes.round_trip())
            print(f'round {number + 1}: ' + ', '.join(f'{n} {r[-1] / 1e6:.1f}' for n, r in rates.items()) +
                  f' M/s, round trip {trips[-1]["round_trip_p50_ns"]} ns', file=sys.stderr)
        ledger = lanes.router.ledger()
        wait_until(lambda: lanes.router.status().get('sessions') == 0, 'sessions end')
        lanes.router.stop()
    answer = {'pairs': arguments.pairs, 'seconds': arguments.seconds, 'events_a_frame': PACKED, 'shards': SHARDS,
              'log': arguments.log, 'ledger_unexplained': ledger['unexplained']}
    for name, values in rates.items():
        key = 'kib_bytes_per_second' if name == 'kib' else f'{name}_events_per_second'
        answer[key] = round(median(values))
        answer[f'{name}_range'] = [round(min(values)), round(max(values))]
    answer['memcpy_bytes_per_second'] = round(median(copies))
    answer['kib_share_of_memcpy'] = round(median(shares), 3)
    for key in ('round_trip_p50_ns', 'round_trip_p99_ns', 'round_trip_p99_9_ns'):
        answer[key] = round(median([trip[key] for trip in trips]))
    widest = max(spread(values) for values in rates.values())
    answer.update({'worker_involuntary_switches': lanes.switches, 'steal': round(steal.share(), 4),
                   'spread': round(widest, 3), 'noisy': widest > NOISY})
    answer['met'] = {key: answer[key] >= least for key, least in TARGETS.items()}
    answer['met']['round_trip_p50_ns'] = answer['round_trip_p50_ns'] < ROUND_TRIP_NS
    return answer


def report_lanes(answer):
    print(f'one client thread publishes and consumes through a lane; {answer["shards"]} shards, order checked:')
    for outstanding, suffix in (('at will', ''), (64, '_64_outstanding'), (16, '_16_outstanding')):
        packed, single = answer[f'packed{suffix}_events_per_second'], answer[f'single{suffix}_events_per_second']
        print(f'  frames outstanding {outstanding:>7}: {packed / 1e6:7.1f} M events/s packed {answer["events_a_frame"]} a '
              f'frame, {single / 1e6:6.1f} M with one a frame')
    print(f'  1 KiB events: {answer["kib_bytes_per_second"] / 1e9:.2f} GB/s, {answer["kib_share_of_memcpy"] * 100:.0f} % of a '
          f'cold copy of 64 MB ({answer["memcpy_bytes_per_second"] / 1e9:.2f} GB/s)')
    print(f'  round trip, two passes: p50 {answer["round_trip_p50_ns"]} ns, p99 {answer["round_trip_p99_ns"]} ns')
    missed = [key for key, is_met in answer['met'].items() if not is_met]
    print(f'  targets missed: {", ".join(missed) or "none"}; ledger unexplained {answer["ledger_unexplained"]}; worker '
          f'switched out {answer["worker_involuntary_switches"]} times')


def add_lanes_options(parser):
    parser.add_argument('--log', default='1MiB', help='lanes: size of each shard log (1MiB)')


__all__ = ['bench_lanes', 'report_lanes', 'add_lanes_options']

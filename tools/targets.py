# tools/bench targets: every speed that the project promises, measured in one session by the benchmarks it belongs to, and
# printed as one table with the date and the machine. A claim of speed in the README is a line of this table. Each benchmark
# runs by itself, so what it prints alone is what counts here. Standard library only.
import argparse
import datetime
import json
import os
import subprocess
import sys

import bound
import lab as laboratory
import lanes
import peers

BENCH = os.path.join(laboratory.TOP, 'tools', 'bench.py')
# Part -> words of its command, and what --quick adds: it shows that all works and proves no speed.
PARTS = {
    'micro': (['micro'], ['--pairs', '1', '--seconds', '0.1']),
    'lanes': (['lanes'], ['--pairs', '1', '--seconds', '0.2']),
    'relay': (['relay'], ['--pairs', '1', '--seconds', '1']),
    'bound': (['bound'], ['--pairs', '1', '--seconds', '1']),
    'peers': (['peers'], ['--quick']),
}
MILLION = 'M/s', 1e-6
# The bounds are those of the benchmarks. What each figure of lanes is, its unit and scale, and the aim beyond its bound.
LANE_FIGURES = {
    'packed_events_per_second': ('lane, 64 B packed 18 a frame, one client thread', MILLION, 110e6),
    'single_events_per_second': ('lane, 64 B one a frame', MILLION, 60e6),
    'kib_share_of_memcpy': ('lane, 1 KiB events, share of a cold copy', ('x', 1), None),
    'four_groups_cost': ('lane, four groups / one group', ('x', 1), None),
    'round_trip_p50_ns': ('lane, publish, route, consume, reply, p50', ('ns', 1), None),
}
# Key, what it is, unit and scale, whether more is better, bound, aim.
LANES = tuple((key, LANE_FIGURES[key][0], LANE_FIGURES[key][1], is_more, least, LANE_FIGURES[key][2])
              for key, is_more, least in lanes.TARGETS)
# Beside them, promised to nobody: what the same cores copy when nothing is promised, and lanes between cores that share no
# cache, where the hypervisor put them there in some rounds.
BESIDE = (
    ('bare_packed_events_per_second', 'a bare copy, packed', MILLION),
    ('bare_single_events_per_second', 'a bare copy, one a frame', MILLION),
)
FAR = (
    ('packed_events_per_second', 'lane, cores without a common cache, packed', MILLION),
    ('single_events_per_second', 'lane, cores without a common cache, one a frame', MILLION),
    ('bare_packed_events_per_second', 'a bare copy there, packed', MILLION),
    ('bare_single_events_per_second', 'a bare copy there, one a frame', MILLION),
)
RELAY = (
    ('weir_kernel_events_per_second', 'kernel UDP port, routed, prebuilt frames', MILLION, True, peers.MUST['raw'], 30e6),
    ('kernel_over_gro_relay', 'kernel UDP port / relay with GRO and GSO', ('x', 1), True, peers.MUST['gro'], None),
    ('ratio_afxdp', 'AF_XDP port / plain relay', ('x', 1), True, 1.5, None),
    ('weir_afxdp_events_per_second', 'AF_XDP port over veth (an aim alone)', MILLION, True, None, 12e6),
)
BOUND = tuple((f'ratio_{port}', f'{name} port / testpmd on the same port', ('x', 1), True, bound.LEAST, None)
              for port, name in (('afxdp', 'AF_XDP'), ('vhost', 'vhost-user')))


def line(part, what, value, unit, is_more, limit, noisy, aim=None):
    is_met = None if limit is None or value is None else value >= limit if is_more else value <= limit
    return {'part': part, 'what': what, 'value': value, 'unit': unit, 'at': 'least' if is_more else 'most', 'bound': limit,
            'aim': aim, 'met': is_met, 'noisy': bool(noisy)}


def lines_by_key(part, keys, answer):
    lines = []
    for key, what, (unit, scale), is_more, limit, aim in keys:
        value = answer.get(key)
        scaled = [None if number is None else round(number * scale, 3) for number in (value, limit, aim)]
        width = answer.get(key.removesuffix('events_per_second') + 'range')
        noisy = (width[1] - width[0]) / value > peers.NOISY if width and value else answer['noisy']
        lines.append(line(part, what, scaled[0], unit, is_more, scaled[1], noisy, scaled[2]))
    return lines


def lines_beside(answer):
    found = [(what, answer[key], unit) for key, what, unit in BESIDE if answer['bare_is_alike']]
    found += [(what, answer['far'][key], unit) for key, what, unit in FAR if key in answer['far']]
    return [line('lanes', what, round(value * scale, 3), unit, True, None, answer['noisy']) for what, value, (unit, scale) in
            found]


def lines_of(part, answer):
    if part == 'micro':
        return [line(part, claim['what'], claim['value'], claim['unit'], False, claim['at_most'], answer['noisy'])
                for claim in answer['claims']]
    if part == 'peers':
        return [line(part, target['target'], target['value'], target['unit'].strip(), target['at'] == 'least', target['must'],
                     target.get('noisy', True)) for target in answer['targets']]
    if part == 'lanes':
        return lines_by_key(part, LANES, answer) + lines_beside(answer)
    return lines_by_key(part, {'relay': RELAY, 'bound': BOUND}[part], answer)


def run_part(part, is_quick):
    words, quick = PARTS[part]
    print(f'tools/bench {" ".join(words)}', file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, BENCH, *words, '--json', *(quick if is_quick else [])], stdout=subprocess.PIPE,
                          text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def measure(arguments):
    started = datetime.datetime.now(datetime.timezone.utc)
    answers = {part: run_part(part, arguments.quick) for part in arguments.parts}
    # What the others measured is not lost with one that failed.
    failed = [part for part, answer in answers.items() if answer is None]
    answers = {part: answer for part, answer in answers.items() if answer is not None}
    lines = [entry for part, answer in answers.items() for entry in lines_of(part, answer)]
    judged = [entry for entry in lines if entry['met'] is not None]
    return {'date': started.strftime('%Y-%m-%d %H:%M UTC'), 'machine': peers.machine(), 'quick': arguments.quick,
            'targets': lines, 'count': len(judged), 'met': sum(entry['met'] for entry in judged),
            'missed': [entry['what'] for entry in judged if not entry['met']], 'failed': failed, 'parts': answers}


def report(answer):
    print(f'{answer["date"]}, {answer["machine"]}' + (', too short to prove any speed' if answer['quick'] else ''))
    part = None
    for entry in answer['targets']:
        if entry['part'] != part:
            part = entry['part']
            print(f'tools/bench {part}')
        verdict = {None: '-', True: 'met', False: 'MISSED'}[entry['met']]
        value = 'nothing' if entry['value'] is None else f'{entry["value"]:g} {entry["unit"]}'
        must = '' if entry['bound'] is None else f'at {entry["at"]} {entry["bound"]:g}'
        aim = '' if entry['aim'] is None else f'  (aim {entry["aim"]:g})'
        noisy = '  noisy' if entry['noisy'] else ''
        print(f'  {verdict:<7}{entry["what"]:<66}{value:>20}  {must}{aim}{noisy}')
    print(f'{answer["met"]} of {answer["count"]} met'
          + (f'; missed: {"; ".join(answer["missed"])}' if answer['missed'] else ''))


def arguments_of(words):
    parser = argparse.ArgumentParser(prog='tools/bench targets', description='All that is promised of speed, in one table.')
    parser.add_argument('--json', action='store_true', help='one object on stdout, with all that the parts measured')
    parser.add_argument('--quick', action='store_true', help='short runs: shows that it works, proves no speed')
    parser.add_argument('--parts', type=lambda text: text.split(','), default=list(PARTS),
                        help=f'comma-separated ({",".join(PARTS)})')
    arguments = parser.parse_args(words)
    for name in arguments.parts:
        if name not in PARTS:
            parser.error(f'no part {name}; there are {", ".join(PARTS)}')
    return arguments


def main(words):
    arguments = arguments_of(words)
    try:
        answer = measure(arguments)
    except KeyboardInterrupt:
        sys.exit(130)
    if arguments.json:
        print(json.dumps(answer))
    else:
        report(answer)
    if answer['failed']:
        sys.exit(f'tools/bench: {", ".join(answer["failed"])} failed, see above')

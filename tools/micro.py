# What an event costs in the core alone, for tools/bench and the suite `baseline`: nanoseconds of the whole path and of each
# stage by the clock, interleaved so that what is compared was measured side by side; instructions by callgrind, which
# counts the same every time. Standard library only.
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile

import lab as laboratory
from lab import Failure, program, run

BASELINE = os.path.join(laboratory.TOP, 'perf', 'baseline', 'instructions.json')
ACCEPT = 'tools/bench micro --accept'
GROWTH = 0.03
ROUNDS = {'clock': 1000, 'count': 16}
# Under valgrind there is no AVX-512, so weir takes the ways that every x86-64-v2 processor has. The C library is told to do
# the same, for what it finds differs between machines; and to find its functions before the first stage.
PLAIN_LIBC = {'GLIBC_TUNABLES': 'glibc.cpu.hwcaps=-AVX2,-AVX,-AVX512F,-ERMS,-FSRM', 'LD_BIND_NOW': '1'}
# What perf/baseline keeps: every stage of these.
COUNTED = {
    'packed': ['--events', '18'],
    'single': ['--events', '1'],
    'packed, no body crc': ['--events', '18', '--link'],
    'packed, 4 groups': ['--events', '18', '--groups', '4'],
    'single, 256 sessions in turn': ['--events', '1', '--sessions', '256', '--train', '1'],
}
# The same for what comes through a lane, from its header in private memory to a member that reads in place: events a frame,
# shards, frames a turn, log in KiB, frames of one stream in a row. One stage, counted over so many turns.
LANES = {'packed': ['18', '4', '32', '1024', '1'], 'single': ['1', '4', '64', '1024', '16']}
LANE_TURNS = 256
KINDS = {'packed': ['--events', '18'], 'single': ['--events', '1']}
FEW = ['--log-kib', '64']
# name -> arguments, and what it is compared with.
POINTS = {
    'logs of 1 MiB': ([], None),
    'bursts of 32 frames, logs of 1 MiB': (['--burst', '32'], 'logs of 1 MiB'),
    'logs of 64 MiB': (['--log-kib', '65536'], 'logs of 1 MiB'),
    'logs of 256 KiB': (['--log-kib', '256'], 'logs of 1 MiB'),
    'logs of 64 KiB': (FEW, 'logs of 1 MiB'),
    'no body crc, logs of 1 MiB': (['--link'], 'logs of 1 MiB'),
    'no body crc, logs of 64 KiB': (['--link', *FEW], 'logs of 64 KiB'),
    '1000 sessions, another each frame': (['--sessions', '1000', '--train', '1'], 'logs of 1 MiB'),
    '10000 sessions, trains of 32': (['--sessions', '10000'], 'logs of 1 MiB'),
    '10000 sessions, another each frame': (['--sessions', '10000', '--train', '1'], 'logs of 1 MiB'),
    '1 shard of 64 KiB': (['--shards', '1', *FEW], 'logs of 64 KiB'),
    '8 shards of 64 KiB': (['--shards', '8', *FEW], 'logs of 64 KiB'),
    '16 shards of 64 KiB': (['--shards', '16', *FEW], 'logs of 64 KiB'),
    '64 shards of 64 KiB': (['--shards', '64', *FEW], 'logs of 64 KiB'),
    '256 shards of 64 KiB': (['--shards', '256', *FEW], 'logs of 64 KiB'),
    '1024 shards of 64 KiB': (['--shards', '1024', *FEW], 'logs of 64 KiB'),
    '4 groups': (['--groups', '4'], 'logs of 1 MiB'),
}
TABLE = {
    'payload, bytes (full frames)': [(str(n), ['--events', 'full', '--payload', str(n)]) for n in (16, 64, 256, 1024)],
    'events a frame (64 bytes)': [(name, ['--events', name]) for name in ('1', '4', '18', 'full')],
    'shards (logs of 64 KiB)': [(str(n), ['--shards', str(n), *FEW]) for n in (1, 4, 16, 64, 256, 1024)],
    'sessions (trains of 32)': [(str(n), ['--sessions', str(n)]) for n in (1, 10, 100, 1000, 10000)],
    'groups': [(str(n), ['--groups', str(n)]) for n in (1, 4)],
    'log, KiB': [(str(n), ['--log-kib', str(n)]) for n in (64, 256, 1024, 4096, 65536)],
}


def summary(values):
    return {'median': round(statistics.median(values), 3), 'min': round(min(values), 3), 'max': round(max(values), 3)}


# One run of micro-core by the clock.
def clocked(arguments, more, timeout_s=120):
    command = ['taskset', '-c', str(laboratory.CORES[-1]), 'nice', '-n', '-15', program('micro-core'), *arguments, *more]
    return json.loads(run(*command, timeout_s=timeout_s).stdout)


# The same of micro-lane, for one kind of LANES: seconds, or turns with a t behind.
def lane_clocked(kind, length, more=(), env=None):
    events, *shape = LANES[kind]
    words = [*more, program('micro-lane'), events, length, *shape]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env=env, check=False)
    if done.returncode:
        raise Failure(f'{" ".join(words)}: {done.stderr[-1000:]}{done.stdout[-300:]}')
    return json.loads(done.stdout)


# Instructions of all turns together.
def lane_counted(kind):
    with tempfile.TemporaryDirectory(prefix='weir-micro-') as folder:
        lane_clocked(kind, f'{LANE_TURNS}t', ['valgrind', '--tool=callgrind', '--collect-atstart=no',
                                              f'--callgrind-out-file={folder}/count'], {**os.environ, **PLAIN_LIBC})
        with open(os.path.join(folder, 'count'), encoding='utf-8', errors='replace') as file:
            return int(re.search(r'^(?:summary|totals): (\d+)', file.read(), re.M)[1])


def lane_instructions(kind):
    return {'lane': round(lane_counted(kind) / (LANE_TURNS * int(LANES[kind][2])), 2)}


def dumps_read(folder):
    counts = {}
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), encoding='utf-8', errors='replace') as file:
            text = file.read()
        stage = re.search(r'^desc: Trigger: Client Request: (\w+)$', text, re.M)
        if stage:
            counts[stage[1]] = int(re.search(r'^(?:summary|totals): (\d+)', text, re.M)[1])
    return counts


# Instructions of every stage, all rounds together, and how many frames those are.
def counted(arguments):
    if not shutil.which('valgrind'):
        raise Failure('instructions: there is no valgrind; apt-get install valgrind')
    with tempfile.TemporaryDirectory(prefix='weir-micro-') as folder:
        done = subprocess.run(['valgrind', '--tool=callgrind', '--collect-atstart=no', '--instr-atstart=no',
                               f'--callgrind-out-file={folder}/count', program('micro-core'), *arguments,
                               '--stages', str(ROUNDS['count'])],
                              capture_output=True, text=True, timeout=300, env={**os.environ, **PLAIN_LIBC}, check=False)
        if done.returncode:
            raise Failure(f'micro-core {" ".join(arguments)} under callgrind: {done.stderr[-1000:]}{done.stdout[-300:]}')
        counts = dumps_read(folder)
    said = json.loads(done.stdout)
    missing = [stage for stage in said['stages'] if not counts.get(stage)]
    if missing:
        raise Failure(f'callgrind counted nothing for {", ".join(missing)}: {done.stderr[-1000:]}')
    return {stage: counts[stage] for stage in said['stages']}, said


# What receiving takes beyond its counted parts: session, dispatch, stream, accounts. Only counts can be subtracted: a stage
# alone waits for memory that it finds in the cache behind the stage before it.
def with_admit(stages):
    answer = {}
    for stage, value in stages.items():
        answer[stage] = value
        if stage == 'receive':
            answer['admit'] = value - stages['parse'] - stages['events'] - stages['append']
    return answer


# Of a kind of COUNTED, or of a lane.
def instructions_of(name):
    return lane_instructions(name.removeprefix('lane, ')) if name.startswith('lane, ') else instructions(COUNTED[name])


def counted_names():
    return [*COUNTED, *(f'lane, {kind}' for kind in LANES)]


def instructions(arguments):
    counts, said = counted(arguments)
    frames = said['rounds'] * said['frames']
    return {stage: round(count / frames, 2) for stage, count in with_admit(counts).items()}


# What a frame of each client kind costs at worst: a row of micro-worst -> times a usual publish, by instructions and by the
# clock. `per`: for each thing of that kind that the client made before.
WORST_TARGET = 50


def worst_said(words, env=None):
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env=env, check=False)
    if done.returncode:
        raise Failure(f'{" ".join(words)}: {done.stderr[-1000:]}{done.stdout[-300:]}')
    return json.loads(done.stdout)


def worst(rounds):
    more = ['--rounds', str(rounds)]
    said = worst_said([program('micro-worst'), *more])
    counts = {}
    if shutil.which('valgrind'):
        with tempfile.TemporaryDirectory(prefix='weir-micro-') as folder:
            worst_said(['valgrind', '--tool=callgrind', '--collect-atstart=no', '--instr-atstart=no',
                        f'--callgrind-out-file={folder}/count', program('micro-worst'), *more], {**os.environ, **PLAIN_LIBC})
            counts = dumps_read(folder)
        missing = [name for name in said if not counts.get(name)]
        if missing:
            raise Failure(f'callgrind counted nothing for {", ".join(missing)}')
    usual_ns = said['usual']['ns'] / said['usual']['per']
    usual = counts.get('usual', 0) / (said['usual']['rounds'] * said['usual']['per'])
    kinds = {}
    for name, row in said.items():
        if name == 'usual':
            continue
        kinds[name] = {'of': row['of'], 'ns': round(row['ns'] / row['per'], 1),
                       'times_ns': round(row['ns'] / row['per'] / usual_ns, 1)}
        if counts:
            each = counts[name] / (row['rounds'] * row['per'])
            kinds[name] |= {'instructions': round(each), 'times': round(each / usual, 1)}
    most = max(row.get('times', row['times_ns']) for row in kinds.values())
    return {'usual_ns': round(usual_ns, 1), 'usual_instructions': round(usual, 1), 'kinds': kinds, 'worst_times': most,
            'at_most': WORST_TARGET, 'is_met': most <= WORST_TARGET}


def worst_report(answer):
    print('what one frame costs at worst, with the turn behind it, in usual publishes (18 events of 64 bytes, delivered and '
          f'acknowledged: {answer["usual_ns"]} ns, {answer["usual_instructions"]} instructions):')
    print(f'  {"":<18}{"times":>8}{"instr.":>10}{"times ns":>10}{"ns":>10}   for each')
    for name, row in answer['kinds'].items():
        print(f'  {name:<18}{row.get("times", "-"):>8}{row.get("instructions", "-"):>10}{row["times_ns"]:>10}{row["ns"]:>10}'
              f'   {row["of"]}')
    print(f'  {"yes" if answer["is_met"] else "NO"}: none above {answer["at_most"]}, by instructions where they are counted')


def toolchain():
    def version(package):
        return run('dpkg-query', '-W', '-f', '${Version}', package, check=False).stdout
    return {package: version(package) for package in ('gcc', 'libc6', 'valgrind')}


def baseline_read():
    try:
        with open(BASELINE, encoding='utf-8') as file:
            return json.load(file)
    except FileNotFoundError:
        raise Failure(f'perf/baseline/instructions.json is not there; make it with {ACCEPT}') from None


def baseline_write():
    accepted = {'what': 'instructions a frame, by callgrind; accepted by ' + ACCEPT, 'toolchain': toolchain(),
                'counts': {name: instructions_of(name) for name in counted_names()}}
    os.makedirs(os.path.dirname(BASELINE), exist_ok=True)
    with open(BASELINE, 'w', encoding='utf-8') as file:
        json.dump(accepted, file, indent='\t')
        file.write('\n')
    return accepted


# Sentences about what grew, is new, or is gone, of one configuration.
def baseline_compare(name, accepted, now):
    troubles = []
    for stage in now:
        if stage not in accepted:
            troubles.append(f'{name}, stage {stage}: no accepted count; accept it with {ACCEPT}')
            continue
        old, new = accepted[stage], now[stage]
        if new > old * (1 + GROWTH):
            troubles.append(f'{name}, stage {stage}: {old} -> {new} instructions a frame, {(new / old - 1) * 100:+.1f} %, '
                            f'more than the {GROWTH * 100:.0f} % it may grow; make it cheaper, or accept it in the same '
                            f'commit with {ACCEPT}')
    troubles += [f'{name}, stage {stage}: accepted, but not measured any more; accept that with {ACCEPT}'
                 for stage in accepted if stage not in now]
    return troubles


def stages_measure():
    answer = {}
    for kind, arguments in KINDS.items():
        said = clocked(arguments, ['--stages', str(ROUNDS['clock'])])
        ns = {stage: value / said['frames'] for stage, value in said['stages'].items()}
        answer[kind] = {}
        ns['lane'] = lane_clocked(kind, '0.3', ['taskset', '-c', str(laboratory.CORES[-1]), 'nice', '-n', '-15']
                                  )['median_ns_per_frame']
        for stage, count in {**instructions(arguments), **lane_instructions(kind)}.items():
            answer[kind][stage] = {'instructions_per_frame': count}
            if stage in ns:
                answer[kind][stage] |= {'ns_per_frame': round(ns[stage], 1),
                                        'ns_per_event': round(ns[stage] / said['frame_events'], 2)}
    return answer


def points_measure(pairs, seconds):
    values = {(name, kind): [] for name in POINTS for kind in KINDS}
    whole = {kind: [] for kind in KINDS}
    interrupted = 0.0
    for _ in range(pairs):
        for name, kind in values:
            said = clocked([*KINDS[kind], *POINTS[name][0]], ['--seconds', str(seconds)])
            values[name, kind].append(said['ns_per_event'])
            if POINTS[name][1] is None:
                whole[kind].append(said['with_interruptions_ns_per_event'])
                interrupted = max(interrupted, said['interrupted_turns'])
    points = {}
    for (name, kind), ns in values.items():
        point = points.setdefault(name, {})
        point[kind] = summary(ns)
        other = POINTS[name][1]
        if other:
            point[kind]['ratio'] = summary([a / b for a, b in zip(ns, values[other, kind])])
            point[kind]['more_ns'] = summary([a - b for a, b in zip(ns, values[other, kind])])
            point['compared_with'] = other
    return points, whole, interrupted


def cache_bytes():
    said = run('getconf', 'LEVEL2_CACHE_SIZE', check=False).stdout.strip()
    return int(said) if said.isdigit() else 0


# What issue and README promise of the core: (what, value, bound, unit).
def claims_of(points):
    def ns(name, kind):
        return points[name][kind]['median']

    def ratio(name, kind):
        return points[name][kind]['ratio']['median']
    claims = []
    for kind, bound, aim in (('packed', 8, 6), ('single', 60, 45)):
        for name in ('logs of 1 MiB', 'logs of 64 KiB', 'no body crc, logs of 1 MiB', 'no body crc, logs of 64 KiB'):
            claims.append((f'{kind}, 4 shards, {name} (aim {aim})', ns(name, kind), bound, 'ns an event'))
        for name in (name for name in points if 'sessions' in name):
            claims.append((f'{kind}, {name} / 1 session', ratio(name, kind), 1.1, 'times'))
        for name, point in points.items():
            match = re.match(r'(\d+) shards? of 64 KiB', name)
            # Frames, streams and shards want the other half of it.
            if match and int(match[1]) * 65536 <= cache_bytes() // 2:
                claims.append((f'{kind}, {name}, which fit half of L2 / 4 shards', ratio(name, kind), 1.1, 'times'))
            elif match:
                claims.append((f'{kind}, {name}, beyond that, more than 4 shards', point[kind]['more_ns']['median'],
                               15 if kind == 'packed' else 40, 'ns an event'))
        claims.append((f'{kind}, 4 groups / 1 group', ratio('4 groups', kind), 2.5, 'times'))
    return [{'what': what, 'value': round(value, 2), 'at_most': bound, 'unit': unit, 'is_met': value <= bound}
            for what, value, bound, unit in claims]


def table_measure(seconds):
    table = {}
    for title, rows in TABLE.items():
        for name, arguments in rows:
            row = {}
            for kind, own in KINDS.items():
                if '--events' in arguments and kind == 'single':
                    continue
                words = arguments if '--events' in arguments else [*own, *arguments]
                said = clocked(words, ['--seconds', str(seconds)])
                row[kind] = {'frame_events': said['frame_events'], 'ns_per_event': said['ns_per_event'],
                             'instructions_per_event': round(instructions(words)['whole'] / said['frame_events'], 1)}
            table.setdefault(title, {})[name] = row
    return table


def measure(pairs, seconds, has_table):
    points, whole, interrupted = points_measure(pairs, seconds)
    base = points['logs of 1 MiB']
    widest = max((base[kind]['max'] - base[kind]['min']) / base[kind]['median'] for kind in KINDS)
    answer = {f'{kind}_ns_per_event': base[kind]['median'] for kind in KINDS}
    answer |= {f'{kind}_ns': {key: base[kind][key] for key in ('median', 'min', 'max')} for kind in KINDS}
    answer |= {f'{kind}_ns_with_interruptions': summary(whole[kind]) for kind in KINDS}
    answer |= {'interrupted_turns': interrupted, 'spread': round(widest, 3), 'l2_bytes': cache_bytes(), 'points': points,
               'claims': claims_of(points), 'stages': stages_measure()}
    if has_table:
        answer['table'] = table_measure(seconds)
    return answer


def table_print(table):
    print(f'{"whole path":<32}{"events":>8}{"ns":>9}{"instr.":>9}{"":>4}{"ns single":>10}{"instr.":>9}   (an event)')
    for title, rows in table.items():
        print(f'  {title}')
        for name, row in rows.items():
            one = row.get('single')
            print(f'    {name:<28}{row["packed"]["frame_events"]:>8}{row["packed"]["ns_per_event"]:>9.2f}'
                  f'{row["packed"]["instructions_per_event"]:>9.1f}'
                  + (f'{"":>4}{one["ns_per_event"]:>10.2f}{one["instructions_per_event"]:>9.1f}' if one else ''))


def report(answer):
    print('core, no I/O; 64-byte events, packed 18 a frame and single, 4 shards, bursts of 128 frames as DPDK ports give '
          'them; ns an event, median (min to max) of rounds:')
    for name, point in answer['points'].items():
        cells = [f'{kind} {point[kind]["median"]:6.2f} ({point[kind]["min"]:.2f} to {point[kind]["max"]:.2f})'
                 + (f' x{point[kind]["ratio"]["median"]:.2f}' if 'ratio' in point[kind] else '') for kind in KINDS]
        print(f'  {name:<36}{cells[0]:<40}{cells[1]}')
    print('stages, a frame: ns by the clock, instructions by callgrind (no AVX-512 there, so other ways than by the clock):')
    print(f'  {"":<14}{"packed ns":>10}{"instr.":>10}{"single ns":>12}{"instr.":>10}')
    for stage, cost in answer['stages']['packed'].items():
        single = answer['stages']['single'][stage]
        print(f'  {stage:<14}{cost.get("ns_per_frame", "-"):>10}{cost["instructions_per_frame"]:>10.1f}'
              f'{single.get("ns_per_frame", "-"):>12}{single["instructions_per_frame"]:>10.1f}')
    if 'table' in answer:
        table_print(answer['table'])
    print('what is promised:')
    for claim in answer['claims']:
        print(f'  {"yes" if claim["is_met"] else "NO ":<4}{claim["what"]:<66}{claim["value"]:>8.2f} of at most '
              f'{claim["at_most"]} {claim["unit"]}')

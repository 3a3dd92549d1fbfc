#!/usr/bin/env python3
# weirperf report and compare as a user calls them: repeats from several files become one result, a change between two results
# is found and can stop a script, latencies come out for plotters, and each mistake is said with the file it is in.
# `verbs_test.py WEIRPERF SAMPLE-PROGRAM`; prints TAP.
import json
import os
import subprocess
import sys
import tempfile

WEIRPERF, SAMPLE = sys.argv[1:]
REPEATS = 5


def run(*words, expect=0):
    done = subprocess.run([WEIRPERF, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == expect, f'weirperf {" ".join(words)}: exit status {done.returncode}\n{done.stdout}{done.stderr}'
    return done


# Five results of one run each, as weirperf run would have saved them one by one.
def make(folder, name, speed):
    paths = [os.path.join(folder, f'{name}{number}.json') for number in range(REPEATS)]
    for number, path in enumerate(paths):
        subprocess.run([SAMPLE, path, 'result', str(speed), str(number + 1)], check=True, timeout=60)
    return paths


def join(folder, name, speed):
    joined = os.path.join(folder, name + '.json')
    run('report', *make(folder, name, speed), '--output', joined)
    return joined


def repeats_are_joined_without_loss(folder):
    paths = make(folder, 'a', 1)
    joined = os.path.join(folder, 'joined.json')
    said = run('report', *paths, '--output', joined).stdout
    assert said.startswith('telemetry flood, speed 1, over udp, 5 runs'), said
    with open(joined) as file:
        runs = json.load(file)['runs']
    single = []
    for path in paths:
        with open(path) as file:
            single += json.load(file)['runs']
    assert runs == single, 'joined runs are not those of the files'


def latencies_come_out_for_plotters(folder):
    paths = make(folder, 'a', 1)
    hgrm, csv, page = (os.path.join(folder, name) for name in ('a.hgrm', 'a.csv', 'a.html'))
    run('report', *paths, '--hgrm', hgrm, '--csv', csv, '--html', page)
    with open(hgrm) as file:
        lines = [line for line in file.read().splitlines() if line]
    assert lines[0].split() == ['Value', 'Percentile', 'TotalCount', '1/(1-Percentile)'], lines[0]
    rows = [[float(word) for word in line.split()] for line in lines[1:] if not line.startswith('#')]
    total = sum(json.loads(open(path).read())['runs'][0]['latency_ns']['count'] for path in paths)
    merged = json.loads(run('report', *paths, '--json').stdout)['runs']
    assert all(r['latency_ns']['percentiles']['p50'] <= r['latency_ns']['percentiles']['p99_999'] <= r['latency_ns']['max']
               for r in merged), 'percentiles in the result'
    assert rows[-1][1:] == [1.0, total] and rows[0][1] == 0, (rows[0], rows[-1], total)
    assert f'Total count    = {total:12}]' in lines[-2], lines[-2]
    with open(csv) as file:
        assert len(file.read().splitlines()) == 1 + REPEATS * 6
    assert os.path.getsize(page) > 50000


def a_change_is_found_and_stops_a_script(folder):
    slow, fast = join(folder, 'slow', 1), join(folder, 'fast', 1.1)
    document = json.loads(run('compare', slow, fast, '--json', '--gate').stdout)
    figures = {figure['name']: figure for figure in document['figures']}
    assert figures['delivered events/s']['verdict'] == 'better', figures
    assert abs(figures['delivered events/s']['change']['median'] - 1.1) < 0.02
    assert document['worse'] == 0
    run('compare', fast, slow, '--gate', expect=1)
    assert 'No change beyond noise' in run('compare', slow, slow, '--gate').stdout


def too_few_repeats_say_nothing(folder):
    a, b = make(folder, 'a', 1), make(folder, 'b', 2)
    said = run('compare', a[0], b[0], '--gate').stdout
    assert 'Nothing can be said: 1 and 1 repeats, 5 of each are needed' in said, said


def mistakes_are_said_with_their_file(folder):
    a, b = make(folder, 'a', 1), make(folder, 'b', 2)
    said = run('report', a[0], b[0], expect=2).stderr
    assert b[0] in said and 'label differ' in said, said
    missing = os.path.join(folder, 'none.json')
    assert missing in run('compare', a[0], missing, expect=2).stderr
    with open(missing, 'w') as file:
        file.write('{"format": "something"}')
    said = run('report', missing, expect=2).stderr
    assert missing in said and 'weirperf-result' in said, said
    nowhere = os.path.join(folder, 'no', 'page.html')
    assert nowhere in run('report', a[0], '--html', nowhere, expect=2).stderr
    assert nowhere in run('compare', a[0], a[1], '--html', nowhere, expect=2).stderr
    for verb in ('report', 'compare', 'search'):
        assert run(verb, expect=2).stderr.startswith(f'weirperf {verb}: command line: cannot use it')
        assert run(verb, '--help').stdout.startswith(f'usage: weirperf {verb}')


def main():
    tests = [repeats_are_joined_without_loss, latencies_come_out_for_plotters, a_change_is_found_and_stops_a_script,
             too_few_repeats_say_nothing, mistakes_are_said_with_their_file]
    print(f'1..{len(tests)}')
    failed = 0
    for number, test in enumerate(tests, 1):
        with tempfile.TemporaryDirectory() as folder:
            try:
                test(folder)
                print(f'ok {number} - {test.__name__}')
            except (AssertionError, KeyError, IndexError, ValueError, OSError, subprocess.SubprocessError) as error:
                failed += 1
                indented = str(error).replace('\n', '\n# ')
                print(f'not ok {number} - {test.__name__}\n# {indented}')
    sys.exit(failed != 0)


if __name__ == '__main__':
    main()

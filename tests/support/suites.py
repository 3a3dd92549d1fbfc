#!/usr/bin/env python3
# Runs the suites of tests/suites: gives each its time budget, ends what overruns, counts single tests, shows what
# failed, and prints the sum as the last line. tools/test calls it when the host is ready.
import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LOGS = os.path.join(TOP, 'build', 'logs')
HARD_LIMIT = 3  # times the budget
LONG = 40  # times the budget that --long may take before the hard limit


class Suite:
    def __init__(self, name, budget_s, kind, command):
        self.name, self.budget_s, self.kind, self.command = name, int(budget_s), kind, command
        self.log = os.path.join(LOGS, name + '.log')


class Result:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.notes = []  # lines for a person: what failed and why, what was skipped and why

    def fail(self, note):
        self.failed += 1
        self.notes.append(note)


def read_suites():
    suites = []
    with open(os.path.join(TOP, 'tests', 'suites')) as file:
        for line in file:
            if line.strip() and not line.startswith('#'):
                suites.append(Suite(*line.split(None, 3)))
                suites[-1].command = suites[-1].command.strip()
    return suites


def descendants(pid):
    parents = {}
    for entry in os.listdir('/proc'):
        if entry.isdigit():
            try:
                with open(f'/proc/{entry}/stat') as file:
                    parents[int(entry)] = int(file.read().rsplit(')', 1)[1].split()[1])
            except (OSError, IndexError):
                pass
    found, grown = {pid}, True
    while grown:
        more = {p for p, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found


# Asks nicely first, so that a suite can remove its namespaces, then takes away what is left of it.
def end(process):
    for number, patience_s in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
        family = descendants(process.pid)
        targets = [process.pid] if number == signal.SIGTERM else family
        for pid in targets:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
    for pid in family - {process.pid}:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


# TAP as printed by tidy, the system tests and Criterion: "ok", "not ok", "# SKIP why", then "#" or YAML lines of detail.
def count_tap(text, result, prefix=''):
    planned, seen, detail = None, 0, False
    for line in text.splitlines():
        plan = re.match(r'1\.\.(\d+)', line)
        test = re.match(r'(not )?ok\b\s*\d*\s*-?\s*(.*)', line)
        if plan:
            planned = int(plan[1])
        elif test:
            seen += 1
            skip = re.search(r'#\s*skip\b:?\s*(.*)', test[2], re.I)
            detail = False
            if skip:
                result.skipped += 1
                result.notes.append(f'skipped: {prefix}{test[2].split("#")[0].strip()}: {skip[1] or "no reason given"}')
            elif test[1]:
                result.fail(f'failed: {prefix}{test[2]}')
                detail = True
            else:
                result.passed += 1
        elif detail and (line.startswith('#') or line.startswith(' ')):
            result.notes.append('    ' + line.lstrip('# ') if line.startswith('#') else '    ' + line)
    if planned is not None and seen < planned:
        result.fail(f'failed: {prefix}{planned - seen} of {planned} tests never ran')
    return seen


def count_meson(suite, folder, result):
    logs = os.path.join(folder, 'meson-logs')
    runs = []
    try:
        with open(os.path.join(logs, 'testlog.json')) as file:
            runs = [json.loads(line) for line in file if line.strip()]
        outputs = {}
        for part in xml.etree.ElementTree.parse(os.path.join(logs, 'testlog.junit.xml')).getroot():
            name = part.get('name').split('.', 1)[1] if '.' in part.get('name') else ''
            outputs[re.sub(r'^.* / ', '', name)] = (part.findtext('system-out') or '', part.findtext('system-err') or '')
    except (OSError, ValueError, xml.etree.ElementTree.ParseError) as error:
        result.fail(f'failed: {suite.name}: meson left no readable log: {error}')
        return
    for run in runs:
        name = re.sub(r'^.* / ', '', run['name'])
        before = result.failed
        out, err = outputs.get(name, ('', ''))
        if not count_tap(out, result, name + ': '):
            if run['result'] in ('OK', 'EXPECTEDFAIL'):
                result.passed += 1
                continue
            if run['result'] == 'SKIP':
                result.skipped += 1
                result.notes.append(f'skipped: {name}: ' + ((run.get('stdout') or '').strip() or 'no reason given'))
                continue
            result.fail(f'failed: {name}: {run["result"].lower()}')
        elif run['result'] not in ('OK', 'SKIP', 'EXPECTEDFAIL') and result.failed == before:
            result.fail(f'failed: {name}: {run["result"].lower()} although its tests passed')
        if result.failed > before:
            for text in (run.get('stdout') if not out else '', err or run.get('stderr')):
                result.notes += ['    ' + line for line in (text or '').strip().splitlines()[-60:]]


def run(suite, is_long):
    # A tenth of the budget is for starting and ending.
    env = dict(os.environ, WEIR_BUDGET_S=str(suite.budget_s * 9 // 10), PYTHONDONTWRITEBYTECODE='1',
               LSAN_OPTIONS='suppressions=' + os.path.join(TOP, 'tests', 'support', 'leaks.txt') + ':print_suppressions=0',
               ASAN_OPTIONS='detect_stack_use_after_return=1:strict_string_checks=1',
               UBSAN_OPTIONS='print_stacktrace=1:halt_on_error=1', TSAN_OPTIONS='halt_on_error=1')
    env.pop('WEIR_LONG', None)
    if is_long:
        env['WEIR_LONG'] = '1'
    limit_s = suite.budget_s * HARD_LIMIT * (LONG if is_long else 1)
    command, folder = suite.command, None
    if suite.kind == 'meson':
        build, tests = suite.command.split()
        folder = os.path.join(TOP, 'build', build)
        for name in ('testlog.json', 'testlog.junit.xml'):  # of the run before
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(folder, 'meson-logs', name))
        command = (f'tests/support/build.sh {build} --setup && meson test -C build/{build} --suite {tests} '
                   f'--print-errorlogs --timeout-multiplier {LONG if is_long else 1}')
    elif suite.kind == 'built':
        command = f'tests/support/build.sh release --quiet && {command}'
    result = Result()
    started = time.monotonic()
    with open(suite.log, 'w+') as log:
        process = subprocess.Popen(['bash', '-c', command], cwd=TOP, env=env, stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            status = None
            end(process)
        except BaseException:
            end(process)
            raise
    with open(suite.log, errors='replace') as log:
        text = log.read()
    if suite.kind == 'meson':
        if status is not None:
            count_meson(suite, folder, result)
    else:
        count_tap(text, result)
    tail = ['    ' + line for line in text.strip().splitlines()[-25:]]
    if status is None:
        result.fail(f'failed: {suite.name}: ended after {limit_s} s, {HARD_LIMIT} times its budget; its last lines:')
        result.notes += tail
    elif status and not result.failed:
        result.fail(f'failed: {suite.name}: exit status {status}; its last lines:')
        result.notes += tail
    elif not result.passed + result.failed + result.skipped:
        result.fail(f'failed: {suite.name}: ran no test at all; its last lines:')
        result.notes += tail
    return result, time.monotonic() - started


def main():
    parser = argparse.ArgumentParser(prog='tools/test', description='Builds weir and runs its tests.')
    parser.add_argument('--long', action='store_true', help='soaks, full counts, long fuzzing: hours')
    parser.add_argument('--list', action='store_true', help='name the suites and their budgets')
    parser.add_argument('names', nargs='*', metavar='NAME', help='run only these suites')
    arguments = parser.parse_args()
    suites = read_suites()
    unknown = set(arguments.names) - {suite.name for suite in suites}
    if unknown:
        sys.exit(f'tools/test: no suite named {", ".join(sorted(unknown))}; there are '
                 + ', '.join(suite.name for suite in suites))
    if arguments.list:
        for suite in suites:
            print(f'{suite.name:<16} {suite.budget_s:>5} s   {suite.kind} {suite.command}')
        return
    if arguments.names:
        suites = [suite for suite in suites if suite.name in arguments.names]
    os.makedirs(LOGS, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    total = Result()
    print(f'{"suite":<16} {"tests":>6} {"passed":>7} {"failed":>7} {"skipped":>8}   seconds of budget', flush=True)
    for suite in suites:
        result, seconds = run(suite, arguments.long)
        count = result.passed + result.failed + result.skipped
        print(f'{suite.name:<16} {count:>6} {result.passed:>7} {result.failed:>7} {result.skipped:>8}   '
              f'{seconds:>7.1f} of {suite.budget_s}{"  over budget" if seconds > suite.budget_s else ""}')
        for note in result.notes:
            print('  ' + note)
        sys.stdout.flush()
        total.passed += result.passed
        total.failed += result.failed
        total.skipped += result.skipped
    print(f'{total.passed} passed, {total.failed} failed, {total.skipped} skipped', flush=True)
    sys.exit(1 if total.failed or (total.skipped and os.environ.get('CI') == 'true') else 0)


if __name__ == '__main__':
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)

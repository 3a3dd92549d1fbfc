#!/usr/bin/env python3
# Runs the system tests of one port kind and prints TAP: run.py --port kernel|afxdp|lane [WORD...]; a WORD picks the tests
# whose file or name holds it. Each *_test.py here says its share of the budget (SECONDS), opens with a drawing of its
# hosts, and has functions test_*(lab) that raise when something does not hold. Counts scale to WEIR_BUDGET_S.
import argparse
import importlib
import os
import re
import signal
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, '..', '..', 'tools'), os.path.join(HERE, '..', 'support'), HERE]

import lab as laboratory  # noqa: E402
from judge import Skip  # noqa: E402


# Ways on which the clients of some hosts are local: all, or only those that publish, or that consume.
LANES = {'lane': ('',), 'lane-producers': ('producers',), 'lane-consumers': ('consumers',)}
# What has to hold of clients whatever lies between them and the router.
ANY_WAY = {'apply_test', 'ended_group_test', 'idle_test', 'large_events_test', 'many_events_test', 'members_test',
           'paused_router_test', 'slow_application_test', 'slow_consumer_test', 'standing_output_test',
           'stopped_member_test', 'two_groups_test', 'two_workers_test'}
# Of them, what is about one member alone, however its events were published: once over UDP, once over a lane.
MEMBER_ALONE = {'slow_application_test', 'standing_output_test', 'stopped_member_test'}


# What a test is given: a laboratory of its port kind, and how much it may do.
class TestLab(laboratory.Lab):
    def __init__(self, kind, factor, is_long):
        super().__init__('kernel' if kind in LANES else kind)
        self.on_lanes = LANES.get(kind, ())
        self.factor, self.is_long = factor, is_long
        self.notes = []

    # As many as the budget allows of what takes SECONDS in the ordinary run; all with --long.
    def count(self, ordinary, full):
        return full if self.is_long else max(1, min(full, int(ordinary * self.factor)))

    # A figure for the reader, printed below the test's line.
    def note(self, text):
        self.notes.append(text)


def runs_on(module, port):
    if port in LANES:
        return module.__name__ in (ANY_WAY if port == 'lane' else ANY_WAY - MEMBER_ALONE)
    return port in getattr(module, 'PORTS', ('kernel', 'afxdp'))


def find(words):
    found = []
    for name in sorted(os.listdir(HERE)):
        if not name.endswith('_test.py'):
            continue
        module = importlib.import_module(name[:-3])
        tests = [(n, f) for n, f in vars(module).items() if n.startswith('test_') and callable(f)]
        for test, function in tests:
            if not words or any(word in name or word in test for word in words):
                found.append((name[:-8] + ': ' + test[5:].replace('_', ' '), function, module.SECONDS / len(tests), module))
    return found


def indented(text):
    return re.sub('^', '# ', text.rstrip(), flags=re.M)


def main():
    parser = argparse.ArgumentParser(description='Runs the system tests, prints TAP.')
    parser.add_argument('--port', choices=('kernel', 'afxdp', *LANES), required=True)
    parser.add_argument('words', nargs='*')
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # below nohup the programs would not hear it from the tests
    tests = [t for t in find(arguments.words) if runs_on(t[3], arguments.port)]
    nominal = sum(test[2] for test in find([]) if runs_on(test[3], arguments.port))
    budget = float(os.environ.get('WEIR_BUDGET_S', nominal))
    factor = max(0.1, min(4.0, 0.8 * budget / nominal)) if nominal else 1
    print(f'1..{len(tests)}', flush=True)
    failed = 0
    for number, (name, function, _, _) in enumerate(tests, 1):
        started = time.monotonic()
        try:
            with TestLab(arguments.port, factor, os.environ.get('WEIR_LONG') == '1') as lab:
                try:
                    function(lab)
                except Skip as skip:
                    print(f'ok {number} - {name} # SKIP {skip}')
                    continue
                except Exception:
                    failed += 1
                    print(f'not ok {number} - {name}')
                    print(indented(traceback.format_exc()))
                    print(indented(lab.tails()))
                else:
                    print(f'ok {number} - {name}')
                print(indented('\n'.join([f'{time.monotonic() - started:.1f} s'] + lab.notes)), flush=True)
        except laboratory.Failure as failure:
            failed += 1
            print(f'not ok {number} - {name}\n{indented(str(failure))}', flush=True)
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()

# An application that takes longer with each batch than its lease and than the group's progress_timeout, and calls nothing of
# libweir meanwhile. One that says that it is at work keeps its session and its shards; one that does not loses them, and
# gets on all the same.
#
#   publisher ---- weir, 1 worker ---- application
#                  positions: 1 shard
import json
import os
import subprocess
import sys

from judge import check, check_equal, check_ledger
from lab import BUILD, TOP, program, topic, wait_until

SECONDS = 20
LIMITS = {'ping': '300ms', 'lease': '1s'}
EVENTS, PAUSE_S = 3000, 1.8
GROUP = {'name': 'all', 'kind': 'hold', 'mode': 'keyed', 'start': 'earliest'}


def run_slowly(lab, progress_timeout, *words):
    producers, consumers = lab.host('producers'), lab.host('consumers')
    spec = topic('positions', shards=1, groups=[GROUP | {'progress_timeout': progress_timeout}])
    router = lab.router([spec], limits=LIMITS).start()
    source = subprocess.Popen(['seq', str(EVENTS)], stdout=subprocess.PIPE)
    lab.start('weircat', [program('weircat'), 'publish', 'positions', '--router', router.address(producers)], producers,
              stdin=source.stdout).wait(20)
    source.wait()
    application = lab.start('application', [sys.executable, os.path.join(TOP, 'tests/support/slow_application.py'),
                                            os.path.join(BUILD, 'client/libweir.so'), router.address(consumers), 'positions',
                                            'all', str(EVENTS), str(PAUSE_S), *words], consumers)
    application.wait(60)
    wait_until(lambda: sum(group['held'] for group in router.ledger()['groups']) == 0, 'all is settled', 10)
    check_ledger(router, 'positions', EVENTS)
    router.stop()
    offsets = [int(line.split()[1]) for line in application.out().splitlines()]
    return offsets, json.loads(application.err().splitlines()[-1])


def test_a_slow_application_that_says_it_works_keeps_session_and_shards(lab):
    offsets, counts = run_slowly(lab, '1s', 'keepalive')
    check_equal(offsets, list(range(EVENTS)), 'offsets, in order, each once')
    check_equal((counts['redelivered'], counts['unsettled'], counts['sessions']), (0, 0, 1), 'redelivered, unsettled, sessions')


def test_a_slow_application_that_says_nothing_gets_on_all_the_same(lab):
    offsets, counts = run_slowly(lab, '30s')
    check_equal(sorted(set(offsets)), list(range(EVENTS)), 'offsets')
    # What it had settled is not handed out again, although the router never heard of it.
    check_equal(len(offsets), EVENTS, 'events handed out')
    check(counts['sessions'] > 1, 'no session was lost: the test shows nothing')
    check(counts['unsettled'] > 0, 'a session was lost with events on hand, and the counts do not say so')

# The demo, as a newcomer calls it: it judges well, shows latency at full load and at a tenth of it, explains its words, and
# calls nothing a rate that was too short for one. Its hosts are its own.
#
#   tools/demo.py: vehicles ---- weir ---- maps
import json
import os
import subprocess

from judge import check, check_equal
from lab import TOP

SECONDS = 6
PORTS = ('kernel',)


def demo(*words):
    done = subprocess.run(['python3', os.path.join(TOP, 'tools', 'demo.py'), '--port', 'kernel', '--json', *words],
                          capture_output=True, text=True, timeout=120)
    check_equal(done.returncode, 0, f'status of the demo\n{done.stderr}')
    return json.loads(done.stdout), done.stderr


def test_latency_is_shown_at_full_load_and_at_a_tenth(lab):
    verdict, screen = demo('--seconds', '1')
    check(verdict['events_per_second'] > 0, f'no rate: {verdict}')
    for name in ('latency_ns', 'latency_at_a_tenth_ns'):
        check(0 < verdict[name]['p50'] <= verdict[name]['p99'], f'{name}: {verdict}')
    check(all(word in screen for word in ('resent', 'refused', 'Full load', 'a tenth of it: latency')), screen)


def test_a_few_events_are_no_rate(lab):
    verdict, screen = demo('--events', '10')
    check_equal((verdict['published'], verdict['events_per_second']), (10, None), 'published and rate of ten events')
    check('too few to tell a rate' in screen, screen)

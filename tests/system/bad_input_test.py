# Strangers and broken clients: random, truncated and mutated frames of every kind, half of them inside a session that was
# properly opened, beside valid traffic. Every one is counted under a name; valid traffic does not notice.
#
#   producers ----\
#   strangers ----- weir, 1 worker ---- consumers
import json
import os

from judge import Load, check, check_between, check_clean, check_ledger
from lab import program, refused_frames, topic

SECONDS = 26
# Judged by the bytes of the frame alone, so that sender and router must agree on the number.
STATELESS = ('short', 'magic', 'version', 'kind', 'length', 'flags', 'count', 'crc')


def memory_kib(pid):
    with open(f'/proc/{pid}/status') as file:
        return next(int(line.split()[1]) for line in file if line.startswith('VmRSS'))


def test_bad_frames_are_counted_by_name_and_disturb_nobody(lab):
    producers, strangers, consumers = lab.host('producers'), lab.host('strangers'), lab.host('consumers')
    router = lab.router([topic('positions'), topic('target', groups=('all',))]).start()
    load = Load(lab, router)
    load.consume(consumers)
    load.wait_members(1)
    before, memory = router.status(), memory_kib(router.process.pid)
    bad_frames, events = lab.count(1_200_000, 10_000_000), lab.count(400_000, 5_000_000)
    rate = 60_000
    bad = lab.start('badinput', [program('badinput'), '--router', router.address(strangers).removeprefix('udp://'), '--frames',
                                 str(bad_frames), '--rate', str(rate), '--seed', os.environ.get('WEIR_SEED', '1')], strangers)
    load.produce(producers, events=events, rate=int(events * rate / bad_frames))
    bad.wait(60 + bad_frames / 10_000)
    check_clean(load.finish(timeout_s=120)['all'], events)
    said, after = json.loads(bad.out()), router.status()
    counted, start = refused_frames(after), refused_frames(before)
    beyond, missing = said['expected'].get('none', 0), 0  # what no stateless check refuses may still be, by any name
    for reason in STATELESS:
        expected = said['expected'].get(reason, 0)
        refused = counted.get(reason, 0) - start.get(reason, 0)
        # A frame that a full socket or ring lost, while something else had the worker's core, was never bad.
        check_between(refused, expected * 0.95 - 10, expected + beyond, f'frames refused as {reason}')
        missing += max(0, expected - refused)
    check(beyond > 0, 'no mutated frame got past the stateless checks: the storm is too tame')
    check_ledger(router, 'positions', events)
    # The sender had one session, and one more for each goodbye it said by accident; their streams are bounded too.
    check_between(after['sessions'], before['sessions'], before['sessions'] + said['sessions'] + 1, 'sessions after the storm')
    grown = memory_kib(router.process.pid) - memory
    check(grown < 32 * 1024, f'the router grew by {grown} KiB')
    check(router.process.is_running(), 'the router ended')
    lab.note(f'{said["sent"]} bad frames, {missing} of them lost on the way; expected {json.dumps(said["expected"])}')
    router.stop()

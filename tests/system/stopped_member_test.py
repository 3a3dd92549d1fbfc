# A member that is stopped for longer than its lease, as by a debugger, a full disk or the host of a virtual machine, and then
# goes on: its shards have been given away, and of what waits in its socket it hands out nothing.
#
#   producer ---- weir, 1 worker ---- subscribers
#   20,000/s      positions: 4 shards  2 processes, group all; the first is stopped
import json
import signal
import time

from judge import Load, check, check_equal, check_ledger
from lab import program, topic, wait_until

SECONDS = 9
LIMITS = {'ping': '300ms', 'lease': '1s'}
RATE = 20_000


def subscribe(lab, router, host):
    return lab.start('subscriber', [program('weircat'), 'subscribe', 'positions', '--group', 'all', '--json', '--router',
                                    router.address(host)], host)


def lines(process):
    return process.out().splitlines()


# (shard, offset) -> event, of whole lines.
def events(texts):
    found = [json.loads(text) for text in texts if text.endswith('}')]
    return {(event['shard'], event['offset']): event for event in found}


def is_stopped(process):
    with open(f'/proc/{process.pid}/stat') as file:
        return file.read().rpartition(')')[2].split()[0] == 'T'


def terms(router):
    return {row['shard']: row['term'] for row in router.members('positions', 'all')['shards']}


def test_a_member_that_was_stopped_hands_out_nothing_of_a_term_that_is_over(lab):
    producers, consumers = lab.host('producers'), lab.host('consumers')
    router = lab.router([topic('positions')], limits=LIMITS).start()
    load = Load(lab, router)
    stopped, other = subscribe(lab, router, consumers), subscribe(lab, router, consumers)
    load.wait_members(2)
    seconds = 6
    producer = load.produce(producers, events=RATE * seconds, rate=RATE)
    time.sleep(1)
    stopped.signal(signal.SIGSTOP)
    wait_until(lambda: is_stopped(stopped), 'the member is stopped', 5)
    stopped_ns = time.monotonic_ns()
    before = lines(stopped)
    load.wait_members(1)
    time.sleep(0.5)
    given_away = terms(router)
    stopped.signal(signal.SIGCONT)
    load.wait_members(2)
    producer.wait(60)
    wait_until(lambda: load.held(['all']) == 0, 'everything is settled', 30)
    for process in (stopped, other):
        process.signal(signal.SIGTERM)
        process.wait(15)
    late = events(lines(stopped)[len(before):])
    # What it was writing when it was stopped it may finish. What was appended later it had not been handed yet.
    stale = [event for event in late.values()
             if int(event['append_ns'], 0) > stopped_ns and event['term'] < given_away[event['shard']]]
    seen = events(before).keys() | late.keys() | events(lines(other)).keys()
    check_equal(len(stale), 0, 'events handed out of terms that are over')
    check_equal(len(seen), RATE * seconds, 'events that came')
    check(any(event['term'] > given_away[event['shard']] for event in late.values()), 'the stopped member got no shard again')
    check_ledger(router, 'positions', RATE * seconds)
    lab.note(f'{len(seen)} events, {len(late)} of them by the member that went on')
    router.stop()

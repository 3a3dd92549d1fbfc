# Members come and go under load: the shards of a member that dies go to the others after its lease, what it had not
# settled comes again and is marked; the shards that a new member takes are handed over without a second delivery.
#
#   producers ---- weir, 1 worker ---- consumers
#   2 processes    positions: 4 shards  3 or 2 processes, group all
import time

from judge import Load, check, check_clean, check_ledger
from lab import topic

SECONDS = 44
LIMITS = {'ping': '300ms', 'lease': '1s'}


def begin(lab, members):
    producers, consumers = lab.host('producers'), lab.host('consumers')
    router = lab.router([topic('positions')], limits=LIMITS).start()
    load = Load(lab, router)
    for _ in range(members):
        load.consume(consumers)
    load.wait_members(members)
    events = lab.count(1_500_000, 20_000_000)
    for _ in range(2):
        load.produce(producers, events // 2)
    return consumers, router, load, events // 2 * 2


# What the dead member may have been handed and not settled: all that lay between settled_to and sent_to of its shards.
def unsettled(router, session):
    return sum(s['sent_to'] - s['settled_to'] for s in router.members('positions', 'all')['shards'] if s['session'] == session)


def test_a_killed_member_costs_at_most_its_unsettled_window_marked(lab):
    _, router, load, events = begin(lab, 3)
    time.sleep(1)
    log_events = 4 * (1 << 20) // 80  # no more than the logs hold can be unsettled
    load.consumers[0].kill()
    verdict = load.finish(timeout_s=60 + events / 50_000)['all']
    check_clean(verdict, events, redelivered_max=log_events)
    check_ledger(router, 'positions', events)
    lab.note(f'{events} events, {verdict["redelivered"]} redelivered and marked')
    router.stop()


def test_a_joining_member_gets_shards_and_nothing_comes_twice(lab):
    consumers, router, load, events = begin(lab, 2)
    time.sleep(0.5)
    before = {s['shard']: s['term'] for s in router.members('positions', 'all')['shards']}
    load.consume(consumers)
    load.wait_members(3)
    after = {s['shard']: s['term'] for s in router.members('positions', 'all')['shards']}
    check(after != before, 'no shard got a new term although a member joined')
    check_clean(load.finish(timeout_s=60 + events / 50_000)['all'], events)
    check_ledger(router, 'positions', events)
    lab.note(f'{events} events, {sum(after[s] != before[s] for s in after)} shards moved to the new member')
    router.stop()

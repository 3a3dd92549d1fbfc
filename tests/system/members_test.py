# Members come and go under load: the shards of a member that dies go to the others after its lease, what it had not
# settled comes again and is marked; the shards that a new member takes are handed over without a second delivery.
#
#   producers ---- weir, 1 worker ---- consumers
#   2 processes    positions: 4 shards  3 or 2 processes, group all
import time

from judge import Load, check, check_clean, check_ledger
from lab import topic

SECONDS = 11
EVENTS = 20_000_000  # of the long version, by both producers, at least: a number would be through before anybody dies
LONG_SECONDS = 12
LOG_BYTES, EVENT_BYTES = 1 << 20, 16 + 64
LIMITS = {'ping': '300ms', 'lease': '1s'}


def begin(lab, members):
    producers, consumers = lab.host('producers'), lab.host('consumers')
    router = lab.router([topic('positions')], limits=LIMITS).start()
    load = Load(lab, router)
    for _ in range(members):
        load.consume(consumers)
    load.wait_members(members)
    # Enough for the change to fall into the middle of it.
    for _ in range(2):
        load.produce(producers, seconds=LONG_SECONDS if lab.is_long else max(4, 5 * lab.factor))
    time.sleep(1.5)
    return consumers, router, load


# All that was published has come to its consumers.
def finish(lab, load, router, **more):
    verdict = load.finish(timeout_s=300 if lab.is_long else 90)['all']
    check_clean(verdict, **more)
    check(not lab.is_long or verdict['published'] >= EVENTS, f'only {verdict["published"]} events')
    check_ledger(router, 'positions', verdict['published'])
    return verdict


def shards_of(router):
    return {row['shard']: row for row in router.members('positions', 'all')['shards']}


def check_still_loaded(load):
    check(all(p.is_running() for p in load.producers), 'the load ended before the change: make it longer')


def test_a_killed_member_costs_at_most_its_unsettled_window_marked(lab):
    consumers, router, load = begin(lab, 3)
    before = shards_of(router)
    load.consumers[0].kill()
    time.sleep(0.1)
    # Until its lease is over the rows of the dead member stand still: what it may have seen, and had not settled.
    at_death = shards_of(router)
    check_still_loaded(load)
    load.wait_members(2)
    after = shards_of(router)
    check_still_loaded(load)
    dead = [shard for shard in before if after[shard]['term'] != before[shard]['term']]
    check(dead, 'no shard got a new member')
    window = sum(at_death[shard]['sent_to'] - at_death[shard]['settled_to'] for shard in dead)
    if router.address(consumers).startswith('unix:'):
        # A lane is over with its process, before anybody could look: its member may have seen all that a log holds.
        window = len(dead) * LOG_BYTES // EVENT_BYTES
    verdict = finish(lab, load, router, redelivered_max=window)
    lab.note(f'{verdict["published"]} events; the dead member left {len(dead)} shards and {window} unsettled events, '
             f'{verdict["redelivered"]} came again, marked')
    router.stop()


def test_a_joining_member_gets_shards_and_nothing_comes_twice(lab):
    consumers, router, load = begin(lab, 2)
    before = shards_of(router)
    load.consume(consumers)
    load.wait_members(3)
    check_still_loaded(load)
    after = shards_of(router)
    moved = [shard for shard in before if after[shard]['session'] != before[shard]['session']]
    check(moved, 'no shard went to the new member')
    verdict = finish(lab, load, router)
    lab.note(f'{verdict["published"]} events, {len(moved)} shards went to the new member')
    router.stop()

# Publish and subscribe: two groups, each sees every event once; inside a group the members share the shards.
#
#                                     map   2 members
#   producers ---- weir, 1 worker ----
#                                     audit 1 member
from judge import Load, check_clean, check_ledger
from lab import topic

SECONDS = 5


def test_each_group_sees_every_event(lab):
    producers, maps, audits = lab.host('producers'), lab.host('maps'), lab.host('audits')
    router = lab.router([topic('positions', groups=('map', 'audit'))]).start()
    load = Load(lab, router)
    load.consume(maps, 'map')
    load.consume(maps, 'map')
    load.consume(audits, 'audit')
    load.wait_members(2, 'map')
    load.wait_members(1, 'audit')
    events = lab.count(5_000_000, 20_000_000)
    for _ in range(2):
        load.produce(producers, events=events // 2)
    for verdict in load.finish(timeout_s=60 + events / 50_000).values():
        check_clean(verdict, events // 2 * 2)
    check_ledger(router, 'positions', events // 2 * 2)
    lab.note(f'{events} events to each of 2 groups')
    router.stop()

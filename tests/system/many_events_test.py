# The main job: many events from two producers, by key to four shards, each event once and in order per key.
#
#   producers ---- weir, 1 worker ---- consumers
#   2 processes    positions: 4 shards  4 processes, group all
from judge import Load, check_clean, check_ledger
from lab import topic

SECONDS = 9
KEYS = 5000


def test_two_producers_to_four_shards_lose_double_and_reorder_nothing(lab):
    producers, consumers = lab.host('producers'), lab.host('consumers')
    router = lab.router([topic('positions')]).start()
    load = Load(lab, router)
    for _ in range(4):
        load.consume(consumers)
    load.wait_members(4)
    events = lab.count(30_000_000, 20_000_000)
    for _ in range(2):
        load.produce(producers, events=events // 2, keys=KEYS)
    verdict = load.finish(timeout_s=40 + events / 100_000)['all']
    check_clean(verdict, events // 2 * 2)
    check_ledger(router, 'positions', events // 2 * 2)
    lab.note(f'{events} events')
    router.stop()

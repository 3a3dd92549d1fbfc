# Two workers, each with the port of one host, two shards each: half of the frames arrive at the wrong worker and cross the
# mesh, in both directions.
#
#   producers ---- worker 0 \
#                    mesh     positions: 4 shards
#   consumers ---- worker 1 /
from judge import Load, check, check_clean, check_ledger
from lab import topic

SECONDS = 5


def test_frames_that_cross_the_mesh_keep_order_and_number(lab):
    producers, consumers = lab.host('producers'), lab.host('consumers')
    router = lab.router([topic('positions', homes={'0': 0, '1': 1, '2': 0, '3': 1})], workers=2).start()
    load = Load(lab, router)
    for _ in range(4):
        load.consume(consumers)
    load.wait_members(4)
    events = lab.count(6_000_000, 20_000_000)
    for _ in range(2):
        load.produce(producers, events=events // 2)
    check_clean(load.finish(timeout_s=60 + events / 50_000)['all'], events // 2 * 2)
    ledger = check_ledger(router, 'positions', events // 2 * 2)
    crossed = sum(worker['mesh_enqueued'] for worker in router.status()['workers'])
    check(crossed > 0, 'no frame crossed the mesh')
    check(ledger['totals']['in_mesh'] >= 0, f'in mesh: {ledger["totals"]["in_mesh"]}')
    lab.note(f'{events} events, {crossed} frames crossed the mesh')
    router.stop()

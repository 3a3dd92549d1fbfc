# Paths that carry little, or much, from the start: both ends agree on what fits, small and large events arrive.
#
#   producers ---- weir, 1 worker ---- consumers
#            MTU 9000 to 560      MTU 9000 to 560
from judge import Load, check_between, check_clean, check_ledger
from lab import topic

SECONDS = 4
XDP_MTU_MAX = 3498


def through(lab, mtu, least):
    if lab.kind == 'afxdp' and mtu > XDP_MTU_MAX:
        mtu, least = XDP_MTU_MAX, 1472
    limits = {'frame_size': mtu - 32} if mtu > 8000 else {}
    largest = max(1472, (mtu - 28) // 8 * 8)  # asked for; where the path carries less, they step down
    producers, consumers = lab.host('producers', mtu), lab.host('consumers', mtu)
    router = lab.router([topic('small', shards=1), topic('large', shards=1, event_max='64KiB')], limits=limits).start()
    loads = []
    for name, more in (('small', {'events': 2000}), ('large', {'events': 50, 'payload': 20 * 1024})):
        load = Load(lab, router, name)
        load.consume(consumers, frame_size=largest)
        load.wait_members(1)
        load.produce(producers, frame_size=largest, **more)
        loads.append((name, load, more['events']))
    for name, load, events in loads:
        sizes = [shard['frame_size'] for shard in router.members(name, 'all')['shards']]
        if not lab.on_lanes:
            check_between(max(sizes), least, mtu - 28, f'frame size of {name} at MTU {mtu}')
        check_clean(load.finish(timeout_s=20)['all'], events)
        check_ledger(router, name, events)
    router.stop()


def test_a_path_of_9000_bytes(lab):
    through(lab, 9000, 8192)


def test_a_path_of_1500_bytes(lab):
    through(lab, 1500, 1472)


def test_a_path_of_1300_bytes(lab):
    through(lab, 1300, 1232)


def test_a_path_of_560_bytes(lab):
    through(lab, 560, 512)

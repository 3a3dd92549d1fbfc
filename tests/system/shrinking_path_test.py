# The path loses MTU while producers and consumers run: frames that were full vanish without a word. Both ends step down by
# themselves, large events go on in smaller pieces, nothing is lost, and the router says so.
#
#   producers ---- bridge ---- weir, 1 worker ---- bridge ---- consumers
#               1500 -> 1280                    1500 -> 1280
from judge import Load, check, check_clean, check_ledger
from lab import run, topic, wait_until

SECONDS = 12


# Bridges pass what is to be segmented later whatever the MTU: real ones never see that.
def shrink(lab, host, mtu):
    for netns, interface in ((lab.router_netns, host.router_interface), (host.netns, host.interface)):
        run('ip', 'netns', 'exec', netns, 'ethtool', '-K', interface, 'tx-udp-segmentation', 'off', 'gso', 'off')
    for interface in ('near', 'far', 'bridge'):
        run('ip', '-n', host.path_netns, 'link', 'set', interface, 'mtu', str(mtu))


def give_ipv6(lab, host):
    for netns, interface, end in ((lab.router_netns, host.router_interface, 1), (host.netns, host.interface, 2)):
        run('ip', '-n', netns, 'address', 'add', f'fd77:{host.number}::{end}/64', 'dev', interface, 'nodad')
    host.router_address = f'[fd77:{host.number}::1]'


def through_a_shrinking_path(lab, mtu, is_ipv6=False, **more):
    before = 1520 if is_ipv6 else 1500  # frames of 1472 bytes fit
    producers, consumers = (lab.host(name, before, is_far=True) for name in ('producers', 'consumers'))
    router = lab.router([topic('positions', event_max='64KiB')])
    if is_ipv6:
        for host in (producers, consumers):
            give_ipv6(lab, host)
        if router.kind == 'kernel':
            router.topology['ports'][0]['address'] = '::'
    router.start()
    load = Load(lab, router)
    load.consume(consumers)
    load.wait_members(1)
    load.produce(producers, **more)
    wait_until(lambda: router.ledger()['totals']['settled'] > 100, 'events flow')
    for host in (producers, consumers):
        shrink(lab, host, mtu)
    check_clean(load.finish(timeout_s=60)['all'], more['events'])
    check_ledger(router, 'positions', more['events'])
    steps = sum(worker['path_steps'] for worker in router.status()['workers'])
    check(steps > 0, 'the router never stepped down: the path carried everything')
    check('the path carries no more' in router.process.err(), f'the router does not say it\n{router.process.tail()}')
    router.stop()


def test_events_go_on_when_full_frames_vanish(lab):
    through_a_shrinking_path(lab, 1280, events=60_000, rate=20_000)


def test_large_events_go_on_in_smaller_pieces(lab):
    through_a_shrinking_path(lab, 600, events=600, rate=150, payload=20_000)


def test_events_go_on_over_ipv6(lab):
    through_a_shrinking_path(lab, 1280, is_ipv6=True, events=30_000, rate=10_000)

# What becomes of AF_XDP ports while hosts change: dead predecessors, interfaces that are made again, programs that are
# taken away; and whose packets they take: VLANs', and nobody else's.
#
#   producers ---- weir
import json

from judge import Load, Skip, check, check_clean, check_equal, check_ledger
from lab import program, run, topic, wait_until
from ports import accepted, check_lost, check_well, port_in, publish

PORTS = ('afxdp',)
SECONDS = 15


def programs(lab, interface):
    return 'xdp' in run('ip', '-n', lab.router_netns, '-d', 'link', 'show', 'dev', interface).stdout


# Whatever the dead instance was configured for, the next one of its name is deaf on no interface.
def test_what_a_killed_router_left_in_the_kernel_disturbs_nobody(lab):
    host = lab.host('producers')
    router = lab.router([topic('positions')]).start()
    afxdp = router.topology['ports']
    check(publish(lab, host), 'over AF_XDP')
    kernel = [{'name': 'front', 'kind': 'kernel'}]
    for name, ports in (('kernel port', kernel), ('AF_XDP again', afxdp), ('kernel port again', kernel)):
        router.process.kill()
        check(programs(lab, host.router_interface) == (name != 'AF_XDP again'), f'the program before {name}')
        router.topology['ports'] = ports
        router.start()
        check(publish(lab, host), f'after a kill, {name}')
        check_equal(accepted(router), 1, f'events of the router with {name}')
        check_equal([w for w in router.status()['warnings'] if 'XDP' in w], [], 'warnings')
    router.stop()
    check(not programs(lab, host.router_interface), 'a program stayed after a clean stop')
    interface = host.router_interface
    router.topology['ports'] = afxdp
    router.start().process.kill()
    for command in (('down',), ('name', 'renamed'), ('up',)):
        run('ip', '-n', lab.router_netns, 'link', 'set', interface, *command)
        interface = 'renamed' if command[0] == 'name' else interface
    router.topology['ports'] = [{**afxdp[0], 'interface': 'renamed'}]
    router.start()
    check(publish(lab, host), 'over the renamed interface')
    router.stop()


# A peer's namespace is removed, a virtual function is taken away; then there is another interface of the name.
def test_an_interface_that_is_made_again_is_taken_up_again(lab):
    host = lab.host('producers')
    router = lab.router([topic('positions')]).start()
    check(publish(lab, host), 'before')
    for losses in (1, 2):
        run('ip', '-n', lab.router_netns, 'link', 'del', host.router_interface)
        check_lost(router, 'interface is gone', 'by itself')
        lab.link(host.netns, host.interface, lab.router_netns, host.router_interface)
        for netns, interface, address in ((lab.router_netns, host.router_interface, host.router_address),
                                          (host.netns, host.interface, host.address)):
            run('ip', '-n', netns, 'address', 'add', f'{address}/24', 'dev', interface)
        check_well(lab, router, host, losses)
    check_equal(accepted(router), 3, 'events')
    xdp = router.status()['ports'][0]['xdp']
    check_equal(xdp['kinds']['publish']['events'], 3, 'events that the XDP program counted over all its lives')
    router.stop()
    check(not programs(lab, host.router_interface), 'a program stayed after a clean stop')


# Workers are in the middle of it, and what was on its way is sent again.
def test_an_interface_that_is_made_again_under_load_loses_nothing(lab):
    producers, consumers = lab.host('producers'), lab.host('consumers')
    router = lab.router([topic('positions')]).start()
    load = Load(lab, router)
    load.consume(consumers)
    load.wait_members(1)
    load.produce(producers, events=100_000, rate=25_000)
    wait_until(lambda: accepted(router) > 10_000, 'events flow')
    run('ip', '-n', lab.router_netns, 'link', 'del', producers.router_interface)
    wait_until(lambda: router.status()['ports'][0]['state'] == 'lost', 'the loss is seen')
    lab.link(producers.netns, producers.interface, lab.router_netns, producers.router_interface)
    for netns, interface, address in ((lab.router_netns, producers.router_interface, producers.router_address),
                                      (producers.netns, producers.interface, producers.address)):
        run('ip', '-n', netns, 'address', 'add', f'{address}/24', 'dev', interface)
    check_clean(load.finish(timeout_s=60)['all'], 100_000)
    check_ledger(router, 'positions', 100_000)
    check_equal(router.status()['ports'][0]['losses'], 1, 'losses')
    router.stop()


# Also when nothing but our program was taken away.
def test_a_program_that_was_removed_is_put_back(lab):
    host = lab.host('producers')
    router = lab.router([topic('positions')]).start()
    before = router.status()['ports'][0]['xdp']['program']
    pin = f'/sys/fs/bpf/weir/{router.instance}/{host.router_interface}/link'
    run('bpftool', 'link', 'detach', 'pinned', pin)
    wait_until(lambda: router.status()['ports'][0]['losses'] == 1, 'the loss is seen')
    check_well(lab, router, host, 1)
    check(router.status()['ports'][0]['xdp']['program'] != before, 'the program is still the old one')
    check('XDP program was taken' in router.process.err(), 'the log does not say so')
    router.stop()


# An AF_XDP port of a host that forwards answers in nobody else's name.
#
#   producers ---- weir's host, which forwards ---- beyond, with a weir of its own
def test_what_is_for_others_goes_on_to_them(lab):
    near, beyond = lab.host('producers'), lab.host('beyond')
    run('nsenter', f'--net=/run/netns/{lab.router_netns}', 'sysctl', '-qw', 'net.ipv4.ip_forward=1')
    far = lab.router([topic('positions')], kind='kernel')
    netns, lab.router_netns = lab.router_netns, beyond.netns
    far.start()
    lab.router_netns = netns
    router = lab.router([topic('positions')], hosts=[near]).start()
    for i in range(3):
        check(publish(lab, near, address=beyond.address), 'an event through the host')
        check_equal((accepted(far), accepted(router)), (i + 1, i), 'events of the router beyond, and of the one between')
        check(publish(lab, near), 'an event for the host')
    check_equal((accepted(far), accepted(router)), (3, 3), 'events in the end')
    router.stop()
    far.stop()


# Clients of a VLAN, whose tags the network card or the veth hands over beside the packet, as is the default.
def test_clients_behind_a_vlan_are_served(lab):
    host = lab.host('producers')
    router = lab.router([topic('positions')]).start()
    xdp = router.status()['ports'][0]['xdp']
    if xdp['vlan_tags'] == 'hidden':
        check(any('VLAN' in text for text in router.status()['warnings']), 'no warning of hidden tags')
        raise Skip('needs a kernel that tells XDP programs of VLAN tags (6.8)')
    mac = json.loads(run('ip', '-n', lab.router_netns, '-j', 'link', 'show', host.router_interface).stdout)[0]['address']
    run('ip', '-n', host.netns, 'neigh', 'add', host.router_address, 'dev', host.interface, 'lladdr', mac)
    run('nsenter', f'--net=/run/netns/{host.netns}', program('vlan-tag'), host.interface, '100')
    wait_until(lambda: publish(lab, host, 1000), 'an event with its tag beside the packet')
    run('nsenter', f'--net=/run/netns/{host.netns}', 'ethtool', '-K', host.interface, 'txvlan', 'off')
    check(publish(lab, host), 'an event with its tag inside the packet')
    router.stop()


# An interface whose driver has no XDP is refused with the words of the key that allows it, and works with them.
#
#   producers ---- bridge of weir's host
def test_xdp_above_the_driver_is_by_leave(lab):
    host = lab.host('producers')
    ip = ('ip', '-n', lab.router_netns)
    run(*ip, 'link', 'add', 'over', 'type', 'bridge')
    run(*ip, 'address', 'flush', 'dev', host.router_interface)
    run(*ip, 'link', 'set', host.router_interface, 'master', 'over')
    run(*ip, 'link', 'set', 'over', 'up')
    run(*ip, 'address', 'add', f'{host.router_address}/24', 'dev', 'over')
    router = lab.router([topic('positions')])
    router.topology['ports'][0]['interface'] = 'over'
    process = router.launch()
    process.wait(20, expect=1)
    check('xdp: generic' in process.err(), f'the key is not named: {process.err()}')
    router.topology['ports'][0]['xdp'] = 'generic'
    router.start()
    check_equal(router.status()['ports'][0]['xdp']['mode'], 'generic', 'mode')
    check(not publish(lab, host, 1500), 'datagrams in one piece get through')
    trouble = port_in(router, 'hindered')['trouble']
    check('UDP_SEGMENT' in trouble['reason'], f'what is dropped is not explained: {trouble}')
    run('nsenter', f'--net=/run/netns/{host.netns}', 'ethtool', '-K', host.interface, 'tx-udp-segmentation', 'off')
    check(publish(lab, host), 'an event by XDP above the driver')
    router.stop()

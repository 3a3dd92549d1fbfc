# What becomes of ports while hosts change: dead predecessors, interfaces that go and come back, addresses, VLANs. Whatever
# happens, frames get through again by themselves, and status and log say what was wrong.
#
#   producers ---- weir
from judge import check, check_equal
from lab import program, run, topic, wait_until

PORTS = ('afxdp',)
SECONDS = 20


# Publishes one event from the host; whether the router acknowledged it.
def publish(lab, host, wait_ms=4000, address=None):
    command = ['nsenter', f'--net=/run/netns/{host.netns}', 'sh', '-c',
               f'echo x | {program("weircat")} publish positions --router udp://{address or host.router_address}:9347 '
               f'--wait-ms {wait_ms}']
    return run(*command, check=False).returncode == 0


def accepted(router):
    return router.ledger()['totals']['accepted']


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

# What becomes of ports of every kind while links and addresses of their host come and go: frames get through again by
# themselves, and status and log say what was wrong.
#
#   producers ---- weir
from judge import check
from lab import run, topic, wait_until
from ports import check_lost, check_well, publish

SECONDS = 8


def test_an_interface_that_goes_down_and_up_says_so(lab):
    host = lab.host('producers')
    router = lab.router([topic('positions')])
    router.give_each_host_a_port()
    router.start()
    check(publish(lab, host), 'before')
    for losses, (netns, interface, word) in enumerate(((lab.router_netns, host.router_interface, 'is down'),
                                                       (host.netns, host.interface, 'no carrier')), 1):
        run('ip', '-n', netns, 'link', 'set', interface, 'down')
        check_lost(router, word, 'again by itself')
        run('ip', '-n', netns, 'link', 'set', interface, 'up')
        check_well(lab, router, host, losses)
    router.stop()


def test_an_address_that_goes_and_comes_is_followed(lab):
    host = lab.host('producers')
    router = lab.router([topic('positions')])
    router.give_each_host_a_port()
    router.start()
    run('ip', '-n', lab.router_netns, 'address', 'add', '10.77.1.9/24', 'dev', host.router_interface)
    if lab.kind == 'afxdp':
        wait_until(lambda: publish(lab, host, 500, '10.77.1.9'), 'the port takes what is for an address that was added')
        run('ip', '-n', lab.router_netns, 'address', 'del', '10.77.1.9/24', 'dev', host.router_interface)
        wait_until(lambda: not publish(lab, host, 500, '10.77.1.9'), 'the port leaves what is for an address that went')
    run('ip', '-n', lab.router_netns, 'address', 'flush', 'dev', host.router_interface)
    check_lost(router, 'address', 'ip address add', 'again by itself')
    run('ip', '-n', lab.router_netns, 'address', 'add', f'{host.router_address}/24', 'dev', host.router_interface)
    check_well(lab, router, host, 1)
    router.stop()

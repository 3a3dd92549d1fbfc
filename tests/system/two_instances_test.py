# Two daemons on one host share nothing; a second one on the same port is refused; one that was killed leaves nothing that
# stops the next.
#
#   left  ---- weir A
#   right ---- weir B
from judge import Load, check, check_clean, check_ledger
from lab import topic

SECONDS = 4


def test_two_instances_do_not_meet(lab):
    left, right = lab.host('left'), lab.host('right')
    routers = []
    for host, address in ((left, left.router_address), (right, right.router_address)):
        router = lab.router([topic('positions')], hosts=[host])
        if router.kind == 'kernel':
            router.topology['ports'][0]['address'] = address
        routers.append(router.start())
    loads = []
    events = lab.count(100_000, 1_000_000)
    for router, host in zip(routers, (left, right)):
        load = Load(lab, router)
        load.consume(host)
        load.wait_members(1)
        load.produce(host, events=events)
        loads.append(load)
    for router, load in zip(routers, loads):
        check_clean(load.finish(timeout_s=60)['all'], events)
        check_ledger(router, 'positions', events)
    routers[0].stop()
    check(routers[1].status()['pid'] == routers[1].process.pid, 'the second instance went away with the first')
    routers[1].stop()


def test_a_second_start_on_the_same_port_names_the_port(lab):
    lab.host('producers')
    first = lab.router([topic('positions')]).start()
    second = lab.router([topic('positions')])
    process = second.launch()
    status = process.wait(20, expect=None)
    check(status == 1, f'the second start ended with status {status}, not 1\n{process.tail()}')
    port = 'to1' if first.kind == 'afxdp' else '9347'
    check(port in process.err(), f'the message does not name the port {port}:\n{process.tail()}')
    check(first.status()['pid'] == first.process.pid, 'the first instance suffered')
    first.stop()


def test_the_same_instance_name_starts_once(lab):
    lab.host('producers')
    first = lab.router([topic('positions')]).start()
    second = lab.router([topic('positions')])
    second.topology['instance'] = first.instance
    process = second.launch()
    status = process.wait(20, expect=None)
    check(status == 1, f'the second start ended with status {status}, not 1\n{process.tail()}')
    check(first.instance in process.err(), f'the message does not name the instance:\n{process.tail()}')
    check(first.status()['pid'] == first.process.pid, 'the first instance suffered')
    first.stop()


def test_after_kill_9_the_next_start_takes_over(lab):
    producers = lab.host('producers')
    router = lab.router([topic('positions')]).start()
    router.process.kill()
    router.start()
    load = Load(lab, router)
    load.consume(producers)
    load.wait_members(1)
    load.produce(producers, events=20_000)
    check_clean(load.finish(timeout_s=30)['all'], 20_000)
    check_ledger(router, 'positions', 20_000)
    router.stop()

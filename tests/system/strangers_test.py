# Strangers cost sessions nothing: 30,000 hellos a second in the name of hosts that do not answer leave deliveries as they
# were, and newcomers get in.
#
#   producers ---- weir ---- consumers
#   flood     ---- /
import json
import os
import sys
import time

from judge import Load, check, check_between, check_clean, check_ledger
from lab import TOP, run, topic
from ports import publish

SECONDS = 7


def test_hellos_of_dead_hosts_stop_nobody(lab):
    producers, consumers, flood = lab.host('producers'), lab.host('consumers'), lab.host('flood')
    run('ip', '-n', lab.router_netns, 'address', 'add', '10.99.0.1/16', 'dev', flood.router_interface)
    router = lab.router([topic('positions'), topic('newcomers', groups=())]).start()
    load = Load(lab, router)
    load.consume(consumers)
    load.wait_members(1)
    mac = json.loads(run('ip', '-n', lab.router_netns, '-j', 'link', 'show', flood.router_interface).stdout)[0]['address']
    spoof = lab.start('spoof', [sys.executable, os.path.join(TOP, 'tests/support/spoof.py'), flood.interface, mac,
                                '10.99.0.1', '30000', '5'], flood)
    load.produce(producers, events=20_000, rate=5_000)
    newcomers = []
    for _ in range(3):
        time.sleep(1)
        began = time.monotonic()
        check(publish(lab, flood, 3000, topic='newcomers'), 'a newcomer gets in during the flood')
        newcomers.append(time.monotonic() - began)
    verdict = load.finish(timeout_s=30)['all']
    # The kernel gives a host 3 s to say where it is.
    longest_s = load.consumers[0].json()['latency_ns']['max'] / 1e9
    check_between(longest_s, 0, 1, 'seconds from publish to delivery at most')
    spoof.wait(15)
    sent = int(spoof.out())
    check(sent > 50_000, f'a flood of {sent} hellos is none')
    check_clean(verdict, 20_000)
    check_ledger(router, 'positions', 20_000)
    took = ', '.join(f'{seconds:.2f} s' for seconds in newcomers)
    lab.note(f'{sent} hellos; the longest delivery {longest_s:.2f} s, newcomers took {took}')
    router.stop()

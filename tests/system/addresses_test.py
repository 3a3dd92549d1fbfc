# Addresses change while clients run: the host's own, the port that a translation on the way gives it, the router's behind its
# name, and a name may have addresses where nobody listens. The session goes on, or a new one comes up by itself.
#
#   publisher ---- weir, 1 worker ---- subscriber
#   subscriber     positions: 1 shard
import json
import os
import signal
import sys
import time

from judge import check, check_equal, check_ledger
from lab import TOP, program, run, topic, wait_until

SECONDS = 19
LIMITS = {'ping': '300ms', 'lease': '2s'}
EVENTS = 1500


# A publisher that reads EVENTS lines, as they are given to it.
class Publisher:
    def __init__(self, lab, router, host, address, prefix=()):
        ends = os.pipe()
        self.process = lab.start('publisher', [*prefix, program('weircat'), 'publish', 'positions', '--key', 'fixed:a',
                                               '--stats', '--router', address], host, stdin=ends[0])
        os.close(ends[0])
        self.end, self.next = ends[1], 1

    def write(self, count, rate=1000):
        for _ in range(count):
            os.write(self.end, b'%d\n' % self.next)
            self.next += 1
            time.sleep(1 / rate)

    def finish(self):
        os.close(self.end)
        self.process.wait(30)
        return stats(self.process)


def stats(process):
    return json.loads(next(line for line in process.err().splitlines() if line.startswith('{')))


def subscribe(lab, host, address, prefix=()):
    return lab.start('subscriber', [*prefix, program('weircat'), 'subscribe', 'positions', '--group', 'all', '--stats',
                                    '--router', address], host)


def held(router):
    return sum(group['held'] for group in router.ledger()['groups'])


def numbers(process):
    return [int(line) for line in process.out().splitlines()]


def finish(router, publisher, subscriber, sessions):
    published = publisher.finish()
    wait_until(lambda: held(router) == 0 and len(numbers(subscriber)) >= EVENTS, 'all is written and settled', 20)
    subscriber.stop()
    check_equal(numbers(subscriber), list(range(1, EVENTS + 1)), 'the events, in order, each once')
    check_equal((published['routed'], published['unknown'], published['refused']), (EVENTS, 0, 0), 'routed, unknown, refused')
    if sessions:
        check_equal((published['sessions'], stats(subscriber)['sessions']), (sessions, sessions), 'sessions')
    check_ledger(router, 'positions', EVENTS)


# The address a host has now becomes another one.
def readdress(host, old, new, pause_s=0.0):
    run('ip', '-n', host.netns, 'address', 'del', old, 'dev', host.interface)
    time.sleep(pause_s)
    run('ip', '-n', host.netns, 'address', 'add', new, 'dev', host.interface, *(['nodad'] if ':' in new else []))


def test_a_session_goes_on_when_the_address_of_its_host_changes(lab):
    producers, consumers = lab.host('producers'), lab.host('consumers')
    router = lab.router([topic('positions', shards=1)], limits=LIMITS).start()
    subscriber = subscribe(lab, consumers, router.address(consumers))
    publisher = Publisher(lab, router, producers, router.address(producers))
    publisher.write(300)
    readdress(consumers, f'{consumers.address}/24', f'10.77.{consumers.number}.3/24')
    publisher.write(300)
    readdress(producers, f'{producers.address}/24', f'10.77.{producers.number}.3/24', pause_s=0.5)
    publisher.write(EVENTS - 600)
    finish(router, publisher, subscriber, sessions=1)
    router.stop()


def test_the_same_over_ipv6(lab):
    producers, consumers = lab.host('producers'), lab.host('consumers')
    for host in (producers, consumers):
        for netns, interface, number in ((lab.router_netns, host.router_interface, 1), (host.netns, host.interface, 2)):
            run('ip', '-n', netns, 'address', 'add', f'fd77:{host.number}::{number}/64', 'dev', interface, 'nodad')
    router = lab.router([topic('positions', shards=1)], limits=LIMITS)
    for port in router.topology['ports']:
        if port['kind'] == 'kernel':
            port['address'] = '::'
    router.start()
    ports = {host: router.address(host).rpartition(':')[2] for host in (producers, consumers)}
    subscriber = subscribe(lab, consumers, f'udp://[fd77:{consumers.number}::1]:{ports[consumers]}')
    publisher = Publisher(lab, router, producers, f'udp://[fd77:{producers.number}::1]:{ports[producers]}')
    publisher.write(300)
    readdress(consumers, f'fd77:{consumers.number}::2/64', f'fd77:{consumers.number}::3/64')
    publisher.write(300)
    readdress(producers, f'fd77:{producers.number}::2/64', f'fd77:{producers.number}::3/64')
    publisher.write(EVENTS - 600)
    finish(router, publisher, subscriber, sessions=1)
    router.stop()


def test_a_session_goes_on_when_a_translation_changes_its_port(lab):
    clients = lab.host('clients')
    router = lab.router([topic('positions', shards=1)], limits=LIMITS).start()
    host, _, port = router.address(clients).removeprefix('udp://').rpartition(':')
    translation = lab.start('translation', [sys.executable, os.path.join(TOP, 'tests/support/translation.py'), '9000', host,
                                            port], clients)
    subscriber = subscribe(lab, clients, 'udp://127.0.0.1:9000')
    publisher = Publisher(lab, router, clients, 'udp://127.0.0.1:9000')
    for _ in range(3):
        publisher.write(EVENTS // 3, rate=250)
        translation.signal(signal.SIGUSR1)
    finish(router, publisher, subscriber, sessions=1)
    check(translation.is_running(), f'the translation ended: {translation.err()}')
    router.stop()


# /etc/hosts of a process and its children is a file of the test's.
def with_hosts(path):
    return ['unshare', '-m', '--propagation', 'private', 'sh', '-c', f'mount --bind {path} /etc/hosts && exec "$@"', 'sh']


def hosts_write(path, lines):
    with open(path, 'w') as file:  # in place: the mount is of this file
        file.write(''.join(f'{line}\n' for line in lines))


def test_of_the_addresses_of_a_name_the_one_that_answers_is_taken(lab):
    clients = lab.host('clients')
    router = lab.router([topic('positions', shards=1)], limits=LIMITS).start()
    host, _, port = router.address(clients).removeprefix('udp://').rpartition(':')
    path = lab.path('hosts')
    # Nobody listens at the first three: two say so, one is silent.
    hosts_write(path, ['127.0.0.1 router', '::1 router', '192.0.2.1 router', f'{host} router'])
    subscriber = subscribe(lab, clients, f'udp://router:{port}', with_hosts(path))
    publisher = Publisher(lab, router, clients, f'udp://router:{port}', with_hosts(path))
    publisher.write(EVENTS)
    finish(router, publisher, subscriber, sessions=1)
    router.stop()


def test_a_router_that_moves_is_found_by_its_name(lab):
    clients = lab.host('clients')
    router = lab.router([topic('positions', shards=1)], limits=LIMITS, kind='kernel')
    other = f'10.77.{clients.number}.9'
    run('ip', '-n', lab.router_netns, 'address', 'add', f'{other}/24', 'dev', clients.router_interface)
    router.topology['ports'][0]['address'] = clients.router_address
    router.start()
    path = lab.path('hosts')
    hosts_write(path, [f'{clients.router_address} router'])
    subscriber = subscribe(lab, clients, 'udp://router:9347', with_hosts(path))
    publisher = Publisher(lab, router, clients, 'udp://router:9347', with_hosts(path))
    publisher.write(500)
    wait_until(lambda: len(numbers(subscriber)) == 500 and held(router) == 0, 'the first events are written', 10)
    router.stop()
    router.topology['ports'][0]['address'] = other
    hosts_write(path, [f'{other} router'])
    router.start()
    publisher.write(EVENTS - 500)
    published = publisher.finish()
    wait_until(lambda: len(numbers(subscriber)) >= EVENTS and held(router) == 0, 'all is written and settled', 20)
    subscriber.stop()
    check_equal(numbers(subscriber), list(range(1, EVENTS + 1)), 'the events, in order, each once')
    check_equal((published['routed'], published['unknown'], published['refused']), (EVENTS, 0, 0), 'routed, unknown, refused')
    check_equal((published['sessions'], stats(subscriber)['sessions']), (2, 2), 'sessions')
    router.stop()

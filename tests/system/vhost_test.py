# Another DPDK program of the host is a client like any other, over a vhost-user socket: it publishes, consumes, and may be
# killed as often as it likes. Beside it a client with an ordinary socket, which must not notice.
#
#   dpdk process, virtio_user ==== /run/weir/NAME.vhost ====+-----------+
#   10.78.0.2, topic "memory"          shared memory        | weir      |
#                                                           | 10.78.0.1 |
#   clients ------------------ veth ------------------------+-----------+
#   topic "positions"
import json
import os
import random
import signal
import struct
import time

from judge import (Load, check, check_between, check_clean, check_descriptors, check_equal, check_ledger, descriptors,
                   process_status)
from lab import program, run, topic, wait_until

SECONDS = 24
PORTS = ('kernel',)  # what kind the other port is of makes no difference
OWN, THEIRS, UDP_PORT = '10.78.0.1', '10.78.0.2', 9347
KILLS = 30
LIMITS = {'ping': '500ms', 'lease': '3s', 'dedup_window': '3s'}


class Rig:
    def __init__(self, lab):
        self.lab, self.host = lab, lab.host('clients')
        self.socket = f'/run/weir/{lab.prefix}.vhost'
        ports = [{'name': 'kernel', 'kind': 'kernel', 'address': '0.0.0.0', 'udp_port': UDP_PORT},
                 {'name': 'memory', 'kind': 'vhost', 'socket': self.socket, 'address': OWN, 'udp_port': UDP_PORT}]
        self.router = lab.router([topic('positions'), topic('memory')], ports=ports, limits=LIMITS).start()
        self.states = []

    # A DPDK process that ends when so many events of its own came back.
    def client(self, events):
        state = self.lab.path(f'dpdk-{len(self.states)}.state')
        self.states.append(state)
        return self.lab.start('dpdk', [program('ethdev-client'), f'net_virtio_user0,path={self.socket}', THEIRS, '5000',
                                       f'udp://{OWN}:{UDP_PORT}', 'memory', 'all', state, str(events)])

    def queue(self):
        return next(p for p in self.router.status()['ports'] if p['name'] == 'memory')['queues'][0]

    # Of what the given processes published and all of them received.
    def verdict(self, *processes):
        files = [process.out_path for process in processes] + [s for s in self.states if handed_out(s)]
        return json.loads(run(program('weirload'), 'verdict', '--json', *files, timeout_s=120).stdout)


# Events in a state file, also while its owner lives: the third field of its header (perf/account.h), behind two names.
def handed_out(state):
    try:
        with open(state, 'rb') as file:
            return struct.unpack_from('<Q', file.read(152), 144)[0]
    except (FileNotFoundError, struct.error):
        return 0


# What must not grow, while nobody is connected.
def weight(rig):
    wait_until(lambda: not rig.queue()['link'], 'the link is down')
    words = process_status(rig.router.process)
    return {'descriptors': descriptors(rig.router.process), 'threads': int(words['Threads'][0]),
            'memory_kib': int(words['VmRSS'][0]), 'buffers': rig.queue()['buffers'] - rig.queue()['buffers_free']}


def test_a_dpdk_process_publishes_and_consumes(lab):
    rig = Rig(lab)
    check(not rig.queue()['link'], 'the link is up before anybody connected')
    events = lab.count(200_000, 2_000_000)
    process = rig.client(events)
    process.wait(30 + events / 10_000)
    check_clean(rig.verdict(process), events)
    check_ledger(rig.router, 'memory', events)
    # Shared memory loses nothing; only the last words of who is gone may have nobody to hear them.
    check_between(process.json()['sent'] - rig.queue()['received'], 0, 4, 'frames that the process sent and the port never saw')
    rig.router.stop()
    check(not os.path.exists(rig.socket), 'the router left its socket behind')


def test_a_killed_router_takes_its_socket_over(lab):
    rig = Rig(lab)
    rig.router.process.kill()
    check(os.path.exists(rig.socket), 'a killed router left no socket to take over')
    rig.router.start()
    process = rig.client(1000)
    process.wait(30)
    check_clean(rig.verdict(process), 1000)
    rig.router.stop()


# Even numbers die while events flow, odd ones at any moment from their start on.
def kill_one(rig, number, dice):
    process = rig.client(1 << 40)
    if number % 2 == 0:
        wait_until(lambda: handed_out(rig.states[-1]) > 0, 'events flow through shared memory', 30, every_s=0.005)
    if number == 0:
        check(rig.queue()['link'], 'events flow, but status shows the link down')
    time.sleep(dice.uniform(0, 0.4))
    process.signal(signal.SIGKILL)
    process.wait(10, expect=-signal.SIGKILL)


def test_dying_dpdk_processes_harm_nobody(lab):
    rig = Rig(lab)
    seed = int(os.environ.get('WEIR_SEED') or random.SystemRandom().randrange(1 << 32))
    dice = random.Random(seed)
    lab.note(f'WEIR_SEED={seed}')
    load = Load(lab, rig.router)
    load.consume(rig.host)
    load.wait_members(1)
    load.produce(rig.host, rate=20_000)
    for number in range(4):  # first touches of memory are no growth
        kill_one(rig, number, dice)
    before = weight(rig)
    for number in range(KILLS):
        kill_one(rig, number, dice)
    check_descriptors(rig.router.process, before['descriptors'])
    after = weight(rig)
    lab.note(f'before {before}, after {KILLS} kills {after}')

    # Nothing that was accepted was lost, and who comes next is served as if nothing had been.
    last = rig.client(10_000)
    last.wait(60)
    check_equal(last.json()['own'], 10_000, 'events that came back to the last process')
    wait_until(lambda: not any(row['held'] for row in rig.router.ledger()['groups'] if row['topic'] == 'memory'),
               'everything of memory is settled')
    ledger = check_ledger(rig.router)
    accepted = sum(row['accepted'] for row in ledger['shards'] if row['topic'] == 'memory')
    verdict = rig.verdict(last)
    check_equal(verdict['delivered'], accepted, 'different events handed out of those accepted')
    for name in ('duplicated', 'reordered', 'damaged'):
        check_equal(verdict[name], 0, f'{name} by killed processes')
    check(sum(handed_out(state) > 0 for state in rig.states) >= KILLS // 2, 'too few processes died while events flowed')

    for process in load.producers:
        process.signal(signal.SIGTERM)
    check_clean(load.finish(60)['all'])
    for name, most in (('threads', 0), ('memory_kib', 1024), ('buffers', 128)):
        check_between(after[name], 0, before[name] + most, f'{name} after {KILLS} kills, {before[name]} before')
    wait_until(lambda: rig.router.status()['sessions'] == 0, 'sessions of the dead are gone', 15)
    wait_until(lambda: sum(row['streams'] for row in rig.router.topic_status('memory')['owners']) == 0,
               'streams of the dead are gone', 15)
    lab.note(f'{accepted} events through shared memory, {verdict["redelivered"]} again after a kill')
    rig.router.stop()

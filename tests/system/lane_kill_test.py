# Local clients that die at any instruction: producers and consumers on lanes are killed, at random points of their lives,
# beside a producer and a consumer that go on. Nothing of the dead may stay, and nothing acknowledged may be lost.
#
#   producer, consumer on lanes  ==== shared memory ====+--------+
#   victims on lanes             ==== shared memory ====+  weir  |
#                                                       +--------+
import os
import random
import signal
import subprocess
import time

from judge import (Load, check, check_between, check_clean, check_descriptors, check_equal, check_ledger, descriptors,
                   process_status)
from lab import program, topic, wait_until
from vhost_test import handed_out

SECONDS = 6
PORTS = ('kernel',)  # lanes know of no port
KILLS, KILLS_LONG, AT_ONCE = 100, 1000, 4
LIMITS = {'ping': '300ms', 'lease': '1s', 'dedup_window': '2s'}


# Loads whose clients go to the lanes' own socket.
class LaneLoad(Load):
    def command(self, verb, host, more):
        command = super().command(verb, host, more)
        command[command.index('--router') + 1] = f'unix:{self.router.lanes_socket}'
        return command


def weight(router):
    words = process_status(router.process)
    return {'descriptors': descriptors(router.process), 'threads': int(words['Threads'][0]),
            'mapped_kib': int(words['VmSize'][0]), 'lanes': len(router.status()['lanes'])}


class Victims:
    def __init__(self, lab, load, host, dice):
        self.lab, self.router, self.load, self.host, self.dice = lab, load.router, load, host, dice
        self.number = self.met_alive = 0
        self.states = []

    # A member of the good clients' group, or a producer of a topic of the victims' own.
    def start(self):
        self.number += 1
        if self.number % 2:
            self.states.append(self.lab.path(f'victim-{self.number}.state'))
            command = self.load.command('consume', self.host, {'group': 'all', 'state': self.states[-1]})
        else:
            command = self.load.command('produce', self.host, {'seconds': 60, 'linger_us': self.dice.choice((0, 100))})
            command[command.index('--topic') + 1] = 'victims'
        return subprocess.Popen(['setpriv', '--pdeathsig', 'KILL'] + command, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)

    def kill(self, count):
        killed = 0
        while killed < count:
            some = [self.start() for _ in range(min(AT_ONCE, count - killed))]
            for process in some:
                time.sleep(self.dice.uniform(0, 0.08))
                self.met_alive += process.poll() is None
                process.send_signal(signal.SIGKILL)
            for process in some:
                process.wait(10)
            killed += len(some)
        wait_until(lambda: len(self.router.status()['lanes']) == 3, 'the lanes of the dead are gone')


def test_a_thousand_deaths_leave_nothing_behind_and_lose_nothing(lab):
    seed = int(os.environ.get('WEIR_SEED') or random.SystemRandom().randrange(1 << 32))
    lab.note(f'WEIR_SEED={seed}')
    host = lab.host('clients')
    router = lab.router([topic('positions'), topic('victims')], limits=LIMITS).start()
    load = LaneLoad(lab, router)
    # What victims publish only has to arrive: no account holds so many producers.
    lab.start('sink', ['sh', '-c', 'exec "$@" >/dev/null', 'sink', program('weircat'), 'subscribe', 'victims', '--group', 'all',
                       '--router', f'unix:{router.lanes_socket}'])
    load.consume(host)
    load.wait_members(1)
    producer = load.produce(host, seconds=600, rate=20_000)
    wait_until(lambda: len(router.status()['lanes']) == 3, 'three lanes')
    victims = Victims(lab, load, host, random.Random(seed))
    victims.kill(8)  # first touches of memory are no growth
    load.wait_members(1)
    before = weight(router)
    kills = KILLS_LONG if lab.is_long else lab.count(KILLS, KILLS_LONG)
    victims.kill(kills)
    load.wait_members(1)
    wait_until(lambda: len(router.status()['lanes']) <= before['lanes'], 'lanes of the dead are gone', 5)
    check_descriptors(router.process, before['descriptors'])
    after = weight(router)
    lab.note(f'before {before}, after {kills} kills {after}; {victims.met_alive} died while they ran')
    for name in ('threads', 'lanes'):
        check_equal(after[name], before[name], name)
    check_between(after['mapped_kib'], 0, before['mapped_kib'] + 1024, 'KiB mapped')
    check(victims.met_alive > kills // 2, 'most had ended before they were killed')

    producer.signal(signal.SIGTERM)
    check_clean(verdict_of(load, victims.states), redelivered_max=1 << 40)
    wait_until(lambda: not any(row['held'] for row in router.ledger()['groups'] if row['topic'] == 'victims'),
               'everything that victims published is settled')
    ledger = check_ledger(router)
    accepted = sum(row['accepted'] for row in ledger['shards'] if row['topic'] == 'victims')
    check(accepted > 0, 'no victim lived long enough to publish')
    pins = sum(owner['pins'] for name in ('positions', 'victims') for owner in router.topic_status(name)['owners'])
    check_equal(pins, 0, 'pins of the dead')
    lab.note(f'{accepted} events of victims arrived')
    router.stop()


# What the dead consumers had been handed counts as handed out; of those that got nothing there may be half a file.
def verdict_of(load, states):
    class Dead:
        group = 'all'

        def __init__(self, state):
            self.state = state

        def signal(self, _):
            pass

        def wait(self, *_, **__):
            pass

    load.consumers += [Dead(state) for state in states if handed_out(state)]
    return load.finish(60)['all']

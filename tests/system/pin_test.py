# A member on a lane that is stopped while it reads a log in place: its term ends with its lease, but what it may still look at
# is not written over before it is dead. So the topic stands as soon as its log is full; who is to blame is said with what
# releases it, and with `pin_timeout` the router does that itself.
#
#   producer ==== weir, 1 worker ==== two subscribers, groups all and other
#   by lanes      positions: 1 shard, 64 KiB
import os
import signal

from judge import Load, check, check_equal, check_ledger
from lab import program, topic, wait_until

SECONDS = 9
PORTS = ('kernel',)  # lanes know of no port
LIMITS = {'ping': '300ms', 'lease': '1s'}
EVENTS = 20_000


class Lanes(Load):
    def command(self, verb, host, more):
        command = super().command(verb, host, more)
        command[command.index('--router') + 1] = f'unix:{self.router.lanes_socket}'
        return command


def subscribe(lab, router, group):
    process = lab.start(f'subscriber-{group}', [program('weircat'), 'subscribe', 'positions', '--group', group, '--router',
                                                f'unix:{router.lanes_socket}'])
    wait_until(lambda: all(s['state'] == 'active' and s['lane'] for s in router.members('positions', group)['shards']),
               f'{group} reads in place', 10)
    return process


def begin(lab, **lanes):
    host = lab.host('producers')
    router = lab.router([topic('positions', groups=('all', 'other'), shards=1, log='64KiB')], limits=LIMITS,
                        lanes=lanes).start()
    stopped, other = subscribe(lab, router, 'all'), subscribe(lab, router, 'other')
    load = Lanes(lab, router)
    stopped.signal(signal.SIGSTOP)
    producer = load.produce(host, events=EVENTS)
    return router, stopped, other, producer


def pinned(router):
    owner = router.topic_status('positions')['owners'][0]
    return owner if owner['pins'] else None


def test_who_keeps_a_log_is_named_until_it_is_killed(lab):
    router, stopped, other, producer = begin(lab)
    owner = wait_until(lambda: pinned(router), 'the log is pinned', 10)
    lane = next(lane for lane in router.status()['lanes'] if lane['lane'] == owner['pin_lane'])
    check_equal((lane['pid'], lane['uid'], lane['program']), (stopped.pid, os.getuid(), 'weircat'), 'the lane that pins')
    said = wait_until(lambda: [w for w in router.status()['warnings'] if f'`kill -KILL {stopped.pid}`' in w],
                      'a warning that says what to do', 10)
    check(all(word in said[0] for word in ('weircat', 'positions', f'uid {os.getuid()}')), f'names too little: {said[0]}')
    wait_until(lambda: f'kill -KILL {stopped.pid}' in router.process.err(), 'the log says the same', 5)
    wait_until(lambda: router.members('positions', 'other')['lag'] == 0, 'the other group has all there is', 10)
    check(producer.is_running(), 'the pinned log was written over')
    stopped.kill()
    wait_until(lambda: not pinned(router), 'the pin is gone with its process', 5)
    taker = subscribe(lab, router, 'all')
    producer.wait(30)
    wait_until(lambda: sum(group['held'] for group in router.ledger()['groups']) == 0, 'everything is settled', 20)
    check_ledger(router, 'positions', EVENTS)
    for process in (taker, other):
        process.signal(signal.SIGTERM)
        process.wait(10)
    router.stop()


def test_past_pin_timeout_the_process_is_ended(lab):
    router, stopped, other, producer = begin(lab, pin_timeout='2s')
    wait_until(lambda: pinned(router), 'the log is pinned', 10)
    stopped.wait(10, expect=-signal.SIGKILL)
    wait_until(lambda: not pinned(router), 'the pin is gone with its process', 5)
    check('pin_timeout' in router.process.err(), 'the log does not say who ended it')
    subscribe(lab, router, 'all')
    producer.wait(30)
    wait_until(lambda: sum(group['held'] for group in router.ledger()['groups']) == 0, 'everything is settled', 20)
    check_ledger(router, 'positions', EVENTS)
    router.stop()

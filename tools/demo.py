#!/usr/bin/env python3
# The main job for one's eyes: producers, a router and consumers as separate processes on hosts of their own, a table of
# what weirctl sees once a second, and a verdict that merges what producers and consumers counted with the router's
# ledger. tools/demo calls it when the host is ready. Standard library only.
import argparse
import json
import signal
import sys
import time

import lab as laboratory
from lab import Failure, program, run, topic, wait_until

TOPIC, GROUP, SHARDS, VEHICLES = 'positions', 'map', 4, 10_000
# How often a row is redrawn, how long the rest may take once the producers are done, how long events must have flowed for a
# rate to mean something, and the longest look at a tenth of the load.
EVERY_S, SETTLE_S, RATE_S, CALM_S = 1.0, 60, 0.5, 5
LEGEND = '''
Full load: producers publish as fast as credit lets them. Queues are full then, and latency is the time in them; the verdict
shows it at a tenth of the load as well.
  waiting   streams that wait for room in the shard's log        lag       events that the consumer has not settled yet
  credit    what the consumer takes beyond what is on its way    resent    events that the router sent it once more
  refused   events that came before there was room: their producer sends them again, nothing is lost
'''

def drawing(arguments):
    return f'''
  hosts vehicles1 to {arguments.producers:<5}          host router                       hosts map1 to {arguments.consumers}
  +--------------------+  veth  +---------------------------+  veth  +--------------------+
  | weirload produce   |------->| weir: {arguments.port:<6} ports,       |------->| weirload consume   |
  | by vehicle         |  UDP   | 1 worker, {SHARDS} shard logs    |  UDP   | group {GROUP:<5}        |
  +--------------------+        +---------------------------+        +--------------------+
'''


# Producers and consumers that ran together, and what they counted.
class Load:
    def __init__(self):
        self.states, self.consumers, self.producers = [], [], []

    # Merges what all processes counted so far.
    def judge(self):
        files = [p.out_path for p in self.producers if not p.is_running()] + self.states
        answer = run(program('weirload'), 'verdict', '--json', *files, check=False, timeout_s=120)
        try:
            return json.loads(answer.stdout)
        except ValueError:
            raise Failure(f'weirload verdict: {answer.stdout}{answer.stderr}') from None

    def latency(self):
        return self.judge().get('latency_ns', {})

    # events/s, None where events flowed too shortly to tell.
    def rate(self):
        seconds = max(process.json()['seconds'] for process in self.producers)
        return self.judge()['events_per_second'] if seconds >= RATE_S else None


class Demo:
    def __init__(self, arguments, lab):
        self.arguments, self.lab = arguments, lab
        self.screen = sys.stderr if arguments.json else sys.stdout
        self.vehicles = [lab.host(f'vehicles{i + 1}') for i in range(arguments.producers)]
        self.maps = [lab.host(f'map{i + 1}') for i in range(arguments.consumers)]
        self.router = lab.router([topic(TOPIC, groups=(GROUP,), shards=SHARDS)], kind=arguments.port).start()

    # amounts: of each producer, words for weirload.
    def begin(self, amounts):
        load, arguments = Load(), self.arguments
        for host in self.maps:
            load.states.append(self.lab.path(f'{host.name}-{self.lab.take_number("state")}.state'))
            load.consumers.append(self.start(host, 'consume', '--group', GROUP, '--state', load.states[-1]))
        wait_until(self.is_shared_out, 'every shard has a consumer', 20)
        for host, amount in zip(self.vehicles, amounts):
            load.producers.append(self.start(host, 'produce', *amount, '--payload', str(arguments.payload), '--keys',
                                             str(VEHICLES // arguments.producers), '--level', 'routed'))
        return load

    def full_load(self):
        events, count = self.arguments.events, self.arguments.producers
        if not events:
            return self.begin([['--seconds', str(self.arguments.seconds)]] * count)
        return self.begin([['--events', str(events // count + (i < events % count))] for i in range(count)])

    def start(self, host, verb, *more):
        command = [program('weirload'), verb, '--router', self.router.address(host), '--topic', TOPIC, *more, '--json']
        return self.lab.start(f'{host.name}-{verb}', command, host)

    def is_shared_out(self):
        return all(shard['state'] == 'active' for shard in self.router.members(TOPIC, GROUP)['shards'])

    def held(self):
        return sum(row['held'] for row in self.router.ledger()['groups'])

    # When all is at rest.
    def end(self, load):
        for process in load.producers:
            process.wait(self.arguments.seconds + SETTLE_S)
        wait_until(lambda: self.held() == 0, 'everything is settled', SETTLE_S)
        for process in load.consumers:
            process.signal(signal.SIGTERM)
        for process in load.consumers:
            process.wait(20)

    # The same at a tenth of the rate, where one is known. None: there is none.
    def calm(self, rate):
        if rate is None or rate < 10:
            return None
        seconds = min(CALM_S, max(RATE_S, self.arguments.seconds / 2))
        print(f'\nnow at a tenth of it, {thousands(rate / 10)} events/s, for {seconds:g} s', file=self.screen, flush=True)
        share = rate / 10 / self.arguments.producers
        load = self.begin([['--rate', f'{share:.3f}', '--seconds', str(seconds)]] * self.arguments.producers)
        self.end(load)
        return load

    # What producers and consumers of all loads counted, and what of it the router's ledger cannot explain.
    def verdict(self, full, calm):
        judged, ledger = [load.judge() for load in (full, calm) if load], self.router.ledger()
        names = ('published', 'delivered', 'lost', 'duplicated', 'reordered', 'redelivered')
        verdict = {name: sum(merged[name] for merged in judged) for name in names}
        verdict['unexplained'] = ledger['unexplained'] + abs(verdict['published'] - ledger['totals']['accepted'])
        verdict['events_per_second'] = full.rate()
        for name, load in (('latency_ns', full), ('latency_at_a_tenth_ns', calm)):
            verdict[name] = {rank: load.latency()[rank] for rank in ('p50', 'p99', 'p99_9')} if load else None
        self.router.stop()
        return verdict


def is_good(verdict):
    return verdict['published'] > 0 and verdict['delivered'] == verdict['published'] and \
        not any(verdict[name] for name in ('lost', 'duplicated', 'reordered', 'redelivered', 'unexplained'))


def say_latency(latency):
    return ', '.join(f'{name} {microseconds(latency[rank])} us' for name, rank in (('p50', 'p50'), ('p99', 'p99'),
                                                                                  ('p99.9', 'p99_9')))


def say(verdict, screen):
    rate, calm = verdict['events_per_second'], verdict['latency_at_a_tenth_ns']
    print(f'\nverdict: {"good" if is_good(verdict) else "BAD"}', file=screen)
    for name in ('published', 'delivered', 'lost', 'duplicated', 'reordered', 'redelivered', 'unexplained'):
        print(f'  {name:<12} {thousands(verdict[name]):>16}', file=screen)
    if rate is None:
        latency = say_latency(verdict['latency_ns'])
        print(f'  events flowed for less than {RATE_S:g} s, too few to tell a rate; latency {latency}', file=screen)
        return
    print(f'  full load: {thousands(rate)} events/s; latency {say_latency(verdict["latency_ns"])}', file=screen)
    if calm:
        print(f'  a tenth of it: latency {say_latency(calm)}', file=screen)


def parse(words):
    parser = argparse.ArgumentParser(prog='tools/demo', description='Routes events between hosts of this machine, and judges.')
    parser.add_argument('--port', choices=('afxdp', 'kernel'), default='afxdp', help='kind of the router\'s ports')
    parser.add_argument('--events', type=int, help='publish so many in all, instead of for a time')
    parser.add_argument('--seconds', type=float, default=10, help='publish at full load for so long (10)')
    parser.add_argument('--payload', type=int, default=64, help='bytes of an event (64)')
    parser.add_argument('--producers', type=int, default=2, help='producer hosts (2)')
    parser.add_argument('--consumers', type=int, default=2, help='consumer hosts (2)')
    parser.add_argument('--json', action='store_true', help='one object on stdout at the end')
    arguments = parser.parse_args(words)
    for name, low, high, why in (('payload', 32, 60_000, 'what the verdict needs to know lies in it'),
                                 ('producers', 1, 20, 'each has a host and a port'), ('consumers', 1, 4, 'one shard each'),
                                 ('seconds', 0.1, 1e6, ''), ('events', arguments.producers, 10**12, 'one for each producer')):
        value = getattr(arguments, name)
        if value is not None and not low <= value <= high:
            parser.error(f'--{name} {value}: at least {low:g}, at most {high:g}' + (f': {why}' if why else ''))
    return arguments


def thousands(number):
    return f'{number:,.0f}'.replace(',', ' ')


def microseconds(nanoseconds):
    return '-' if nanoseconds is None else f'{nanoseconds / 1000:,.0f}'.replace(',', ' ')


COLUMNS = (('shard', 6), ('events/s', 11), ('accepted', 13), ('waiting', 8), ('settled', 13), ('lag', 9), ('credit KiB', 11),
           ('resent', 8), ('refused', 8))


def row_of(cells):
    return '  ' + ' '.join(f'{cell:>{width}}' for cell, (_, width) in zip(cells, COLUMNS))


# The table of one second: a row per shard, a row per group, what was dropped and by what name.
def table(demo, load, seconds):
    shown = demo.router.topic_status(TOPIC)
    group = next(g for g in shown['groups'] if g['group'] == GROUP)
    latency = load.latency()
    lines = [f'{seconds:4.0f} s  accepted {thousands(shown["accepted_per_second"])} events/s, delivered '
             f'{thousands(group["settled_per_second"])} events/s, latency p50 {microseconds(latency.get("p50"))} us, '
             f'p99 {microseconds(latency.get("p99"))} us', row_of([name for name, _ in COLUMNS])]
    rows = {row['shard']: row for row in group['shards']}
    for owner in shown['owners']:
        row = rows[owner['shard']]
        lines.append(row_of([owner['shard']] + [thousands(number) for number in (
            owner['accepted_per_second'], owner['accepted'], owner['waiters'], row['settled'], row['held'],
            row['credit_bytes'] / 1024, row['resent'], sum(owner['refused'].values()))]))
    drops = laboratory.refused_frames(demo.router.status())
    lines.append(f'  group {GROUP}: {group["members"]} members, lag {thousands(group["lag"])} events, redelivered '
                 f'{thousands(group["redelivered"])}; frames dropped: '
                 + (', '.join(f'{reason} {count}' for reason, count in sorted(drops.items()) if count) or 'none'))
    return lines


def watch(demo, load):
    started, height = time.monotonic(), 0
    redraws = demo.screen.isatty()
    print(LEGEND, file=demo.screen)
    while any(process.is_running() for process in load.producers):
        time.sleep(EVERY_S)
        for process in load.producers + load.consumers:
            if not process.is_running():
                process.wait(0)
        lines = table(demo, load, time.monotonic() - started)
        if redraws and height:
            demo.screen.write(f'\x1b[{height}A\x1b[J')
        print('\n'.join(lines), file=demo.screen, flush=True)
        height = len(lines)


def main():
    arguments = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with laboratory.Lab(arguments.port) as lab:
            demo = Demo(arguments, lab)
            print(drawing(arguments), file=demo.screen)
            full = demo.full_load()
            watch(demo, full)
            demo.end(full)
            verdict = demo.verdict(full, demo.calm(full.rate()))
            say(verdict, demo.screen)
            if arguments.json:
                print(json.dumps(verdict))
            sys.exit(0 if is_good(verdict) else 1)
    except Failure as failure:
        sys.exit(f'tools/demo: {failure}')


if __name__ == '__main__':
    main()

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
DRAWING = '''
  {producers:<18}                +--------------+
    vehicles-1 ... {n:<3}  --veth-->  |     weir     |  --veth-->  map-1   group map,
    10.77.1.2, ...                | {kind:<6} port  |               map-2   {consumers} consumers
                                  |  4 shards    |
                                  +--------------+
'''


class Demo:
    def __init__(self, arguments, lab):
        self.arguments, self.lab = arguments, lab
        self.screen = sys.stderr if arguments.json else sys.stdout
        vehicles = [lab.host(f'vehicles{i + 1}') for i in range(arguments.producers)]
        maps = [lab.host(f'map{i + 1}') for i in range(arguments.consumers)]
        self.router = lab.router([topic(TOPIC, groups=(GROUP,), shards=SHARDS)], kind=arguments.port).start()
        self.states, self.consumers, self.producers = [], [], []
        for host in maps:
            self.states.append(lab.path(f'{host.name}.state'))
            self.consumers.append(self.start(host, 'consume', '--group', GROUP, '--state', self.states[-1]))
        wait_until(self.is_shared_out, 'every shard has a consumer', 20)
        for host in vehicles:
            amount = ['--events', str(arguments.events // arguments.producers)] if arguments.events else \
                ['--seconds', str(arguments.seconds)]
            self.producers.append(self.start(host, 'produce', *amount, '--payload', str(arguments.payload), '--keys',
                                             str(VEHICLES // arguments.producers), '--level', 'routed'))
        self.before = {}

    def start(self, host, verb, *more):
        command = [program('weirload'), verb, '--router', self.router.address(host), '--topic', TOPIC, *more, '--json']
        return self.lab.start(f'{host.name}-{verb}', command, host)

    def is_shared_out(self):
        return all(shard['state'] == 'active' for shard in self.router.members(TOPIC, GROUP)['shards'])

    # Merges what all processes counted so far.
    def judge(self):
        files = [p.out_path for p in self.producers if not p.is_running()] + self.states
        answer = run(program('weirload'), 'verdict', '--json', *files, check=False, timeout_s=120)
        try:
            return json.loads(answer.stdout)
        except ValueError:
            raise Failure(f'weirload verdict: {answer.stdout}{answer.stderr}') from None


def parse(words):
    parser = argparse.ArgumentParser(prog='tools/demo', description='Routes events between hosts of this machine, and judges.')
    parser.add_argument('--port', choices=('afxdp', 'kernel'), default='afxdp', help='kind of the router\'s ports')
    parser.add_argument('--events', type=int, help='publish so many in all, instead of for a time')
    parser.add_argument('--seconds', type=float, default=10, help='publish for so long (10)')
    parser.add_argument('--payload', type=int, default=64, help='bytes of an event (64)')
    parser.add_argument('--producers', type=int, default=2, help='producer hosts (2)')
    parser.add_argument('--consumers', type=int, default=2, help='consumer hosts (2)')
    parser.add_argument('--json', action='store_true', help='one object on stdout at the end')
    return parser.parse_args(words)


def main():
    arguments = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with laboratory.Lab(arguments.port) as lab:
            demo = Demo(arguments, lab)
    except Failure as failure:
        sys.exit(f'tools/demo: {failure}')


if __name__ == '__main__':
    main()

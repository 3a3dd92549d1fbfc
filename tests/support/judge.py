# What system tests say about a run: loads made of weirload processes, and claims on what producers and consumers counted
# and on the router's ledger. A claim that does not hold raises Failure with both numbers.
import json
import os
import signal
import time

from lab import Failure, program, run, wait_until


class Skip(Exception):
    pass


def check(holds, what):
    if not holds:
        raise Failure(what)


def check_equal(value, expected, what):
    if value != expected:
        raise Failure(f'{what}: {value}, not {expected}')


def check_between(value, low, high, what):
    if not low <= value <= high:
        raise Failure(f'{what}: {value}, not between {low} and {high}')


# The least of a few looks: who asked the process last may not be gone yet.
def descriptors(process):
    looks = []
    for _ in range(5):
        looks.append(len(os.listdir(f'/proc/{process.pid}/fd')))
        time.sleep(0.02)
    return min(looks)


# A process closes what the dead leave when it gets to it. What leaks stays.
def check_descriptors(process, most):
    wait_until(lambda: descriptors(process) <= most, f'no more than {most} descriptors are open', 5)


# A pipe that takes nothing more: both ends. Who reads from it makes room.
def full_pipe():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b'\n' * 4096)
    except BlockingIOError:
        os.set_blocking(writer, True)
    return reader, writer


# Of /proc/PID/status: name -> words.
def process_status(process):
    with open(f'/proc/{process.pid}/status') as file:
        return {name: words.split() for name, words in (line.split(':', 1) for line in file)}


# Producers and consumers of one topic, each a process of its own; what they counted is merged and judged at the end.
class Load:
    def __init__(self, lab, router, topic='positions'):
        self.lab, self.router, self.topic = lab, router, topic
        self.producers, self.consumers = [], []  # processes; consumers carry .group, .state

    # more: options of weirload produce, events=N or seconds=S among them.
    def produce(self, host, **more):
        process = self.lab.start('producer', self.command('produce', host, more), host)
        self.producers.append(process)
        return process

    def command(self, verb, host, more):
        command = [program('weirload'), verb, '--router', self.router.address(host), '--topic', self.topic, '--json']
        for name, value in more.items():
            command += ['--' + name.replace('_', '-'), str(value)]
        return command

    def consume(self, host, group='all', **more):
        state = self.lab.path(f'{self.topic}-{group}-{self.lab.take_number("state")}.state')
        more |= {'group': group, 'state': state}
        process = self.lab.start('consumer', self.command('consume', host, more), host)
        process.group, process.state = group, state
        self.consumers.append(process)
        return process

    # Until so many members share the group's shards and each shard is delivered.
    def wait_members(self, count, group='all', timeout_s=15):
        def are_there():
            row = self.router.members(self.topic, group)
            sessions = {s['session'] for s in row['shards']}
            return all(s['state'] == 'active' for s in row['shards']) and len(sessions) == count
        wait_until(are_there, f'{count} active members of {self.topic}/{group}', timeout_s)

    def groups(self):
        return sorted({c.group for c in self.consumers})

    def held(self, groups):
        rows = [g for g in self.router.ledger()['groups'] if g['topic'] == self.topic and g['group'] in groups]
        return sum(g['held'] for g in rows)

    # Waits for the producers, then for the consumers to settle all, then stops these, and returns group -> verdict.
    def finish(self, timeout_s):
        deadline = time.monotonic() + timeout_s
        for process in self.producers:
            process.wait(max(1, deadline - time.monotonic()))
        groups = self.groups()
        left_s = max(5, deadline - time.monotonic())
        wait_until(lambda: self.held(groups) == 0, f'everything of {self.topic} is settled', left_s)
        for process in self.consumers:
            process.signal(signal.SIGTERM)
        for process in self.consumers:
            process.wait(15, expect=None)
        return {group: self.verdict(group) for group in groups}

    def verdict(self, group):
        files = [p.out_path for p in self.producers] + [c.state for c in self.consumers if c.group == group]
        answer = run(program('weirload'), 'verdict', '--json', *files, check=False, timeout_s=120)
        try:
            return json.loads(answer.stdout)
        except ValueError:
            raise Failure(f'weirload verdict said: {answer.stdout}{answer.stderr}') from None


# published None: whatever the producers say they did.
def check_clean(verdict, published=None, redelivered_max=0):
    names = ('published', 'routed', 'refused', 'unknown', 'delivered', 'lost', 'duplicated', 'reordered', 'redelivered',
             'damaged')
    said = ', '.join(f'{name} {verdict[name]}' for name in names)
    published = verdict['published'] if published is None else published
    check(published > 0, f'nothing was published ({said})')
    for name in ('published', 'routed', 'delivered'):
        check_equal(verdict[name], published, f'{name} ({said})')
    for name in ('refused', 'unknown', 'lost', 'duplicated', 'reordered', 'damaged'):
        check_equal(verdict[name], 0, f'{name} ({said})')
    check_between(verdict['redelivered'], 0, redelivered_max, f'redelivered ({said})')


# Every row balances, and what producers counted is what the shards accepted.
def check_ledger(router, topic=None, accepted=None):
    ledger = router.ledger()
    check_equal(ledger['unexplained'], 0, 'ledger: unexplained')
    for row in ledger['workers'] + ledger['shards'] + ledger['groups']:
        check_equal(row['unexplained'], 0, f'ledger: unexplained of row {row}')
    if accepted is not None:
        rows = [row for row in ledger['shards'] if row['topic'] == topic]
        check_equal(sum(row['accepted'] for row in rows), accepted, f'ledger: accepted by {topic}')
    return ledger

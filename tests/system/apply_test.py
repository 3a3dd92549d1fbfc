# The topology changes under load: topics and groups come and go, shards move between workers. Nothing is lost, doubled or
# reordered on the topic that stays, and the longest pause of a moved shard is printed.
#
#   producers ---- worker 0 \
#                             positions: 4 shards, and what random changes add
#   consumers ---- worker 1 /
import os
import random
import signal
import time

from judge import Load, check, check_clean, check_equal, check_ledger
from lab import topic

SECONDS = 6


class Changes:
    def __init__(self, seed):
        self.dice = random.Random(seed)
        self.homes = [0, 1, 0, 1]
        self.topics, self.groups = [], []
        self.made = {'move': 0, 'topic': 0, 'group': 0}

    def next(self):
        kind = self.dice.choice(('move', 'move', 'topic', 'group'))
        self.made[kind] += 1
        if kind == 'move':
            self.homes[self.dice.randrange(4)] ^= 1
        pool = {'topic': self.topics, 'group': self.groups}.get(kind)
        if pool is not None:
            if pool and self.dice.random() < 0.5:
                pool.pop(self.dice.randrange(len(pool)))
            elif len(pool) < 4:
                pool.append(f'{kind}{self.dice.getrandbits(30)}')
        # Groups that come and go follow: without members, a hold group would stop the topic, as it should.
        groups = ['all'] + [{'name': name, 'kind': 'follow'} for name in self.groups]
        homes = {str(shard): home for shard, home in enumerate(self.homes)}
        return [topic('positions', groups=groups, homes=homes)] + [topic(name, groups=()) for name in self.topics]


def test_random_changes_under_load_lose_nothing(lab):
    producers, consumers = lab.host('producers'), lab.host('consumers')
    seed = int(os.environ.get('WEIR_SEED', time.time()))
    changes = Changes(seed)
    router = lab.router([topic('positions', homes={'0': 0, '1': 1, '2': 0, '3': 1})], workers=2).start()
    load = Load(lab, router)
    for _ in range(2):
        load.consume(consumers)
    load.wait_members(2)
    count = 200 if lab.is_long else 20
    rate, gap_s = 40_000, 0.2
    for _ in range(2):
        load.produce(producers, seconds=count * 3 + 30, rate=rate)  # at most: the changes end it
    pause_ns, moved = 0, 0
    for _ in range(count):
        time.sleep(changes.dice.uniform(0, 2 * gap_s))
        answer = router.apply(changes.next())
        pause_ns = max(pause_ns, answer['pause_max_ns'] or 0)
        moved += sum(change['change'] == 'shard-moved' for change in answer['changes'])
    check(all(p.is_running() for p in load.producers), 'a producer ended before the changes did')
    for process in load.producers:
        process.signal(signal.SIGTERM)
    owners = [owner['worker'] for owner in router.topic_status('positions')['owners']]
    check_equal(owners, changes.homes, 'homes of the shards')
    verdict = load.finish(timeout_s=60 + count)['all']
    check(verdict['published'] > rate * count * gap_s, f'only {verdict["published"]} events ran beside the changes')
    check_clean(verdict)
    check_ledger(router, 'positions', verdict['published'])
    lab.note(f'{count} changes (seed {seed}), {moved} shards moved, longest pause {pause_ns / 1e6:.2f} ms')
    router.stop()

# Lossless means that a slow consumer stops its own topic's producers, by credit, and nobody else's.
#
#   producers ---- weir, 1 worker ---- consumers
#   fast and slow   topics fast, slow   one each; slow's consumer crawls
import time

from judge import Load, check, check_clean, check_ledger
from lab import topic

SECONDS = 14


def rate_of(router, name, seconds):
    count = [sum(owner['accepted'] for owner in router.topic_status(name)['owners'])]
    started = time.monotonic()
    time.sleep(seconds)
    count.append(sum(owner['accepted'] for owner in router.topic_status(name)['owners']))
    return (count[1] - count[0]) / (time.monotonic() - started)


def test_a_slow_topic_is_stopped_by_credit_and_slows_no_other(lab):
    producers, consumers = lab.host('producers'), lab.host('consumers')
    router = lab.router([topic('fast'), topic('slow', log='64KiB', event_max='4KiB')]).start()
    fast, slow = Load(lab, router, 'fast'), Load(lab, router, 'slow')
    seconds = 3.0 if lab.is_long else 2.0
    offered = 100_000  # a rate that the machine carries easily, so that a fall has one cause only
    fast.consume(consumers)
    fast.wait_members(1)
    fast.produce(producers, events=int(offered * (3 * seconds + 4)), rate=offered)
    time.sleep(1)
    alone = rate_of(router, 'fast', seconds)
    crawl = 10_000
    slow.consume(consumers, rate=crawl)
    slow.wait_members(1)
    # More than logs, window and the consumer's socket take, so that credit must stop the producer.
    slowly = 80_000 + int(crawl * seconds)
    blocked = slow.produce(producers, events=slowly, rate=offered)
    time.sleep(2)
    beside = rate_of(router, 'fast', seconds)
    crawled = rate_of(router, 'slow', 1)
    check(blocked.is_running(), 'the slow topic\'s producer was never stopped')
    check(crawled < 2 * crawl, f'the slow topic accepts {crawled:.0f} events/s although its consumer takes {crawl}')
    check(beside > 0.8 * alone, f'the fast topic fell from {alone:.0f} to {beside:.0f} events/s beside a slow one')
    published = int(offered * (3 * seconds + 4))
    check_clean(fast.finish(timeout_s=60)['all'], published)
    check_clean(slow.finish(timeout_s=120)['all'], slowly)
    check_ledger(router, 'fast', published)
    lab.note(f'fast topic {alone:.0f} events/s alone, {beside:.0f} beside the slow one, which took {crawled:.0f}')
    router.stop()

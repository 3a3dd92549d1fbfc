# Events larger than a frame travel in pieces and arrive whole; one over the topic's limit is refused at the producer.
#
#   producers ---- weir, 1 worker ---- consumers
from judge import Load, check, check_clean, check_ledger
from lab import topic

SECONDS = 1


def test_an_event_of_64_kib_arrives_whole(lab):
    producers, consumers = lab.host('producers'), lab.host('consumers')
    router = lab.router([topic('positions', event_max='80KiB')]).start()
    load = Load(lab, router)
    load.consume(consumers)
    load.wait_members(1)
    events = lab.count(400, 100_000)
    load.produce(producers, events=events, payload=64 * 1024, keys=16)
    check_clean(load.finish(timeout_s=60 + events / 200)['all'], events)
    check_ledger(router, 'positions', events)
    router.stop()


def test_an_event_over_the_limit_is_refused_with_its_reason(lab):
    producers, consumers = lab.host('producers'), lab.host('consumers')
    router = lab.router([topic('positions', event_max='64KiB')], hosts=[producers, consumers]).start()
    load = Load(lab, router)
    producer = load.produce(producers, events=1, payload=64 * 1024 + 1)
    status = producer.wait(20, expect=None)
    check(status != 0, 'the producer of an event over the limit ended with status 0')
    check('size' in producer.err() or 'event_max' in producer.err() or 'Message too long' in producer.err(),
          f'the producer does not say why:\n{producer.tail()}')
    check_ledger(router, 'positions', 0)
    router.stop()

# A router with nothing to do leaves the machine alone, and still wakes for the first event.
#
#   producers ---- weir, 1 worker ---- consumers
import os
import time

from judge import Load, check, check_clean
from lab import topic

SECONDS = 10


# Seconds on a core of all threads, to the nanosecond: the ticks of /proc/PID/stat miss what sleeps often.
def cpu_s(pid):
    total_ns = 0
    for thread in os.listdir(f'/proc/{pid}/task'):
        with open(f'/proc/{pid}/task/{thread}/schedstat') as file:
            total_ns += int(file.read().split()[0])
    return total_ns / 1e9


def begin(lab):
    producers, consumers = lab.host('producers'), lab.host('consumers')
    router = lab.router([topic('positions')]).start()
    load = Load(lab, router)
    load.consume(consumers)
    load.wait_members(1)
    return producers, router, load


def test_an_idle_worker_takes_less_than_a_tenth_of_a_core(lab):
    _, router, _ = begin(lab)
    time.sleep(1)
    before, started = cpu_s(router.process.pid), time.monotonic()
    time.sleep(4)
    share = (cpu_s(router.process.pid) - before) / (time.monotonic() - started)
    check(share < 0.10, f'the idle router takes {share * 100:.1f} % of a core, not less than 10')
    worker = router.status()['workers'][0]
    check(worker['sleep_ratio'] > 0.8, f'status shows a sleep ratio of {worker["sleep_ratio"]} on an idle router')
    lab.note(f'{share * 100:.1f} % of a core when idle')
    router.stop()


def test_the_first_event_after_a_rest_arrives_at_once(lab):
    producers, router, load = begin(lab)
    events = lab.count(60, 1000)
    load.produce(producers, events=events, rate=20)  # 50 ms of rest before each
    verdict = load.finish(timeout_s=20 + events / 20)['all']
    check_clean(verdict, events)
    latency = verdict['latency_ns']
    # The median: what else runs on this machine may delay any single one.
    check(latency['p50'] < 1_500_000, f'half of the events took more than {latency["p50"] / 1e6:.2f} ms, not 1.5')
    lab.note(f'first event after a rest: p50 {latency["p50"] / 1e3:.0f} us, p99 {latency["p99"] / 1e3:.0f} us')
    router.stop()

# A router with nothing to do leaves the machine alone, and still wakes for the first event.
#
#   producers ---- weir, 1 worker ---- consumers
import os
import time

from judge import Load, check, check_clean
from lab import topic

SECONDS = 12


# Seconds on a core of all threads, to the nanosecond: the ticks of /proc/PID/stat miss what sleeps often.
def cpu_s(pid):
    total_ns = 0
    for thread in os.listdir(f'/proc/{pid}/task'):
        with open(f'/proc/{pid}/task/{thread}/schedstat') as file:
            total_ns += int(file.read().split()[0])
    return total_ns / 1e9


def test_an_idle_worker_takes_less_than_a_tenth_of_a_core(lab):
    producers, consumers = lab.host('producers'), lab.host('consumers')
    router = lab.router([topic('positions')]).start()
    load = Load(lab, router)
    load.consume(consumers)
    load.wait_members(1)
    time.sleep(1)
    before, started = cpu_s(router.process.pid), time.monotonic()
    time.sleep(4)
    share = (cpu_s(router.process.pid) - before) / (time.monotonic() - started)
    check(share < 0.10, f'the idle router takes {share * 100:.1f} % of a core, not less than 10')
    worker = router.status()['workers'][0]
    check(worker['sleep_ratio'] > 0.8, f'status shows a sleep ratio of {worker["sleep_ratio"]} on an idle router')
    load.produce(producers, events=1000)
    check_clean(load.finish(timeout_s=20)['all'], 1000)
    lab.note(f'{share * 100:.1f} % of a core when idle')
    router.stop()

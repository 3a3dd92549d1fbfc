# Signals that end programs: whichever comes, the router says goodbye and leaves nothing. SIGHUP applies the file again. The
# reader of its standard error goes away, and nothing changes.
#
#   publish -> weir -- stderr --> a pipe whose reader dies
import os
import signal

from judge import check, check_equal
from lab import program, topic, wait_until

SECONDS = 1
PORTS = ('kernel',)
ENDS = (signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGPWR, signal.SIGRTMIN + 3)


def left_of(router):
    return [name for name in os.listdir('/run/weir') if name.startswith(f'{router.instance}.')]


def test_every_signal_that_ends_programs_ends_the_router_in_order(lab):
    lab.host('producers')
    for number in ENDS:
        router = lab.router([topic('positions')]).start()
        router.process.signal(number)
        check_equal(router.process.child.wait(20), 0, f'status after signal {number}')
        check_equal(left_of(router), [], f'files after signal {number}')


def names(router):
    return [entry['topic'] for entry in router.status()['topics']]


def test_hangup_applies_the_file_again_though_nobody_reads_what_is_said(lab):
    producers = lab.host('producers')
    reader, writer = os.pipe()
    router = lab.router([topic('positions')]).start(stderr=writer)
    os.close(writer)
    os.close(reader)
    router.topology['topics'].append(topic('more'))
    path = router.write()
    router.process.signal(signal.SIGHUP)
    wait_until(lambda: names(router) == ['positions', 'more'], 'the new topic is there', 10)
    with open(path, 'w') as file:
        file.write('topics: [{nam: positions}]')
    router.process.signal(signal.SIGHUP)
    # A wrong file is refused, and the next right one is taken: both were looked at.
    router.topology['topics'][1:] = [topic('other'), topic('more')]
    wait_until(lambda: router.process.is_running() and names(router) == ['positions', 'more'], 'it goes on as it was', 10)
    router.write()
    router.process.signal(signal.SIGHUP)
    wait_until(lambda: names(router) == ['positions', 'other', 'more'], 'the next file is applied', 10)
    publish = [program('weircat'), 'publish', 'positions', '--router', router.address(producers)]
    check_equal(lab.start('publish', publish, producers).child.wait(20), 0, 'status of publish')
    router.process.signal(signal.SIGTERM)
    check_equal(router.process.child.wait(20), 0, 'status of weir')
    check(not left_of(router), f'left: {left_of(router)}')

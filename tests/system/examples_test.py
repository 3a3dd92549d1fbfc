# The examples do what they show, also with each other: a producer and a consumer in Python, written from the protocol page
# alone, weircat, which is built on libweir, and a producer and a consumer in C, built as a user of the installed library builds
# them.
#
#   producers ---- weir, 1 worker ---- consumers
import os
import shutil
import signal

from judge import check, check_equal, check_ledger
from lab import BUILD, TOP, program, run, topic, wait_until

SECONDS = 6
LINES = [f'vehicle{number % 7} at {number}' for number in range(300)]


def python(name, *words):
    return ['python3', os.path.join(TOP, 'client', 'examples', name), *words]


def publish(lab, command, host):
    with open(lab.path('lines'), 'w') as file:
        file.write(''.join(line + '\n' for line in LINES))
    with open(lab.path('lines')) as lines:
        lab.start('publisher', command, host, stdin=lines).wait(30)


# Runs both ends; the lines that came out, in the order of their key.
def carry(lab, subscriber, publisher):
    left, right = lab.host('producers'), lab.host('consumers')
    router = lab.router([topic('positions')]).start()
    sink = lab.start('subscriber', subscriber(router.address(right)), right)
    wait_until(lambda: all(s['state'] == 'active' for s in router.members('positions', 'all')['shards']), 'a consumer', 15)
    publish(lab, publisher(router.address(left)), left)
    wait_until(lambda: sum(group['held'] for group in router.ledger()['groups']) == 0, 'all lines are settled', 15)
    sink.signal(signal.SIGTERM)
    sink.wait(15, expect=None)
    lines = sink.out().splitlines()
    check_equal(sorted(lines), sorted(LINES), 'the lines that came out')
    for vehicle in range(7):
        mine = [line for line in lines if line.startswith(f'vehicle{vehicle} ')]
        check(mine == [line for line in LINES if line.startswith(f'vehicle{vehicle} ')], f'vehicle{vehicle} is out of order')
    check_ledger(router, 'positions', len(LINES))
    router.stop()


def weircat(verb, address):
    more = ['--group', 'all'] if verb == 'subscribe' else ['--key', 'field:1']
    return [program('weircat'), verb, 'positions', '--router', address, *more]


def test_python_to_python(lab):
    carry(lab, lambda a: python('consumer.py', a, 'positions', 'all'),
          lambda a: python('producer.py', a, 'positions'))


def test_python_to_weircat(lab):
    carry(lab, lambda a: weircat('subscribe', a), lambda a: python('producer.py', a, 'positions'))


def test_weircat_to_python(lab):
    carry(lab, lambda a: python('consumer.py', a, 'positions', 'all'), lambda a: weircat('publish', a))


def test_mistakes_are_said_without_a_traceback(lab):
    lab.host('producers')
    for address, said in (('tcp://127.0.0.1', 'not an address'), ('udp://', 'not an address'), ('a:b:c', 'not an address'),
                          ('udp://no-such-host.invalid', 'no-such-host.invalid')):
        for words in (python('producer.py', address, 'positions'), python('consumer.py', address, 'positions', 'all')):
            answer = run(*words, check=False)
            check(answer.returncode == 1 and said in answer.stderr and 'Traceback' not in answer.stderr, answer.stderr)


# As `meson install` leaves it, in a folder of its own: header, library, and the file that tells compilers where they are.
def install(lab):
    root = lab.path('root')
    shutil.rmtree(root, ignore_errors=True)
    run('meson', 'install', '-C', BUILD, '--no-rebuild', '--quiet', '--destdir', root, '--tags', 'devel,runtime', timeout_s=60)
    found = [folder for folder, _, names in os.walk(root) if 'weir.pc' in names]
    check_equal(len(found), 1, 'installed files weir.pc')
    return {**os.environ, 'PKG_CONFIG_SYSROOT_DIR': root, 'PKG_CONFIG_PATH': found[0],
            'LD_LIBRARY_PATH': os.path.dirname(found[0])}


def test_c_examples_with_the_installed_library(lab):
    left, right = lab.host('producers'), lab.host('consumers')
    environment = install(lab)
    for role in ('producer', 'consumer'):
        source = shutil.copy(os.path.join(TOP, 'client', 'examples', role + '.c'), lab.folder)
        run('env', *(f'{name}={value}' for name, value in environment.items() if name.startswith('PKG')), 'sh', '-ec',
            f'cc -Wall -Wextra -Werror {source} -o {lab.path(role)} $(pkg-config --cflags --libs weir)')
    router = lab.router([topic('positions', groups=('map',))]).start()
    library = 'LD_LIBRARY_PATH=' + environment['LD_LIBRARY_PATH']
    consumer = lab.start('consumer', ['env', library, lab.path('consumer'), router.address(right)], right)
    lab.start('producer', ['env', library, lab.path('producer'), router.address(left)], left).wait(20)
    consumer.wait(20)
    lines = consumer.out().splitlines()
    for vehicle in range(10):
        mine = [line for line in lines if line.startswith(f'vehicle {vehicle} ')]
        check_equal(mine, [f'vehicle {vehicle} step {step}' for step in range(100)], f'lines of vehicle {vehicle}')
    check_ledger(router, 'positions', 1000)
    router.stop()


def test_python_goes_on_after_a_restart_of_the_router(lab):
    left, right = lab.host('producers'), lab.host('consumers')
    router = lab.router([topic('positions', shards=1)]).start()
    sink = lab.start('subscriber', python('consumer.py', router.address(right), 'positions', 'all'), right)
    ends = os.pipe()
    source = lab.start('publisher', python('producer.py', router.address(left), 'positions'), left, stdin=ends[0])
    os.close(ends[0])
    wait_until(lambda: router.members('positions', 'all')['shards'][0]['state'] == 'active', 'a consumer', 15)
    # A buffer of the producer's and one of its frames full: some are in the log, others on hand when the router is gone.
    os.write(ends[1], ''.join(line + '\n' for line in LINES).encode())
    wait_until(lambda: sink.out(), 'the first lines came out', 15)
    router.process.kill()
    router.process.child.wait(10)
    router.start()
    wait_until(lambda: 'router back' in source.err(), 'the producer is back', 20)
    os.write(ends[1], ''.join(line + ' again\n' for line in LINES).encode())
    os.close(ends[1])
    source.wait(30)
    wait_until(lambda: sum(group['held'] for group in router.ledger()['groups']) == 0, 'all lines are settled', 15)
    sink.signal(signal.SIGTERM)
    sink.wait(15, expect=None)
    lines = sink.out().splitlines()
    check_equal([line for line in lines if line.endswith('again')], [line + ' again' for line in LINES], 'after the restart')
    doubtful = sum(int(line.split()[0]) for line in source.err().splitlines() if 'in doubt' in line)
    check(len(lines) >= 2 * len(LINES) - doubtful, f'{len(lines)} lines came out, {doubtful} are said to be in doubt')
    for process in (source, sink):
        check('router lost' in process.err() and 'router back' in process.err(), f'it said {process.err()!r}')
    router.stop()

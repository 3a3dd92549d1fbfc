# Every path that weir makes may be a wrong one: what lies there is named and stays, whether it is a file, a link, a directory
# or a pipe. What a killed router left is replaced.
#
#   weir -> socket, lanes socket, lock, counters
import os
import signal

from judge import check, check_equal
from lab import topic

SECONDS = 2
PORTS = ('kernel',)


def make_file(path):
    with open(path, 'w') as file:
        file.write('three days of notes')


def make_link(path):
    make_file(f'{path}.target')
    os.symlink(f'{path}.target', path)


def look(path):
    found = os.lstat(path)
    return found.st_ino, found.st_mode, found.st_size


def remove(path):
    if os.path.isdir(path):
        os.rmdir(path)
    elif os.path.lexists(path):
        os.unlink(path)


def stays(router, path, make):
    make(path)
    target = f'{path}.target'
    before = look(path), os.path.exists(target) and look(target)
    try:
        process = router.launch()
        check_equal(process.child.wait(20), 1, f'status of weir where {make.__name__} made {path}')
        check_equal((look(path), os.path.exists(target) and look(target)), before, f'{path} ({make.__name__})')
        check(path in process.err(), f'{path} is not named: {process.err()}')
        ours = [name for name in os.listdir('/run/weir') if name.startswith(f'{router.instance}.')]
        check_equal([name for name in ours if not os.path.join('/run/weir', name).startswith(path)], [], 'left behind')
    finally:
        remove(path)
        remove(target)


def test_what_lies_at_a_path_of_weirs_and_is_not_its_own_stays(lab):
    lab.host('producers')
    router = lab.router([topic('positions')], lanes={'socket_mode': '0600'})
    for name in ('sock', 'lanes.sock', 'lock', 'counters'):
        for make in (make_file, make_link, os.mkdir, os.mkfifo):
            stays(router, f'/run/weir/{router.instance}.{name}', make)


def test_what_a_killed_router_left_is_replaced(lab):
    lab.host('producers')
    router = lab.router([topic('positions')], lanes={'socket_mode': '0600'}).start()
    router.process.kill()
    router.process.child.wait(10)
    left = sorted(name for name in os.listdir('/run/weir') if name.startswith(f'{router.instance}.'))
    check_equal([name[len(router.instance) + 1:] for name in left], ['counters', 'lanes.sock', 'lock', 'sock'], 'left')
    router.start()
    router.process.signal(signal.SIGTERM)
    check_equal(router.process.child.wait(20), 0, 'status of the next one')

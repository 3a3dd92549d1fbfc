# Real data, byte for byte: every regular file below /usr/include is published line by line, keyed by its path; four
# consumers on hosts of their own append what they get to a file per key; every file comes back as it was.
#
#                 | positions |---- writer1
#   publisher ----|   weir    |---- writer2
#   /usr/include  | 4 shards  |---- writer3
#                 | 1 worker  |---- writer4
import os
import shutil
import signal
import urllib.parse

from judge import check, check_equal, check_ledger
from lab import program, topic, wait_until

SECONDS = 16
TOP = '/usr/include'
NAME_MOST = 200  # longer names are cut by weircat, their key behind


def files_below(top):
    found = [os.path.join(folder, name) for folder, _, names in os.walk(top) for name in names]
    return sorted(path for path in found if os.path.isfile(path) and not os.path.islink(path))


def fnv1a(data):
    value = 0xcbf29ce484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001b3 % (1 << 64)
    return value


# The name of the file that `weircat subscribe --per-key` writes for a path.
def written_name(path):
    name = ''
    for letter in path.encode():
        if len(name) + 3 > NAME_MOST:
            return f'{name}~{fnv1a(path.encode()):016x}'
        name += urllib.parse.quote(bytes([letter]), safe='')
    return name


def read(path):
    with open(path, 'rb') as file:
        return file.read()


def one_round(lab, router, publisher, writers, paths):
    folders, processes = [lab.path(writer.name) for writer in writers], []
    for writer, folder in zip(writers, folders):
        shutil.rmtree(folder, ignore_errors=True)
        processes.append(lab.start('weircat', [program('weircat'), 'subscribe', 'positions', '--group', 'all', '--router',
                                               router.address(writer), '--per-key', folder], writer))
    wait_until(lambda: len({s['session'] for s in router.members('positions', 'all')['shards'] if s['state'] == 'active'}) == 4,
               'each writer has a shard', 15)
    source = lab.start('weircat', [program('weircat'), 'publish', 'positions', '--key', 'file', '--router',
                                   router.address(publisher), *paths], publisher)
    source.wait(180)
    wait_until(lambda: sum(group['held'] for group in router.ledger()['groups']) == 0, 'all lines are written', 60)
    for process in processes:
        process.signal(signal.SIGTERM)
    for process in processes:
        process.wait(30)
    written = {}
    for folder in folders:
        for name in os.listdir(folder):
            check(name not in written, f'{name} was written by two consumers')
            written[name] = os.path.join(folder, name)
    for path in paths:
        name = written_name(path)
        check(name in written, f'{path} did not come back')
        check(read(written.pop(name)) == read(path), f'{path} came back different')
    check_equal(len(written), 0, f'files that nobody published, as {next(iter(written), None)}')


# What files of /usr/include do not have: no line end, no byte at all, NUL, bytes that are no text, a line without end.
def test_files_that_are_no_text_come_back_byte_for_byte(lab):
    host = lab.host('host')
    router = lab.router([topic('positions')]).start()
    contents = {'no-end': b'one\ntwo', 'one-byte': b'x', 'one-line-end': b'\n', 'line-ends': b'\n\n\n', 'nothing': b'',
                'nul': b'\0\n\0\0\n\n\0', 'carriage': b'a\r\nb\r', 'every-byte': bytes(range(256)) * 300,
                'random': os.urandom(1 << 20), 'one-line': b'0123456789' * 10_000_000, 'long-line': b'y' * (1 << 20) + b'\nz\n'}
    paths = [lab.path(name) for name in contents]
    for path, content in zip(paths, contents.values()):
        with open(path, 'wb') as file:
            file.write(content)
    to = ['--router', router.address(host)]
    sink = lab.start('weircat', [program('weircat'), 'subscribe', 'positions', '--group', 'all', *to, '--per-key',
                                 lab.path('written')], host)
    lab.start('weircat', [program('weircat'), 'publish', 'positions', '--key', 'file', *to, *paths], host).wait(60)
    wait_until(lambda: sum(group['held'] for group in router.ledger()['groups']) == 0, 'all of it is written', 60)
    sink.stop(30)
    check_equal(len(os.listdir(lab.path('written'))), len(contents), 'files written')
    for path, content in zip(paths, contents.values()):
        written = os.path.join(lab.path('written'), written_name(path))
        check(read(written) == content, f'{path} came back different, {os.path.getsize(written)} bytes')
    check_ledger(router)
    router.stop()


def test_every_file_comes_back_byte_for_byte(lab):
    publisher = lab.host('publisher')
    writers = [lab.host(f'writer{number}') for number in range(1, 5)]
    router = lab.router([topic('positions')]).start()
    paths = files_below(TOP)
    rounds = 3 if lab.is_long else 2
    for _ in range(rounds):
        one_round(lab, router, publisher, writers, paths)
    ledger = check_ledger(router)
    size = sum(os.path.getsize(path) for path in paths)
    lab.note(f'{rounds} rounds of {len(paths)} files, {size >> 20} MiB; {ledger["totals"]["accepted"]} events')
    router.stop()

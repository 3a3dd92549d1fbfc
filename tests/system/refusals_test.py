# Every refusal that a client can get at its start is told in the router's own words, with what to do about it.
#
#   clients ---- weir, 1 worker, its tables full
import os
import signal

from judge import check
from lab import program, topic, wait_until

SECONDS = 8
LIMITS = {'sessions_per_worker': 16, 'members_per_group': 1, 'streams_per_shard': 1}
ONE = [topic('positions', shards=1)]


def weircat(router, host, verb, *words):
    return [program('weircat'), verb, 'positions', '--router', router.address(host), '--wait-ms', '1500', *words]


# What it says when it is refused.
def told(lab, name, command, host, *words):
    with open(os.devnull) as nothing:
        process = lab.start(name, command, host, stdin=nothing)
        process.wait(15, expect=1)
    said = process.err()
    for word in words:
        check(word in said, f'{name} said: {said}')
    check('no answer' not in said and 'not in the router' not in said, f'{name} said: {said}')


def subscribe(lab, router, host, name, **more):
    return lab.start(name, weircat(router, host, 'subscribe', '--group', 'all'), host, **more)


def start(lab, **limits):
    return lab.router(ONE, limits={**LIMITS, **limits}).start()


def begin(lab, **limits):
    host = lab.host('clients')
    return host, start(lab, **limits)


def publisher(lab, router, host, name):
    ends = os.pipe()
    process = lab.start(name, weircat(router, host, 'publish'), host, stdin=ends[0])
    os.close(ends[0])
    return process, ends[1]


def test_a_full_group_is_told_as_one(lab):
    host, router = begin(lab)
    member = subscribe(lab, router, host, 'member')
    wait_until(lambda: router.members('positions', 'all')['members'] == 1, 'a member', 15)
    command = weircat(router, host, 'subscribe', '--group', 'all')
    told(lab, 'second', command, host, 'members', 'limits.members_per_group')
    member.signal(signal.SIGTERM)
    router.stop()


def test_a_full_stream_table_is_told_as_one(lab):
    host, router = begin(lab)
    process, end = publisher(lab, router, host, 'first')
    os.write(end, b'one\n')  # which is in the log once its stream is open
    wait_until(lambda: sum(group['held'] for group in router.ledger()['groups']) == 1, 'its stream', 15)
    told(lab, 'second', weircat(router, host, 'publish'), host, 'streams', 'limits.streams_per_shard')
    os.close(end)
    process.wait(15)
    router.stop()


def test_a_host_that_has_its_share_of_the_sessions_is_told_so(lab):
    host, router = begin(lab, streams_per_shard=64)
    clients = [publisher(lab, router, host, f'client-{i}') for i in range(12)]
    wait_until(lambda: router.status()['sessions'] == 12, '12 of 16 sessions', 20)
    told(lab, 'next', weircat(router, host, 'publish'), host, 'quota', 'share')
    for process, end in clients:
        os.close(end)
        process.wait(15)
    router.stop()


# One source has at most three times as many as are left free: it takes three to fill the table.
def test_a_full_session_table_is_told_as_one(lab):
    sources = {lab.host(name): count for name, count in (('many', 12), ('few', 3), ('one', 1))}
    newcomer = lab.host('newcomer')
    router = start(lab, streams_per_shard=64)
    clients = []
    for host, count in sources.items():
        clients += [publisher(lab, router, host, f'client-{host.number}') for _ in range(count)]
        wait_until(lambda: router.status()['sessions'] == len(clients), f'{len(clients)} sessions', 20)
    told(lab, 'next', weircat(router, newcomer, 'publish'), newcomer, 'sessions', 'limits.sessions_per_worker')
    for process, end in clients:
        os.close(end)
        process.wait(15)
    router.stop()

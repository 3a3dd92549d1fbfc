# The operator's side of a router that works: who may command it, what a refused change leaves behind, where a new group
# begins, and that what weirctl says is what its page says.
#
#   producers ---- weir <- weirctl
#   consumers ---- /
import json
import os
import re
import stat

from judge import Load, check, check_clean, check_equal, check_ledger
from lab import TOP, program, run, topic, wait_until

SECONDS = 6
NOBODY = ('setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups')


def test_the_socket_admits_whom_its_file_mode_admits(lab):
    lab.host('producers')
    for mode, expected in (('0600', 3), ('0666', 0)):
        router = lab.router([topic('positions')], control={'mode': mode}).start()
        check_equal(stat.S_IMODE(os.stat(router.socket).st_mode), int(mode, 8), f'file mode of {router.socket}')
        answer = run(*NOBODY, program('weirctl'), '--socket', router.socket, '--json', 'version', check=False)
        check_equal(answer.returncode, expected, f'status of weirctl run by nobody, socket {mode}')
        if expected:
            check('mode' in json.loads(answer.stdout)['error']['fix'], f'the fix does not speak of the mode: {answer.stdout}')
        router.stop()
        check(not os.path.exists(router.socket), f'{router.socket} stayed')


def test_applications_use_lanes_without_a_right_to_command(lab):
    lab.host('producers')
    router = lab.router([topic('positions')], control={'mode': '0600'},
                        lanes={'socket_mode': '0660', 'group': 'nogroup', 'per_user': 3}).start()
    check_equal(stat.S_IMODE(os.stat(router.lanes_socket).st_mode), 0o660, f'file mode of {router.lanes_socket}')
    for socket, expected in ((router.lanes_socket, 0), (router.socket, 1)):
        answer = run(*NOBODY, program('weircat'), 'publish', 'positions', '--router', f'unix:{socket}', '--wait-ms', '3000',
                     '/etc/hostname', check=False)
        check_equal(answer.returncode, expected, f'status of weircat run by nobody on {socket}: {answer.stderr}')
    subscriber = lab.start('subscriber', [*NOBODY, program('weircat'), 'subscribe', 'positions', '--group', 'all', '--router',
                                          f'unix:{router.lanes_socket}'])
    lanes = wait_until(lambda: router.status()['lanes'], 'its lane', 10)
    check_equal([(lane['uid'], lane['pid'], lane['program']) for lane in lanes], [(65534, subscriber.pid, 'weircat')],
                'whose lanes status shows')
    router.stop()


def test_a_refused_change_leaves_everything_as_it_was(lab):
    producers, consumers = lab.host('producers'), lab.host('consumers')
    router = lab.router([topic('positions')]).start()
    load = Load(lab, router)
    load.consume(consumers)
    load.wait_members(1)
    events = lab.count(60_000, 600_000)
    load.produce(producers, events=events, rate=30_000)
    refused = [
        [topic('positions', shards=8)],
        [topic('positions', groups=('all', 'more')), topic('huge', shards=4096, log='64GiB')],
        [topic('positions', policy='drop-old'), topic('new')],
        [],
    ]
    for i, topics in enumerate(refused):
        router.topology['topics'] = topics
        router.topology['limits'] = {'park_frames': 99} if not topics else {}
        answer = router.ctl('apply', router.write(f'refused-{i}.yaml'), check=False)
        check_equal(answer.returncode, 1, f'status of apply {i}: {answer.stdout}{answer.stderr}')
        error = json.loads(answer.stdout)['error']
        check(all(error[part] for part in ('object', 'action', 'reason', 'fix')), f'not in four parts: {error}')
        status = router.status()
        check_equal(status['revision'], 1, 'revision after a refused apply')
        check_equal([(t['topic'], t['shards'], [g['group'] for g in t['groups']]) for t in status['topics']],
                    [('positions', 4, ['all'])], 'topics after a refused apply')
    check_clean(load.finish(timeout_s=60)['all'], events)
    check_ledger(router, 'positions', events)
    router.stop()


def test_a_new_group_begins_where_apply_says(lab):
    producers, consumers = lab.host('producers'), lab.host('consumers')
    router = lab.router([topic('positions', log='4MiB')]).start()
    first = Load(lab, router)
    first.consume(consumers)
    first.wait_members(1)
    first.produce(producers, events=20_000)
    check_clean(first.finish(timeout_s=30)['all'], 20_000)
    groups = ['all', {'name': 'late', 'start': 'latest'}, {'name': 'early', 'start': 'earliest'}]
    answer = router.apply([topic('positions', log='4MiB', groups=groups)])
    starts = {change['group']: change['starts'] for change in answer['changes']}
    heads = [owner['head'] for owner in router.topic_status('positions')['owners']]
    check_equal(sum(heads), 20_000, 'heads of the shards')
    check_equal(starts, {'late': heads, 'early': [0, 0, 0, 0]}, 'start offsets of the new groups')
    second = Load(lab, router)
    second.consume(consumers, group='early')
    second.wait_members(1, group='early')
    wait_until(lambda: second.held(['early']) == 0, 'the early group saw everything', 30)
    check_equal(sum(row['settled'] for row in router.ledger()['groups'] if row['group'] == 'late'), 0, 'settled by `late`')
    check_equal(router.members('positions', 'late')['lag'], 0, 'lag of `late`')
    check_ledger(router, 'positions', 20_000)
    router.stop()


NAMES = ('refused', 'skipped', 'dropped', 'drops', 'refused_frames', 'kinds', 'topics')


def keys_of(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            # The names of reasons, kinds and topics are no keys.
            if key not in NAMES or isinstance(inner, list):
                yield from keys_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys_of(inner)


def test_every_key_that_weirctl_prints_is_in_its_page(lab):
    producers = lab.host('producers')
    router = lab.router([topic('positions')]).start()
    load = Load(lab, router)
    load.consume(producers)
    load.wait_members(1)
    load.produce(producers, events=1000)
    check_clean(load.finish(timeout_s=30)['all'], 1000)
    with open(os.path.join(TOP, 'docs', 'weirctl.8')) as page:
        known = set(re.findall(r'[a-z0-9_]+', page.read()))
    answers = [router.status(), router.ledger(), router.apply([topic('positions', groups=('all', 'more')), topic('new')])]
    answers += [json.loads(router.ctl(command).stdout) for command in ('plan', 'version')]
    for answer in answers:
        unknown = sorted(set(keys_of(answer)) - known)
        check(not unknown, f'keys that docs/weirctl.8 does not name: {unknown}')
    router.stop()

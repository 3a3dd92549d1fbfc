# Events that a hold group holds go nowhere without a word: an apply that would throw them away is refused with the numbers
# until each topic and group is named, a clean stop says how many of which group it took along.
#
#   publish -> weir -> (nobody yet)
import json
import signal

from judge import check, check_equal
from lab import program, topic, wait_until

SECONDS = 1
PORTS = ('kernel',)
LINES = 30


def publish(lab, router, host):
    path = lab.path('lines')
    with open(path, 'w') as file:
        file.write('line\n' * LINES)
    with open(path) as lines:
        command = [program('weircat'), 'publish', 'positions', '--router', router.address(host)]
        lab.start('publish', command, host, stdin=lines).wait(20)
    wait_until(lambda: held(router) == LINES, 'the events are held', 10)


def held(router):
    return sum(row['held'] for row in router.ledger()['groups'] if row['group'] == 'all')


def refused(router, topics, *options):
    router.topology['topics'] = topics
    answer = router.ctl(*options, 'apply', router.write('refused.yaml'), check=False)
    check_equal(answer.returncode, 1, f'status of apply {options}: {answer.stdout}')
    check_equal(held(router), LINES, 'events held')
    return json.loads(answer.stdout)['error']


def test_an_apply_that_throws_events_away_needs_their_names(lab):
    producers = lab.host('producers')
    groups = ('all', {'name': 'idle', 'kind': 'follow'})
    router = lab.router([topic('positions', groups=groups)]).start()
    check_equal(router.status()['warnings'], [], 'warnings of groups that hold nothing')
    publish(lab, router, producers)
    warnings = router.status()['warnings']
    check(len(warnings) == 1 and f'holds {LINES} events' in warnings[0], f'warnings: {warnings}')
    mistyped = [topic('position', groups=groups)]
    error = refused(router, mistyped)
    check_equal(error['object'], 'topic positions', 'object')
    check(f'{LINES} events' in error['reason'] and '--discard positions' in error['fix'], f'{error}')
    refused(router, mistyped, '--discard', 'position', '--discard', 'positions/all')
    without = [topic('positions', groups=groups[1:])]
    error = refused(router, without, '--discard', 'positions')
    check_equal(error['object'], 'group all of topic positions', 'object')
    check('--discard positions/all' in error['fix'], f'{error}')
    plan = json.loads(router.ctl('plan', router.write('plan.yaml')).stdout)
    check(any(f'holds {LINES} events' in warning for warning in plan['warnings']), f'{plan["warnings"]}')
    # A group that holds nothing and serves nobody goes as before.
    answer = router.apply([topic('positions', groups=groups[:1])])
    check_equal([change['change'] for change in answer['changes']], ['group-removed'], 'changes')
    answer = router.apply(without[:0] + [topic('position')], discard=['positions'])
    check_equal(sorted(change['change'] for change in answer['changes']), ['group-added', 'topic-added', 'topic-removed'],
                'changes')
    router.stop()


def test_members_and_producers_are_not_thrown_away_either(lab):
    producers = lab.host('producers')
    router = lab.router([topic('positions', groups=({'name': 'all', 'kind': 'follow'},))]).start()
    subscribe = [program('weircat'), 'subscribe', 'positions', '--group', 'all', '--router', router.address(producers)]
    lab.start('subscribe', subscribe, producers)
    wait_until(lambda: router.members('positions', 'all')['members'] == 1, 'a member', 15)
    router.topology['topics'] = []
    answer = router.ctl('apply', router.write('refused.yaml'), check=False)
    check_equal(answer.returncode, 1, 'status')
    check('1 members' in json.loads(answer.stdout)['error']['reason'], answer.stdout)
    router.stop()


def test_a_clean_stop_says_what_goes_with_it(lab):
    producers = lab.host('producers')
    router = lab.router([topic('positions')]).start()
    publish(lab, router, producers)
    router.process.signal(signal.SIGTERM)
    check_equal(router.process.child.wait(20), 0, 'status')
    check(f'topic positions: group all held {LINES} events' in router.process.err(), router.process.err())

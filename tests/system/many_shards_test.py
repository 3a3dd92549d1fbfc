# Status of a router with more shards than anybody reads: sums, and the shards in trouble; the rest on request.
#
#   publish -> weir, 400 shards -> (nobody)
import json

from judge import check, check_equal
from lab import program, run, topic, wait_until

SECONDS = 4
PORTS = ('kernel',)
SHARDS = 400


def text_of(router, *options):
    return run(program('weirctl'), '--socket', router.socket, *options, 'status').stdout.splitlines()


def status(router, *options):
    return json.loads(router.ctl(*options, 'status').stdout)


def test_status_of_many_shards_is_short_and_can_be_had_whole(lab):
    producers = lab.host('producers')
    groups = ({'name': 'all', 'kind': 'follow'},)
    router = lab.router([topic('many', shards=SHARDS, log='64KiB', groups=groups),
                         topic('one', shards=1, log='64KiB', groups=())]).start()
    path = lab.path('lines')
    with open(path, 'w') as file:
        file.write(''.join(f'{number}\n' for number in range(1000)))
    with open(path) as lines:
        command = [program('weircat'), 'publish', 'many', '--router', router.address(producers)]
        lab.start('publish', command, producers, stdin=lines).wait(30)
    wait_until(lambda: router.topic_status('many')['accepted'] == 1000, 'the sum of what was accepted', 10)
    many = router.topic_status('many')
    check(many['folded'], 'not folded')
    check_equal(many['troubles'], 0, 'troubles')
    check_equal((many['shards'], len(many['owners']), len(many['groups'][0]['shards'])), (SHARDS, 0, 0), 'shards, rows')
    check(len(text_of(router)) < 40, f'{len(text_of(router))} lines')
    whole = status(router, '--topic', 'many')
    check_equal([entry['topic'] for entry in whole['topics']], ['many'], 'topics')
    check_equal(sum(owner['accepted'] for owner in whole['topics'][0]['owners']), 1000, 'accepted of all shards')
    check_equal(len(whole['topics'][0]['groups'][0]['shards']), SHARDS, 'rows of the group')
    everything = status(router, '--all')
    check_equal([len(entry['owners']) for entry in everything['topics']], [SHARDS, 1], 'rows of all topics')
    answer = router.ctl('--topic', 'none', 'status', check=False)
    check_equal(answer.returncode, 1, 'status of a topic that is not there')
    check_equal(json.loads(answer.stdout)['error']['object'], 'topic none', 'object')
    router.stop()

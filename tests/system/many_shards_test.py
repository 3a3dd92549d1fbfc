# A router with many shards: its status is sums, and the shards in trouble, the rest on request; and what it takes is bounded.
#
#   publish -> weir, 400 shards -> (nobody)
import json

from judge import check, check_between, check_equal
from lab import program, run, topic, wait_until

SECONDS = 5
PORTS = ('kernel',)
SHARDS = 400
MOST_TOPICS, MOST_SHARDS = 4, 4096
ANONYMOUS_KIB = 685000  # of 16,384 shards with a group each: 623,000, and a tenth


def resident_kib(router):
    with open(f'/proc/{router.process.pid}/status') as file:
        words = dict(line.split(':', 1) for line in file)
    return [int(words[name].split()[0]) for name in ('RssAnon', 'RssShmem', 'VmRSS')]


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


# Logs are shared memory, each mapped twice: the kernel counts them double.
def test_a_router_with_as_many_shards_as_may_be_takes_little_beside_their_logs(lab):
    lab.host('producers')
    router = lab.router([topic(f'many{i}', shards=MOST_SHARDS, log='64KiB') for i in range(MOST_TOPICS)], hugepages='off')
    router.start(timeout_s=60)
    anonymous, shared, resident = resident_kib(router)
    lab.note(f'16,384 shards: {resident} KiB resident, {shared} of them logs mapped twice, {anonymous} what goes with them')
    check_between(shared, 2 << 20, (2 << 20) + 16384, 'KiB of logs, twice, and ports')
    check_between(anonymous, 0, ANONYMOUS_KIB, 'KiB beside logs')
    router.stop()

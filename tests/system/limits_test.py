# The router in a memory group that is smaller than the machine, and with few descriptors: what does not fit is refused with
# the numbers before any of it is taken, by plan, by apply and at the start; what it holds it goes on holding.
#
#   publish -> weir, in a control group of 384 MiB
import json
import os
import re
import subprocess

from judge import check, check_between, check_equal
from lab import program, topic

SECONDS = 1
PORTS = ('kernel',)
LIMIT = 384 << 20


class Group:
    def __init__(self, name):
        version_1 = '/sys/fs/cgroup/memory'
        self.is_first = os.path.isdir(version_1)
        self.path = os.path.join(version_1 if self.is_first else '/sys/fs/cgroup', name)

    def __enter__(self):
        os.mkdir(self.path)
        with open(os.path.join(self.path, 'memory.limit_in_bytes' if self.is_first else 'memory.max'), 'w') as file:
            file.write(str(LIMIT))
        return self

    def __exit__(self, *_):
        os.rmdir(self.path)

    def start(self, lab, router):
        script = f'echo $$ >{self.path}/cgroup.procs; exec "$@"'
        command = ['sh', '-c', script, 'sh', program('weir'), '--config', router.write()]
        return lab.start('weir', command, netns=lab.router_netns)


def error_of(answer):
    check_equal(answer.returncode, 1, f'status, {answer.stdout}')
    return json.loads(answer.stdout)['error']


# What a topic with so many groups needs that does not fit.
def needed_mib(router, groups):
    router.topology['topics'][-1] = topic('big', shards=1024, groups=[f'group{i}' for i in range(groups)])
    error = error_of(router.ctl('plan', router.write('groups.yaml'), check=False))
    check_equal(error['object'], 'topic big', 'object')
    return int(re.search(r'need (\d+) MiB of memory', error['reason'])[1])


def test_what_does_not_fit_into_the_control_group_is_refused_with_numbers(lab):
    producers = lab.host('producers')
    big = topic('big', shards=16, log='64MiB')
    with Group(lab.prefix) as group:
        router = lab.router([topic('positions')], hugepages='off')
        router.topology['topics'].append(big)
        process = group.start(lab, router)
        check_equal(process.child.wait(20), 1, 'status of a start that does not fit')
        check('control group' in process.err() and 'big' in process.err(), process.err())
        router.topology['topics'].pop()
        router.process = group.start(lab, router)
        router.wait_ready()
        publish = ['nsenter', f'--net=/run/netns/{producers.netns}', program('weircat'), 'publish', 'positions']
        subprocess.run([*publish, '--router', router.address(producers)], input=b'one\ntwo\n', check=True, timeout=20)
        router.topology['topics'].append(big)
        for command in ('plan', 'apply'):
            error = error_of(router.ctl(command, router.write('big.yaml'), check=False))
            check_equal(error['object'], 'topic big', 'object')
            check('384 MiB' in error['reason'] and group.path in error['reason'], error['reason'])
        # 62 groups, 1,280 bytes on each of 1,024 shards.
        few, many = (needed_mib(router, count) for count in (1, 63))
        check_between(many - few, 77, 78, 'MiB that 62 groups need')
        check_equal(sum(owner['accepted'] for owner in router.topic_status('positions')['owners']), 2, 'accepted')
        router.stop()


def test_a_start_with_too_few_descriptors_is_refused_with_numbers(lab):
    lab.host('producers')
    router = lab.router([topic('positions')])
    command = ['prlimit', '--nofile=26:26', program('weir'), '--config', router.write()]
    process = lab.start('weir', command, netns=lab.router_netns)
    check_equal(process.child.wait(20), 1, 'status')
    check('26 are permitted' in process.err(), process.err())

# Every missing need of the host is one clear message that names what is missing and the way out, and a status that is not
# zero: never a panic of DPDK, never a daemon that runs without what it was asked for.
#
#   producers ---- weir, which does not start
import json
import os
import re

from judge import check
from lab import Process, program, run, topic, wait_until
from ports import publish

SECONDS = 2


# Starts it and returns what it said, after checking that it said it well.
def refusal(lab, router, *words, prefix=()):
    command = list(prefix) + [program('weir'), '--config', router.write()]
    process = Process(lab, f'weir-{lab.take_number("refused")}', command, lab.router_netns)
    lab.processes.append(process)
    status = process.wait(20, expect=None)
    said = process.err()
    check(status in (1, 2), f'status {status}, not 1 or 2\n{process.tail()}')
    check(not re.search(r'panic|segfault|Assert|EAL: Error', said), f'not one clear message:\n{said}')
    for word in words:
        check(re.search(word, said, re.I), f'the message does not speak of {word}:\n{said}')
    return said


def test_an_interface_that_is_not_there(lab):
    lab.host('producers')
    router = lab.router([topic('positions')])
    if router.kind == 'kernel':
        router.topology['ports'][0]['address'] = '192.0.2.7'
        refusal(lab, router, r'192\.0\.2\.7')
    else:
        router.topology['ports'][0]['interface'] = 'nosuch0'
        refusal(lab, router, 'nosuch0')


def test_no_hugepages_although_required(lab):
    lab.host('producers')
    router = lab.router([topic('positions', log='1GiB', event_max='1MiB')], hugepages='require')
    router.topology['topics'][0]['shards'] = 64
    refusal(lab, router, 'hugepages', 'nr_hugepages|hugepages: (prefer|off)|GiB|MiB|memory')


def test_no_permission(lab):
    lab.host('producers')
    router = lab.router([topic('positions')], hugepages='off')
    words = ('/run/weir', 'permission|denied|root') if router.kind == 'kernel' else ('permission|CAP_|denied|root',)
    refusal(lab, router, *words, prefix=('setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', '--inh-caps=-all',
                                         '--bounding-set=-all'))


# Kernel ports need no right but to bind: the user's own directory serves where /run/weir is not to be written to.
def test_an_ordinary_user_needs_a_directory_of_its_own_alone(lab):
    host = lab.host('producers')
    router = lab.router([topic('positions')], kind='kernel', hugepages='off')
    own = lab.path('run')
    os.mkdir(own)
    os.chown(own, 65534, 65534)
    nobody = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', '--inh-caps=-all', '--bounding-set=-all',
              'env', f'XDG_RUNTIME_DIR={own}']
    process = Process(lab, 'weir-nobody', nobody + [program('weir'), '--config', router.write()], lab.router_netns)
    lab.processes.append(process)
    wait_until(lambda: 'ready' in process.err() or not process.is_running(), 'weir of an ordinary user is ready')
    answer = run(*nobody, program('weirctl'), '--instance', router.instance, '--json', 'status', check=False)
    check(answer.returncode == 0, f'weirctl of the user does not find it: {answer.stdout}{answer.stderr}\n{process.tail()}')
    check(json.loads(answer.stdout)['ports'][0]['state'] == 'well', f'the port is not well: {answer.stdout}')
    check(publish(lab, host), 'an event for a router of an ordinary user')
    files = sorted(os.listdir(os.path.join(own, 'weir')))
    check(files == [f'{router.instance}.{end}' for end in ('counters', 'lanes.sock', 'lock', 'sock')], f'files: {files}')
    process.stop()
    check(os.listdir(os.path.join(own, 'weir')) == [], 'files stayed')


def test_a_foreign_xdp_program_is_never_replaced(lab):
    lab.host('producers')
    router = lab.router([topic('positions')])
    foreign = lab.start('foreign', [program('xdp-loss'), '--interface', 'to1', '--percent', '0'], netns=lab.router_netns)

    def attached():
        links = json.loads(run('ip', '-n', lab.router_netns, '-j', 'link', 'show', 'dev', 'to1').stdout)
        return links[0].get('xdp', {}).get('prog', {}).get('id')
    stranger = wait_until(attached, 'the foreign program is attached')
    if router.kind == 'kernel':
        router.start().stop()  # is none of its business
    else:
        refusal(lab, router, 'to1', 'XDP', 'kernel')
    check(attached() == stranger, 'the foreign program was replaced')
    check(foreign.is_running(), 'the foreign program is gone')


def test_an_interface_with_frames_too_large_for_af_xdp(lab):
    lab.host('producers', mtu=9000)
    router = lab.router([topic('positions')])
    if router.kind == 'kernel':
        router.start().stop()  # carries them
    else:
        refusal(lab, router, 'to1', 'MTU', r'\d{4}')


def test_a_core_that_is_not_there(lab):
    lab.host('producers')
    router = lab.router([topic('positions')])
    router.topology['workers'] = [{'core': 999}]
    refusal(lab, router, '999')


def test_a_configuration_error_names_file_line_and_column(lab):
    lab.host('producers')
    router = lab.router([topic('positions', policy='never')])
    refusal(lab, router, r'weir\.yaml:\d+:\d+:', 'never', 'block')

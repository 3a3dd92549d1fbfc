#!/usr/bin/env python3
# Every program that is installed has the same manners, whoever calls it: help and version under every name people try, output
# that is checked, mistakes that name what was meant, closed descriptors that nothing else gets.
# `programs_test.py PROGRAM...`, paths of the programs; prints TAP.
import json
import os
import subprocess
import sys

# Name -> words of its first command, with an option of its own misspelt, and the option that is meant.
PROGRAMS = {
    'weir': ([], '--confg', '--config'),
    'weircat': (['publish', 't'], '--wait-sm', '--wait-ms'),
    'weirctl': (['status'], '--scoket', '--socket'),
    'weirload': (['produce'], '--paylaod', '--payload'),
    'weirperf': (['run'], '--reapet', '--repeat'),
}
FAILED = {'weirperf': 2}  # exit status of what could not be done, where it is not 1
JSON = ('weircat', 'weirctl', 'weirload', 'weirperf')
PATHS = {os.path.basename(path): path for path in sys.argv[1:]}


def run(name, *words, stdout=subprocess.PIPE, prepare=None, expect=0):
    done = subprocess.run([PATHS[name], *words], stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, text=True,
                          timeout=60, preexec_fn=prepare)
    assert done.returncode == expect, f'{name} {" ".join(words)}: exit status {done.returncode}, not {expect}: {done.stderr}'
    return done


def help_and_version_have_every_name():
    for name in PROGRAMS:
        texts = {run(name, word).stdout for word in ('--help', '-h', 'help')}
        assert len(texts) == 1 and name in texts.pop(), f'{name}: different helps'
        version = run(name, '--version').stdout
        assert version.startswith(f'{name} ') and version.count('\n') == 1, version


def output_that_did_not_arrive_is_no_success():
    for name in PROGRAMS:
        for word in ('--help', '--version'):
            with open('/dev/full', 'w') as full:
                said = run(name, word, stdout=full, expect=FAILED.get(name, 1)).stderr
            assert 'standard output' in said and 'No space' in said, said
            reader, writer = os.pipe()
            os.close(reader)
            said = run(name, word, stdout=writer, expect=FAILED.get(name, 1)).stderr
            os.close(writer)
            assert 'standard output' in said and 'Broken pipe' in said, said
            run(name, word, prepare=lambda: os.close(1), expect=FAILED.get(name, 1))


def mistakes_name_what_was_meant():
    for name, (words, wrong, meant) in PROGRAMS.items():
        done = run(name, *words, wrong, '1', expect=2)
        assert done.stdout == '' and done.stderr.startswith(f'{name}: {wrong}: '), done.stderr
        assert f'Fix: {meant};' in done.stderr and done.stderr.count('\n') == 1, done.stderr
        said = run(name, '--frobnicate', expect=2).stderr
        assert f'{name} --help' in said, said


def mistakes_are_json_where_json_is_asked_for():
    for name in JSON:
        words, wrong, meant = PROGRAMS[name]
        for line in ([*words, wrong, '1', '--json'], [*words, '--json', wrong, '1']):
            done = run(name, *line, expect=2)
            error = json.loads(done.stdout)['error']
            assert error['object'] == wrong and meant in error['fix'] and done.stderr == '', done


# The next file or socket would get the number, and what is written there.
def closed_descriptors_stay_without_harm():
    for name in PROGRAMS:
        run(name, '--help', prepare=lambda: os.close(0))
        run(name, '--help', prepare=lambda: os.close(2))
        run(name, '--frobnicate', prepare=lambda: os.closerange(0, 3), stdout=None, expect=2)


TESTS = (help_and_version_have_every_name, output_that_did_not_arrive_is_no_success, mistakes_name_what_was_meant,
         mistakes_are_json_where_json_is_asked_for, closed_descriptors_stay_without_harm)


def main():
    print(f'1..{len(TESTS)}')
    failed = 0
    for number, test in enumerate(TESTS, 1):
        try:
            test()
            print(f'ok {number} - {test.__name__}')
        except (AssertionError, KeyError, ValueError, OSError, subprocess.SubprocessError) as error:
            failed += 1
            indented = str(error).replace('\n', '\n# ')
            print(f'not ok {number} - {test.__name__}\n# {indented}')
    sys.exit(failed != 0)


if __name__ == '__main__':
    main()

# What weircat publish gives its events beside their payload is what weircat subscribe --json shows of them, and what would not
# fit is said before anything is published.
#
#   publish -> weir -> subscribe
import json
import subprocess

from judge import check, check_equal
from lab import program, topic, wait_until

SECONDS = 1
PORTS = ('kernel',)


def publish(lab, router, host, lines, *options):
    path = lab.path('lines')
    with open(path, 'w') as file:
        file.write(lines)
    with open(path) as source:
        command = [program('weircat'), 'publish', 'orders', '--router', router.address(host), *options]
        lab.start('publish', command, host, stdin=source).wait(20)


def usage_error(*options):
    done = subprocess.run([program('weircat'), 'publish', 'orders', '--router', 'udp://127.0.0.1:9', *options],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    check_equal(done.returncode, 2, f'status of {options}: {done.stderr}')
    return done.stderr


def test_what_is_published_is_what_is_shown(lab):
    host = lab.host('clients')
    router = lab.router([topic('orders', shards=1)]).start()
    subscriber = lab.start('subscribe', [program('weircat'), 'subscribe', 'orders', '--group', 'all', '--json', '--count', '5',
                                         '--router', router.address(host)], host)
    wait_until(lambda: router.members('orders', 'all')['members'] == 1, 'a member')
    # A line without the field, and one without an end, whose mark lies behind the key.
    publish(lab, router, host, 'a;1\nb;\u00e9\nnone\nc;3', '--key', 'field:2:;', '--key-text', '--type', '7', '--type',
            'order.created', '--source', '/shop', '--subject', 'order', '--attribute', 'id=x=y', '--attribute', 'region=eu',
            '--attribute', '128=one', '--attribute', '128=two')
    publish(lab, router, host, 'plain\n')
    subscriber.wait(20)
    events = [json.loads(line) for line in subscriber.out().splitlines()]
    common = {'type': 'order.created', 'source': '/shop', 'subject': 'order', 'id': 'x=y', 'region': 'eu',
              '128': ['one', 'two']}
    check_equal([event.get('attributes') for event in events],
                [{**common, 'key': '1'}, {**common, 'key': '\u00e9'}, {**common, 'key': ''}, {**common, 'key': '3'}, None],
                'attributes')
    check_equal([event['type'] for event in events], [7, 7, 7, 7, 0], 'types')
    check_equal([event.get('subject') for event in events], 4 * ['order'] + [None], 'subjects')
    check_equal([event.get('mark') for event in events], [None, None, None, 'unended', None], 'marks')
    router.stop()


def test_what_does_not_fit_is_a_mistake_of_the_command_line(lab):
    full = '128=' + 2012 * 'x'  # 4 bytes of header more: 2016 are for attributes, 24 for weircat's mark
    check('2024 bytes' in usage_error('--attribute', full, '--attribute', '129='), 'no room')
    check('2040 bytes' in usage_error('--attribute', full, '--key', 'fixed:' + 13 * 'k', '--key-text'), 'no room for the key')
    check('4048 bytes' in usage_error('--key', 'file', '--key-text', 'short', 2014 * 'f'), 'no room for the longest name')
    check('65535' in usage_error('--type', '65536'), 'a number of 17 bits')
    check('--key file' in usage_error('--key', 'file', '--subject', 's', '/dev/null'), 'two subjects')
    check('--key' in usage_error('--key-text'), 'the text of no key')
    # What just fits goes to the router, here to none.
    lab.start('publish', [program('weircat'), 'publish', 'orders', '--router', 'udp://127.0.0.1:9', '--wait-ms', '1',
                          '--attribute', full]).wait(20, expect=1)

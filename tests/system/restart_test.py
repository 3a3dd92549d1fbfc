# The router is started anew under its clients, with logs that take it a second to make: publisher and subscriber go on, for
# nobody is heard before its topic is there.
#
#   publisher ---- weir, 1 worker ---- subscriber
import os
import signal

from judge import check_equal
from lab import program, topic, wait_until

SECONDS = 6
TOPICS = [topic('positions', shards=1, log='512MiB')]


def test_publisher_and_subscriber_survive_restarts(lab):
    left, right = lab.host('producers'), lab.host('consumers')
    router = lab.router(TOPICS, limits={'ping': '300ms', 'lease': '1s'}).start()
    sink = lab.start('subscriber', [program('weircat'), 'subscribe', 'positions', '--group', 'all', '--router',
                                    router.address(right)], right)
    source, end = os.pipe()
    publisher = lab.start('publisher', [program('weircat'), 'publish', 'positions', '--router', router.address(left)], left,
                          stdin=source)
    os.close(source)
    count = 0
    for life in range(lab.count(4, 50)):
        if life:
            router.stop()
            router.start(40)
        for _ in range(50):
            os.write(end, b'%d\n' % count)
            count += 1
        wait_until(lambda: len(sink.out().splitlines()) >= count, f'{count} lines in life {life}', 25)
    os.close(end)
    publisher.wait(15)
    sink.signal(signal.SIGTERM)
    sink.wait(15, expect=None)
    check_equal([int(line) for line in sink.out().splitlines()], list(range(count)), 'the lines that came out')
    router.stop()

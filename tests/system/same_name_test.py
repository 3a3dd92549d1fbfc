# Two clients of one name: the later one takes the streams over, the earlier one is told so, and its end disturbs nobody.
#
#   earlier, later ---- weir, 1 worker
import os

from judge import check, check_equal, check_ledger
from lab import program, topic, wait_until

SECONDS = 2


class Publisher:
    def __init__(self, lab, router, host):
        ends = os.pipe()
        self.router, self.end = router, ends[1]
        self.process = lab.start('publisher', [program('weircat'), 'publish', 'positions', '--name', 'meter', '--router',
                                               router.address(host)], host, stdin=ends[0])
        os.close(ends[0])

    def write(self, *lines):
        os.write(self.end, ''.join(line + '\n' for line in lines).encode())

    def close(self):
        os.close(self.end)


def accepted(router):
    return router.ledger()['totals']['accepted']


def test_the_second_of_a_name_fences_the_first_which_is_told(lab):
    producers = lab.host('producers')
    router = lab.router([topic('positions', shards=1)]).start()
    earlier = Publisher(lab, router, producers)
    earlier.write('1', '2')
    wait_until(lambda: accepted(router) == 2, 'the first has published')
    later = Publisher(lab, router, producers)
    later.write('3')
    wait_until(lambda: accepted(router) == 3, 'the second goes on')
    earlier.write('4')
    earlier.close()
    check(earlier.process.wait(15, expect=None) != 0, 'the first ended as if its line had been taken')
    check('another client of this name' in earlier.process.err(), f'the first was told {earlier.process.err()!r}')
    later.write('5', '6')
    wait_until(lambda: accepted(router) == 5, 'the second does not notice the end of the first')
    later.close()
    later.process.wait(15)
    check_equal(later.process.err(), '', 'said by the second')
    check_ledger(router, 'positions', 5)
    router.stop()

# The producers' link loses one frame of a hundred in each direction: an XDP program at each end drops by a seeded dice.
# Retransmission makes it good: same verdict as on a clean link.
#
#   producers --x-- weir, 1 worker ---- consumers
#              1 %
from judge import Load, check, check_clean, check_ledger
from lab import program, topic

SECONDS = 22


def test_one_percent_loss_changes_the_speed_and_nothing_else(lab):
    producers, consumers = lab.host('producers'), lab.host('consumers')
    router = lab.router([topic('positions')])
    # Towards the producers the program sits on their end of the link. Towards the router the port's own XDP program may
    # sit there already, so that direction is dropped where the frames leave: see the tool.
    loss = lab.start('loss', [program('xdp-loss'), '--interface', producers.interface, '--percent', '1'], producers)
    router.start()
    load = Load(lab, router)
    for _ in range(2):
        load.consume(consumers)
    load.wait_members(2)
    events = lab.count(600_000, 20_000_000)
    for _ in range(2):
        load.produce(producers, events // 2)
    check_clean(load.finish(timeout_s=90 + events / 20_000)['all'], events // 2 * 2)
    check_ledger(router, 'positions', events // 2 * 2)
    check(loss.is_running(), f'the lossy link was not lossy to the end\n{loss.tail()}')
    router.stop()

# The producers' path loses one frame of a hundred in each direction: an XDP program at both ports of a bridge in between
# drops by a seeded dice. Retransmission makes it good: same verdict as on a clean path.
#
#   producers ---- bridge ---- weir, 1 worker ---- consumers
#              1 %   1 %
from judge import Load, check, check_clean, check_ledger
from lab import program, topic

SECONDS = 5


def test_one_percent_loss_changes_the_speed_and_nothing_else(lab):
    producers, consumers = lab.host('producers', is_far=True), lab.host('consumers')
    router = lab.router([topic('positions')]).start()
    loss = lab.start('loss', [program('xdp-loss'), '--interface', 'near', '--interface', 'far', '--percent', '1'],
                     netns=producers.path_netns)
    load = Load(lab, router)
    for _ in range(2):
        load.consume(consumers)
    load.wait_members(2)
    events = lab.count(4_000_000, 20_000_000)
    for _ in range(2):
        load.produce(producers, events=events // 2)
    check_clean(load.finish(timeout_s=90 + events / 20_000)['all'], events // 2 * 2)
    check_ledger(router, 'positions', events // 2 * 2)
    resent = sum(p.json()['frames_resent'] for p in load.producers)
    check(resent > 0, 'no producer sent a frame again: the path lost nothing')
    check(loss.is_running(), f'the lossy link was not lossy to the end\n{loss.tail()}')
    lab.note(f'{events} events, {resent} frames sent again')
    router.stop()

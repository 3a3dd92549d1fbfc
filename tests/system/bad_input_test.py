# Strangers and broken clients: random, truncated and mutated frames of every kind, half of them inside a session that was
# properly opened, beside valid traffic. Every one is counted under a name, also those that came while something held the
# worker up; valid traffic does not notice.
#
#   producers ----\
#   strangers ----- weir, 1 worker, a port for each ---- consumers
import json
import os
import signal
import time

from judge import Load, check, check_between, check_clean, check_equal, check_ledger, process_status
from lab import interface_drops, program, refused_frames, topic, wait_until

SECONDS = 13
# Judged by the bytes of the frame alone, so that sender and router must agree on the number.
STATELESS = ('short', 'magic', 'version', 'kind', 'length', 'flags', 'count', 'crc')
# The one that is said later too: of a hello that lists no version of ours.
LATER_TOO = ('version',)


def memory_kib(process):
    return int(process_status(process)['VmRSS'][0])


class Storm:
    def __init__(self, lab):
        self.lab = lab
        self.producers, self.strangers, self.consumers = lab.host('producers'), lab.host('strangers'), lab.host('consumers')
        self.router = lab.router([topic('positions'), topic('target', groups=('all',))])
        self.router.give_each_host_a_port()
        self.router.start()
        self.load = Load(lab, self.router)
        self.load.consume(self.consumers)
        self.load.wait_members(1)
        self.before = self.router.status()

    def begin(self, frames, rate):
        self.bad = self.lab.start('badinput', [program('badinput'), '--router',
                                               self.router.address(self.strangers).removeprefix('udp://'), '--frames',
                                               str(frames), '--rate', str(rate), '--seed',
                                               os.environ.get('WEIR_SEED', '1')], self.strangers)

    # Frames that the strangers' port counted so far: handed on, dropped by itself, or by its XDP program; and how many
    # of them are no-buffer.
    def counted(self, status):
        port = next(port for port in status['ports'] if port['name'] == self.strangers.name)
        dropped = [queue['dropped'] for queue in port['queues']]
        frames = sum(queue['received'] for queue in port['queues']) + sum(sum(drops.values()) for drops in dropped)
        frames += sum((port['xdp'] or {}).get('drops', {}).values())
        return frames, sum(drops.get('no-buffer', 0) for drops in dropped)

    # Each frame that was sent has one name, none has two. Returns what the sender said, the number without a buffer and
    # the status at the end.
    def check(self):
        said = self.bad.json()
        # What never reached the port: full rings of the virtual link, on both sides of it.
        way = interface_drops(self.strangers.netns, self.strangers.interface)['tx']
        if self.lab.kind == 'kernel':
            way += interface_drops(self.lab.router_netns, self.strangers.router_interface)['rx']
        sent = said['sent'] + said['said'] - way
        wait_until(lambda: self.counted(self.router.status())[0] >= sent, 'the port has counted what was sent to it', 5)
        after = self.router.status()
        counted, no_buffer = self.counted(after)
        check_equal(counted, sent, 'frames of the strangers that have a name')
        refused, start = refused_frames(after), refused_frames(self.before)
        of_ports = [queue['dropped'].get('no-buffer', 0) for port in after['ports'] for queue in port['queues']]
        check_equal(refused.get('no-buffer', 0), sum(of_ports), "no-buffer in the worker's row and of its ports")
        beyond = said['expected'].get('none', 0)  # what no stateless check refuses may still be, by any name
        missing = 0
        for reason in STATELESS:
            expected = said['expected'].get(reason, 0)
            frames = refused.get(reason, 0) - start.get(reason, 0)
            check_between(frames, expected - no_buffer - way, expected + (beyond if reason in LATER_TOO else 0),
                          f'frames refused as {reason}')
            missing += max(0, expected - frames)
        check_between(missing, 0, no_buffer + way, 'bad frames without their own name, all reasons together')
        check(beyond > 0, 'no mutated frame got past the stateless checks: the storm is too tame')
        return said, no_buffer, after


def test_bad_frames_are_counted_by_name_and_disturb_nobody(lab):
    storm = Storm(lab)
    router = storm.router
    memory = memory_kib(router.process)
    bad_frames, events = lab.count(600_000, 10_000_000), lab.count(200_000, 5_000_000)
    rate = 60_000
    storm.begin(bad_frames, rate)
    storm.load.produce(storm.producers, events=events, rate=int(events * rate / bad_frames))
    storm.bad.wait(60 + bad_frames / 10_000)
    check_clean(storm.load.finish(timeout_s=120)['all'], events)
    said, no_buffer, after = storm.check()
    check_ledger(router, 'positions', events)
    # The sender had one session, and one more for each goodbye it said by accident; their streams are bounded too.
    sessions = storm.before['sessions']
    check_between(after['sessions'], sessions, sessions + said['sessions'] + 1, 'sessions after the storm')
    grown = memory_kib(router.process) - memory
    check(grown < 32 * 1024, f'the router grew by {grown} KiB')
    check(router.process.is_running(), 'the router ended')
    lab.note(f'{said["sent"]} bad frames, {no_buffer} found no buffer; expected {json.dumps(said["expected"])}')
    router.stop()


def test_what_a_held_up_worker_has_no_room_for_is_counted_as_no_buffer(lab):
    storm = Storm(lab)
    events = 20_000
    storm.begin(400_000, 200_000)
    storm.load.produce(storm.producers, events=events, rate=10_000)
    wait_until(lambda: storm.counted(storm.router.status())[0] > 1000, 'the storm has begun')
    storm.router.process.signal(signal.SIGSTOP)
    time.sleep(0.5)
    storm.router.process.signal(signal.SIGCONT)
    time.sleep(0.3)
    # The second time to the end of the storm: no later frame of it brings the news of those that were lost.
    storm.router.process.signal(signal.SIGSTOP)
    storm.bad.wait(30)
    storm.router.process.signal(signal.SIGCONT)
    check_clean(storm.load.finish(timeout_s=60)['all'], events)
    said, no_buffer, _ = storm.check()
    check(no_buffer > 10_000, f'{no_buffer} frames found no buffer: the worker was not held up')
    check_ledger(storm.router, 'positions', events)
    lab.note(f'{said["sent"]} bad frames, {no_buffer} found no buffer')
    storm.router.stop()

#!/usr/bin/env python3
# The smallest producer: publishes each line of standard input as an event, keyed by its first word, and returns when
# all of them are in the router's log.  producer.py udp://HOST[:PORT] TOPIC < lines
import collections
import os
import select
import struct
import sys
import time

from weir import ACK, CLOSE, CLOSED, FRAGMENT, OPEN, OPENED, PROBE, PUBLISH, REFUSE, Lost, Session, build, key_of, shard_of


WINDOW = 32  # frames of the session under way; the router may grant more in WELCOME, never less than this


class Stream:  # section 8: one (producer, topic, shard)
    def __init__(self, session, topic, shard):
        self.session, self.events, self.size = session, [], 0
        self.next, self.incarnation = self.open(topic, shard)
        self.unacknowledged = collections.deque()  # (end sequence, frame)
        self.kept, self.first = collections.deque(), self.next  # events that are not acknowledged, and the first one's sequence
        self.pieces, self.is_asked, self.vanished = 0, False, 0
        self.moved = self.repeated = time.monotonic()

    def open(self, topic, shard):
        frame = self.session.ask(OPEN, struct.pack('<QB7x', 0, 1), OPENED, topic=topic, shard=shard)
        self.opened, self.router = frame.body[:8], self.session.router  # this life of the stream
        self.where = {'stream': frame.stream, 'topic': topic, 'shard': shard}
        _, following, self.limit, incarnation = struct.unpack_from('<QQQQ', frame.body)
        return following, incarnation

    def open_again(self, topic):  # in a new session: what is in doubt was appended, or is sent again, or unknown
        router, silent_s = self.router, time.monotonic() - self.session.last_heard
        following, incarnation = self.open(topic, self.where['shard'])
        is_same = router == self.session.router and incarnation == self.incarnation and silent_s < self.session.dedup_window_s
        self.incarnation, self.pieces, self.is_asked, self.vanished = incarnation, 0, False, 0
        doubtful = 0
        if is_same and self.first <= following <= self.next:
            while self.first < following:
                self.kept.popleft()
                self.first += 1
        else:  # another stream: numbers begin anew
            doubtful = len(self.kept)
            self.kept.clear()
            self.first = self.next = following
        self.unacknowledged = collections.deque(self.frames(self.first, list(self.kept)))
        self.moved = self.repeated = time.monotonic()
        for _, data in list(self.unacknowledged)[:8]:
            self.session.send_frame(data)
        return doubtful

    def add(self, key, payload):
        event = struct.pack('<IHBBQ', 16 + len(payload), 0, 0, 0, key) + payload
        event += bytes(-len(event) % 8)
        if self.size + len(event) > SIZE[0] - self.session.overhead:  # room for what a delivery adds, section 9
            self.send()
        self.events.append(event)
        self.size += len(event)

    def send(self):
        if not self.events:
            return
        end = self.next + len(self.events)
        while end > self.limit or sum(len(stream.unacknowledged) for stream in STREAMS.values()) >= WINDOW:
            pump(self.session)
        fresh = list(self.frames(self.next, self.events))
        self.unacknowledged.extend(fresh)
        self.kept.extend(self.events)
        self.moved = time.monotonic()
        self.next, self.events, self.size = end, [], 0
        for _, data in fresh:
            self.session.send_frame(data)

    def frames(self, first, events):  # (end sequence, frame), none larger than the path carries; sections 9 and 10
        at, room, head = 0, SIZE[0] - self.session.overhead, {'session': self.session.id, **self.where}
        while at < len(events):
            count = size = 0
            while at + count < len(events) and size + len(events[at + count]) <= room:
                size, count = size + len(events[at + count]), count + 1
            if count:
                body = b''.join(events[at:at + count])
                yield first + at + count, build(PUBLISH, body=body, count=count, sequence=first + at, **head)
                at += count
                continue
            for offset in range(0, len(events[at]), room - 8):
                body = events[at][:4] + struct.pack('<I', offset) + events[at][offset:offset + room - 8]
                yield first + at + 1, build(PUBLISH, body=body, flags=FRAGMENT, count=1, sequence=first + at, **head)
            at += 1

    def step_down(self):  # section 8: the probe is answered, the frame never arrives: the path does not carry its size
        SIZE[0] = next(size for size in (1472, 1232, 512) if size < len(self.unacknowledged[0][1]))
        print(f'frames of {SIZE[0]} bytes from now on: the path carries no more', file=sys.stderr)
        for stream in STREAMS.values():
            stream.unacknowledged = collections.deque(stream.frames(stream.first, list(stream.kept)))
            stream.vanished = 0

    def repeat(self):  # what is oldest, and a probe for credit
        self.repeated = time.monotonic()
        self.session.send(PROBE, sequence=self.next + len(self.events), **self.where)
        self.is_asked = True
        for _, data in list(self.unacknowledged)[:8]:
            self.session.send_frame(data)

    def is_stuck(self):  # it waits for something, and nothing moved for 100 ms
        return (self.unacknowledged or self.events) and time.monotonic() - max(self.moved, self.repeated) > 0.1

    def acknowledge(self, following, limit, pieces):
        self.limit = max(self.limit, limit)
        is_progress = following > self.first or pieces > self.pieces
        self.vanished = 0 if is_progress else self.vanished + self.is_asked
        self.is_asked, self.pieces = False, pieces
        while self.kept and self.first < following:
            self.kept.popleft()
            self.first += 1
        while self.unacknowledged and self.unacknowledged[0][0] <= following:
            self.unacknowledged.popleft()
            self.moved = time.monotonic()
        if self.vanished >= 4 and self.unacknowledged and len(self.unacknowledged[0][1]) > 512:
            self.step_down()

    def close(self):
        while True:
            self.session.send(CLOSE, self.opened, sequence=self.next, **self.where)
            frame = self.session.receive(0.1)
            if frame and frame.kind == CLOSED and frame.shard == self.where['shard'] and frame.body == self.opened:
                return


STREAMS = {}
SIZE = [0]  # of the largest frame that is sent: agreed, or less


# Takes what the router says; repeats what streams wait for when nothing moves.
def pump(session, wait_s=0.1):
    frame = session.receive(wait_s)
    if frame is None:
        pass
    elif frame.kind == ACK:
        for topic, shard, flags, _, pieces, following, limit, _ in struct.iter_unpack('<IHHIIQQQ', frame.body):
            STREAMS[shard].acknowledge(following, limit, pieces)
            if flags & 1:  # NACK
                STREAMS[shard].repeat()
    elif frame.kind == REFUSE:
        for _, shard, reason, _, count, sequence, _ in struct.iter_unpack('<IHHIIQQ', frame.body):
            if reason not in (30, 31, 32, 33, 53, 54, 55):  # section 14, class retry: again later
                sys.exit(f'refused {count} events from {sequence} of shard {shard}: reason {reason} of wire/reason.h')
            time.sleep(0.01)
            STREAMS[shard].repeat()
    for stream in STREAMS.values():
        if stream.is_stuck():
            stream.repeat()


# Lines of standard input. While there are none, what was read is sent, and the session lives: it may end and come again.
def lines(session, name):
    rest = b''
    while True:
        *whole, rest = rest.split(b'\n')
        yield from whole
        while not select.select([0], [], [], 0.05)[0]:
            through(session, name, lambda: idle(session))
        data = os.read(0, 1 << 16)
        if not data:
            break
        rest += data
    if rest:
        yield rest


def idle(session):
    for stream in STREAMS.values():
        stream.send()
    pump(session, 0.001)


def finish():
    for stream in STREAMS.values():
        stream.send()
    for stream in STREAMS.values():
        while stream.unacknowledged:
            pump(stream.session)
    for stream in STREAMS.values():
        stream.close()


# Does it, in as many sessions as it takes. What it does may begin anew at any send or receive.
def through(session, name, action):
    is_lost = False
    while True:
        try:
            if is_lost:
                session.again()
                SIZE[0] = session.frame_size
                topic = session.topic(name)[0]
                doubtful = 0
                for stream in STREAMS.values():
                    doubtful += stream.open_again(topic)
                if doubtful:
                    print(f'{doubtful} events in doubt: sent, and not known to be in the log; not sent again', file=sys.stderr)
                is_lost = False
            return action()
        except Lost:
            is_lost = True


def main():
    if len(sys.argv) != 3:
        sys.exit('usage: producer.py udp://HOST[:PORT] TOPIC < lines')
    session = Session(sys.argv[1])
    SIZE[0] = session.frame_size
    topic, shards, _, event_max = through(session, sys.argv[2], lambda: session.topic(sys.argv[2]))
    for line in lines(session, sys.argv[2]):
        if 16 + len(line) > min(event_max, session.frame_size - session.overhead):
            sys.exit(f'a line of {len(line)} bytes is longer than this example sends: see section 10, large events')
        key = key_of(line.split(None, 1)[0] if line.strip() else b'')
        shard = shard_of(key, shards)
        if shard not in STREAMS:
            name = sys.argv[2]
            STREAMS[shard] = through(session, name, lambda: Stream(session, session.topic(name)[0], shard))
        through(session, sys.argv[2], lambda: STREAMS[shard].add(key, line))
    through(session, sys.argv[2], finish)
    session.close()


main()

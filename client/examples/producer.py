#!/usr/bin/env python3
# The smallest producer: publishes each line of standard input as an event, keyed by its first word, and returns when
# all of them are in the router's log.  producer.py udp://HOST[:PORT] TOPIC < lines
import collections
import struct
import sys
import time

from weir import ACK, CLOSE, CLOSED, FRAGMENT, OPEN, OPENED, PROBE, PUBLISH, REFUSE, Session, build, key_of, shard_of


WINDOW = 32  # frames of the session under way; the router may grant more in WELCOME, never less than this


class Stream:  # section 8: one (producer, topic, shard)
    def __init__(self, session, topic, shard):
        frame = session.ask(OPEN, struct.pack('<QB7x', 0, 1), OPENED, topic=topic, shard=shard)
        self.opened = frame.body[:8]  # this life of the stream
        _, self.next, self.limit = struct.unpack_from('<QQQ', frame.body)
        self.where = {'stream': frame.stream, 'topic': topic, 'shard': shard}
        self.session, self.events, self.size = session, [], 0
        self.unacknowledged = collections.deque()  # (end sequence, frame)
        self.kept, self.first = collections.deque(), self.next  # events that are not acknowledged, and the first one's sequence
        self.pieces, self.is_asked, self.vanished = 0, False, 0
        self.moved = self.repeated = time.monotonic()

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
            pump(self.session, self)
        fresh = list(self.frames(self.next, self.events))
        self.unacknowledged.extend(fresh)
        self.kept.extend(self.events)
        self.moved = time.monotonic()
        for _, data in fresh:
            self.session.send_frame(data)
        self.next, self.events, self.size = end, [], 0

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
def pump(session, stream):
    frame = session.receive(0.1)
    if frame is None:
        pass
    elif frame.kind == ACK:
        for topic, shard, flags, _, pieces, following, limit, _ in struct.iter_unpack('<IHHIIQQQ', frame.body):
            STREAMS[shard].acknowledge(following, limit, pieces)
            if flags & 1 and shard == stream.where['shard']:  # NACK
                stream.repeat()
    elif frame.kind == REFUSE:
        for _, shard, reason, _, count, sequence, _ in struct.iter_unpack('<IHHIIQQ', frame.body):
            if reason not in (30, 31, 32, 33, 53, 54, 55):  # section 14, class retry: again later
                sys.exit(f'refused {count} events from {sequence} of shard {shard}: reason {reason} of wire/reason.h')
        time.sleep(0.01)
        stream.repeat()
    for each in STREAMS.values():
        if each.is_stuck():
            each.repeat()


def main():
    if len(sys.argv) != 3:
        sys.exit('usage: producer.py udp://HOST[:PORT] TOPIC < lines')
    session = Session(sys.argv[1])
    SIZE[0] = session.frame_size
    topic, shards, _, event_max = session.topic(sys.argv[2])
    for line in sys.stdin.buffer:
        line = line.rstrip(b'\n')
        if 16 + len(line) > min(event_max, session.frame_size - session.overhead):
            sys.exit(f'a line of {len(line)} bytes is longer than this example sends: see section 10, large events')
        key = key_of(line.split(None, 1)[0] if line.strip() else b'')
        shard = shard_of(key, shards)
        if shard not in STREAMS:
            STREAMS[shard] = Stream(session, topic, shard)
        STREAMS[shard].add(key, line)
    for stream in STREAMS.values():
        stream.send()
    for stream in STREAMS.values():
        while stream.unacknowledged:
            pump(session, stream)
    for stream in STREAMS.values():
        stream.close()
    session.close()


main()

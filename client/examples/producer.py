#!/usr/bin/env python3
# The smallest producer: publishes each line of standard input as an event, keyed by its first word, and returns when
# all of them are in the router's log.  producer.py udp://HOST[:PORT] TOPIC < lines
import collections
import struct
import sys
import time

from weir import ACK, CLOSE, CLOSED, OPEN, OPENED, PROBE, PUBLISH, REFUSE, Session, build, key_of, shard_of


WINDOW = 32  # frames of the session under way; the router may grant more in WELCOME, never less than this


class Stream:  # section 8: one (producer, topic, shard)
    def __init__(self, session, topic, shard):
        frame = session.ask(OPEN, struct.pack('<QB7x', 0, 1), OPENED, topic=topic, shard=shard)
        self.opened = frame.body[:8]  # this life of the stream
        _, self.next, self.limit = struct.unpack_from('<QQQ', frame.body)
        self.where = {'stream': frame.stream, 'topic': topic, 'shard': shard}
        self.session, self.events, self.size = session, [], 0
        self.unacknowledged = collections.deque()  # (end sequence, frame)
        self.moved = self.repeated = time.monotonic()

    def add(self, key, payload):
        event = struct.pack('<IHBBQ', 16 + len(payload), 0, 0, 0, key) + payload
        event += bytes(-len(event) % 8)
        if self.size + len(event) > self.session.frame_size - 112:  # room for what a delivery adds, section 9
            self.send()
        self.events.append(event)
        self.size += len(event)

    def send(self):
        if not self.events:
            return
        end = self.next + len(self.events)
        while end > self.limit or sum(len(stream.unacknowledged) for stream in STREAMS.values()) >= WINDOW:
            pump(self.session, self)
        data = build(PUBLISH, self.session.id, b''.join(self.events), count=len(self.events), sequence=self.next, **self.where)
        self.unacknowledged.append((end, data))
        self.moved = time.monotonic()
        self.session.send_frame(data)
        self.next, self.events, self.size = end, [], 0

    def repeat(self):  # what is oldest, and a probe for credit
        self.repeated = time.monotonic()
        self.session.send(PROBE, sequence=self.next + len(self.events), **self.where)
        for _, data in list(self.unacknowledged)[:8]:
            self.session.send_frame(data)

    def is_stuck(self):  # it waits for something, and nothing moved for 100 ms
        return (self.unacknowledged or self.events) and time.monotonic() - max(self.moved, self.repeated) > 0.1

    def acknowledge(self, following, limit):
        self.limit = max(self.limit, limit)
        while self.unacknowledged and self.unacknowledged[0][0] <= following:
            self.unacknowledged.popleft()
            self.moved = time.monotonic()

    def close(self):
        while True:
            self.session.send(CLOSE, self.opened, sequence=self.next, **self.where)
            frame = self.session.receive(0.1)
            if frame and frame.kind == CLOSED and frame.shard == self.where['shard'] and frame.body == self.opened:
                return


STREAMS = {}


# Takes what the router says; repeats what streams wait for when nothing moves.
def pump(session, stream):
    frame = session.receive(0.1)
    if frame is None:
        pass
    elif frame.kind == ACK:
        for topic, shard, flags, _, _, following, limit, _ in struct.iter_unpack('<IHHIIQQQ', frame.body):
            STREAMS[shard].acknowledge(following, limit)
            if flags & 1 and shard == stream.where['shard']:  # NACK
                stream.repeat()
    elif frame.kind == REFUSE:
        for _, shard, reason, _, count, sequence, _ in struct.iter_unpack('<IHHIIQQ', frame.body):
            if reason not in (30, 31, 32, 33):  # full, gap, moving, busy: again later
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
    topic, shards, _, event_max = session.topic(sys.argv[2])
    for line in sys.stdin.buffer:
        line = line.rstrip(b'\n')
        if 16 + len(line) > min(event_max, session.frame_size - 112):
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

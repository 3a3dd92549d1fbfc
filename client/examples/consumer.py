#!/usr/bin/env python3
# The smallest consumer: joins a group and writes each event's payload as a line, until it is ended or has written
# COUNT of them.  consumer.py udp://HOST[:PORT] TOPIC GROUP [COUNT]
import signal
import struct
import sys
import time

from weir import (ASSIGN, DELIVER, ERROR, FRAGMENT, JOIN, JOINED, LEAVE, LEFT, REPORT, REVOKE, REVOKED, Lost, Session, crc32c,
                  field)

CREDIT = 1 << 18  # bytes each shard may have under way; all together less than the socket's buffer


def charge(size):  # section 12
    room = 512
    while room < size + 448:
        room *= 2
    return room + 256


class Delivery:  # section 12: one (group, shard, term)
    def __init__(self, frame):
        _, self.received_to, _, _, self.group, self.term = struct.unpack_from('<QQQQII', frame.body)
        self.stream, self.topic, self.shard = frame.stream, frame.topic, frame.shard
        self.settled_to, self.charged, self.limit, self.is_gap, self.reported = self.received_to, 0, 0, False, 0.0
        self.pieces = b''  # of the large event at received_to

    def take(self, frame):  # returns payloads that are new
        to, charge_from, term = struct.unpack_from('<QQI', frame.body)
        if term == self.term:  # whatever becomes of it: what was charged before it has left the socket, or was lost
            self.charged = max(self.charged, charge_from + (charge(48 + len(frame.body)) if frame.count else 0))
        if term == self.term and frame.flags & FRAGMENT and frame.sequence == self.received_to:
            return self.take_piece(frame, to)
        if term != self.term or frame.sequence > self.received_to or to <= self.received_to:
            is_ahead = term == self.term and frame.sequence > self.received_to
            self.is_gap = is_ahead and time.monotonic() > self.reported + 0.01
            return []
        payloads, offset, at = [], frame.sequence, 24
        for _ in range(frame.count):
            length, crc, count = struct.unpack_from('<IIH', frame.body, at + 24)
            at += 40
            if crc32c(frame.body[at:at + length]) != crc:
                return []
            for _ in range(count):
                size, _, _, words = struct.unpack_from('<IHBB', frame.body, at)
                if offset >= self.received_to:
                    payloads.append(frame.body[at + 16 + 8 * words:at + size])
                at, offset = at + (size + 7) // 8 * 8, offset + 1
        self.received_to, self.pieces = to, b''
        return payloads

    def take_piece(self, frame, to):  # section 10: in order of offset; the run header is that of the whole event
        crc, offset = int.from_bytes(frame.body[52:56], 'little'), int.from_bytes(frame.body[68:72], 'little')
        self.is_gap = offset > len(self.pieces) and time.monotonic() > self.reported + 0.01
        if offset != len(self.pieces):
            return []
        self.pieces += frame.body[72:]
        if to == frame.sequence:
            return []
        event, self.pieces = self.pieces, b''
        if crc32c(event) != crc:
            return []
        self.received_to = to
        size, _, _, words = struct.unpack_from('<IHBB', event)
        return [event[16 + 8 * words:size]]

    def report(self, session):
        self.reported, self.limit = time.monotonic(), max(self.limit, self.charged + CREDIT)
        session.send(REPORT, struct.pack('<IHHIIQQQQII', self.topic, self.shard, int(self.is_gap), self.stream, self.term,
                                         self.received_to, self.settled_to, self.limit, self.charged, len(self.pieces),
                                         self.group),
                     count=1)
        self.is_gap = False


class Consumer:  # section 11
    def __init__(self, address, topic, group):
        self.session, self.names = Session(address), field(topic) + field(group)
        self.group, self.member, self.request, self.due, self.wait_s = None, 0, 0, 0.0, 0.1
        self.was_member, self.is_leaving = False, False
        self.deliveries = {}  # by shard
        while self.group is None:
            self.advance()

    def join(self, now):  # every repetition has a number of its own; the first of a membership is its name
        self.request = self.session.number()
        self.member = self.member or self.request
        self.session.send(JOIN, struct.pack('<QQ', self.request, self.member) + self.names)
        self.due, self.wait_s = now + self.wait_s, min(2 * self.wait_s, 2)

    def again(self):  # a lost session takes the membership and the terms with it
        self.session.again()
        self.deliveries.clear()
        self.member, self.due, self.wait_s = 0, 0.0, 0.1

    def quiet(self, now):  # a member that hears nothing of its group asks by its join whether it is one
        self.due, self.wait_s = now + 2 * self.session.ping_s, 0.1

    def ended(self, what):
        print('group ended (%s); waiting for it' % what, file=sys.stderr)
        self.deliveries.clear()
        self.group, self.member, self.due = None, 0, 0.0

    def answered(self, frame):  # what is said about the membership; True when the router let go
        body, is_mine = frame.body, frame.body[:8] == self.request.to_bytes(8, 'little')
        if frame.kind == JOINED and is_mine and not self.is_leaving:
            group = struct.unpack_from('<QI', body)[1]
            if group != self.group:
                self.deliveries.clear()
            self.group, self.was_member = group, True
        elif frame.kind == ERROR and body[2] == JOIN and body[8:16] == self.request.to_bytes(8, 'little'):
            reason = int.from_bytes(body[:2], 'little')
            if not self.was_member:
                sys.exit('join refused: reason %d of wire/reason.h' % reason)
            if self.group is not None:
                self.ended('reason %d of wire/reason.h' % reason)
        elif frame.kind == LEFT and struct.unpack_from('<Q', body, 8)[0] == self.member:
            if not self.is_leaving and struct.unpack_from('<I', body, 16)[0] == self.group:
                self.ended('left')
            return self.is_leaving
        return False

    def assigned(self, frame):
        member, group, term = struct.unpack_from('<QII', frame.body, 24)
        if member != self.member:  # a membership that nobody has
            self.session.send(LEAVE, struct.pack('<QQI4x', self.session.number(), member, group))
        elif group == self.group:
            delivery = self.deliveries.get(frame.shard)
            if delivery is None or term > delivery.term:
                delivery = self.deliveries[frame.shard] = Delivery(frame)
            delivery.report(self.session)

    def revoked(self, frame):
        _, group, term = struct.unpack('<QII', frame.body)
        delivery = self.deliveries.get(frame.shard)
        is_mine = delivery is not None and delivery.term == term and group == self.group
        body = struct.pack('<QII', delivery.settled_to if is_mine else 0, group, term)
        self.session.send(REVOKED, body, sequence=delivery.settled_to if is_mine else 2**64 - 1, stream=frame.stream,
                          topic=frame.topic, shard=frame.shard)
        if is_mine:
            del self.deliveries[frame.shard]

    def advance(self, write=None):
        try:
            return self.step(write)
        except Lost:
            self.again()
            return False

    def step(self, write=None):  # without write: settle, take nothing more. True when the router let go
        now = time.monotonic()
        if now >= self.due and not self.is_leaving:
            self.join(now)
        frame = self.session.receive(0.1)
        if frame is None:
            return False
        delivery = self.deliveries.get(frame.shard)
        if frame.kind == ASSIGN:
            self.assigned(frame)
        elif frame.kind == DELIVER and delivery and delivery.stream == frame.stream and write and self.session.may_take():
            for payload in delivery.take(frame):
                write(payload)
            delivery.settled_to = delivery.received_to  # written is settled
            delivery.report(self.session)
        elif frame.kind == REVOKE:
            self.revoked(frame)
        let_go = self.answered(frame)
        if self.group is not None and frame.kind in (JOINED, ASSIGN, DELIVER):
            self.quiet(time.monotonic())
        return let_go

    def leave(self):
        end, self.is_leaving = time.monotonic() + 5, True
        try:
            while time.monotonic() < end:
                self.session.send(LEAVE, struct.pack('<QQI4x', self.session.number(), self.member, self.group or 0))
                if self.step():
                    break
            self.session.close()
        except Lost:  # there is nothing to leave any more
            pass


def main():
    if len(sys.argv) not in (4, 5):
        sys.exit('usage: consumer.py udp://HOST[:PORT] TOPIC GROUP [COUNT]')
    left = int(sys.argv[4]) if len(sys.argv) == 5 else sys.maxsize
    is_ended = []
    signal.signal(signal.SIGTERM, lambda *_: is_ended.append(True))
    consumer = Consumer(*sys.argv[1:4])

    def write(payload):
        nonlocal left
        left -= 1
        sys.stdout.buffer.write(payload + b'\n')

    while left > 0 and not is_ended:
        consumer.advance(write)
        sys.stdout.flush()
    consumer.leave()


if __name__ == '__main__':
    main()

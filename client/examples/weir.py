# What producer.py and consumer.py share: frames, their checksum, and a session. Written from wire/PROTOCOL.md alone, with
# nothing but the standard library; section numbers are that page's. One thread, one socket.
import collections
import errno
import os
import random
import re
import signal
import socket
import struct
import sys
import time

(HELLO, CHALLENGE, WELCOME, PING, PONG, BYE, ERROR, METADATA, TOPIC, OPEN, OPENED, PUBLISH, PROBE, ACK, REFUSE, SKIP, CLOSE,
 CLOSED, JOIN, JOINED, ASSIGN, DELIVER, REPORT, REVOKE, REVOKED, LEAVE, LEFT) = range(1, 28)
FRAGMENT, REDELIVERED, NO_SESSION = 1, 2, 12
HEADER = struct.Struct('<HBBHHQIIQQHHI')
Frame = collections.namedtuple('Frame', 'magic version kind flags count session stream topic sequence sent_ns shard length '
                                        'crc body')


def crc32c_table():
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82f63b78 if byte & 1 else 0)
        yield byte


TABLE = tuple(crc32c_table())


def crc32c(data, crc=0):
    crc ^= 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    return crc ^ 0xffffffff


def shard_of(key, shards):  # section 1
    key = (key ^ key >> 30) * 0xbf58476d1ce4e5b9 % 2**64
    key = (key ^ key >> 27) * 0x94d049bb133111eb % 2**64
    return (key ^ key >> 31) * shards >> 64


def key_of(data):
    key = 0xcbf29ce484222325
    for byte in data:
        key = (key ^ byte) * 0x100000001b3 % 2**64
    return key


def sealed(kind, flags, count, body):  # section 4: of a delivery, the prefix and the run headers
    if kind != DELIVER or flags & FRAGMENT:
        return body
    parts, at = [body[:24]], 24
    for _ in range(count):
        parts.append(body[at:at + 40])
        at += 40 + int.from_bytes(body[at + 24:at + 28], 'little')
    return b''.join(parts)


def parse(data):  # None: not a good frame
    if len(data) < 48 or data[:3] != b'WE\1':
        return None
    frame = Frame(*HEADER.unpack_from(data), data[48:])
    crc = crc32c(data[:44], crc32c(sealed(frame.kind, frame.flags, frame.count, frame.body)))
    return frame if frame.length == len(frame.body) and frame.crc == crc else None


def build(kind, session=0, body=b'', flags=0, count=0, stream=0, topic=0, sequence=0, shard=0):
    head = HEADER.pack(0x4557, 1, kind, flags, count, session, stream, topic, sequence, time.time_ns(), shard, len(body), 0)
    return head[:44] + struct.pack('<I', crc32c(head[:44], crc32c(sealed(kind, flags, count, body)))) + body


def field(name):
    return name.encode().ljust(64, b'\0')


# [udp://]HOST[:PORT], an IPv6 address in brackets. Returns all that the name stands for: (family, where).
def resolve(address):
    match = re.fullmatch(r'(?:udp://)?(?:\[([^]]+)\]|([^:/]+))(?::(\d+))?', address)
    if not match:
        sys.exit(f'{address}: not an address of a router; write udp://HOST[:PORT]')
    found = socket.getaddrinfo(match[1] or match[2], match[3] or '9347', type=socket.SOCK_DGRAM)
    return [(family, where) for family, _, _, _, where in found]


class Lost(Exception):  # the session is over; what comes next is another one
    pass


signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C needs no explanation


class Session:  # section 6
    def __init__(self, address, frame_size=1472, wait_s=10):
        self.address, self.asked_size, self.producer, self.numbers, self.socket = address, frame_size, os.urandom(8), 0, None
        end = time.monotonic() + wait_s
        self.id, self.last_heard = 0, 0.0
        try:
            while not self.id and time.monotonic() < end:
                self.seek(end)
        except OSError as error:
            sys.exit(f'{address}: {error.strerror}; check the name or write its address')
        if not self.id:
            sys.exit(f'{address}: no answer for {wait_s} s; is the router running and reachable?')

    def again(self):  # after Lost: with a new socket, at whatever the name stands for now, until a router answers
        print(f'{self.address}: router lost; asking for it again and again', file=sys.stderr)
        self.id, self.last_heard = 0, self.heard if self.id else self.last_heard
        while not self.id:
            time.sleep(random.uniform(0, 0.5))
            try:
                self.seek(time.monotonic() + 10)
            except OSError:  # a name server that is away
                pass
        print(f'{self.address}: router back', file=sys.stderr)

    def seek(self, end):  # the addresses of the name take turns
        for family, where in resolve(self.address):
            try:
                self.open(family, where)
                self.connect(min(end, time.monotonic() + 1.5))
            except (Lost, OSError):
                time.sleep(0.05)  # no way there
            if self.id:
                return

    def open(self, family, where):
        if self.socket:
            self.socket.close()
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.connect(where)
        self.ping_s, self.lease_s = 0.5, 3.0
        self.heard = self.sent = self.asked = self.pinged = self.proven = time.monotonic()
        self.pings, self.is_answered, self.nonce, self.frame_size = 0, True, os.urandom(8), self.asked_size

    def connect(self, end):
        cookie, again_s = bytes(8), 0.1
        while not self.id and time.monotonic() < end:
            self.hello(cookie)
            frame = self.receive(again_s)
            again_s = min(2 * again_s, 2) if frame is None else again_s
            if frame and frame.kind == CHALLENGE and frame.body[:8] == self.nonce:
                cookie = frame.body[8:16]
            elif frame and frame.kind == WELCOME and frame.body[:8] == self.nonce:
                values = struct.unpack_from('<QQQIIIII8xH', frame.body)
                _, self.id, self.router, self.frame_size, self.window, ping_ms, lease_ms, dedup_ms, self.overhead = values
                self.ping_s, self.lease_s, self.dedup_window_s = ping_ms / 1000, lease_ms / 1000, dedup_ms / 1000

    def hello(self, cookie):
        body = self.nonce + cookie + self.producer + struct.pack('<QII8s', 0, self.frame_size, 1 << 20, b'\1') + field('')
        self.send_frame(build(HELLO, 0, body.ljust(self.frame_size - 48, b'\0')))

    def send(self, kind, body=b'', **fields):
        self.send_frame(build(kind, self.id, body, **fields))

    def send_frame(self, data):
        self.sent = time.monotonic()
        try:
            self.socket.send(data)
        except ConnectionRefusedError:  # nobody listens: the lease decides, as with any lost frame
            pass
        except OSError as error:
            if error.errno not in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.ENETDOWN, errno.EINVAL):
                raise
            raise Lost from None  # our address or our way is gone

    def number(self):  # of a request: they only grow
        self.numbers += 1
        return self.numbers

    def ping(self, now):  # a repetition has the number of the first
        if self.is_answered:
            self.is_answered, self.asked, self.pings = False, now, self.pings + 1
        self.pinged = now
        self.send(PING, sequence=self.pings)

    def may_take(self):  # what was heard proves nothing: it may have waited in the socket while this process slept
        return time.monotonic() - self.proven < self.lease_s * 2 / 3

    def receive(self, timeout_s):  # a good frame of this session, or None after timeout_s
        end = time.monotonic() + timeout_s
        while True:
            now = time.monotonic()
            if self.id and now - self.pinged > (self.ping_s if self.is_answered else self.ping_s / 4):
                self.ping(now)
            if self.id and now - self.heard > self.lease_s:
                raise Lost
            self.socket.settimeout(max(0.0001, min(end - now, self.ping_s)))
            try:
                frame = parse(self.socket.recv(9216))
            except OSError:  # time is up, or ICMP's word for a router that is away: as good as silence
                frame = None
            if frame and (frame.session == self.id or frame.kind in (CHALLENGE, WELCOME)):
                self.heard = time.monotonic()
                if frame.kind == CHALLENGE and frame.session == self.id != 0:  # the address changed on the way
                    self.hello(frame.body[8:16])
                if frame.kind == PONG and frame.sequence == self.pings:
                    self.is_answered, self.proven = True, self.asked
                if frame.kind == BYE or (frame.kind == ERROR and int.from_bytes(frame.body[:2], 'little') == NO_SESSION):
                    raise Lost
                return frame
            if time.monotonic() >= end:
                return None

    def ask(self, kind, body, answer, **fields):  # sends until answered; an answer repeats the request's first 8 bytes
        wait_s = 0.1
        while True:
            request = self.number().to_bytes(8, 'little')
            self.send(kind, request + body, **fields)
            end = time.monotonic() + wait_s
            while frame := self.receive(max(0, end - time.monotonic())):
                if frame.kind == answer and frame.body[:8] == request:
                    return frame
                if frame.kind == ERROR and frame.body[8:16] == request:
                    sys.exit('refused: reason %d of wire/reason.h' % int.from_bytes(frame.body[:2], 'little'))
            wait_s = min(2 * wait_s, 2)

    def topic(self, name):  # section 7: id, shards, event_max
        return struct.unpack_from('<QQIIII', self.ask(METADATA, bytes(8) + field(name), TOPIC).body)[2:]

    def close(self):
        self.send(BYE)

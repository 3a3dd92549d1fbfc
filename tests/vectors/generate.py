#!/usr/bin/env python3
# Writes the test vectors beside itself: one frame a file, as hex, with its meaning. A second implementation of
# wire/PROTOCOL.md on purpose: it shares nothing with wire/codec.c, so that what both agree on is what the page says.
# The files are committed; run this only when the protocol grows.
#
# A file: "# meaning", "# SENDER REASON [events SHARDS EVENT_MAX REASON]", then the datagram, 32 bytes a line. SENDER is
# client or router; REASON what the check of the frame alone finds; the last part what that of a publish's events finds.
import os
import struct
import sys

SESSION, ROUTER, NONCE, COOKIE = 0x1122334455667788, 0xa1a2a3a4a5a6a7a8, 0x0102030405060708, 0x5152535455565758
SENT_NS, TOPIC, GROUP, STREAM, TERM = 1700000000123456789, 7, 3, 5, 9
INCARNATION, PRODUCER, REQUEST, MEMBER = 0xc0c1c2c3c4c5c6c7, 0xb0b1b2b3b4b5b6b7, 42, 40
FRAGMENT, REDELIVERED, HEADER_ONLY, LATER, WORKING, PICKED, SEALED = 1, 2, 8, 32, 64, 64, 128
KINDS = ('HELLO CHALLENGE WELCOME PING PONG BYE ERROR METADATA TOPIC OPEN OPENED PUBLISH PROBE ACK REFUSE SKIP CLOSE '
         'CLOSED JOIN JOINED ASSIGN DELIVER REPORT REVOKE REVOKED LEAVE LEFT SETTLE SETTLED').split()
FULL, NO_STREAM, SIZE, ABANDONED = 30, 21, 26, 38


def crc32c(data, crc=0):
    crc ^= 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def mix64(k):
    k = (k ^ k >> 30) * 0xbf58476d1ce4e5b9 % 2**64
    k = (k ^ k >> 27) * 0x94d049bb133111eb % 2**64
    return k ^ k >> 31


def shard_of(key, shards):
    return mix64(key) * shards >> 64


def keys_of(shard, shards, count):
    return [k for k in range(1, 1000) if shard_of(k, shards) == shard][:count]


def name(text):
    return text.encode().ljust(64, b'\0')


def pad(data, to=8):
    return data + bytes(-len(data) % to)


def event(key, payload, kind=1, attributes=b'', flags=0):
    length = 16 + len(attributes) + len(payload)
    return pad(struct.pack('<IHBBQ', length, kind, flags, len(attributes) // 8, key) + attributes + payload)


def attribute(number, value):
    return pad(struct.pack('<BBH', number, 0, len(value)) + value)


def run(events, count, sequence, flags=0, append_ns=123456789):
    crc = 0 if flags else crc32c(events)
    return struct.pack('<QQQIIHHI', PRODUCER, sequence, append_ns, len(events), crc, count, flags, 0) + events


def frame(kind, body=b'', count=0, flags=0, session=SESSION, stream=0, topic=0, sequence=0, shard=0, version=1, magic=0x4557,
          sealed=None, length=None):
    number = KINDS.index(kind) + 1 if isinstance(kind, str) else kind
    head = struct.pack('<HBBHHQIIQQHH', magic, version, number, flags, count, session, stream, topic, sequence, SENT_NS, shard,
                       len(body) if length is None else length)
    if sealed is None:
        sealed = b'' if flags & HEADER_ONLY else body
    return head + struct.pack('<I', crc32c(head, crc32c(sealed))) + body


def deliver(sequence, to, runs=(), flags=0, charge_from=4608):
    prefix = struct.pack('<QQII', to, charge_from, TERM, 0)
    sealed = prefix + b''.join(r[:40] for r in runs)
    return frame('DELIVER', prefix + b''.join(runs), len(runs), flags, stream=STREAM, topic=TOPIC, sequence=sequence, shard=1,
                 sealed=b'' if flags & HEADER_ONLY else sealed)


def deliver_piece(sequence, to, whole, total, offset, end):
    body = struct.pack('<QQII', to, 0, TERM, 0) + run(whole, 1, sequence)[:40] + struct.pack('<II', total, offset)
    body += whole[offset:end]
    return frame('DELIVER', body, 1, FRAGMENT, stream=STREAM, topic=TOPIC, sequence=sequence, shard=1)


def option(number, value, length=None):
    return pad(struct.pack('<HH', number, len(value) if length is None else length) + value)


def hello(size=1472, cookie=0, who='', version=1, options=b''):
    body = struct.pack('<QQQQII8s', NONCE, cookie, PRODUCER, 0, size, 8 << 20, bytes([1])) + name(who) + options
    return frame('HELLO', body.ljust(size - 48, b'\0'), session=0, version=version)


def corrupt(data, at, by=1):
    return data[:at] + bytes([data[at] ^ by]) + data[at + 1:]


def events_of_shard_1():
    one, two, three = keys_of(1, 4, 3)
    attributes = attribute(2, b'/sensors/7') + attribute(5, b'abc')
    return event(one, b'first') + event(two, b'') + event(three, b'x' * 24, 2, attributes)


def stream_frames():
    place = {'stream': STREAM, 'topic': TOPIC, 'shard': 1}
    three, large = events_of_shard_1(), event(keys_of(1, 4, 1)[0], bytes(range(256)) * 8)
    ok = 'client none events 4 65536 none'
    yield 'open', 'client none', 'open shard 1 of the topic, level routed', \
        frame('OPEN', struct.pack('<QQB7x', REQUEST, 0, 1), topic=TOPIC, shard=1)
    yield 'open-for-group', 'client none', 'the same for group 3 alone', \
        frame('OPEN', struct.pack('<QQB3xI', REQUEST, 0, 1, GROUP), topic=TOPIC, shard=1)
    yield 'opened', 'router none', 'the stream exists, next 100, credit up to 5000', \
        frame('OPENED', struct.pack('<QQQQB7x', REQUEST, 100, 5000, INCARNATION, 1), **place)
    yield 'publish', ok, 'three events, the third with attributes source and correlation', \
        frame('PUBLISH', three, 3, sequence=100, **place)
    yield 'publish-later', ok, 'the same; its sender goes on without an acknowledgement', \
        frame('PUBLISH', three, 3, LATER, sequence=100, **place)
    yield 'publish-fragment-first', 'client none', 'bytes 0 to 1359 of one event of 2064', \
        frame('PUBLISH', struct.pack('<II', 2064, 0) + large[:1360], 1, FRAGMENT, sequence=103, **place)
    yield 'publish-fragment-last', 'client none', 'the rest of it', \
        frame('PUBLISH', struct.pack('<II', 2064, 1360) + large[1360:], 1, FRAGMENT, sequence=103, **place)
    yield 'probe', 'client none', 'ask for an ack of the stream; the frame that waits for credit ends at 120', \
        frame('PROBE', sequence=120, **place)
    yield 'ack', 'router none', 'two streams: next 103 and plain; events 50 to 59 are missing and the log is full', \
        frame('ACK', b''.join((
        struct.pack('<IHHIIQQQ', TOPIC, 1, 0, STREAM, 0, 103, 6000, 103),
        struct.pack('<IHHIIQQQ', TOPIC, 2, 3, 8, 1360, 50, 70, 60))), 2)
    yield 'refuse', 'router none', 'a frame refused full, and one of an unknown stream', frame('REFUSE', b''.join((
        struct.pack('<IHHIIQQ', TOPIC, 1, FULL, STREAM, 17, 103, 103),
        struct.pack('<IHHIIQQ', TOPIC, 2, NO_STREAM, 8, 0, 0, 0))), 2)
    yield 'refuse-open', 'router none', 'an OPEN refused busy: count 0, its request in sequence', \
        frame('REFUSE', struct.pack('<IHHIIQQ', TOPIC, 1, 33, 0, 0, REQUEST, 0), 1)
    yield 'refuse-every-reason', 'router none', 'one entry for each reason 0 to 60', \
        frame('REFUSE', b''.join(struct.pack('<IHHIIQQ', TOPIC, 1, r, STREAM, 1, 103, 103) for r in range(61)), 61)
    yield 'skip', 'client none', 'the producer passes over 17 events that were refused size', \
        frame('SKIP', struct.pack('<QH6x', 17, SIZE), sequence=103, **place)
    yield 'close', 'client none', 'nothing follows; the producer would use sequence 120 next', \
        frame('CLOSE', struct.pack('<Q', REQUEST), sequence=120, **place)
    yield 'closed', 'router none', 'the stream is closed', frame('CLOSED', struct.pack('<Q', REQUEST), **place)


def session_frames():
    yield 'hello', 'client none', 'first hello of an anonymous client, padded to 1472', hello()
    yield 'hello-named', 'client none', 'hello with a cookie, named gauge-1', hello(1472, COOKIE, 'gauge-1')
    yield 'hello-later-version', 'client none', 'hello of version 2: its layout is frozen, so it is answered', \
        hello(512, 0, '', 2)
    yield 'hello-options', 'client none', 'an option of a later release, then one that says it knows 1 and 4', \
        hello(512, options=option(999, b'later') + option(1, struct.pack('<Q', 5)))
    yield 'challenge', 'router none', 'echo this cookie', frame('CHALLENGE', struct.pack('<QQ', NONCE, COOKIE), session=0)
    yield 'challenge-moved', 'router none', 'the session was heard from a new address: echo this cookie and its nonce', \
        frame('CHALLENGE', struct.pack('<QQ', 0, COOKIE))
    welcome = struct.pack('<QQQIIIIIHBBIHHQ', NONCE, SESSION, ROUTER, 1472, 256, 500, 3000, 60000, 1, 1, 0, 17, 112, 0, 8)
    yield 'welcome', 'router none', 'session 1.17 opened at worker 1, frame size 1472, offers 8 (durable)', \
        frame('WELCOME', welcome.ljust(1424, b'\0'))
    yield 'welcome-options', 'router none', 'the same with an option of a later release', \
        frame('WELCOME', (welcome + option(999, bytes(range(1, 12)))).ljust(1424, b'\0'))
    yield 'ping', 'client none', 'sequence is echoed', frame('PING', sequence=77)
    yield 'ping-working', 'client none', 'the application is at work on what it was handed', frame(
        'PING', flags=WORKING, sequence=1 << 63 | 1000000000)
    yield 'pong', 'router none', 'answer to ping 77', frame('PONG', sequence=77)
    yield 'bye', 'client none', 'the session is over', frame('BYE')
    yield 'bye-router', 'router none', 'the session is over, says the router', frame('BYE')
    yield 'error', 'router none', 'metadata for an unknown topic', \
        frame('ERROR', struct.pack('<HB5xQ', 17, 8, REQUEST) + name('nowhere'))
    yield 'error-no-session', 'router none', 'a publish of an unknown session', \
        frame('ERROR', struct.pack('<HB5xQ', 12, 12, 100) + name(''))
    yield 'metadata', 'client none', 'ask for topic positions', \
        frame('METADATA', struct.pack('<QI4x', REQUEST, 0) + name('positions'))
    yield 'topic', 'router none', 'topic 7 has 4 shards, owned by workers 0 1 0 1', frame('TOPIC', struct.pack(
        '<QQIIIIBBB5x', REQUEST, 3, TOPIC, 4, 0, 65536, 0, 0, 1) + name('positions') + bytes([0, 1, 0, 1]), 4, topic=TOPIC)


def delivery_frames():
    place = {'stream': STREAM, 'topic': TOPIC, 'shard': 1}
    three, key = events_of_shard_1(), keys_of(1, 4, 1)[0]
    large = event(key, bytes(range(256)) * 8)
    runs = [run(three, 3, 100), run(event(key, b'fourth'), 1, 103)]
    yield 'join', 'client none', 'join group writers; the membership began with request 40', \
        frame('JOIN', struct.pack('<QQ', REQUEST, MEMBER) + name('positions') + name('writers'))
    yield 'joined', 'router none', 'member of group 3: keyed, at most 5 attempts, 30 s each', \
        frame('JOINED', struct.pack('<QIIIBBHI4x', REQUEST, GROUP, 4, 65536, 0, 0, 5, 30000), topic=TOPIC)
    yield 'assign', 'router none', 'term 9 of shard 1 begins at offset 1000; offsets below 1010 may come a second time', \
        frame('ASSIGN', struct.pack('<QQQQIII4x', INCARNATION, 1000, 1010, MEMBER, GROUP, TERM, 3000), **place)
    yield 'deliver', 'router none', 'offsets 1000 to 1003 in two runs', deliver(1000, 1004, runs)
    yield 'deliver-redelivered', 'router none', 'the same, perhaps a second time', deliver(1000, 1004, runs, REDELIVERED)
    yield 'deliver-skipped-tail', 'router none', 'offsets 1000 to 1003, and 1004 to 1009 were filtered', \
        deliver(1000, 1010, runs)
    yield 'deliver-skipped', 'router none', 'offsets 1000 to 1009 were all filtered', deliver(1000, 1010)
    yield 'deliver-announcement', 'router none', 'the router stands at offset 1004', deliver(1004, 1004)
    yield 'deliver-unchecked', 'router none', 'a run that came over a port of integrity link', \
        deliver(1000, 1003, [run(three, 3, 100, 1)])
    yield 'deliver-fragment-first', 'router none', 'bytes 0 to 1351 of one event of 2064: covers nothing yet', \
        deliver_piece(1004, 1004, large, 2064, 0, 1352)
    yield 'deliver-fragment-last', 'router none', 'the rest of it covers offset 1004', \
        deliver_piece(1004, 1005, large, 2064, 1352, 2064)
    yield 'report', 'client none', 'two deliveries, the second saw a gap', frame('REPORT', b''.join((
        struct.pack('<IHHIIQQQQII', TOPIC, 1, 0, STREAM, TERM, 1004, 1000, 1 << 20, 6912, 0, GROUP),
        struct.pack('<IHHIIQQQQII', TOPIC, 2, 1, 6, 2, 500, 480, 1 << 20, 2304, 1352, GROUP))), 2)
    yield 'revoke', 'router none', 'stop handing out term 9', frame('REVOKE', struct.pack('<QII', 0, GROUP, TERM), **place)
    yield 'revoked', 'client none', 'settled up to 1002, nothing of term 9 follows', \
        frame('REVOKED', struct.pack('<QII', 1002, GROUP, TERM), **place)
    yield 'leave', 'client none', 'end membership 40', frame('LEAVE', struct.pack('<QQI4x', REQUEST + 1, MEMBER, GROUP))
    yield 'settle', 'client none', 'offsets 1000 and 1002 are done, 1001 is to come again after 500 ms', \
        frame('SETTLE', b''.join((
        struct.pack('<IHHIIIIQQIHH', TOPIC, 1, 1, STREAM, TERM, GROUP, 1, 1000, 5, 0, 0, 0),
        struct.pack('<IHHIIIIQQIHH', TOPIC, 1, 2, STREAM, TERM, GROUP, 2, 1001, 1, 500, 57, 0))), 2)
    yield 'settled', 'router none', 'all up to number 2 is applied', \
        frame('SETTLED', struct.pack('<IHHIIIIII', TOPIC, 1, 0, STREAM, TERM, GROUP, 2, 0, 500), 1)
    yield 'left', 'router none', 'membership 40 is over, as was asked', \
        frame('LEFT', struct.pack('<QQI4x', REQUEST + 1, MEMBER, GROUP))
    yield 'left-unasked', 'router none', 'membership 40 is over: its group ended', \
        frame('LEFT', struct.pack('<QQI4x', 0, MEMBER, GROUP))


def bad_headers():
    ping = frame('PING', sequence=77)
    yield 'bad-short', 'client short', 'a header without its last byte', ping[:47]
    yield 'bad-empty', 'client short', 'an empty datagram', b''
    yield 'bad-magic', 'client magic', 'magic 0x4558', frame('PING', magic=0x4558)
    yield 'bad-version', 'client version', 'version 2', frame('PING', version=2)
    yield 'bad-kind-zero', 'client kind', 'kind 0', frame(0)
    yield 'bad-kind-unknown', 'client kind', 'kind 30', frame(30)
    yield 'bad-kind-direction', 'client kind', 'a PONG from a client', frame('PONG')
    yield 'bad-kind-direction-router', 'router kind', 'a PING from the router', ping
    yield 'bad-length-more', 'client length', 'one byte more than body_length says', ping + b'\0'
    yield 'bad-length-less', 'client length', 'body_length says 8, there are none', frame('PING', length=8)
    yield 'bad-length-body', 'client length', 'a PING with a body', frame('PING', bytes(8))
    yield 'bad-length-entries', 'router length', 'an ACK of one entry that says two', frame('ACK', bytes(40), 2)
    yield 'bad-length-hello', 'client length', 'a hello cut off before its name', frame('HELLO', bytes(48), session=0)
    yield 'bad-length-option', 'client length', 'a hello with an option that is longer than the rest of it', \
        hello(512, options=option(999, b'', 512 - 48 - 112 - 3))
    yield 'bad-length-option-router', 'router length', 'a welcome with such an option', \
        frame('WELCOME', bytes(64) + option(2, b'key', 5))
    yield 'bad-count', 'client count', 'a PING with count 1', frame('PING', count=1)
    yield 'bad-count-entries', 'client count', 'a REPORT without entries', frame('REPORT')
    yield 'bad-count-many', 'router count', 'an ACK of 65 entries', frame('ACK', bytes(40 * 65), 65)
    yield 'bad-flags', 'client flags', 'a PING with REDELIVERED', frame('PING', flags=REDELIVERED)
    yield 'bad-flags-unknown', 'client flags', 'flag 16', frame('PUBLISH', event(1, b''), 1, 16)
    yield 'bad-flags-working', 'client flags', 'a PROBE of somebody at work', frame('PROBE', flags=WORKING)
    yield 'bad-flags-sealed', 'client flags', 'a PING with SEALED in version 1', frame('PING', bytes(16), flags=SEALED)
    yield 'bad-flags-picked', 'router flags', 'a picked delivery, which nobody agreed on', deliver(1004, 1004, (), PICKED)
    yield 'bad-flags-run', 'router flags', 'a sparse run, which nobody agreed on', \
        deliver(1000, 1003, [run(events_of_shard_1(), 3, 100, 4)])
    yield 'bad-flags-later', 'client flags', 'a PROBE whose acknowledgement may come later', frame('PROBE', flags=LATER)
    yield 'bad-crc', 'client crc', 'the last bit of the checksum turned', corrupt(ping, 47, 128)
    yield 'bad-crc-header', 'client crc', 'a bit of the session turned', corrupt(ping, 8)


def bad_bodies():
    place = {'stream': STREAM, 'topic': TOPIC, 'shard': 1, 'sequence': 100}
    key, other = keys_of(1, 4, 1)[0], keys_of(2, 4, 1)[0]
    three, one = events_of_shard_1(), event(key, b'one')
    yield 'bad-flags-header-only', 'client flags', 'HEADER_ONLY towards a port that checks bodies', \
        frame('PUBLISH', three, 3, HEADER_ONLY, **place)
    yield 'bad-crc-body', 'client crc', 'a bit of the last payload turned', corrupt(frame('PUBLISH', three, 3, **place), -9)
    yield 'bad-count-publish', 'client count', 'a PUBLISH without events', frame('PUBLISH', three, 0, **place)
    yield 'bad-count-publish-many', 'client count', 'more events than the body can hold', frame('PUBLISH', three, 8, **place)
    yield 'bad-length-publish', 'client length', 'a body that is no multiple of 8', frame('PUBLISH', three + b'\0', 3, **place)
    yield 'bad-length-fragment', 'client length', 'a fragment beyond the end of its event', \
        frame('PUBLISH', struct.pack('<II', 64, 56) + bytes(16), 1, FRAGMENT, **place)
    yield 'bad-count-fragment', 'client count', 'a fragment of two events', \
        frame('PUBLISH', struct.pack('<II', 64, 0) + bytes(16), 2, FRAGMENT, **place)
    yield 'bad-length-run', 'router length', 'a run longer than the frame', \
        frame('DELIVER', struct.pack('<QQII', 1001, 0, TERM, 0) + run(three, 3, 0)[:40], 1, **place | {'sequence': 1000})
    yield 'bad-count-deliver', 'router count', 'three events in a range of two', deliver(1000, 1002, [run(three, 3, 100)])
    yield 'bad-count-deliver-back', 'router count', 'a range that ends before it begins', deliver(1000, 999)
    yield 'bad-crc-run', 'router crc', 'a bit of a delivered payload turned', \
        corrupt(deliver(1000, 1003, [run(three, 3, 100)]), -9)
    yield 'bad-crc-run-header', 'router crc', 'a bit of a run header turned', \
        corrupt(deliver(1000, 1003, [run(three, 3, 100)]), 72)
    yield 'bad-length-deliver-fragment', 'router length', 'a piece whose run header is of another size', \
        deliver_piece(1004, 1004, event(key, bytes(2000)), 2064, 0, 1352)
    yield 'bad-event-length', 'client none events 4 65536 bad-event', 'an event longer than the frame', \
        frame('PUBLISH', struct.pack('<IHBBQ', 0xfffffff9, 1, 0, 0, key), 1, **place)
    yield 'bad-event-short', 'client none events 4 65536 bad-event', 'an event shorter than its header', \
        frame('PUBLISH', struct.pack('<IHBBQ', 15, 1, 0, 0, key), 1, **place)
    yield 'bad-event-attributes', 'client none events 4 65536 bad-event', 'attributes beyond the end of the event', \
        frame('PUBLISH', struct.pack('<IHBBQ', 24, 1, 0, 2, key) + bytes(8), 1, **place)
    yield 'bad-event-flags', 'client none events 4 65536 bad-event', 'an event flag of a later version', \
        frame('PUBLISH', event(key, b'', flags=1), 1, **place)
    yield 'bad-event-rest', 'client none events 4 65536 bad-event', 'bytes behind the last event', \
        frame('PUBLISH', one + one, 1, **place)
    yield 'bad-event-size', 'client none events 4 18 size', 'an event of 19 bytes where 18 are allowed', \
        frame('PUBLISH', one, 1, **place)
    yield 'bad-event-shard', 'client none events 4 65536 wrong-shard', 'the second event belongs to shard 2', \
        frame('PUBLISH', one + event(other, b''), 2, **place)


# --check: writes nothing, fails when a committed file differs or is one too many.
def main():
    folder = os.path.dirname(os.path.abspath(__file__))
    wanted = {}
    for source in (session_frames, stream_frames, delivery_frames, bad_headers, bad_bodies):
        for title, expected, meaning, data in source():
            lines = [data[i:i + 32].hex() for i in range(0, len(data), 32)]
            wanted[title + '.hex'] = '\n'.join(['# ' + meaning, '# ' + expected] + lines) + '\n'
    if '--check' not in sys.argv:
        for title, text in wanted.items():
            with open(os.path.join(folder, title), 'w', encoding='ascii') as file:
                file.write(text)
        return 0
    found = {}
    for title in os.listdir(folder):
        if title.endswith('.hex'):
            with open(os.path.join(folder, title), encoding='ascii') as file:
                found[title] = file.read()
    wrong = sorted(t for t in wanted.keys() | found.keys() if wanted.get(t) != found.get(t))
    print('1..1')
    print('not ok 1 - differ: ' + ' '.join(wrong) if wrong else f'ok 1 - {len(wanted)} vectors are what the generator writes')
    return 1 if wrong else 0


sys.exit(main())

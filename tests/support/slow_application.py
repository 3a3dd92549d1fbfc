#!/usr/bin/env python3
# An application on libweir.so that takes its time with each batch and calls nothing of libweir meanwhile:
# slow_application.py LIBRARY ROUTER TOPIC GROUP EVENTS PAUSE_S [keepalive]
# With `keepalive` a thread of its own says that it is at work. Ends after so many events with lines of `shard offset` on
# standard output, and counts as one JSON object on standard error.
import ctypes
import json
import sys
import threading
import time


class View(ctypes.Structure):
    _fields_ = [('key', ctypes.c_uint64), ('offset', ctypes.c_uint64), ('producer', ctypes.c_uint64),
                ('sequence', ctypes.c_uint64), ('append_ns', ctypes.c_uint64), ('payload', ctypes.c_void_p),
                ('attributes', ctypes.c_void_p), ('payload_size', ctypes.c_uint32), ('term', ctypes.c_uint32),
                ('attributes_size', ctypes.c_uint16), ('type', ctypes.c_uint16), ('shard', ctypes.c_uint16),
                ('flags', ctypes.c_uint16)]


class Counts(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ('delivered', 'redelivered', 'settled', 'gap_events', 'frames_lost',
                                                     'unsettled', 'passed_over')]
    _fields_ += [('shards', ctypes.c_uint32)]


class Statistics(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ('frames_sent', 'frames_resent', 'frames_received', 'frames_bad',
                                                     'system_calls', 'sessions')] + [('rest', ctypes.c_uint64 * 16)]


library, router, topic, group, events, pause_s = sys.argv[1:7]
weir = ctypes.CDLL(library)
client, consumer = ctypes.c_void_p(), ctypes.c_void_p()
if weir.weir_open(ctypes.byref(client), router.encode(), None) or \
        weir.weir_consumer_open(ctypes.byref(consumer), client, topic.encode(), group.encode(), None) or \
        weir.weir_consumer_wait(consumer, 10000):
    sys.exit('cannot join')
is_over = threading.Event()


def work():
    while not is_over.wait(0.2):
        weir.weir_keepalive(client)


worker = threading.Thread(target=work)
if 'keepalive' in sys.argv:
    worker.start()
views = (View * 1000)()
taken = []
while len(set(taken)) < int(events):
    count = weir.weir_consume(consumer, views, 1000)
    for view in views[:count]:
        taken.append((view.shard, view.offset))
        print(view.shard, view.offset, flush=True)
    if count:
        time.sleep(float(pause_s))
    else:
        weir.weir_poll(client, 100)
# A session that was lost meanwhile has to come back before the router hears what was settled.
end = time.monotonic() + 3
while time.monotonic() < end:
    weir.weir_consume(consumer, views, 1000)
    weir.weir_poll(client, 100)
is_over.set()
if worker.ident:
    worker.join()
counts, statistics = Counts(), Statistics()
weir.weir_consumer_counts(consumer, ctypes.byref(counts))
weir.weir_statistics(client, ctypes.byref(statistics))
weir.weir_close(client, 3000)
print(json.dumps({name: getattr(counts, name) for name, _ in Counts._fields_} | {'sessions': statistics.sessions}),
      file=sys.stderr)

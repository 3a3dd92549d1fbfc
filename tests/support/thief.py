#!/usr/bin/env python3
# A consumer, and beside it a thief who knows the id of its session and nothing else: he sends frames with it from an address
# of his own and tries to move the session there with whatever he is told. Prints one JSON object: what the consumer keeps
# secret, what the thief was told, whether he got the session; then goes on consuming until it is ended.
#   thief.py HOST:PORT TOPIC GROUP
import json
import os
import struct
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, 'client', 'examples'))
sys.dont_write_bytecode = True
import weir  # noqa: E402
from consumer import Consumer  # noqa: E402


class Thief(weir.Session):
    def steal(self, session):
        own, self.id, told = self.id, session, None
        self.send(weir.PING, sequence=1)
        while frame := self.receive(0.5):
            if frame.kind == weir.CHALLENGE and frame.session == session:
                told = frame
        self.id = own
        if not told:
            return None, False
        for nonce in (told.body[:8], bytes(8), self.nonce, told.body[8:16], session.to_bytes(8, 'little')):
            self.nonce = nonce
            self.hello(told.body[8:16])
            while frame := self.receive(0.2):
                if frame.kind == weir.WELCOME and struct.unpack_from('<QQ', frame.body)[1] == session:
                    return told, True
        return told, False


def main(address, topic, group):
    consumer = Consumer(address, topic, group)
    victim = consumer.session
    while not consumer.deliveries:
        consumer.step()
    told, is_stolen = Thief(address).steal(victim.id)
    print(json.dumps({'session': victim.id, 'nonce': int.from_bytes(victim.nonce, 'little'), 'stolen': is_stolen,
                      'told': told.body.hex() if told else None}), flush=True)
    while True:
        consumer.step(lambda _: None)


main(*sys.argv[1:])

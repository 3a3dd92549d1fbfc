#!/usr/bin/env python3
# spoof.py INTERFACE ROUTER_MAC ROUTER_ADDRESS PER_SECOND SECONDS: hellos in the name of addresses of the router's /16 that
# nobody has, so that their answers wait for hosts that never say where they are. Needs root.
import os
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'client', 'examples'))
import weir  # noqa: E402

DEAD = 900  # addresses: fewer than the kernel keeps neighbours
SIZE = 512


def checksum(data):
    total = sum(struct.unpack(f'>{len(data) // 2}H', data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def packet(to_mac, to, source):
    body = os.urandom(8) + bytes(8) + os.urandom(8) + struct.pack('<QII8s', 0, SIZE, 1 << 20, b'\1') + weir.field('')
    payload = weir.build(weir.HELLO, 0, body.ljust(SIZE - 48, b'\0'))
    udp = struct.pack('>HHHH', 40000, 9347, 8 + len(payload), 0) + payload
    ip = struct.pack('>BBHHHBBH', 0x45, 0, 20 + len(udp), 0, 0x4000, 64, 17, 0) + source + to
    ip = ip[:10] + struct.pack('>H', checksum(ip)) + ip[12:]
    return to_mac + bytes([2, 0, 0, 0, 0, 9]) + b'\x08\x00' + ip + udp


def main():
    interface, mac, address, rate, seconds = sys.argv[1:]
    to = socket.inet_aton(address)
    packets = [packet(bytes.fromhex(mac.replace(':', '')), to, to[:2] + bytes([100 + i // 250, 1 + i % 250]))
               for i in range(DEAD)]
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    raw.bind((interface, 0))
    begin, sent = time.monotonic(), 0
    while (now := time.monotonic() - begin) < float(seconds):
        for _ in range(int(now * float(rate)) - sent):
            raw.send(packets[sent % len(packets)])
            sent += 1
        time.sleep(0.001)
    print(sent)


main()

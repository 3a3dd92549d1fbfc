#!/usr/bin/env python3
# An address translation on the way: translation.py PORT ROUTER-HOST ROUTER-PORT forwards what comes to 127.0.0.1:PORT to the
# router and back, for each client from a port of its own, which becomes another one at SIGUSR1.
import select
import signal
import socket
import sys

is_due = False


def on_usr1(*_):
    global is_due
    is_due = True


signal.signal(signal.SIGUSR1, on_usr1)
front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
front.bind(('127.0.0.1', int(sys.argv[1])))
router = (sys.argv[2], int(sys.argv[3]))
outs = {}  # client -> socket
while True:
    if is_due:
        is_due = False
        for out in outs.values():
            out.close()
        outs = {}
    clients = {out: client for client, out in outs.items()}
    for ready in select.select([front, *clients], [], [], 0.02)[0]:
        try:
            if ready is not front:
                front.sendto(ready.recv(9216), clients[ready])
                continue
            data, client = front.recvfrom(9216)
            if client not in outs:
                outs[client] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                outs[client].connect(router)
            outs[client].send(data)
        except ConnectionRefusedError:
            pass

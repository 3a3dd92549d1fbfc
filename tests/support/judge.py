# What system tests say about a run: loads made of weirload processes, and the claims on what producers and consumers
# counted and on the router's ledger. A claim that does not hold raises Failure with both numbers.
from lab import Failure, program, wait_until
import json
import signal


class Skip(Exception):
    pass


def check(holds, what):
    if not holds:
        raise Failure(what)


def check_equal(value, expected, what):
    if value != expected:
        raise Failure(f'{what}: {value}, not {expected}')


def check_between(value, low, high, what):
    if not low <= value <= high:
        raise Failure(f'{what}: {value}, not between {low} and {high}')

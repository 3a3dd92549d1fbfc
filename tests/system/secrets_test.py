# What proves a session is known to its client and the router alone: it is in no file that others may read, no answer, no
# log, and nothing that a stranger is told.
#
#   consumers (a client, and a thief beside it) ---- weir, 1 worker
import os
import stat

from judge import check, check_equal
from lab import TOP, topic, wait_until

SECONDS = 3


# As numbers and texts would show it.
def shapes(secret):
    return {secret.to_bytes(8, 'little'), secret.to_bytes(8, 'big'), b'%d' % secret, b'%x' % secret, b'%X' % secret}


def test_a_session_is_told_to_nobody_and_stays_where_it_is(lab):
    host = lab.host('consumers')
    router = lab.router([topic('positions')]).start()
    thief = lab.start('thief', ['python3', os.path.join(TOP, 'tests', 'support', 'thief.py'),
                                router.address(host).removeprefix('udp://'), 'positions', 'all'], host)
    wait_until(thief.out, 'the thief tried', 20)
    found = thief.json()
    check(found['told'], 'who sent the session\'s id from elsewhere got no challenge')
    check(not found['stolen'], f'the session was moved by one who knew its id alone: told {found["told"]}')
    counters = f'/run/weir/{router.instance}.counters'
    check_equal(stat.S_IMODE(os.stat(counters).st_mode), 0o644, f'mode of {counters}, which has to be fit for all')
    places = {'status': router.ctl('status').stdout.encode(), 'ledger': router.ctl('ledger', check=False).stdout.encode(),
              'the log': router.process.err().encode(), 'the challenge': bytes.fromhex(found['told'])}
    with open(counters, 'rb') as file:
        places['the counters file'] = file.read()
    names = {shard['session'] for shard in router.members('positions', 'all')['shards']}
    check(None not in names and len(names) == 1, f'members as status names them: {names}')
    for secret in ('session', 'nonce'):
        for place, text in places.items():
            shown = [shape for shape in shapes(found[secret]) if shape in text]
            check(not shown, f'{place} shows the {secret} as {shown}')
    router.stop()

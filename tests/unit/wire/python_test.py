#!/usr/bin/env python3
# The Python example's frames against the test vectors: what it parses, and that it builds the same bytes again.
import glob
import os
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.insert(0, os.path.join(TOP, 'client', 'examples'))
sys.dont_write_bytecode = True
import weir  # noqa: E402

# Of the reasons that a frame alone can give, those that weir.py looks for; its kinds check the rest.
CHECKED = {'short', 'magic', 'version', 'crc'}


def verdict(path):
    with open(path, encoding='ascii') as file:
        file.readline()
        reason = file.readline().split()[2]
        data = bytes.fromhex(file.read())
    frame = weir.parse(data)
    if os.path.basename(path) == 'bad-crc-run.hex':
        return None if frame else 'its frame is good, its run is for consumer.py to check'
    if reason in CHECKED and frame:
        return f'parses although {reason}'
    if reason == 'none' and not frame and data[2] == 1:
        return 'does not parse'
    if reason != 'none' or not frame:
        return None
    again = weir.build(frame.kind, frame.session, frame.body, frame.flags, frame.count, frame.stream, frame.topic,
                       frame.sequence, frame.shard)
    same = again[:32] + data[32:40] + again[40:44]
    return None if weir.parse(again) and same == data[:44] and again[48:] == data[48:] else 'is built differently'


def main():
    paths = sorted(glob.glob(os.path.join(TOP, 'tests', 'vectors', '*.hex')))
    wrong = {os.path.basename(path): said for path in paths if (said := verdict(path))}
    print('1..2')
    print(('not ' if wrong else '') + f'ok 1 - weir.py reads and builds {len(paths)} vectors')
    for path, said in wrong.items():
        print(f'# {path} {said}')
    right = weir.crc32c(b'123456789') == 0xe3069283 and weir.shard_of(1, 4) == 1 and \
        weir.key_of(b'positions') == 0x0ac7093f4700b5db
    print(('' if right else 'not ') + 'ok 2 - weir.py computes the page\'s examples')
    return 1 if wrong or not right else 0


sys.exit(main())

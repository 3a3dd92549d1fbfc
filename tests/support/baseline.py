#!/usr/bin/env python3
# Holds the core to what was accepted: instructions of every stage of the path, counted by callgrind, against
# perf/baseline/instructions.json. A count may fall, and grow by 3 %; more fails, unless the file changes with it. TAP.
import os
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, 'tools'))

import micro  # noqa: E402
from lab import Failure  # noqa: E402


# Two runs must agree to the last instruction, or no comparison means anything.
def repeat_check(arguments):
    first, second = micro.counted(arguments)[0], micro.counted(arguments)[0]
    first['lane'], second['lane'] = micro.lane_counted('packed'), micro.lane_counted('packed')
    return [f'stage {stage}: {first[stage]} and then {second[stage]} instructions; what depends on time or addresses must '
            'not be counted' for stage in first if first[stage] != second[stage]]


def saved(accepted, now):
    return [f'stage {stage}: {accepted[stage]} -> {now[stage]} instructions a frame; keep it with {micro.ACCEPT}'
            for stage in now if now[stage] < accepted.get(stage, 0) * (1 - micro.GROWTH)]


def main():
    print(f'1..{len(micro.counted_names()) + 1}', flush=True)
    failed = 0

    def tell(number, name, troubles, notes=()):
        print(f'{"not ok" if troubles else "ok"} {number} - {name}', flush=True)
        for line in [*troubles, *notes]:
            print(f'# {line}', flush=True)
        return bool(troubles)

    try:
        failed += tell(1, 'two runs count the same instructions', repeat_check(micro.COUNTED['packed']))
        accepted = micro.baseline_read()
        here = micro.toolchain()
        for number, name in enumerate(micro.counted_names(), 2):
            now = micro.instructions_of(name)
            before = accepted['counts'].get(name, {})
            troubles = micro.baseline_compare(name, before, now)
            if troubles and here != accepted['toolchain']:
                troubles.append(f'accepted with {accepted["toolchain"]}, counted with {here}: that alone may be the reason')
            failed += tell(number, f'{name}: no stage takes over 3 % more instructions than accepted', troubles,
                           saved(before, now))
    except Failure as failure:
        print(f'Bail out! {failure}')
        sys.exit(1)
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()

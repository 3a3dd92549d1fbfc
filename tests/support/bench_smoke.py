#!/usr/bin/env python3
# The benchmarks run to their end and print what they promise: TAP, one test a benchmark. No speed is judged here; what was
# measured, at this shortest length, is printed beside.
import json
import os
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROMISED = {
    'micro': (['--pairs', '1', '--seconds', '0.1'], ['packed_ns_per_event', 'single_ns_per_event']),
    'micro --worst': (['--pairs', '1'], ['usual_ns', 'usual_instructions', 'worst_times', 'is_met']),
    'relay': (['--pairs', '1', '--seconds', '1'], ['weir_afxdp_events_per_second', 'weir_kernel_events_per_second',
                                                   'relay_events_per_second', 'gro_relay_events_per_second', 'ratio_afxdp',
                                                   'ratio_kernel']),
    'lanes': (['--pairs', '1', '--seconds', '0.2'],
              ['packed_events_per_second', 'single_events_per_second', 'kib_bytes_per_second', 'memcpy_bytes_per_second',
               'four_groups_events_per_second', 'bare_packed_events_per_second', 'round_trip_p50_ns']),
    'bound': (['--pairs', '1', '--seconds', '1'],
              ['afxdp_testpmd_frames_per_second', 'afxdp_weir_frames_per_second', 'vhost_testpmd_frames_per_second',
               'vhost_weir_frames_per_second', 'ratio_afxdp', 'ratio_vhost']),
    'targets': (['--quick', '--parts', 'micro'], ['count', 'met']),
    # Without the packages of others: weir and the relays alone.
    'peers': (['--quick', '--peers', 'weir,weir-lane,relay,gro-relay', '--cases', '64 B,latency,at least once',
               '--svg', '/dev/null'],
              ['weir_events_per_second', 'weir_lane_events_per_second', 'relay_events_per_second',
               'gro_relay_events_per_second', 'weir_p99_us', 'relay_p99_us']),
}


def trouble(words, answer, names):
    if answer.returncode:
        return f'exit status {answer.returncode}: {answer.stderr[-2000:]}'
    try:
        said = json.loads(answer.stdout)
    except ValueError:
        return f'{" ".join(words)} prints no JSON object: {answer.stdout[-500:]}'
    bad = [name for name in names if not isinstance(said.get(name), (int, float)) or said[name] <= 0]
    return f'no positive number for {", ".join(bad)}' if bad else None


def main():
    print(f'1..{len(PROMISED)}')
    failed = 0
    for number, (name, (more, names)) in enumerate(PROMISED.items(), 1):
        words = [sys.executable, os.path.join(TOP, 'tools', 'bench.py'), *name.split(), '--json', *more]
        answer = subprocess.run(words, capture_output=True, text=True)
        why = trouble(words, answer, names)
        failed += why is not None
        print(f'{"not ok" if why else "ok"} {number} - tools/bench {name} prints what it promises', flush=True)
        for line in (why or answer.stdout).splitlines():
            print(f'# {line}')
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()

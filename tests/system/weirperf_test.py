# Load tests keep exact account of every event, over a network, with consumers that slow down, die and join, and with a router
# that weirperf starts itself; and they say so when it is the generator that cannot keep up.
#
#   weirperf, all clients ---- weir, 1 worker          weirperf run --router spawn: both on the loopback, no host
import json
import os
import subprocess

from judge import check, check_between, check_equal
from lab import program, topic

SECONDS = 26

# Lateness of the generator is not what these tests are about: a busy machine is no failure here.
SCENARIO = '''
name: lab
drain: 8s
lag_limit: 10s
topics:
  - {name: positions, shards: 4}
producers:
  - {name: vehicles, topic: positions, count: 2, rate: 5k, arrivals: poisson, keys: {count: 500, pick: zipf}, runs_as: process,
     payload: [{bytes: 64, weight: 9}, {bytes: 700, weight: 1}]}
consumers:
  - {name: map, topic: positions, count: 3, runs_as: process}
  - {name: late, topic: positions, group: map, count: 4, joins: storm}
  - {name: audit, topic: positions}
steps:
  - {name: calm, for: 1s}
  - {name: slow, for: 1s, slow: [{consumers: map, members: 2, delay: 2ms}]}
  - {name: storm, for: 1s, load: 200%}
  - {name: killed, for: 1s, load: 200%, ramp_to: 50%, kill: [{consumers: map, members: 1}]}
'''


def scenario_file(lab, text):
    path = lab.path('scenario.yaml')
    with open(path, 'w') as file:
        file.write(text)
    return path


def counts_of(document):
    check_equal(len(document['runs']), 1, 'runs in the result')
    return document['runs'][0], document['runs'][0]['counts']


def check_account(counts, groups):
    check_equal(counts['published'], counts['intended'], 'published, of what was intended')
    check_equal(counts['acknowledged'], counts['published'], 'acknowledged')
    check_equal(counts['expected'], groups * counts['published'], 'deliveries owed')
    check_equal(counts['delivered'], counts['expected'], 'delivered')
    for fault in ('lost', 'duplicated', 'reordered', 'damaged', 'refused', 'unexplained'):
        check_equal(counts[fault], 0, fault)


def test_a_scenario_accounts_for_every_event_while_consumers_slow_down_join_and_die(lab):
    host = lab.host('clients')
    groups = ('map', 'audit')
    router = lab.router([topic('positions', groups)], limits={'ping': '300ms', 'lease': '1500ms'}).start()
    saved = lab.path('result.json')
    process = lab.start('weirperf', [program('weirperf'), 'run', scenario_file(lab, SCENARIO), '--quiet', '--output', saved,
                                     '--router', router.address(host), '--instance', router.instance], host)
    process.wait(90)
    with open(saved) as file:
        document = json.load(file)
    run, counts = counts_of(document)
    check_account(counts, len(groups))
    check(run['is_passed'], f'not passed: {run["verdict"]}')
    # 5,000/s for 2 s, 10,000/s for 1 s, a ramp from 10,000/s to 2,500/s: 26,250 by Poisson, five standard deviations.
    check_between(counts['intended'], 26250 - 5 * 26250 ** 0.5, 26250 + 5 * 26250 ** 0.5, 'events that the schedule asked for')
    steps = {step['name']: step for step in run['steps']}
    check_equal(sum(step['counts']['intended'] for step in steps.values()), counts['intended'], 'intended, summed over steps')
    handed_out = sum(step['latency_ns']['count'] for step in steps.values())
    check_between(handed_out, counts['delivered'], counts['delivered'] + counts['redelivered'], 'latencies, one for each event')
    check_between(run['lag_ns']['count'], 1, counts['published'], 'lags, of published events')
    seconds = run['seconds']
    check_equal(sum(seconds['sent']), counts['published'], 'sent, summed over seconds')
    # Who is killed may have counted a batch in one place only.
    check_between(sum(seconds['received']), handed_out - 512, handed_out, 'received, summed over seconds')
    check(min(seconds['router_bytes']) > 0, 'the memory of the router was not watched')
    check_equal([worker['worker'] for worker in run['workers']], [0], 'workers')
    check(document['selftest']['is_passed'] and document['selftest']['lost'] == 0, f'self-test: {document["selftest"]}')
    lab.note(f'{counts["intended"]} events, {counts["delivered"]} delivered, {counts["redelivered"]} of them again')
    router.stop()


def test_clients_over_a_dpdk_port_are_accounted_for_alike(lab):
    if lab.kind != 'kernel':
        return
    socket = f'/run/weir/{lab.prefix}.vhost'
    ports = [{'name': 'memory', 'kind': 'vhost', 'socket': socket, 'address': '10.78.0.1'}]
    router = lab.router([topic('positions', ('map', 'audit'))], ports=ports, limits={'ping': '500ms', 'lease': '3s'}).start()
    text = SCENARIO[:SCENARIO.index('steps:')].replace(', joins: storm', '') + 'steps: [{name: steady, for: 2s}]\n'
    saved = lab.path('dpdk.json')
    address = f'dpdk:net_virtio_user0,path={socket};address=10.78.0.2;router=10.78.0.1'
    process = lab.start('weirperf', [program('weirperf'), 'run', scenario_file(lab, text), '--quiet', '--output', saved,
                                     '--router', address, '--instance', router.instance])
    process.wait(90)
    with open(saved) as file:
        document = json.load(file)
    run, counts = counts_of(document)
    check_equal(document['transport'], 'dpdk', 'transport')
    check_account(counts, 2)
    check_between(counts['intended'], 10000 - 500, 10000 + 500, 'events that the schedule asked for')
    router.stop()


# Where no host is needed: once, beside the kernel port.
def alone(lab, *arguments, expect=0):
    if lab.kind != 'kernel':
        return None
    done = subprocess.run([program('weirperf'), *arguments], capture_output=True, text=True, timeout=90)
    check_equal(done.returncode, expect, f'exit status of weirperf {" ".join(arguments)}\n{done.stdout}{done.stderr}')
    return json.loads(done.stdout) if '--json' in arguments else done


def test_one_command_starts_a_router_runs_a_shipped_scenario_and_ends_it(lab):
    path = os.path.join(os.path.dirname(__file__), '..', '..', 'perf', 'scenarios', 'order-fan-out.yaml')
    with open(path) as file:
        text = file.read().replace('\ntopics:', '\nlag_limit: 10s\ntopics:')
    for router in ('spawn', 'spawn:unix'):
        document = alone(lab, 'run', scenario_file(lab, text), '--seconds', '2', '--router', router, '--json', '--quiet')
        if not document:
            return
        run, counts = counts_of(document)
        check_account(counts, 5)
        check_equal(document['transport'], 'udp' if router == 'spawn' else 'lane', 'transport')
        check(document['placement'], 'the placement was not asked for')
    check(not [name for name in os.listdir('/run/weir') if name.startswith('weirperf-') and name.endswith('.sock')],
          'the router that was started is still there')


def test_a_generator_that_cannot_keep_up_is_not_taken_for_a_result(lab):
    text = SCENARIO.replace('lag_limit: 10s', 'lag_limit: 5ms')
    document = alone(lab, 'run', scenario_file(lab, text), '--seconds', '0.4', '--rate', '20M', '--json', '--quiet', expect=1)
    if document:
        run, counts = counts_of(document)
        check(run['verdict'].startswith('invalid: '), f'verdict: {run["verdict"]}')
        check(counts['missed'] > counts['intended'] / 2, f'{counts["missed"]} of {counts["intended"]} events missed their time')
        check_equal(counts['lost'], 0, 'lost')


# Two counts that know nothing of each other: sequences that never came, and gaps of offsets that the router told of. The
# consumer's socket holds 6,500 to 7,600 of these events, by how many travel in one frame: twice as many and more must come
# while it works on 2,000 a second.
def test_what_a_topic_drops_is_counted_twice_over_with_one_result(lab):
    text = ('name: drops\nlag_limit: 10s\ndrain: 2s\n'
            'topics: [{name: positions, shards: 1, log: 64KiB, policy: drop-old}]\n'
            'producers: [{name: p, topic: positions, rate: 20k, payload: 1200, arrivals: constant}]\n'
            'consumers: [{name: slow, topic: positions, delay: 500us}]\nsteps: [{name: a, for: 1s}]\n')
    document = alone(lab, 'run', scenario_file(lab, text), '--json', '--quiet')
    if document:
        run, counts = counts_of(document)
        check_equal(counts['expected'], 20000, 'deliveries owed')
        check(counts['lost'] > 1000, f'only {counts["lost"]} events were dropped')
        check_equal(counts['delivered'] + counts['lost'], counts['expected'], 'delivered and lost')
        check_equal(sum(run['seconds']['lost']), counts['lost'], 'events that the router said it skipped')
        check_equal(run['groups'][0]['counts']['lost'], counts['lost'], 'lost by the group')


def test_the_selftest_loses_nothing(lab):
    document = alone(lab, 'selftest', '--seconds', '1', '--json')
    if document:
        for way, loop in document['loops'].items():
            check(loop['events'] > 1000, f'{way}: only {loop["events"]} events')
            check_equal(loop['received'], loop['events'], f'{way}: received')
        check_equal(document['clock']['backwards'], 0, 'times the clock went backwards')
        check_between(document['clock']['read_ns'], 1, 5000, 'ns to read the clock')


def test_mistakes_in_a_scenario_are_told_with_their_place(lab):
    done = alone(lab, 'run', scenario_file(lab, SCENARIO.replace('rate: 5k', 'rate: much')), expect=2)
    if done:
        check('scenario.yaml:8:56: producers[0].rate: cannot use "much": expected events a second' in done.stderr, done.stderr)

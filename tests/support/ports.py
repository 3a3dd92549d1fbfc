# How ports fare, for system tests: what status and log say of one that is lost, and that it works again without help.
from judge import check, check_equal
from lab import program, run, wait_until


# Publishes one event from the host; whether the router acknowledged it.
def publish(lab, host, wait_ms=4000, address=None, topic='positions'):
    command = ['nsenter', f'--net=/run/netns/{host.netns}', 'sh', '-c',
               f'echo x | {program("weircat")} publish {topic} --router udp://{address or host.router_address}:9347 '
               f'--wait-ms {wait_ms}']
    return run(*command, check=False).returncode == 0


# The router's only port, once it is in that state.
def port_in(router, state, timeout_s=15):
    def look():
        port = router.status()['ports'][0]
        return port['state'] == state and port
    return wait_until(look, f'the port is {state}', timeout_s)


# The port is lost, and status, warnings and log say why; what they say holds all the words.
def check_lost(router, *words):
    port = port_in(router, 'lost')
    check(not any(queue['link'] for queue in port['queues']), 'the link of a lost port is up')
    warnings = [text for text in router.status()['warnings'] if port['name'] in text]
    for word in words:
        for text in (port['trouble']['reason'] + port['trouble']['fix'], ' '.join(warnings), router.process.err()):
            check(word in text, f'nothing of {word} in: {text}')
    return port


# Everything works again without anybody's help.
def check_well(lab, router, host, losses):
    port = port_in(router, 'well')
    check_equal(port['losses'], losses, 'losses')
    check(port['trouble'] is None and all(queue['link'] for queue in port['queues']), f'not well: {port}')
    check(publish(lab, host), 'an event after the port came back')
    check('works again' in router.process.err(), 'the log does not say that it works again')


def accepted(router):
    return router.ledger()['totals']['accepted']

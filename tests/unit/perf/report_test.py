#!/usr/bin/env python3
# The report page is one well-formed file that fetches nothing and runs nothing; its pictures are SVG with the sample's curves;
# without gnuplot there is no page and the message names the package. `report_test.py SAMPLE-PROGRAM`; prints TAP.
import base64
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

SAMPLE = sys.argv[1]
HTML = '{http://www.w3.org/1999/xhtml}'
SVG = '{http://www.w3.org/2000/svg}'
PLOTS = ['Throughput', 'Latency by percentile', 'Latency by group', 'Latency over time',
         'Loss and backpressure', 'Cores over time', 'Cores',
         "The router's memory"]
BY_PERCENTILE = ['Latency by percentile', 'Latency by group']
DATA = 'data:image/svg+xml;base64,'


def run(path, *words, **environment):
    return subprocess.run([SAMPLE, path, *words], capture_output=True, text=True, env={**os.environ, **environment})


def sections(page):
    return {s.find(f'{HTML}h2').text: s for s in page.iter(f'{HTML}section')}


def text_of(element):
    return ' '.join(' '.join(element.itertext()).split())


def is_well_formed_and_whole(page, said):
    found = sections(page)
    for name in PLOTS + ['Repeats', 'Account of events', 'Steps of the median run',
                         'Groups of the median run', "The router's workers", 'Machine',
                         'Placement', 'Scenario', 'Selftest of the generator', 'What the words mean']:
        assert name in found, f'no section "{name}"'
    rows = found['Repeats'].findall(f'.//{HTML}tr')
    assert len(rows) == 4 and all(len(r) == len(rows[0]) for r in rows), 'three repeats, equally wide rows'
    assert 'Sample(R) CPU @ 2.00GHz' in text_of(found['Machine'])
    assert 'core 1, node 0: alone on its core' in text_of(found['Placement'])
    assert "vehicles' positions <b>&amp; \"more\"" in text_of(page), 'text is not escaped once'
    assert 'Run 1: 6 events were lost & "7" <missed>' in text_of(page)


def fetches_and_runs_nothing(page, said):
    for element in page.iter():
        assert element.tag != f'{HTML}script', 'a script'
        for name, value in element.attrib.items():
            assert not name.startswith('on'), f'handler {name}'
            if name in ('src', 'href', 'data', 'action', 'style'):
                assert value.startswith(DATA), f'{name}={value[:60]}'
    style = page.find(f'.//{HTML}style').text
    assert 'url(' not in style and '@import' not in style


def pictures_are_svg_with_curves(page, said):
    for name in PLOTS:
        image = sections(page)[name].find(f'.//{HTML}img')
        assert image.get('alt'), f'{name} has no text for those who do not see it'
        picture = xml.fromstring(base64.b64decode(image.get('src')[len(DATA):], validate=True))
        assert picture.tag == f'{SVG}svg'
        for element in picture.iter():
            assert element.tag != f'{SVG}script'
            for attribute, value in element.attrib.items():
                assert not attribute.endswith('href') or value.startswith('#'), f'{name}: {value}'
        curves = [e for e in picture.iter() if e.tag in (f'{SVG}path', f'{SVG}polygon') and len(e.get('d', 'x' * 41)) > 40]
        assert len(curves) >= {"The router's memory": 1, 'Latency by group': 2}.get(name, 3), f'{name}: {len(curves)} curves'
        words = text_of(picture)
        assert 'warm up' in words or name in BY_PERCENTILE + ['Cores'], f'{name} does not name its steps'
        if name == 'Latency by percentile':
            for label in ('0 %', '90 %', '99.99 %', '\u00b5s', 'ms'):
                assert label in words, f'no label {label}'
        if name == 'Latency by group':
            assert 'map' in words and 'archive' in words
        if name.startswith('Cores'):
            assert 'core 1, worker 0' in words


def terminal_gets_the_essentials(page, said):
    lines = said.splitlines()
    assert lines[0].endswith('3 runs: FAILED'), lines[0]
    assert sum(line.startswith('run ') for line in lines) == 3
    assert 'missed 7' in said and '99.999 %' in said and 'workers pushed off 11 times' in said


def gnuplot_missing_is_said_by_package(page, said):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'report.html')
        done = run(path, PATH=folder)
        assert done.returncode == 1 and 'gnuplot-nox' in done.stderr, done
        assert not os.listdir(folder), 'half a page was left behind'


def no_runs_no_page(page, said):
    with tempfile.TemporaryDirectory() as folder:
        done = run(os.path.join(folder, 'report.html'), 'empty')
        assert done.returncode == 1 and 'no run' in done.stderr, done
        done = run(os.path.join(folder, 'no', 'report.html'))
        assert done.returncode == 1 and os.path.join(folder, 'no') in done.stderr, done


def comparison_is_a_page_too(page, said):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'compare.html')
        done = run(path, 'compare')
        assert done.returncode == 0, done.stderr
        page = xml.parse(path).getroot()
    fetches_and_runs_nothing(page, said)
    found = sections(page)
    assert {'Figures', 'Throughput of every repeat', 'Latency by percentile', 'Cautions'} <= found.keys(), found.keys()
    rows = [[text_of(cell) for cell in row] for row in found['Figures'].findall(f'.//{HTML}tr')]
    assert all(len(row) == len(rows[0]) for row in rows)
    verdicts = {row[0]: row[-1] for row in rows}
    assert verdicts['delivered events/s'] == 'better' and verdicts['latency longest'] == 'noisy', verdicts
    assert 'A: a <1>.json, sample 1, 5 repeats' in text_of(page)
    assert text_of(page.find(f'.//{HTML}b')) in done.stdout, 'page and terminal disagree'


def search_is_a_page_too(page, said):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'search.html')
        done = run(path, 'search')
        assert done.returncode == 0, done.stderr
        page = xml.parse(path).getroot()
    fetches_and_runs_nothing(page, said)
    found = sections(page)
    assert {'Goals', 'Course', 'Trials', 'Machine'} <= found.keys(), found.keys()
    *lines, document = done.stdout.splitlines()
    document = json.loads(document)
    none, some = document['goals']
    assert none['regular'] and none['lower'] <= 1.2e6 <= none['upper'] <= none['lower'] * 1.011, none
    assert some['lower'] <= 1.2e6 / 0.98 <= some['upper'] + 1, some
    assert not none['generator_bound'] and document['trials'][0]['generator_late']
    assert len(found['Trials'].findall(f'.//{HTML}tr')) == 1 + len(document['trials'])
    assert all(t['missed'] == t['gone'] for t in document['trials'])
    assert lines[1].startswith('no loss: 1.') and 'M/s' in lines[1], lines


def main():
    tests = [is_well_formed_and_whole, fetches_and_runs_nothing, pictures_are_svg_with_curves, terminal_gets_the_essentials,
             gnuplot_missing_is_said_by_package, no_runs_no_page, comparison_is_a_page_too, search_is_a_page_too]
    print(f'1..{len(tests)}')
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'report.html')
        done = run(path)
        page = xml.parse(path).getroot() if done.returncode == 0 else None
    failed = 0
    for number, test in enumerate(tests, 1):
        try:
            test(page, done.stdout)
            print(f'ok {number} - {test.__name__}')
        except (AssertionError, AttributeError, IndexError, KeyError, ValueError, xml.ParseError) as error:
            failed += 1
            print(f'not ok {number} - {test.__name__}\n# {error} {done.stderr}')
    sys.exit(failed != 0)


if __name__ == '__main__':
    main()

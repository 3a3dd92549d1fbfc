#!/usr/bin/env python3
# Checks what a compiler does not: arrows between parts, lengths, headers that compile alone, dead files, comments.
# Reads the files git knows or would know; prints TAP, one test a rule, each violation as `path:line: what, and what
# to do`. Rules and exceptions are in tables.py. Standard library only; `tidy.py RULE...` runs some rules.
import ast
import concurrent.futures
import os
import re
import subprocess
import sys

import tables

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CODE = ('.c', '.h')
TEXT = CODE + ('.py', '.sh', '.build', '.md', '.yaml', '.yml', '.map', '.txt', '.in', '.service', '.json')


# What git says, or None where there is no git or no repository.
def git(*words):
    try:
        answer = subprocess.run(['git', '-C', TOP, '-c', f'safe.directory={TOP}', *words], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return answer.stdout if answer.returncode == 0 else None


def list_files():
    known = git('ls-files', '-z', '--cached', '--others', '--exclude-standard')
    if known is not None:
        paths = known.split('\0')
    else:  # an unpacked archive
        paths = []
        for folder, folders, names in os.walk(TOP):
            folders[:] = [f for f in folders if not f.startswith('build') and f not in ('.git', '__pycache__')]
            paths += [os.path.relpath(os.path.join(folder, name), TOP) for name in names]
    return sorted(p for p in paths if p and os.path.isfile(os.path.join(TOP, p)))


class Tree:
    def __init__(self):
        self.paths = list_files()
        self.text = {}
        for path in self.paths:
            with open(os.path.join(TOP, path), 'rb') as file:
                data = file.read()
            if b'\0' not in data:
                self.text[path] = data.decode('utf-8', 'replace')
        self.code = [p for p in self.paths if p.endswith(CODE) and p in self.text]

    def lines(self, path):
        return enumerate(self.text[path].splitlines(), 1)


def part_of(path, parts):
    best = None
    for part in parts:
        if (path == part or path.startswith(part + '/')) and (best is None or len(part) > len(best)):
            best = part
    return best


def is_excepted(rule, *names):
    return any((rule, name) in tables.EXCEPTIONS for name in names)


INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')


def includes(tree, path):
    for number, line in tree.lines(path):
        match = INCLUDE.match(line)
        if match:
            yield number, match[1], match[2]


# Code with comments, strings and character constants blanked, newlines kept: what the other rules count braces in.
def blank(text):
    def hide(match):
        return re.sub(r'[^\n]', ' ', match[0])
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', hide, text, flags=re.S)


def rule_arrows(tree):
    for path in tree.code:
        part = part_of(path, tables.ARROWS)
        if part is None:
            yield f'{path}:1: belongs to no part of ARROWS in tests/tidy/tables.py'
            continue
        for number, quote, target in includes(tree, path):
            if quote == '<':
                for prefix, parts in tables.SYSTEM.items():
                    if target.startswith(prefix) and part_of(path, parts) is None:
                        yield f'{path}:{number}: <{target}> is not for {part}'
                continue
            if is_excepted('arrows', path):
                continue
            if '/' not in target:
                if not target.endswith('.skel.h') and target != 'vmlinux.h':
                    yield f'{path}:{number}: "{target}" does not carry its owner: write "{os.path.dirname(path)}/{target}"'
                continue
            if part_of(target, tables.ARROWS[part]) is None:
                yield f'{path}:{number}: {part} may not include "{target}"'


def rule_own_header_first(tree):
    for path in tree.code:
        own = path[:-2] + '.h'
        if not path.endswith('.c') or own not in tree.text:
            continue
        first = next(includes(tree, path), None)
        if first is None or first[2] not in (own, os.path.basename(own)):
            yield f'{path}:{first[0] if first else 1}: first include is not its own header "{own}"'


def rule_lengths(tree):
    for path in tree.paths:
        if path not in tree.text or not (path.endswith(TEXT) or path.startswith(('tools/', '.ci/'))):
            continue
        count = tree.text[path].count('\n')
        if count > tables.FILE_LINES and not path.endswith('.md') and not is_excepted('file', path):
            yield f'{path}:{count}: {count} lines, at most {tables.FILE_LINES}: split it by noun'
        if is_excepted('line', path) or path.endswith('.md'):
            continue
        for number, line in tree.lines(path):
            width = len(line.expandtabs(8))
            if width > tables.LINE_COLUMNS and 'http' not in line:
                yield f'{path}:{number}: {width} columns, at most {tables.LINE_COLUMNS}'


FUNCTION = re.compile(r'^(?!#|static_assert|_Static_assert)([A-Za-z_][^;{}()=]*?)\b(\w+)\(((?:[^()]|\([^()]*\))*)\)\s*\n\{',
                      re.M)


def functions(text):
    for match in FUNCTION.finditer(text):
        end = text.find('\n}', match.end())
        first = text.count('\n', 0, match.start()) + 1
        last = text.count('\n', 0, end) + 2 if end >= 0 else first
        body = text.count('\n', 0, match.end()) + 1
        yield match[2], match[3], first, last - body - 1


def rule_functions(tree):
    for path in tree.code:
        for name, arguments, line, length in functions(blank(tree.text[path])):
            names = (path, f'{path}:{name}')
            if length > tables.FUNCTION_LINES and not is_excepted('function', *names):
                yield f'{path}:{line}: {name}() has {length} lines, at most {tables.FUNCTION_LINES}'
            count = arguments.count(',') + 1
            if count > tables.PARAMETERS and not is_excepted('parameters', *names):
                yield f'{path}:{line}: {name}() has {count} parameters, at most {tables.PARAMETERS}: group them in a struct'


def rule_comments(tree):
    for path in tree.code:
        text = tree.text[path]
        low, high = tables.OPENING_LINES
        if text.count('\n') < tables.SMALL_FILE_LINES or path[:-1] + 'h' in tree.text:
            low = 1  # small, or its header has said it
        opening = 0
        for line in text.splitlines():
            if not line.startswith('//'):
                break
            opening += 1
        if not low <= opening <= high and not is_excepted('opening', path):
            yield f'{path}:1: opens with {opening} comment lines; say in 3 to 10 what it is, its place, its thread'
        bare = re.sub(r'//[^\n]*|"(?:\\.|[^"\\\n])*"', '', text)
        if '/*' in bare:
            number = next((n for n, line in tree.lines(path) if '/*' in re.sub(r'//.*|"(?:\\.|[^"\\])*"', '', line)), 1)
            yield f'{path}:{number}: comments are //'
        for number, line in tree.lines(path):
            if re.match(r'\s*//\s*([-=*#/~]\s*){5,}', line):
                yield f'{path}:{number}: banner; a sentence says more'


def rule_words(tree):
    unfinished = re.compile(r'\b(' + '|'.join(('TO' + 'DO', 'FIX' + 'ME', 'X' * 3, 'HA' + 'CK')) + r')\b')
    machine = re.compile(r'(?<![\w.])/(wo' + r'rk|ro' + r'ot|ho' + r'me)/')
    for path in tree.text:
        for number, line in tree.lines(path):
            if unfinished.search(line):
                yield f'{path}:{number}: "{unfinished.search(line)[0]}": finish it, or leave it out'
            if machine.search(line):
                yield f'{path}:{number}: path of one machine: "{machine.search(line)[0]}"'


def rule_whitespace(tree):
    for path in tree.text:
        text = tree.text[path]
        if text and not text.endswith('\n'):
            yield f'{path}:{text.count(chr(10)) + 1}: no newline at the end'
        for number, line in tree.lines(path):
            if line != line.rstrip():
                yield f'{path}:{number}: blanks at the end of the line'
            if path.endswith(CODE) and re.match(r'\t* {8,}(?! |//)', line):
                yield f'{path}:{number}: indented with blanks; use tabs'


def rule_builtins(tree):
    for path in tree.code:
        for number, line in tree.lines(path):
            for name, instead in tables.BUILTINS.items():
                if f'{name}(' in line.split('//')[0] and not is_excepted('builtins', path):
                    yield f'{path}:{number}: {name}() is not used here: {instead}'


def rule_dead_files(tree):
    builds = {p: t for p, t in tree.text.items() if os.path.basename(p) == 'meson.build'}
    named = set()
    for path, text in builds.items():
        for name in re.findall(r"[\w./@-]+\.(?:c|h|py|sh|map|in)\b", text):
            named.add(os.path.normpath(os.path.join(os.path.dirname(path), name)))
        # A list of nouns that a loop turns into noun + '_test.c' names the files too.
        for suffix in re.findall(r"\+\s*'([\w.]*\.c)'", text):
            for noun in re.findall(r"'([\w/-]+)'", text):
                named.add(os.path.normpath(os.path.join(os.path.dirname(path), noun + suffix)))
    included = {target for path in tree.code for _, _, target in includes(tree, path)}
    for path in tree.code:
        if path in tables.LIVE:
            continue
        if path.endswith('.c') and path not in named:
            yield f'{path}:1: no meson.build names it: build it or remove it'
        if path.endswith('.h') and path not in included and os.path.basename(path) not in included:
            yield f'{path}:1: nobody includes it'


# What a document points to is there: files, and headings within them.
def rule_links(tree):
    for path in tree.text:
        if not path.endswith('.md'):
            continue
        for number, line in tree.lines(path):
            for target in re.findall(r'\]\(([^)\s]+)\)', line):
                if re.match(r'\w+:', target):
                    continue
                name, _, heading = target.partition('#')
                file = os.path.normpath(os.path.join(os.path.dirname(path), name)) if name else path
                if not os.path.exists(os.path.join(TOP, file)):
                    yield f'{path}:{number}: links to {target}, which is not there'
                elif heading and file in tree.text:
                    titles = re.findall(r'^#+ (.*)$', tree.text[file], re.M)
                    if heading not in [re.sub(r'[^\w -]', '', t.lower()).replace(' ', '-') for t in titles]:
                        yield f'{path}:{number}: links to {target}, a heading that is not there'


def rule_tables(tree):
    for (rule, name), reason in tables.EXCEPTIONS.items():
        if name.split(':')[0] not in tree.text or len(reason) < 10:
            yield f'tests/tidy/tables.py:1: exception ({rule}, {name}) names no file, or gives no reason'
    for path in tables.LIVE:
        if os.path.dirname(path) and os.path.isdir(os.path.join(TOP, os.path.dirname(path))) and path not in tree.text:
            yield f'tests/tidy/tables.py:1: LIVE names {path}, which is not there'


FLAGS = ['-std=gnu17', '-D_GNU_SOURCE', '-Wall', '-Wextra', '-Wno-unused-parameter', '-Werror', '-Wstrict-prototypes',
         '-Wno-pragma-once-outside-header', '-fsyntax-only', '-xc']


def pkg_config(modules):
    if not modules:
        return []
    answer = subprocess.run(['pkg-config', '--cflags', *modules], capture_output=True, text=True)
    return answer.stdout.split()


# Folders of generated headers (skeletons): those of any build directory that meson made.
def generated_folders():
    build = os.path.join(TOP, os.environ.get('WEIR_BUILD', 'build'))
    folders = set()
    for folder, below, names in os.walk(build):
        below[:] = [b for b in below if not b.startswith('meson-')]
        if any(n.endswith('.h') for n in names):
            folders.add(folder)
    return ['-I' + f for f in sorted(folders)]


def rule_headers_alone(tree):
    flags = {part: pkg_config(modules) for part, modules in tables.PKG_CONFIG.items()}
    generated = generated_folders()

    def compile_alone(path):
        part = part_of(path, tables.PKG_CONFIG)
        if path.endswith('.bpf.h'):
            command = ['clang', '-target', 'bpf', '-O2', '-g', '-D__TARGET_ARCH_x86', *FLAGS]
        else:
            command = ['gcc', '-march=x86-64-v2', *[f for f in FLAGS if 'pragma' not in f]]
        command += ['-I' + TOP, *generated, *flags.get(part, []), '-include', path, '/dev/null']
        done = subprocess.run(command, cwd=TOP, capture_output=True, text=True)
        return path, done.returncode, done.stderr
    headers = [p for p in tree.code if p.endswith('.h') and not is_excepted('headers_alone', p)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, code, errors in pool.map(compile_alone, headers):
            if code:
                first = next((line for line in errors.splitlines() if 'error' in line), errors.strip()[:200])
                yield f'{path}:1: does not compile alone: {first}'


def rule_python(tree):
    allowed = set(sys.stdlib_module_names)
    local = {os.path.basename(p)[:-3] for p in tree.paths if p.endswith('.py')} | {'support'}
    for path, text in tree.text.items():
        if not (path.endswith('.py') or text.startswith('#!/usr/bin/env python3')):
            continue
        try:
            nodes = ast.walk(ast.parse(text, path))
        except SyntaxError as error:
            yield f'{path}:{error.lineno}: {error.msg}'
            continue
        for node in nodes:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names.append(node.module)
            for name in names:
                if name.split('.')[0] not in allowed | local:
                    yield f'{path}:{node.lineno}: module {name} is not of the standard library'


# Subjects of the commits that are on their way: in no branch of a remote, nor in main.
def rule_commits(tree):
    mine = git('log', '--no-merges', '--format=%h %s', 'HEAD', '--not', '--remotes', '--branches=[m]ain')
    for line in (mine or '').splitlines():
        commit, _, subject = line.partition(' ')
        if len(subject) > 72:
            yield f'{commit}: "{subject}" has {len(subject)} characters, at most 72'
        if not re.match(r'[a-z][\w/.,+ -]*: [^A-Z\s]', subject):
            yield f'{commit}: "{subject}" is not `area: imperative, lower case`'


RULES = {name[5:]: function for name, function in list(globals().items()) if name.startswith('rule_')}


def main():
    chosen = sys.argv[1:] or list(RULES)
    unknown = [name for name in chosen if name not in RULES]
    if unknown:
        sys.exit(f'tidy: no rule {unknown[0]}; there are {", ".join(RULES)}')
    tree = Tree()
    print(f'1..{len(chosen)}')
    failed = 0
    for index, name in enumerate(chosen, 1):
        violations = list(RULES[name](tree))
        print(f'{"not ok" if violations else "ok"} {index} - {name.replace("_", " ")}')
        for violation in violations:
            print(f'# {violation}')
        failed += bool(violations)
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()

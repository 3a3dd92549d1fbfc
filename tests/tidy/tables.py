# What tests/tidy/tidy.py allows: arrows between the parts of the tree, lengths, and every exception with its reason.

# Part -> what its files may include. A file belongs to the part with the longest matching path. An entry is a
# directory, or one header where only that door is open. Arrows are those of the design; additions say why.
ARROWS = {
    'lib': ['lib'],
    'wire': ['wire'],
    'client': ['client', 'wire', 'lib/siphash.h'],  # a header: libweir links nothing of lib
    'client/weircat': ['client/weircat', 'client/weir.h', 'lib'],  # a program on the public functions alone
    'client/examples': ['client'],  # what a user of libweir sees: the public header alone
    'dataplane/core': ['dataplane/core', 'wire', 'lib/siphash.h'],
    'dataplane/io': ['dataplane/io', 'dataplane/core', 'wire', 'bpf/guard.h',  # AF_XDP ports stand behind the guard
                     'bpf/address.h'],  # whom nobody can answer, judged once
    'bpf': ['bpf', 'wire'],
    'control/model': ['control/model', 'wire/limits.h', 'wire/frame.h'],  # limits and words that configuration speaks
    'control/api': ['control/api', 'lib'],
    'control/ctl': ['control/ctl', 'control/api', 'lib'],
    'control/daemon': [
        'control/daemon', 'control/api', 'control/model', 'bpf', 'lib',
        'dataplane/io/gate.h',
        'dataplane/io/lane.h', 'wire/lane.h',  # the handshake with local clients
        'dataplane/io/dataplane.h',  # workers and ports as one thing to start and stop
        'dataplane/core/snapshot.h',  # what control builds and hands through the gate
        'dataplane/core/counters.h',  # what status and ledger read
        'dataplane/core/memory.h',  # what shards live in
        'dataplane/core/engine.h', 'dataplane/core/shard.h', 'dataplane/core/message.h',  # what goes through the gate
        'wire/limits.h', 'wire/reason.h', 'wire/frame.h',  # limits and names that configuration and status speak
        'wire/codec.h',  # what a name may be
    ],
    'perf': [
        'perf', 'client', 'wire', 'lib',
        'control/daemon/binder.h', 'control/model/trouble.h',  # scenarios are read as topology files are, with the same errors
    ],
    'perf/micro': ['perf', 'client', 'lib', 'dataplane/core', 'wire', 'dataplane/io/mesh.h'],  # the core without I/O, hops
    'tests': ['lib', 'wire', 'client', 'dataplane', 'bpf', 'control', 'perf', 'tests'],
}

# System headers by prefix -> the parts that may see them.
SYSTEM = {
    'rte_': ['dataplane/io', 'perf', 'tests'],
    'bpf/': ['bpf', 'dataplane/io', 'control/daemon', 'tests'],
    'xdp/': ['bpf', 'dataplane/io', 'tests'],
    'jansson.h': ['control', 'perf', 'tests'],
    'yaml.h': ['control', 'perf', 'tests'],
    'hwloc': ['control', 'tests'],
    'criterion/': ['tests'],
}

# Compiler arguments beyond the project's own, by part: pkg-config modules of the libraries a part is built on.
PKG_CONFIG = {
    'dataplane/io': ['libdpdk'],
    'control/daemon': ['libdpdk'],
    'tests': ['libdpdk'],
}

# What compilers offer and nobody calls -> what is called instead.
BUILTINS = {
    '__builtin_prefetch': 'wire/prefetch.h, whose prefetches stay in the program',
}

LINE_COLUMNS = 128  # a tab counts 8
FILE_LINES = 800
FUNCTION_LINES = 70
PARAMETERS = 6  # about 5
OPENING_LINES = (2, 14)  # the comment that opens a .c or .h file: 3 to 10, with some play
SMALL_FILE_LINES = 100  # below, one line may say it all

# (rule, path or path:function) -> why it may be so.
EXCEPTIONS = {
    ('builtins', 'wire/prefetch.h'): 'makes of it what is called instead',
    ('parameters', 'dataplane/io/fault.c:weir_fault_set'): 'a fault has four parts, and its reason is a format',
}

# Files that are kept although nothing in the tree names them, with the reason.
LIVE = {
    'tests/tsan/plain/criterion/criterion.h': 'included as <criterion/criterion.h> by the tests that tests/tsan builds',
    'client/weir.h': 'the public header, for users',
}

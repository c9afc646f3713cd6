#!/usr/bin/env python3
"""Checks that the repository keeps its own rules, without building anything: `make tidy`.

Prints `file:line: rule: what` for each finding, and at the end how many rules passed and failed. Exit code 0 when all passed.
An exception stands in a table here with its reason; one that nothing needs any more is a finding too.
"""
import os
import re
import subprocess
import sys

import docs

ROOT = docs.ROOT

LINE_CHARS_MAX = 170
SCRIPT_CHARS_MAX = 240       # tests, tools: tables and sentences in quotes
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 450

# ---- tables ----

LAYERS = {'base': 0, 'run': 1, 'stat': 1, 'conf': 2, 'net': 2, 'vec': 2, 'fleet': 3, 'store': 3, 'mock': 3,
          'auth': 4, 'admit': 4, 'cache': 4, 'route': 4, 'upstream': 4, 'relay': 4,
          'rag': 5, 'agent': 5, 'work': 5, 'path': 6, 'serve': 7, 'bench': 7, 'report': 8, 'keeper': 8, 'cli': 9}

# (who, whom): why two folders of one layer may meet
SIDEWAYS = {
    ('stat', 'run'): 'numbers belong to a worker, and stat fills the hooks that run exposes',
    ('upstream', 'relay'): 'a call\'s producer writes into the flight; relay knows nothing of upstream',
}

# Never, anywhere.
BANNED = 'strcpy strcat sprintf vsprintf strtok atoi atol atof gets alloca gmtime localtime ctime rand srand random system tmpnam mktemp'.split()

# Bare calls, the folders that own them, and the files that may all the same: {file: (names, why)}.
BARE = {
    'memory': ('malloc calloc realloc reallocarray free strdup strndup asprintf vasprintf posix_memalign aligned_alloc getline getdelim',
               ('base',), {}),
    'outside': ('socket socketpair accept accept4 connect bind listen shutdown send sendto sendmsg recv recvfrom recvmsg getaddrinfo '
                'read write readv writev pread pwrite open openat creat fopen fdopen freopen close pipe pipe2 dup dup2 dup3 fcntl ioctl '
                'stat lstat fstat access unlink unlinkat rename mkdir rmdir opendir chmod truncate ftruncate fsync fdatasync mmap munmap '
                'fork vfork clone execv execve execvp execl execlp posix_spawn popen kill raise wait waitpid wait4 prctl setsid '
                'signal sigaction sigwait sigwaitinfo sigtimedwait signalfd eventfd timerfd_create epoll_create1 epoll_ctl epoll_wait poll ppoll select '
                'inotify_init1 memfd_create pthread_create sleep usleep nanosleep getrandom',
                ('run', 'keeper'), {
        'src/base/fail.c': ('write', 'the last words of a wrong program'),
        'src/bench/load_real.c': ('pthread_create prctl', 'a load test has threads of its own, which wake to the microsecond'),
        'src/mock/script.c': ('fopen', 'a test\'s own trace file, at start or on a job thread'),
        'src/bench/script_file.c': ('open read close', 'the files that a load test names, before it begins'),
        'src/cli/bench_live.c': ('ioctl', 'the width of the terminal that it draws on'),
        'src/cli/bench_scene.c': ('sigaction', 'Ctrl-C ends a test and not the program'),
        'src/cli/bench_report.c': ('fopen', 'reports, when the test is over'),
        'src/cli/bench_server.c': ('open read close opendir', '/proc of the server under test, now and then'),
        'src/cli/bench_store.c': ('mkdir access rename', 'runs that are kept, before and behind a test'),
        'src/cli/cache_warm.c': ('sigaction', 'Ctrl-C ends the warming and not the program'),
        'src/cli/mock.c': ('pthread_create sigwait', 'a small server without a keeper: its threads and signals are the command\'s'),
        'src/cli/server.c': ('pthread_create sigtimedwait', 'the server\'s main thread: starts the workers, then waits for signals'),
        'src/conf/file.c': ('open fstat stat read close', 'the configuration, at start or on a job thread'),
        'src/net/dns_cares.c': ('pthread_create eventfd poll read close', 'c-ares has sockets of its own, so it has a thread of its own'),
        'src/store/db.c': ('open close stat access mkdir', 'the store\'s file, made with our rights before SQLite opens it; on the writer\'s thread'),
        'src/store/store.c': ('pthread_create', 'SQLite waits for disks, so the store has a thread of its own'),
        'src/stat/log_file.c': ('open fstat write close poll', 'the log outlives every worker and is written where there is none'),
        'src/stat/process.c': ('open read close stat opendir', '/proc/self, when somebody asks for the numbers'),
    }),
    'clock': ('time clock_gettime gettimeofday clock clock_nanosleep timespec_get', ('run',), {
        'src/bench/load_real.c': ('clock_gettime', 'the processor time of the generator\'s threads'),
        'src/cli/bench_report.c': ('timespec_get', 'when a report was made'),
    }),
}

# Nouns that public functions may begin with, besides the names of their folder and files. Words of CONVENTIONS or of the field.
NOUNS = {
    'base': 'nanos bytes',                  # units are nouns too: nanos_print
    'conf': 'is_foreign refuse suggest',    # inside conf/: a complaint is what these functions are about
    'net': 'conn down',                     # conn: a connection to a backend; down: one from a client, among the files of http_server
    'run': 'mail fd',
}

# Public names that break the rule, and why they read better so.
NAMES = {
    'assert_failed': 'behind ASSERT',
    'attempt_because': 'an attempt is relay/\'s word for one try; reads as because() does',
    'because': 'reads as the sentence it is: return because(rq, FAIL_X, "...")',
    'clipped': 'conf/ alone: an argument of a sentence',
    'complain': 'reads as the sentence it is: return complain(why, ...)',
    'die_with': 'keeper/ alone: the pair of fork',
    'ms_print': 'cli/ alone: the unit is the noun, as in nanos_print',
    'name_is_fit': 'conf/ alone',
    'overrides_apply': 'conf/ alone',
    'race': 'the field\'s own word',
    'request_compose': 'upstream/ alone: what compose.c is for',
    'say': 'conf/ alone: a sentence',
    'shown': 'conf/ alone: an argument of a sentence',
    'stamp_write': 'stat/ alone: the time a line begins with',
    'status_print': 'keeper/ alone: the status of a child',
    'url_parse': 'conf/ alone: the other half of address.c',
    'variable_get': 'conf/ alone: an environment variable',
}

# Public functions whose enum fail is no failure of theirs.
MAY_IGNORE = {
    'because': 'sets the sentence and returns the failure it was given',
    'http_refuse_reason': 'names the row of a reason: nothing was tried',
}

# Functions and files longer than the bounds, and why they are one story all the same.
LONG_FUNCTIONS = {}
LONG_FILES = {}

# .def files whose rows are read by people: the macros and the place of the sentence that may not be empty.
DOCUMENTED = {
    'src/base/errors.def': {'FAIL': 5},
    'src/mock/faults.def': {'FAULT': 3},
    'src/bench/metrics.def': {'SPAN': 3, 'NUMBER': 6},
    'src/mock/options.def': {'OPTION': 3},
    'src/bench/plan_artillery.def': {'KEY': 3, 'REFUSED': 2},
    'src/bench/plan_azure.def': {'KEY': 3, 'REFUSED': 2},
    'src/bench/plan_flow.def': {'KEY': 3, 'REFUSED': 2},
    'src/bench/plan_native.def': {'KEY': 3},
    'src/bench/plan_request.def': {'KEY': 3, 'REFUSED': 2},
    'src/bench/plan_values.def': {'KEY': 3, 'REFUSED': 2},
    'src/bench/replay.def': {'POLICY': 1},
    'src/bench/template_words.def': {'WORD': 4},
    'src/bench/findings.def': {'FINDING': 3},
    'src/cache/defaults.def': {'LEFT_OUT': 1, 'SCOPED': 2, 'GENERATED': 2, 'LIMIT': 1, 'DEFAULT': 3},
    'src/cli/bench_scenarios.def': {'SCENARIO': 6, 'VERB': 3},
    'src/cli/commands.def': {'COMMAND': 1, 'HIDDEN': 1},
    'src/conf/keys.def': {'SECTION': 1, 'MAP': 4, 'KEY': 8, 'REFUSED': 2, 'FOREIGN': 1},
    'src/net/http_refuse.def': {'REFUSE': 4, 'LLHTTP': 3},
    'src/path/steps.def': {'STEP': 3},
    'src/serve/routes.def': {'ROUTE': 5},
    'src/stat/counters.def': {'COUNTER': 2, 'FAMILY': 3, 'MEMBER': 2, 'HISTOGRAM': 1, 'SURFACE': 1},
    'src/upstream/border.def': {'PASS': 2, 'REFUSE': 1, 'PRIVATE': 2, 'INSIDE': 1},
    'src/upstream/finish.def': {'FINISH': 1},
    'src/upstream/local_models.def': {'LOCAL': 3},
}

# Places that only one machine, or only fetching, knows.
PRIVATE = [
    (re.compile(r'(?<![\w.])/(?:wor' r'k|home/\w+|Users/\w+)/'), 'a path of one machine'),
    (re.compile(r'\b(?:py' r'pi\.org|files\.python' r'hosted|registry\.npm' r'js|registry\.yarn' r'pkg|deb\.deb' r'ian\.org|proxy\.golang\.org|crates\.io)'),
     'a registry\'s host: clients know theirs'),
]

# ---- the repository ----

findings = []       # (rule, file, line, what)
used = set()        # exceptions that were needed


def found(rule, path, line, what):
    findings.append((rule, path, line, what))


def list_files():
    """Every file that is or could be committed."""
    out = subprocess.run(['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'], cwd=ROOT, capture_output=True, text=True)
    if out.returncode == 0:
        paths = [p for p in out.stdout.split('\0') if p]
    else:       # an unpacked archive
        paths = [os.path.relpath(os.path.join(d, f), ROOT) for d, dirs, files in os.walk(ROOT) for f in files
                 if not any(s in os.path.relpath(d, ROOT).split(os.sep) for s in ('.git', 'build', '__pycache__'))]
    return sorted({p for p in paths if os.path.isfile(os.path.join(ROOT, p))})


def code_of(text):
    """C without comments and preprocessor lines, and with empty literals; lines stay."""
    text = re.sub(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'|/\*.*?\*/|//[^\n]*',
                  lambda m: {'"': '""', "'": "' '"}.get(m.group(0)[0]) or re.sub(r'[^\n]', ' ', m.group(0)), text, flags=re.S)
    return text


def no_preprocessor(code):
    """Without directives. Of #if … #else only the first part stays, so that braces stay in pairs."""
    out, hidden, directive = [], [], False
    for line in code.split('\n'):
        was, directive = directive, False
        m = re.match(r'\s*#\s*(\w+)', line)
        if m and not was:
            if m.group(1) in ('if', 'ifdef', 'ifndef'):
                hidden.append(line.strip().startswith('#if 0'))
            elif m.group(1) in ('else', 'elif') and hidden:
                hidden[-1] = not hidden[-1]
            elif m.group(1) == 'endif' and hidden:
                hidden.pop()
        if (m and not was) or was:
            directive = line.endswith('\\')
            out.append('')
        else:
            out.append('' if any(hidden) else line)
    return '\n'.join(out)


class Function:
    def __init__(self, path, name, line, last, is_static, head):
        self.path, self.name, self.line, self.last, self.is_static, self.head = path, name, line, last, is_static, head


ATTRIBUTES = re.compile(r'\b(?:MUSTUSE|PRINTF|NORETURN|COLD|UNUSED|NO_ASAN|__attribute__)\b\s*(?:\((?:[^()]|\([^()]*\))*\))?')


def functions_of(path, plain):
    """The functions that a file defines. plain: its text by no_preprocessor(code_of())."""
    out, depth, start = [], 0, 0
    for m in re.finditer(r'[{};]', plain):
        c = m.group(0)
        if c == '{':
            if depth == 0:
                head = plain[start:m.start()]
                bare = ATTRIBUTES.sub(' ', head)
                name = re.search(r'(\w+)\s*\(', bare)
                opened = (name.group(1), start + len(head) - len(head.lstrip()), head) if name and '=' not in bare else None
            depth += 1
        elif c == '}':
            depth = max(depth - 1, 0)
            if depth == 0:
                if opened:
                    name, at, head = opened
                    out.append(Function(path, name, plain.count('\n', 0, at) + 1, plain.count('\n', 0, m.start()) + 1, bool(re.search(r'\bstatic\b', head)), head))
                opened, start = None, m.end()
        elif depth == 0:
            start = m.end()
    return out


class Repository:
    def __init__(self):
        self.paths = list_files()
        self.text = {}
        for p in self.paths:
            with open(os.path.join(ROOT, p), 'rb') as f:
                raw = f.read()
            try:
                self.text[p] = raw.decode('utf-8')
            except UnicodeDecodeError:
                pass        # not ours to read as text: fuzz corpora
        self.c = [p for p in self.text if p.endswith(('.c', '.h'))]
        self.source = [p for p in self.c if p.startswith('src/')]
        self.defs = [p for p in self.text if p.startswith('src/') and p.endswith('.def')]
        self.code = {p: code_of(self.text[p]) for p in self.c}
        self.plain = {p: no_preprocessor(self.code[p]) for p in self.c}
        self.functions = {p: functions_of(p, self.plain[p]) for p in self.c}
        self.words = {p: set(re.findall(r'\w+', self.code[p])) for p in self.c}
        for p in self.text:
            if p.endswith(('.S', '.def', '.py')):
                self.words[p] = set(re.findall(r'\w+', self.text[p]))


def folder_of(path):
    return path.split('/')[1]


def lines_matching(text, pattern):
    for m in pattern.finditer(text):
        yield text.count('\n', 0, m.start()) + 1, m


# ---- rules ----

def rule_layers(r):
    """Includes point down, or into the own folder; nobody includes another folder's inner header."""
    include = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"(\w+)/([\w.]+)"', re.M)
    for p in r.source + r.defs:
        own = folder_of(p)
        if own not in LAYERS:
            found('layers', p, 1, f'the folder {own}/ has no layer')
            continue
        for line, m in lines_matching(r.text[p], include):
            other, file = m.groups()
            if other == own or other not in LAYERS:
                continue
            if LAYERS[other] == LAYERS[own] and (own, other) in SIDEWAYS:
                used.add(('SIDEWAYS', (own, other)))
            elif LAYERS[other] >= LAYERS[own]:
                found('layers', p, line, f'{own}/ (layer {LAYERS[own]}) includes {other}/{file} (layer {LAYERS[other]})')
            if re.search(r'(^|_)(inner|own)\.h$', file):
                found('layers', p, line, f'{other}/{file} is for {other}/ alone')


def rule_banned(r):
    """Calls that are never made."""
    call = re.compile(r'(?<![\w.>])(' + '|'.join(BANNED) + r')\s*\(')
    for p in r.c:
        for line, m in lines_matching(r.code[p], call):
            found('banned', p, line, f'{m.group(1)}()')


def check_bare(r, rule):
    names, folders, exceptions = BARE[rule]
    call = re.compile(r'(?<![\w.>])(' + '|'.join(names.split()) + r')\s*\(')
    for p in r.source:
        if folder_of(p) in folders or not p.endswith('.c'):
            continue
        own = {f.name for f in r.functions[p]}
        allowed = exceptions.get(p, ('', ''))[0].split()
        for line, m in lines_matching(r.plain[p], call):
            name = m.group(1)
            if name in allowed:
                used.add((rule, p, name))
            elif name not in own:
                found(rule, p, line, f'{name}() belongs to {" and ".join(f + "/" for f in folders)}')
    used.update((rule, p, name) for p in exceptions if p not in r.text for name in exceptions[p][0].split())


def rule_memory(r):
    """malloc and its kin are base/'s."""
    check_bare(r, 'memory')


def rule_outside(r):
    """Sockets, files, children and threads are reached through run/ and keeper/."""
    check_bare(r, 'outside')


def rule_clock(r):
    """The time is asked of run/world.h."""
    check_bare(r, 'clock')


def nouns_of(r, folder):
    """What public names of a folder may begin with: its own name, its files' (whole or some words of them), and the things its headers declare."""
    out = {folder, folder.rstrip('s')} | set(NOUNS.get(folder, '').split())
    for p in r.paths:
        if not p.startswith(f'src/{folder}/'):
            continue
        words = re.sub(r'^\d+_', '', os.path.splitext(os.path.basename(p))[0]).split('_')
        out |= {'_'.join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}
        if p.endswith('.h'):
            out |= set(re.findall(r'^(?:typedef )?(?:struct|enum|union) (\w+)', r.plain[p], re.M))
    return out | {n[:-1] for n in out if n.endswith('s') and len(n) > 3}


def rule_names(r):
    """Public functions begin with the noun of their folder or of one of its files."""
    cache = {}
    for p in r.source:
        if not p.endswith('.c'):
            continue
        folder = folder_of(p)
        nouns = cache.setdefault(folder, nouns_of(r, folder))
        for f in r.functions[p]:
            if f.is_static or f.name == 'main' or f.name.isupper():
                continue
            if f.name in NAMES:
                used.add(('NAMES', f.name))
            elif not any(f.name == n or f.name.startswith(n + '_') for n in nouns):
                found('names', p, f.line, f'{f.name}() begins with no noun of {folder}/ or its files')


def rule_first_line(r):
    """A file begins with a sentence on what it is for."""
    for p in r.source + r.defs + [p for p in r.c if p.startswith('tests/')] + [p for p in r.text if p.endswith('.S')]:
        first = r.text[p].split('\n', 1)[0]
        name = os.path.basename(p)
        m = re.match(r'(?:/\*|//|#|@)\s*(?:([\w.-]+): )?(.*)', first)
        if not m or not m.group(2).strip('/* '):
            found('first line', p, 1, 'does not begin with a comment that says what it is for')
        elif m.group(1) and m.group(1) != name and re.search(r'\.\w+$', m.group(1)):
            found('first line', p, 1, f'calls itself {m.group(1)}')
        elif p.startswith('src/') and not m.group(1):
            found('first line', p, 1, f'does not begin with "{name}: "')
    for p in r.text:
        if p.endswith(('.py', '.sh')):
            lines = [line for line in r.text[p].split('\n')[:3] if not line.startswith('#!')]
            if not lines or not re.match(r'(#|""")\s*\S', lines[0]):
                found('first line', p, 1, 'does not begin with a comment that says what it is for')


def rule_function_length(r):
    """A function past the bound holds two."""
    for p in r.source:
        for f in r.functions[p]:
            lines = f.last - f.line + 1
            if lines > FUNCTION_LINES_MAX:
                if f.name in LONG_FUNCTIONS:
                    used.add(('LONG_FUNCTIONS', f.name))
                else:
                    found('function length', p, f.line, f'{f.name}() has {lines} lines; at most {FUNCTION_LINES_MAX}')


def rule_file_length(r):
    """A file past the bound holds two stories."""
    for p in r.source:
        lines = r.text[p].count('\n')
        if lines > FILE_LINES_MAX:
            if p in LONG_FILES:
                used.add(('LONG_FILES', p))
            else:
                found('file length', p, lines, f'{lines} lines; at most {FILE_LINES_MAX}')


def rule_todo(r):
    """A TODO says why it waits: TODO: what (why)."""
    word = re.compile(r'\b(TO' r'DO|FIX' r'ME|XX' r'X|HA' r'CK)\b(?!:? [^\n]*\(\S)')
    for p in r.text:
        if not p.startswith(('tests/fuzz/corpus/', 'tests/fuzz/regress/', 'docs/figures/')):
            for line, m in lines_matching(r.text[p], word):
                found('todo', p, line, f'{m.group(1)} without a reason in brackets')


def rule_whitespace(r):
    """No tabs (but where make and assemblers need them), no blanks at line ends, one newline at the end."""
    for p, text in r.text.items():
        if p.startswith(('tests/fuzz/corpus/', 'tests/fuzz/regress/')) or p.endswith('.patch'): # a patch's empty line is a blank
            continue
        has_tabs = os.path.basename(p) == 'Makefile' or p.endswith(('.S', '.flow', '.lua', '.mk')) or 'LICENSE' in p
        for i, line in enumerate(text.split('\n'), 1):
            if '\t' in line and not has_tabs:
                found('whitespace', p, i, 'a tab')
            if line != line.rstrip(' \t\r'):
                found('whitespace', p, i, 'a carriage return' if line.endswith('\r') else 'blanks at the end')
        if text and not text.endswith('\n'):
            found('whitespace', p, text.count('\n') + 1, 'no newline at the end')
        elif text.endswith('\n\n'):
            found('whitespace', p, text.count('\n'), 'an empty line at the end')


def rule_line_length(r):
    """Lines fit a screen. Rows of tables may be longer: they are read as tables."""
    for p in r.text:
        if p.endswith(('.c', '.h', '.S', '.py', '.sh')) or os.path.basename(p) in ('run', 'Makefile'):
            most = LINE_CHARS_MAX if p.startswith('src/') else SCRIPT_CHARS_MAX
            for i, line in enumerate(r.text[p].split('\n'), 1):
                if len(line) > most:
                    found('line length', p, i, f'{len(line)} characters; at most {most}')


def rule_goto(r):
    """No goto: what must be undone has a function of its own."""
    for p in r.source:
        for line, _ in lines_matching(r.code[p], re.compile(r'\bgoto\b')):
            found('goto', p, line, 'goto')


def rule_documented(r):
    """Every row that a person reads has its sentence."""
    for p in r.defs:
        macros = DOCUMENTED.get(p, {})
        for line, macro, args in docs.rows(p):
            if macro in macros and (len(args) <= macros[macro] or not args[macros[macro]].strip()):
                found('documented', p, line, f'{macro}({args[0]}) says nothing about what it is')
    for p in DOCUMENTED:
        if p not in r.text:
            found('documented', p, 1, 'this table is gone')


def rule_counters(r):
    """Every row of counters.def is counted or recorded somewhere; a gauge goes down, too."""
    path = 'src/stat/counters.def'
    text = '\n'.join(r.code[p] for p in r.source if p.endswith('.c'))
    all_rows = docs.rows(path)
    counted = set(re.findall(r'\bCOUNT(?:_BY)?\([^;]*?, *(\w+)\s*(?=[,)])', text)) | set(re.findall(r'\bCOUNTER_(\w+)', text))
    outcomes = [args[0] for _, macro, args in all_rows if macro == 'OUTCOME']
    counted |= {prefix + name for prefix in re.findall(r'\bCOUNTER_(\w+)##', text) for name in outcomes}
    if 'of_class[]' in text:        # by arithmetic from the first of them
        counted |= {args[0] for _, macro, args in all_rows if args[0].startswith('response_')}
    done = {
        'COUNTER': (counted, 'is never counted'), 'MEMBER': (counted, 'is never counted'),
        'HISTOGRAM': (set(re.findall(r'\bRECORD\([^;]*?, *(\w+)\s*,', text)) | set(re.findall(r'\bHISTOGRAM_(\w+)', text)), 'is never recorded'),
        'SURFACE': (set(re.findall(r'\bSURFACE_(\w+)', text)), 'is no request\'s surface'),
        'OUTCOME': (set(re.findall(r'\bOUTCOME_(\w+)', text)), 'is no request\'s end'),
    }
    lowered = set(re.findall(r'\bCOUNT_DOWN\([^;]*?, *(\w+)\s*\)', text))
    for line, macro, args in all_rows:
        names, what = done.get(macro, (None, None))
        if names is not None and args[0] not in names:
            if (macro, args[0]) in docs.LATER:
                used.add(('docs.LATER', (macro, args[0])))
            else:
                found('counters', path, line, f'{args[0]} {what}')
        if macro == 'COUNTER' and args[1] == 'gauge' and args[0] not in lowered:
            found('counters', path, line, f'the gauge {args[0]} never goes down')


def rule_mustuse(r):
    """No public function returns a failure that may be ignored."""
    declared = re.compile(r'^([^\n;{}#]*?)\benum fail (\w+)\(', re.M)
    for p in r.source:
        if not p.endswith('.h'):
            continue
        text = r.plain[p]
        for line, m in lines_matching(text, declared):
            end = re.search(r'[;{]', text[m.end():])
            rest = text[m.end():m.end() + end.start()] if end else ''
            if 'MUSTUSE' in m.group(1) + rest or 'typedef' in m.group(1) or '(*' in m.group(0) or m.group(2) in MAY_IGNORE:
                used.add(('MAY_IGNORE', m.group(2)))
                continue
            found('mustuse', p, line, f'{m.group(2)}() lets its failure be ignored')


def rule_unused(r):
    """Every public function is called by somebody, a test at least."""
    where = {}
    for p in r.words:
        for w in r.words[p]:
            where.setdefault(w, []).append(p)
    pasted = {prefix for p in r.source for prefix in re.findall(r'\b(\w+_)##', r.code[p])}
    rows = {w for p in r.defs for w in r.words[p]}
    for p in r.source:
        if not p.endswith('.c'):
            continue
        for f in r.functions[p]:
            if f.is_static or f.name == 'main' or f.name.isupper() or any(f.name.startswith(x) and f.name[len(x):] in rows for x in pasted):
                continue
            others = [q for q in where.get(f.name, []) if q != p and not q.endswith('.h')]
            inline = [q for q in where.get(f.name, []) if q.endswith('.h') and len(re.findall(r'\b' + f.name + r'\b', r.code[q])) > 1]
            here = len(re.findall(r'\b' + f.name + r'\b', r.code[p]))
            if not others and not inline and here < 2:
                found('unused', p, f.line, f'nobody calls {f.name}()')
            elif not others and not inline and not any(q.endswith('.h') for q in where.get(f.name, [])):
                found('unused', p, f.line, f'{f.name}() should be static')


def rule_scripts(r):
    """Python and shell that at least parse."""
    for p, text in r.text.items():
        first = text.split('\n', 1)[0]
        if p.endswith('.py') or re.match(r'#!.*python', first):
            try:
                compile(text, p, 'exec')
            except SyntaxError as e:
                found('scripts', p, e.lineno or 1, e.msg)
        elif p.endswith('.sh') or re.match(r'#!.*\b(ba)?sh\b', first):
            shell = 'bash' if 'bash' in first else 'sh'
            done = subprocess.run([shell, '-n', os.path.join(ROOT, p)], capture_output=True, text=True)
            if done.returncode != 0:
                m = re.search(r'(?:line )?(\d+): (.*)', done.stderr)
                found('scripts', p, int(m.group(1)) if m else 1, m.group(2) if m else done.stderr.strip())


def rule_private(r):
    """Nothing here knows one machine, or where a registry lives."""
    for p, text in r.text.items():
        for pattern, what in PRIVATE:
            for line, m in lines_matching(text, pattern):
                found('private', p, line, f'{m.group(0)}: {what}')


def rule_links(r):
    """Links between our own pages lead somewhere."""
    link = re.compile(r'\]\(([^)\s]+)\)')
    for p in r.text:
        if not p.endswith('.md'):
            continue
        for line, m in lines_matching(r.text[p], link):
            to = m.group(1)
            if re.match(r'[a-z]+:', to):
                continue
            file, _, mark = to.partition('#')
            path = os.path.normpath(os.path.join(os.path.dirname(p), file)) if file else p
            if not os.path.exists(os.path.join(ROOT, path)):
                found('links', p, line, f'{to}: there is no such file')
            elif mark and path in r.text:
                heads = re.findall(r'^#+ +(.*)$', r.text[path], re.M)
                slugs = {re.sub(r'[^\w\- ]', '', h.lower()).strip().replace(' ', '-') for h in heads}
                if mark not in slugs:
                    found('links', p, line, f'{to}: no such heading')


def rule_docs(r):
    """The pages that come from tables say what the tables say."""
    for p in docs.stale():
        found('docs', p, 1, 'not what the tables say; run make docs')
    page = 'docs/http.md'
    shown = set(re.findall(r'`(x-[a-z-]+|retry-after(?:-ms)?|traceparent)', r.text.get(page, '')))
    names = '\n'.join(r.text[p] for p in r.source + r.defs)
    for name in sorted(shown):
        if f'"{name}"' not in names:
            found('docs', page, 1, f'no code knows the header {name}')


def rule_cases(r):
    """Each numbered case of docs/security.md is tested where its row says, and no test carries another number."""
    page = 'docs/security.md'
    tags = {p: set(re.findall(r'\b(hostile|complaint) (\d+)', r.text[p])) for p in r.text if p.startswith('tests/')}
    rows, kinds, kind = set(), {'Case': 'hostile', 'Complaint': 'complaint'}, None
    for line, text in enumerate(r.text[page].split('\n'), 1):
        cells = [cell.strip() for cell in text.strip('|').split('|')]
        kind = kinds.get(cells[0], kind)
        files = re.findall(r'\btests/[\w./]+\.\w+', cells[-1])
        for p in files:
            if p not in r.text:
                found('cases', page, line, f'there is no {p}')
        if not cells[0].isdigit():
            continue
        rows.add((kind, cells[0]))
        if not files:
            found('cases', page, line, f'{kind} {cells[0]} is tested nowhere')
        for p in files:
            if (kind, cells[0]) not in tags.get(p, ()):
                found('cases', page, line, f'{p} does not say "{kind} {cells[0]}"')
    for p in sorted(tags):
        for tag in sorted(tags[p] - rows):
            found('cases', p, 1, f'{page} has no row for {" ".join(tag)}')


def rule_exceptions(r):
    """No exception that nothing needs."""
    tables = {'SIDEWAYS': SIDEWAYS, 'NAMES': NAMES, 'LONG_FUNCTIONS': LONG_FUNCTIONS, 'LONG_FILES': LONG_FILES, 'MAY_IGNORE': MAY_IGNORE, 'docs.LATER': docs.LATER}
    for table, rows in tables.items():
        for key in rows:
            if (table, key) not in used:
                found('exceptions', 'tools/tidy.py', 1, f'{table}: {key} is not needed')
    for rule, (_, _, exceptions) in BARE.items():
        for p, (names, _) in exceptions.items():
            for name in names.split():
                if (rule, p, name) not in used:
                    found('exceptions', 'tools/tidy.py', 1, f'{rule}: {p} does not call {name}()')


RULES = [rule_layers, rule_banned, rule_memory, rule_outside, rule_clock, rule_names, rule_first_line, rule_function_length, rule_file_length, rule_todo,
         rule_whitespace, rule_line_length, rule_goto, rule_documented, rule_counters, rule_mustuse, rule_unused, rule_scripts, rule_private, rule_links,
         rule_docs, rule_cases, rule_exceptions]


def main():
    if len(sys.argv) > 1:
        print(__doc__, end='')
        for rule in RULES:
            print(f'  {rule.__name__[5:].replace("_", " "):16} {rule.__doc__}')
        return 0 if sys.argv[1] in ('-h', '--help') else 2
    r = Repository()
    failed = 0
    for rule in RULES:
        before = len(findings)
        rule(r)
        failed += len(findings) > before
    for rule, path, line, what in findings:
        print(f'{path}:{line}: {rule}: {what}')
    print(f'{len(RULES) - failed} passed, {failed} failed')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())

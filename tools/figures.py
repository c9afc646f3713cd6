#!/usr/bin/env python3
"""figures.py: measures what weir promises, beside peers in the same minute, and writes the pages that say so.

  tools/figures.py [MEASURE...]     measures (all, or some of MEASURES below), prints the table, keeps the raw samples in docs/figures/MEASURE.json
  tools/figures.py --page           writes docs/performance.md and docs/promises.md from docs/figures/*.json, and the table in docs/loadtest.md; measures nothing
  tools/figures.py --quick          less than a minute, nothing kept; fails on errors and on ratios above a generous bound
  tools/figures.py --chroot-log F   reads the seconds out of what ./run said: once on a bare machine, then once more (two logs, or one after the other)

A figure is a row of FIGURES below. A row reads one raw file; whoever wrote that file (this script or another) does not matter, as long as it has
machine, commit, date, command and results. Figures are never typed: the pages come from the raw files, and a miss is printed as a miss.
Exit code: 0 all kept, 1 something was missed, failed or invalid.
"""
import argparse, concurrent.futures, contextlib, datetime, hashlib, http.client, json, math, os, re, shutil, signal, socket, statistics, subprocess, sys, tempfile, threading, time
from dataclasses import dataclass
from typing import Callable

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SPEED = os.path.join(ROOT, 'tests', 'speed')
RAW = os.path.join(ROOT, 'docs', 'figures')
BUILT = os.path.join(ROOT, 'build', 'speed')
KEY = 'figure-key-0123456789'
BODY_BYTES, ANSWER_BYTES = 600, 1200
STREAMS, CHUNKS, INTERVAL_MS, SPREAD_MS = 1000, 20, 100, 100
LONG_QUESTION, LONG_TOKENS = 'Write a long story about a river, a mill and the miller\'s three daughters. Describe every day of their year.', 128
FIRST = '28b4554'               # the commit that first proxied calls: what was built on top of it must not cost the plain call
LATENCY_WAYS = ['direct', 'nginx', 'haproxy', 'weir']
NGINX_MOST_US = 12.0            # an nginx that costs more says that the machine was not ours


# ---- the figures ----

@dataclass
class Figure:
    name: str
    raw: str                                # docs/figures/RAW.json
    value: Callable                         # results -> number, or None when it was not measured
    unit: str
    most: float | None = None               # kept when value <= most
    least: float | None = None              # kept when value >= least
    invalid: Callable = lambda r: None      # results -> why the run does not count, or None
    beside: Callable = lambda r: ''         # results -> what stands beside the figure
    quick: float | None = None              # bound of --quick, where it is looser than most; counts use most
    quick_skips: bool = False


def nginx_too_dear(c):
    def why(r):
        us = r[c]['nginx_us']['median']
        return f'nginx itself cost {us:.1f} µs, above {NGINX_MOST_US:.0f}' if us > NGINX_MOST_US else None
    return why


def calls_beside(c):
    def text(r):
        w, n = r[c]['weir_us'], r[c]['nginx_us']
        return f"weir {w['median']:.1f} µs (least {w['least']:.1f}), nginx {n['median']:.1f} µs (least {n['least']:.1f})"
    return text


def streams_beside(r):
    w, h = r['weir'], r['haproxy']
    return f"weir {w['chunk_us']['median']:.1f} µs (least {w['chunk_us']['least']:.1f}), HAProxy {h['chunk_us']['median']:.1f} µs (least {h['chunk_us']['least']:.1f})"


def canary_beside(r):
    return ', '.join(f"{name} {c['p99_ratio']:.2f}" for name, c in r['classes'].items())


def generator_beside(r):
    return f"weir bench {r['bench_us']['median']:.1f} µs (least {r['bench_us']['least']:.1f}), wrk {r['wrk_us']['median']:.1f} µs (least {r['wrk_us']['least']:.1f})"


def agree_beside(q):
    def text(r):
        b, w = r['bench'][q], r['wrk'][q]
        return f"weir bench {b['median']:.2f} ms, wrk {w['median']:.2f} ms; {r['connections']} connections, {r['bench']['per_s']['median']:,.0f} and {r['wrk']['per_s']['median']:,.0f} a second"
    return text


def stopped_beside(r):
    if 'wrk' not in r:
        return ''
    return f"users instead of a rate {r['users']['p99_ms']:,.1f} ms; wrk, which adds what it thinks it left out, {r['wrk']['p99_ms']:,.0f} ms"


def drawn_beside(r):
    return ', '.join(f"{name} {q['said_ms']:.2f} for {q['drawn_ms']:.2f} ms" for name, q in r['quantiles'].items())


def erlang_beside(r):
    return f"{r['wait_ms']:.2f} ms, by the formula {r['erlang_ms']:.2f} ms; {r['arrivals']:,} arrivals" + (f", interval ± {r['half_ms']:.2f} ms" if 'half_ms' in r else f", standard error {r['standard_error_ms']:.2f} ms")


def plans_beside(r):
    return f"{r['met']} met, {r['missed']} missed, {r['invalid_runs']} invalid; {r['requests']:,} requests, {r['errors']} errors; times x {r['scale']}"


def resilience_beside(case):
    def text(r):
        c = r[case]
        return f"{c['good']:,} of {c['requests']:,} answered, {c['calls']:,} calls, {c['attempts_most']} for one request at most"
    return text


def latency_beside(q):
    def text(r):
        return ', '.join(f"{way} {r[way][q]['median']:.2f} ms" for way in LATENCY_WAYS) + f"; {r['rate']} a second"
    return text


def model_beside(r):
    return (f"{r['weir']['tokens_rate']['median']:.1f} and {r['direct']['tokens_rate']['median']:.1f} tokens/s; first token at the median after "
            f"{r['weir']['ttft_ms']['median']:.0f} and {r['direct']['ttft_ms']['median']:.0f} ms")


def no_count(*path):
    """A run that weir bench calls invalid proves nothing."""
    def why(r):
        return of(*path)(r) or None
    return why


def folders_beside(r):
    return ', '.join(f'{name} {share}' for name, share in r['lines'].items() if name != 'src') + f"; {r['line_count']:,} lines"


def conditions_beside(r):
    return ', '.join(f'{name} {share}' for name, share in r['mcdc'].items() if name != 'all')


def of(*path):
    def value(r):
        for p in path:
            r = r.get(p) if isinstance(r, dict) else None
        return r
    return value


# Adding a figure is adding a row.
FIGURES = [
    Figure('From a bare Debian bookworm to the model\'s streamed answer, by ./run, no question asked', 'start', of('first_s'), 's', most=150, quick_skips=True),
    Figure('The second ./run', 'start', of('second_s'), 's', most=5, quick_skips=True),
    Figure('CPU of a proxied call (600 B, answer 1.2 KB), 16 connections, beside nginx', 'calls', of('16', 'ratio', 'median'), 'x', most=1.25, quick=5.0,
           invalid=nginx_too_dear('16'), beside=calls_beside('16')),
    Figure('CPU of a proxied call (600 B, answer 1.2 KB), 256 connections, beside nginx', 'calls', of('256', 'ratio', 'median'), 'x', most=1.25, quick=5.0,
           invalid=nginx_too_dear('256'), beside=calls_beside('256')),
    Figure(f'CPU of a proxied call, 16 connections, against weir of {FIRST} in the same run', 'since', of('ratio', 'median'), 'x', most=1.05, quick_skips=True,
           beside=lambda r: f"now {r['now_us']['median']:.1f} µs (least {r['now_us']['least']:.1f}), then {r['then_us']['median']:.1f} µs (least {r['then_us']['least']:.1f})"),
    Figure('Failed calls in those runs', 'calls', of('weir_errors'), '', most=0),
    Figure('p50 of a backend of 5 ms through weir, beside through nginx, by weir bench', 'latency', of('p50_ratio', 'median'), 'x', most=1.05, quick_skips=True, invalid=no_count('invalid'),
           beside=latency_beside('p50_ms')),
    Figure('p99 there', 'latency', of('p99_ratio', 'median'), 'x', most=1.25, quick_skips=True, invalid=no_count('invalid'), beside=latency_beside('p99_ms')),
    Figure('Failed calls of weir there', 'latency', of('weir_errors'), '', most=0, quick_skips=True),
    Figure('Errors in 1,000 paced streams (20 chunks over 2 s), every byte checked', 'streams', of('weir', 'errors'), '', most=0,
           beside=lambda r: f"{r['weir']['streams']} streams, {r['weir']['chunks']} chunks"),
    Figure('CPU of a chunk in those streams, beside HAProxy with http-no-delay', 'streams', of('ratio', 'median'), 'x', most=1.25, quick=5.0, beside=streams_beside),
    Figure('Memory, idle', 'memory', of('idle_pss_mb'), 'MB', most=12, beside=lambda r: f"PSS of all processes; RSS {r['idle_rss_mb']:.1f} MB"),
    Figure('Memory, with 1,000 streams', 'memory', of('streams_pss_mb'), 'MB', most=48, beside=lambda r: f"the highest PSS; RSS {r['streams_rss_mb']:.1f} MB"),
    Figure('Ready after start, local model aside', 'ready', of('ms', 'median'), 'ms', most=50, quick=1000, beside=lambda r: f"median of {r['count']}, most {r['ms']['most']:.1f} ms"),
    Figure('Tokens a second of the local model through weir, against llama-server directly', 'local', of('ratio', 'median'), 'x', least=0.97, quick_skips=True,
           beside=lambda r: f"median of {r['count']} pairs: {r['weir_tps']['median']:.1f} and {r['direct_tps']['median']:.1f} tokens/s"),
    Figure('Tokens a second of the local model, four users at it through weir, against llama-server directly, by weir bench', 'model', of('ratio', 'median'), 'x', least=0.97, quick_skips=True,
           beside=model_beside),
    Figure('Tests of Http11Probe passed, of 194', 'probes', of('passed'), '', least=194, quick_skips=True,
           beside=lambda r: f"in {r['argued']} of them there was a choice, argued in docs/http11probe.md"),
    Figure('Findings of fuzzing all targets; an hour is due', 'fuzz', of('findings'), '', most=0, quick_skips=True,
           beside=lambda r: f"{r['targets']} targets, {r['executions']:,} executions in {r['seconds'] / 60:.0f} min"),
    Figure('p99 of an ordinary client beside hostile ones, to its p99 alone, in the worst class', 'canary', of('worst_p99_ratio'), 'x', most=2, quick_skips=True, beside=canary_beside),
    Figure('Lines of src/ that tests reach', 'coverage', of('lines', 'src'), '%', least=92, quick_skips=True, beside=folders_beside),
    Figure('Conditions of parsers and gates that tests have shown to decide alone (MC/DC)', 'coverage', of('mcdc', 'all'), '%', quick_skips=True, beside=conditions_beside),
    Figure('Load test: CPU of the generator for a request, 64 connections, beside wrk', 'generator', of('ratio', 'median'), 'x', most=1.5, quick=4.0, beside=generator_beside),
    Figure('Load test: failed requests in those runs', 'generator', of('errors'), '', most=0),
    Figure('Load test: p50 of a server of 5 ms at half of its load, away from what wrk says', 'agree', of('p50_off_percent'), '%', most=5, quick=50, beside=agree_beside('p50_ms')),
    Figure('Load test: p99 there, away from what wrk says, in parts of what is allowed (20 % or 0.3 ms, the larger)', 'agree', of('p99_off_allowed'), 'x', most=1, quick=50,
           invalid=no_count('invalid'), beside=agree_beside('p99_ms')),
    Figure('Load test: p99 of a constant rate at a server that stands still for 1 s of 10', 'stopped', of('open', 'p99_ms'), 'ms', least=800, beside=stopped_beside),
    Figure('Load test: the worst quantile against what the server really drew, in parts of what is allowed (2 % or 0.3 ms, the larger)', 'drawn', of('worst'), 'x', most=1, quick=20,
           invalid=no_count('invalid'), beside=drawn_beside),
    Figure('Load test: mean wait at 4 slots away from Erlang\'s formula C, 1,000,000 arrivals in the simulated world', 'erlang', of('off_percent'), '%', most=2, quick=10, beside=erlang_beside),
    Figure('Load test: mean wait at 4 slots away from Erlang\'s formula C in real time, in parts of its own 95 % interval', 'queue', of('off_halves'), 'x', most=1, quick_skips=True,
           invalid=no_count('invalid'), beside=erlang_beside),
    Figure('Load test: errors of 9,500 streams held at once by one generator through weir', 'held', of('errors'), '', most=0, quick_skips=True,
           beside=lambda r: f"{r['in_flight_max']:,} at once, {r['ok']:,} whole, {r['tokens']:,} tokens; {r['generator_cpu_s']:.0f} s of processor time"),
    Figure('Load test: streams that were held at once there', 'held', of('in_flight_max'), '', least=9500, quick_skips=True),
    Figure('Load test: plans of tests/load that ran to their end with each criterion judged, of 6', 'plans', of('judged'), '', least=6, quick_skips=True, beside=plans_beside),
    Figure('30 % of calls are 500s at both of two backends: requests that succeed', 'resilience', of('errors', 'good_percent'), '%', least=99.8, beside=resilience_beside('errors')),
    Figure('Calls a request there', 'resilience', of('errors', 'calls_a_request'), 'x', most=1.5),
    Figure('Both backends answer 503: calls a request, of 1,000', 'resilience', of('outage', 'calls_a_request'), 'x', most=1.1, beside=resilience_beside('outage')),
    Figure('One of two backends hangs, first_token 1 s: requests slower than 1.2 s, after the first 5 s', 'resilience', of('hang', 'slow_percent'), '%', most=0.1, quick_skips=True,
           beside=lambda r: f"{r['hang']['slow']} of {r['hang']['late']:,}; the one that hangs was asked {r['hang']['calls_of_first']} times, the other {r['hang']['calls_of_second']:,}"),
    Figure('Failed requests in 100 reloads and 10 upgrades under load with open streams', 'reloads', of('failed'), '', most=0, quick_skips=True,
           beside=lambda r: f"{r['reloads']} reloads, {r['upgrades']} upgrades, {r['requests']:,} requests, {r['streams']:,} of them streams of two seconds"),
    Figure('Goodput at ten times what weir can do, in a cgroup with 10 % of a core, against its peak there', 'bound', of('kept', 'median'), 'x', least=0.8, quick_skips=True, invalid=no_count('invalid'),
           beside=lambda r: f"peak {r['peak_per_s']['median']:,.0f} a second"),
    Figure('Instructions of a proxied call, outside the kernel', 'instructions', of('weir'), '', beside=lambda r: f"nginx {r['nginx']:,}: {r['ratio']:.2f} x; weir reads both bodies, nginx neither"),
    Figure('Who asks: a key', 'auth', of('key'), 'µs', most=2, quick_skips=True),
    Figure('Who asks: a token by RS256 (2048 bits)', 'auth', of('RS256'), 'µs', most=40, quick_skips=True, beside=lambda r: f"HS256 {r['HS256']:.1f} µs"),
    Figure('Who asks: a token by ES256', 'auth', of('ES256'), 'µs', most=90, quick_skips=True),
    Figure('Who asks: a token by EdDSA (Ed25519)', 'auth', of('EdDSA'), 'µs', most=130, quick_skips=True),
    Figure('Who asks: a token that was seen', 'auth', of('seen'), 'µs', most=2, quick_skips=True),
    Figure('A task switch', 'switch', of('context switch'), 'ns'),
    Figure('A request that never parks: what being a task adds', 'switch', of('task adds'), 'ns'),
    Figure('A park and a wake', 'switch', of('park and wake'), 'ns'),
]


# ---- small things ----

def say(*words):
    print(*words, file=sys.stderr, flush=True)


def spread(values):
    v = sorted(values)
    return {'median': round(statistics.median(v), 3), 'least': round(v[0], 3), 'most': round(v[-1], 3)} if v else None


def git(*args):
    done = subprocess.run(['git', '-C', ROOT, *args], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ''


def machine():
    cpu = next((line.split(':', 1)[1].strip() for line in open('/proc/cpuinfo') if line.startswith('model name')), os.uname().machine)
    memory = next(int(line.split()[1]) for line in open('/proc/meminfo') if line.startswith('MemTotal'))
    return {'cpu': cpu, 'cores': len(os.sched_getaffinity(0)), 'memory_gb': round(memory / 1e6, 1), 'kernel': os.uname().release}


def version_of(command):
    done = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r'\d+\.\d+(\.\d+)?', done.stdout + done.stderr)
    return found.group(0) if found else 'unknown'


def commit_of(options):
    """The checkout's commit says nothing about a binary that was built elsewhere."""
    return (git('rev-parse', '--short=12', 'HEAD') or 'none') if options.weir == os.path.join(ROOT, 'build', 'weir') else 'another build'


def record(measure, options, results, samples, **more):
    """A raw file's content. No path and no name of this machine is in it."""
    asked = ' '.join(a for a in sys.argv[1:] if '/' not in a)
    return {'measure': measure, 'date': datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%d %H:%M UTC'), 'commit': commit_of(options),
            'binary': hashlib.sha256(open(options.weir, 'rb').read()).hexdigest()[:16] if os.path.exists(options.weir) else None,
            'changed': bool(git('status', '--porcelain', '--', 'src', 'Makefile')), 'command': f'tools/figures.py {measure}', 'arguments': asked, 'machine': machine(),
            'load_before': options.load, **more, 'results': results, 'samples': samples}


def free_port():
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def fill(template, to, **words):
    text = open(os.path.join(SPEED, template)).read()
    for name, value in words.items():
        text = text.replace(f'@{name}@', str(value))
    if (left := re.search(r'@[A-Z]+@', text)):
        raise SystemExit(f'figures: {template}: nothing for {left.group(0)}')
    with open(to, 'w') as f:
        f.write(text)
    return to


def build(name, command):
    """Compiles a helper when its source is newer."""
    source, made = os.path.join(SPEED, name + '.c'), os.path.join(BUILT, name)
    os.makedirs(BUILT, exist_ok=True)
    if not os.path.exists(made) or os.path.getmtime(made) < os.path.getmtime(source):
        subprocess.run([*command, '-o', made, source], cwd=ROOT, check=True)
    return made


def helper(name):
    return build(name, ['cc', '-O2', '-Wall', '-Wextra', '-D_GNU_SOURCE'])


# ---- processes and what they cost ----

def family(pid):
    """pid and all its descendants."""
    parents = {}
    for name in os.listdir('/proc'):
        if name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(name)] = int(open(f'/proc/{name}/stat').read().rsplit(')', 1)[1].split()[1])
    found, new = {pid}, {pid}
    while new:
        new = {p for p, parent in parents.items() if parent in new} - found
        found |= new
    return sorted(found)


def cpu_ns(pids):
    """Run time of every thread, from the scheduler, in nanoseconds: no 10 ms ticks."""
    total = 0
    for pid in pids:
        for thread in os.listdir(f'/proc/{pid}/task'):
            total += int(open(f'/proc/{pid}/task/{thread}/schedstat').read().split()[0])
    return total


def memory_mb(pids):
    pss = rss = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in open(f'/proc/{pid}/smaps_rollup'):
                if line.startswith('Pss:'):
                    pss += int(line.split()[1])
                elif line.startswith('Rss:'):
                    rss += int(line.split()[1])
    return pss * 1024 / 1e6, rss * 1024 / 1e6


def get(port, path, key=None, timeout=5):
    """Status and body of one GET, over a socket of its own."""
    with socket.create_connection(('127.0.0.1', port), timeout) as s:
        s.settimeout(timeout)
        auth = f'Authorization: Bearer {key}\r\n' if key else ''
        s.sendall(f'GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{auth}Connection: close\r\n\r\n'.encode())
        data = b''
        while (piece := s.recv(65536)):
            data += piece
    head, _, body = data.partition(b'\r\n\r\n')
    return int(head.split()[1]) if head.startswith(b'HTTP/1.') else 0, body


class Server:
    """A process of ours, with its descendants, stopped by its id."""

    def __init__(self, name, command, port, work, is_up, before=None):
        self.name, self.port = name, port
        log = open(os.path.join(work, name + '.out'), 'w')
        self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=work, start_new_session=True, preexec_fn=before)
        until = time.monotonic() + 30
        while True:
            if self.process.poll() is not None or time.monotonic() > until:
                log.flush()
                words = open(log.name).read()[-1500:]
                self.stop()
                raise SystemExit(f'figures: {name} does not start:\n{words}')
            with contextlib.suppress(OSError, ValueError, IndexError):
                if is_up(port):
                    break
            time.sleep(0.02)
        self.pids = family(self.process.pid)

    def cpu_ns(self):
        return cpu_ns(self.pids)

    def memory_mb(self):
        return memory_mb(self.pids)

    def stop(self):
        for wait in (1, 1, 3):
            if self.process.poll() is None:
                self.process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(wait)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.stop()


def listens(port):
    with socket.create_connection(('127.0.0.1', port), 1):
        return True


def serves_model(port):
    status, body = get(port, '/v1/models', KEY)
    return status == 200 and b'"figure"' in body


def answer_json():
    answer = {'id': 'chatcmpl-figure', 'object': 'chat.completion', 'created': 1700000000, 'model': 'figure',
              'choices': [{'index': 0, 'message': {'role': 'assistant', 'content': ''}, 'finish_reason': 'stop'}],
              'usage': {'prompt_tokens': 128, 'completion_tokens': 220, 'total_tokens': 348}}
    return padded(answer, answer['choices'][0]['message'], ANSWER_BYTES)


def padded(document, member, size):
    prose = 'A weir holds a river in flood and lets through what the mill can take. ' * 40
    member['content'] = prose[:size - len(json.dumps(document, separators=(',', ':')))]
    return json.dumps(document, separators=(',', ':'))


def request_json():
    body = {'model': 'figure', 'temperature': 0.2, 'max_tokens': 256, 'messages': [{'role': 'system', 'content': 'You answer briefly.'}, {'role': 'user', 'content': ''}]}
    return padded(body, body['messages'][1], BODY_BYTES)


def nginx_at(work, config):
    return ['nginx', '-e', os.path.join(work, 'nginx.first.log'), '-p', work, '-c', config]


def start_upstream(work):
    port = free_port()
    return Server('upstream', nginx_at(work, fill('upstream.conf', f'{work}/upstream.conf', WORK=work, LISTEN=port, ANSWER=answer_json())), port, work, listens)


def start_nginx(work, upstream):
    port = free_port()
    return Server('nginx', nginx_at(work, fill('nginx.conf', f'{work}/nginx.conf', WORK=work, LISTEN=port, UPSTREAM=upstream)), port, work, serves_model)


def start_haproxy(work, upstream):
    port = free_port()
    return Server('haproxy', ['haproxy', '-db', '-f', fill('haproxy.cfg', f'{work}/haproxy.cfg', LISTEN=port, UPSTREAM=upstream)], port, work, serves_model)


def weir_command(options, work, port, upstream, slots, config='weir.yaml'):
    config = fill(config, f'{work}/{config}', WORK=work, LISTEN=port, UPSTREAM=upstream, KEY=KEY, SLOTS=slots)
    return [options.weir, 'serve', '-c', config]


def start_weir(options, work, upstream, slots, config='weir.yaml'):
    port = free_port()
    return Server('weir', weir_command(options, work, port, upstream, slots, config), port, work, serves_model)


def start_paced(work):
    port = free_port()
    return Server('paced', [helper('paced'), str(port), str(CHUNKS), str(INTERVAL_MS)], port, work, listens)


def interleaved(names, rounds):
    """A B, B A, A B …: neither always goes first."""
    for i in range(rounds):
        for name in names if i % 2 == 0 else names[::-1]:
            yield i, name


# ---- calls ----

def wrk(proxy, connections, seconds, body):
    environ = dict(os.environ, FIGURE_BODY=body, FIGURE_KEY=KEY)
    before = proxy.cpu_ns()
    done = subprocess.run(['wrk', '-t1', f'-c{connections}', f'-d{seconds}s', '--timeout', '10s', '-s', os.path.join(SPEED, 'post.lua'), f'http://127.0.0.1:{proxy.port}/v1/chat/completions'],
                          env=environ, capture_output=True, text=True)
    spent = proxy.cpu_ns() - before
    lines = [line for line in done.stdout.splitlines() if line.startswith('{')]
    if done.returncode != 0 or not lines:
        raise SystemExit(f'figures: wrk failed:\n{done.stdout[-500:]}{done.stderr[-500:]}')
    sample = json.loads(lines[-1])
    sample['cpu_us'] = round(spent / 1e3 / max(sample['requests'], 1), 3)
    sample['per_s'] = round(sample['requests'] * 1e6 / sample['duration_us'])
    return sample


def measure_calls(options, work, measure='calls', config='weir.yaml'):
    rounds, seconds = (3, 1) if options.quick else (options.rounds, 3)
    body = os.path.join(work, 'body.json')
    with open(body, 'w') as f:
        f.write(request_json())
    samples, results = [], {}
    with start_upstream(work) as upstream, start_nginx(work, upstream.port) as nginx, start_weir(options, work, upstream.port, 512, config) as weir:
        proxies = {'weir': weir, 'nginx': nginx}
        for connections in (16, 256):
            for proxy in proxies.values():
                wrk(proxy, connections, 1, body)            # warm
            mine = []
            for i, name in interleaved(['weir', 'nginx'], rounds):
                sample = {'connections': connections, 'round': i, 'proxy': name, **wrk(proxies[name], connections, seconds, body)}
                mine.append(sample)
                say(f"  {connections:3} connections, round {i + 1}, {name:5}: {sample['cpu_us']:6.2f} µs a call, {sample['per_s']:6} calls/s, {sample['errors']} errors")
            us = {name: [s['cpu_us'] for s in sorted(mine, key=lambda s: s['round']) if s['proxy'] == name] for name in proxies}
            results[str(connections)] = {'weir_us': spread(us['weir']), 'nginx_us': spread(us['nginx']), 'ratio': spread([w / n for w, n in zip(us['weir'], us['nginx'])]),
                                         'calls': sum(s['requests'] for s in mine if s['proxy'] == 'weir')}
            samples += mine
    for name in proxies:
        results[name + '_errors'] = sum(s['errors'] for s in samples if s['proxy'] == name)
    return record(measure, options, results, samples, rounds=rounds, seconds_a_round=seconds, peers={'nginx': version_of(['nginx', '-v'])},
                  configuration=[f'tests/speed/{config}', 'tests/speed/nginx.conf', 'tests/speed/upstream.conf', 'tests/speed/post.lua'],
                  how='wrk with one thread; CPU is the run time of all of a proxy\'s threads from /proc/PID/task/*/schedstat over the calls that wrk completed; '
                      'both have their access log on, both buffer it; weir checks a key, nginx passes it on; one ratio a round, the two runs next to each other')


def measure_latency(options, work):
    """The same mock behind each of them, and alone."""
    rate, rounds, seconds = 500, 5, 4
    body, samples = os.path.join(work, 'body.json'), []
    with open(body, 'w') as f:
        f.write(request_json())
    with start_mock(options, work, '--ttft', '5ms', '--model', 'figure') as mock, start_nginx(work, mock.port) as nginx, start_haproxy(work, mock.port) as haproxy, \
            start_weir(options, work, mock.port, 512) as weir:
        ports = dict(zip(LATENCY_WAYS, (mock.port, nginx.port, haproxy.port, weir.port)))
        for i, name in interleaved(LATENCY_WAYS, rounds):
            r = bench(options, work, f'http://127.0.0.1:{ports[name]}', '--model', 'figure', '--body', body, '--key', KEY, '--rate', rate, '--arrivals', 'poisson',
                      '--warmup', '1s', '--duration', f'{seconds}s')
            samples.append({'round': i, 'way': name, **short_of(r), 'failed': errors_of(r)})
            say(f"  round {i + 1}, {name:7}: p50 {r['p50_ms']:.2f} ms, p99 {r['p99_ms']:.2f} ms, {errors_of(r)} errors {r['invalid']}")
    by_round = {name: sorted((s for s in samples if s['way'] == name), key=lambda s: s['round']) for name in LATENCY_WAYS}
    results = {name: {q: spread([s[q] for s in rounds_of]) for q in ('p50_ms', 'p99_ms')} for name, rounds_of in by_round.items()}
    for q in ('p50', 'p99'):
        results[q + '_ratio'] = spread([w[q + '_ms'] / n[q + '_ms'] for w, n in zip(by_round['weir'], by_round['nginx'])])
    results |= {'rate': rate, 'weir_errors': sum(s['failed'] for s in by_round['weir']), 'invalid': most_invalid(samples)}
    return record('latency', options, results, samples, rounds=rounds, seconds_a_round=seconds, peers={'nginx': version_of(['nginx', '-v']), 'haproxy': version_of(['haproxy', '-v'])},
                  configuration=['tests/speed/weir.yaml', 'tests/speed/nginx.conf', 'tests/speed/haproxy.cfg'],
                  how=f'weir bench, {rate} requests a second (Poisson) of 600 B, asked of weir mock --ttft 5ms directly and through nginx, HAProxy and weir in turn; one ratio a round')


def measure_model(options, work):
    home = os.path.join(ROOT, 'build', 'local')
    if not os.path.exists(os.path.join(home, 'llama-server')):
        say('  no build/local/llama-server: tools/local-model.sh makes it')
        return None
    port, rounds, seconds, samples = free_port(), 3, 15, []
    command = [os.path.join(home, 'llama-server'), '-m', os.path.join(home, 'smollm2.gguf'), '--alias', 'figure', '--host', '127.0.0.1', '--port', str(port), '-np', '1', '-c', '2048', '--no-webui']
    with Server('llama-server', command, port, work, lambda p: get(p, '/health')[0] == 200), start_weir(options, work, port, 1) as weir:
        ports = {'direct': port, 'weir': weir.port}
        for i, name in interleaved(list(ports), rounds):
            r = bench(options, work, f'http://127.0.0.1:{ports[name]}', '--model', 'figure', '--key', KEY, '--stream', '--max-tokens', 32, '--users', 4, '--warmup', '3s', '--duration', f'{seconds}s')
            samples.append({'round': i, 'way': name, **short_of(r), 'tokens_rate': round(r['tokens_rate'], 2), 'ttft_ms': round(r['ttft']['p50_ms'], 1), 'failed': errors_of(r)})
            say(f"  round {i + 1}, {name:6}: {r['tokens_rate']:.1f} tokens/s, first token {r['ttft']['p50_ms']:.0f} ms, {errors_of(r)} errors {r['invalid']}")
    by_round = {name: sorted((s for s in samples if s['way'] == name), key=lambda s: s['round']) for name in ports}
    results = {name: {q: spread([s[q] for s in rounds_of]) for q in ('tokens_rate', 'ttft_ms')} for name, rounds_of in by_round.items()}
    results['ratio'] = spread([w['tokens_rate'] / d['tokens_rate'] for w, d in zip(by_round['weir'], by_round['direct'])])
    return record('model', options, results, samples, rounds=rounds, seconds_a_round=seconds, configuration=['tests/speed/weir.yaml'],
                  how='weir bench: four users who ask smollm2 for streams of 32 tokens, one after the other, of one llama-server with one slot, directly and through weir in turn; the three that wait do so in weir, or there')


def binary_of(commit):
    """weir as it was at that commit, built beside this one from the repository's own history."""
    folder = os.path.join(ROOT, 'build', 'then', commit)
    binary = os.path.join(folder, 'build', 'weir')
    if not os.path.exists(binary):
        os.makedirs(os.path.join(folder, 'build'), exist_ok=True)
        tree = subprocess.run(['git', '-C', ROOT, 'archive', commit], capture_output=True, check=True).stdout
        subprocess.run(['tar', '-x', '-C', folder], input=tree, check=True)
        with contextlib.suppress(FileExistsError):
            os.symlink(os.path.join(ROOT, 'build', 'deps'), os.path.join(folder, 'build', 'deps'))
        subprocess.run(['make', '-s', f'-j{os.cpu_count()}', 'build/weir'], cwd=folder, check=True)
    return binary


def measure_since(options, work):
    body, samples, seconds = os.path.join(work, 'body.json'), [], 2
    rounds = max(options.rounds, 15)        # a ratio this close to one needs more of them
    with open(body, 'w') as f:
        f.write(request_json())
    then = argparse.Namespace(**{**vars(options), 'weir': binary_of(FIRST)})
    folders = {name: os.path.join(work, name) for name in ('now', 'then')}
    for folder in folders.values():
        os.mkdir(folder)
    with start_upstream(work) as upstream, start_weir(options, folders['now'], upstream.port, 512) as now, start_weir(then, folders['then'], upstream.port, 512) as before:
        both = {'now': now, 'then': before}
        for weir in both.values():
            wrk(weir, 16, 1, body)
        for i, name in interleaved(['now', 'then'], rounds):
            sample = {'connections': 16, 'round': i, 'proxy': name, **wrk(both[name], 16, seconds, body)}
            samples.append(sample)
            say(f"  round {i + 1}, {name:4}: {sample['cpu_us']:6.2f} µs a call, {sample['errors']} errors")
    us = {name: [s['cpu_us'] for s in sorted(samples, key=lambda s: s['round']) if s['proxy'] == name] for name in both}
    results = {'now_us': spread(us['now']), 'then_us': spread(us['then']), 'ratio': spread([n / t for n, t in zip(us['now'], us['then'])]), 'errors': sum(s['errors'] for s in samples)}
    return record('since', options, results, samples, rounds=rounds, seconds_a_round=seconds, configuration=['tests/speed/weir.yaml', 'tests/speed/upstream.conf', 'tests/speed/post.lua'],
                  how=f'the binary of commit {FIRST}, built from the repository\'s history, and this one beside each other, one ratio a round; otherwise as calls')


# ---- streams and memory ----

def run_streams(proxy, count=STREAMS):
    before = proxy.cpu_ns()
    done = subprocess.run([helper('streams'), str(proxy.port), str(count), str(CHUNKS), str(SPREAD_MS), KEY], capture_output=True, text=True)
    spent = proxy.cpu_ns() - before
    if not done.stdout.startswith('{'):
        raise SystemExit(f'figures: streams failed: {done.stderr[-500:]}')
    sample = json.loads(done.stdout)
    sample['chunk_us'] = round(spent / 1e3 / max(sample['chunks'], 1), 3)
    return sample


def measure_streams(options, work):
    rounds = 2 if options.quick else options.rounds
    samples = []
    with start_paced(work) as upstream, start_haproxy(work, upstream.port) as haproxy, start_weir(options, work, upstream.port, STREAMS) as weir:
        proxies = {'weir': weir, 'haproxy': haproxy}
        for proxy in proxies.values():
            run_streams(proxy, 100)                         # warm
        for i, name in interleaved(['weir', 'haproxy'], rounds):
            sample = {'round': i, 'proxy': name, **run_streams(proxies[name])}
            samples.append(sample)
            say(f"  round {i + 1}, {name:7}: {sample['chunk_us']:6.2f} µs a chunk, {sample['errors']} errors{' (' + sample['first_reason'] + ')' if sample['errors'] else ''}, "
                f"{sample['chunks']} chunks, added delay p50 {sample['delay_p50_us']:.0f} µs p99 {sample['delay_p99_us']:.0f} µs")
    results = {}
    us = {name: [s['chunk_us'] for s in sorted(samples, key=lambda s: s['round']) if s['proxy'] == name] for name in proxies}
    for name in proxies:
        mine = [s for s in samples if s['proxy'] == name]
        results[name] = {'chunk_us': spread(us[name]), 'errors': sum(s['errors'] for s in mine), 'streams': sum(s['streams'] for s in mine), 'chunks': sum(s['chunks'] for s in mine),
                         'reads_a_chunk': round(sum(s['reads_with_chunk'] for s in mine) / max(sum(s['chunks'] for s in mine), 1), 3),
                         'delay_p50_us': spread([s['delay_p50_us'] for s in mine]), 'delay_p99_us': spread([s['delay_p99_us'] for s in mine])}
    results['ratio'] = spread([w / h for w, h in zip(us['weir'], us['haproxy'])])
    return record('streams', options, results, samples, rounds=rounds, peers={'HAProxy': version_of(['haproxy', '-v'])},
                  configuration=['tests/speed/weir.yaml', 'tests/speed/haproxy.cfg', 'tests/speed/paced.c', 'tests/speed/streams.c'],
                  how=f'{STREAMS} connections opened over {SPREAD_MS} ms, one stream each of {CHUNKS} chunks {INTERVAL_MS} ms apart; connecting and closing are in the figure; the client checks '
                      'that each stream has its own chunks, in order and all; CPU as for calls, over the chunks delivered')


def measure_memory(options, work):
    samples = []
    with start_paced(work) as upstream, start_weir(options, work, upstream.port, STREAMS) as weir:
        time.sleep(1)
        idle = weir.memory_mb()
        client = subprocess.Popen([helper('streams'), str(weir.port), str(STREAMS), str(CHUNKS), str(SPREAD_MS), KEY], stdout=subprocess.PIPE, text=True)
        while client.poll() is None:
            pss, rss = weir.memory_mb()
            samples.append({'pss_mb': round(pss, 2), 'rss_mb': round(rss, 2)})
            time.sleep(0.05)
        outcome = json.loads(client.stdout.read())
        time.sleep(0.5)
        after = weir.memory_mb()
    results = {'idle_pss_mb': round(idle[0], 2), 'idle_rss_mb': round(idle[1], 2), 'streams_pss_mb': max(s['pss_mb'] for s in samples), 'streams_rss_mb': max(s['rss_mb'] for s in samples),
               'after_pss_mb': round(after[0], 2), 'errors': outcome['errors'], 'open_max': outcome['open_max'], 'processes': len(weir.pids)}
    say(f"  idle {results['idle_pss_mb']:.1f} MB, with {outcome['open_max']} streams {results['streams_pss_mb']:.1f} MB, after {results['after_pss_mb']:.1f} MB (PSS); {outcome['errors']} errors")
    return record('memory', options, results, samples, how='a fresh weir; PSS from /proc/PID/smaps_rollup, summed over the keeper and the server; idle one second after start; with streams the highest of a sample every 50 ms')


# ---- ready ----

def measure_ready(options, work):
    count = 5 if options.quick else 10
    samples = []
    with start_upstream(work) as upstream:
        for i in range(count):
            port = free_port()
            command = weir_command(options, work, port, upstream.port, 64)
            out = open(os.path.join(work, 'weir.out'), 'w')
            began = time.monotonic()
            process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=work, start_new_session=True)
            try:
                while True:
                    with contextlib.suppress(OSError, IndexError):
                        if get(port, '/readyz')[0] == 200:
                            break
                    if process.poll() is not None or time.monotonic() - began > 20:
                        raise SystemExit('figures: weir did not become ready: ' + open(out.name).read()[-500:])
                    time.sleep(0.001)
                samples.append(round((time.monotonic() - began) * 1e3, 2))
            finally:
                stop(process)
    say(f'  ready after {min(samples):.1f} to {max(samples):.1f} ms')
    return record('ready', options, {'ms': spread(samples), 'count': count}, samples, how='from before exec to the first 200 of /readyz, asked every millisecond over a new connection; one URL backend')


def stop(process):
    for wait in (1, 1, 3):
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(wait)
    if process.poll() is None:
        process.kill()
        process.wait()


# ---- the local model ----

def tokens_a_second(port, model):
    body = json.dumps({'model': model, 'stream': True, 'stream_options': {'include_usage': True}, 'temperature': 0, 'max_tokens': LONG_TOKENS,
                       'messages': [{'role': 'user', 'content': LONG_QUESTION}]})
    began, data = time.monotonic(), b''
    with socket.create_connection(('127.0.0.1', port), 120) as s:
        s.sendall(f'POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}'.encode())
        while b'data: [DONE]' not in data[-4096:]:
            piece = s.recv(65536)
            if not piece:
                raise SystemExit('figures: the local model\'s stream was cut: ' + data[-300:].decode(errors='replace'))
            data += piece
    seconds = time.monotonic() - began
    tokens = int(re.findall(rb'"completion_tokens":\s*(\d+)', data)[-1])
    if tokens != LONG_TOKENS:
        raise SystemExit(f'figures: the local model answered {tokens} tokens, not {LONG_TOKENS}: that measures its prompt, not its tokens')
    return {'tokens': tokens, 'seconds': round(seconds, 4), 'tps': round(tokens / seconds, 3)}


def measure_local(options, work):
    home = os.path.join(ROOT, 'build', 'local')
    if not os.path.exists(os.path.join(home, 'llama-server')):
        say('  no build/local/llama-server: tools/local-model.sh makes it')
        return None
    port = free_port()
    command = [os.path.join(home, 'llama-server'), '-m', os.path.join(home, 'smollm2.gguf'), '--alias', 'figure', '--host', '127.0.0.1', '--port', str(port), '-np', '1', '-c', '2048', '--no-webui']
    samples = []
    with Server('llama-server', command, port, work, lambda p: get(p, '/health')[0] == 200), start_weir(options, work, port, 1) as weir:
        ports = {'direct': port, 'weir': weir.port}
        for p in ports.values():
            tokens_a_second(p, 'figure')                    # warm
        for i, name in interleaved(['direct', 'weir'], 12):
            sample = {'pair': i, 'way': name, **tokens_a_second(ports[name], 'figure')}
            samples.append(sample)
            say(f"  pair {i + 1:2}, {name:6}: {sample['tps']:6.1f} tokens/s ({sample['tokens']} tokens)")
    tps = {name: [s['tps'] for s in sorted(samples, key=lambda s: s['pair']) if s['way'] == name] for name in ports}
    results = {'ratio': spread([w / d for w, d in zip(tps['weir'], tps['direct'])]), 'weir_tps': spread(tps['weir']), 'direct_tps': spread(tps['direct']), 'count': 12}
    return record('local', options, results, samples, how=f'one llama-server with smollm2, asked directly and through weir in turn; {LONG_TOKENS} tokens, temperature 0, streamed; tokens of its usage over the time from asking to [DONE]')


# ---- programs of a few functions: a task switch, who asks ----

def run_small(work, *sources):
    """Compiles a program of tests/ against the library and runs it: what it printed, and its numbers by name. None: there is no library."""
    library = os.path.join(ROOT, 'build', 'release', 'libweir.a')
    if not os.path.exists(library):
        say('  no build/release/libweir.a: make makes it')
        return None
    made = os.path.join(work, os.path.splitext(os.path.basename(sources[0]))[0])
    subprocess.run(['cc', '-std=gnu11', '-D_GNU_SOURCE', '-O2', '-g', '-fno-strict-aliasing', '-fno-omit-frame-pointer', '-Isrc', '-Itests', '-Ibuild/deps/llhttp', '-Ibuild/deps/yyjson', '-pthread',
                    '-o', made, *sources, library, '-lyaml', '-lssl', '-lcrypto', '-lcares', '-lsqlite3', '-lhiredis', '-lzstd', '-lm'], cwd=ROOT, check=True)
    text = subprocess.run([made], capture_output=True, text=True, check=True).stdout
    say('  ' + text.strip().replace('\n', '\n  '))
    return text, {name.strip(): float(ns) for name, ns in re.findall(r'^(.+?)\s+([0-9.]+) ns', text, re.M)}


def measure_switch(options, work):
    ran = run_small(work, 'tests/speed/switch.c')
    if ran is None:
        return None
    text, results = ran
    if 'never parks, task' in results and 'never parks, plain' in results:
        results['task adds'] = round(results['never parks, task'] - results['never parks, plain'], 1)
    return record('switch', options, results, text.splitlines(), how='tests/speed/switch.c, the best of its rounds: what a task costs the processor, without cache misses')


def measure_auth(options, work):
    ran = run_small(work, 'tests/speed/auth.c', 'tests/lib/tokens.c')
    if ran is None:
        return None
    text, ns = ran
    return record('auth', options, {name: round(n / 1000, 3) for name, n in ns.items()}, text.splitlines(),
                  how='tests/speed/auth.c, the best of its rounds: from a parsed head to who asks; 40 tokens of 400 bytes that nobody has seen, or one again and again')


# ---- instructions: the stopwatch that noise cannot reach ----

def ask(s, request):
    s.sendall(request)
    data = b''
    while not data.endswith(b'"total_tokens":348}}'):
        piece = s.recv(65536)
        if not piece:
            raise SystemExit('figures: a counted call was cut')
        data += piece
    if not data.startswith(b'HTTP/1.1 200'):
        raise SystemExit('figures: a counted call failed: ' + data[:200].decode(errors='replace'))


def counted(name, command, port, work, calls):
    """Instructions of a call outside the kernel: one connection, one worker, warm."""
    tool = ['valgrind', '--tool=callgrind', '--trace-children=yes', '--instr-atstart=no', f'--callgrind-out-file={work}/{name}.%p']
    body = request_json().encode()
    request = f'POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n'.encode() + body
    with Server(name, [*tool, *command], port, work, serves_model) as proxy:
        def control(*words):
            for pid in proxy.pids:
                subprocess.run(['callgrind_control', *words, str(pid)], capture_output=True)
        with socket.create_connection(('127.0.0.1', port), 30) as s:
            for _ in range(50):
                ask(s, request)
            control('-i', 'on')
            for _ in range(calls):
                ask(s, request)
            control('-d')
            control('-i', 'off')
    total = 0
    for file in os.listdir(work):
        if re.fullmatch(name + r'\.\d+\.\d+', file) and (found := re.search(r'^totals: (\d+)', open(os.path.join(work, file), errors='replace').read(), re.M)):
            total += int(found.group(1))
    return round(total / calls)


def measure_instructions(options, work):
    if not shutil.which('valgrind'):
        say('  no valgrind')
        return None
    calls = 400
    with start_upstream(work) as upstream:
        port = free_port()
        command = weir_command(options, work, port, upstream.port, 512)
        with open(f'{work}/weir.yaml', 'a') as f:
            f.write('workers: 1\n')
        weir = counted('weir', command, port, work, calls)
        port = free_port()
        config = fill('nginx.conf', f'{work}/nginx.conf', WORK=work, LISTEN=port, UPSTREAM=upstream.port)
        with open(config) as f:
            text = f.read().replace('master_process on', 'master_process off')
        with open(config, 'w') as f:
            f.write(text.rstrip('\n') + '\n')
        nginx = counted('nginx', nginx_at(work, config), port, work, calls)
    say(f'  weir {weir:,} instructions a call, nginx {nginx:,}')
    if weir == 0 or nginx == 0:
        raise SystemExit('figures: callgrind counted nothing')
    return record('instructions', options, {'weir': weir, 'nginx': nginx, 'ratio': round(weir / nginx, 3), 'calls': calls}, [], peers={'nginx': version_of(['nginx', '-v'])},
                  configuration=['tests/speed/weir.yaml', 'tests/speed/nginx.conf'], how='callgrind; instructions outside the kernel of the same proxied call (600 B, answer 1.2 KB), one connection, one worker, warm; '
                  'weir reads the question and the answer, nginx passes them on')


# ---- the load tester ----

def run_counted(command, **more):
    """What a program printed, its exit code, and the processor time that it used."""
    with tempfile.TemporaryFile('w+') as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, **more)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        return out.read(), process.returncode, used.ru_utime + used.ru_stime


def bench(options, work, url, *words):
    """weir bench's JSON, and cpu_s of its process. A run that does not count says so in `invalid`."""
    file = os.path.join(work, 'bench.json')
    told, code, cpu_s = run_counted([options.weir, 'bench', url, '--json', file, *map(str, words)], cwd=work)
    if code not in (0, 1, 3) or not os.path.exists(file):
        raise SystemExit(f'figures: weir bench failed ({code}):\n{told[-1500:]}')
    with open(file) as f:
        result = json.load(f)
    os.unlink(file)
    return {**result, 'cpu_s': cpu_s}


def short_of(result, *more):
    """What of a result a raw file keeps."""
    names = ['requests', 'ok', 'errors', 'rate', 'p50_ms', 'p90_ms', 'p99_ms', 'p999_ms', 'mean_ms', 'generator_lag_ms', 'generator_busy', 'invalid', *more]
    return {name: round(v, 6) if isinstance(v := result[name], float) else v for name in names} | {'cpu_s': round(result['cpu_s'], 3)}


def errors_of(result):
    return sum(result['errors'].values()) + result['missed']


def wrk_text(words, environ=None):
    """wrk's own report, and its processor time. It has thousandths of a millisecond where ours has."""
    out, code, cpu_s = run_counted(['wrk', '-t1', '--latency', '--timeout', '20s', *map(str, words)], env=environ)
    if code != 0:
        raise SystemExit(f'figures: wrk failed:\n{out[-500:]}')
    units = {'us': 1e-3, 'ms': 1, 's': 1e3, 'm': 6e4}
    at = {q: float(n) * units[u] for q, n, u in re.findall(r'^\s+(50|90|99)%\s+([0-9.]+)(us|ms|s|m)$', out, re.M)}
    failed = sum(int(n) for line in re.findall(r'Socket errors: (.*)|Non-2xx or 3xx responses: (.*)', out) for n in re.findall(r'\d+', ' '.join(line)))
    return {'requests': int(re.search(r'(\d+) requests in', out).group(1)), 'per_s': float(re.search(r'Requests/sec:\s+([0-9.]+)', out).group(1)),
            'p50_ms': at['50'], 'p90_ms': at['90'], 'p99_ms': at['99'], 'errors': failed, 'cpu_s': round(cpu_s, 3)}


def start_mock(options, work, *words):
    port = free_port()
    return Server('mock', [options.weir, 'mock', '--listen', f'127.0.0.1:{port}', *map(str, words)], port, work, listens)


def measure_generator(options, work):
    rounds, seconds = (2, 1) if options.quick else (5, 3)
    samples = []
    with start_upstream(work) as upstream:
        url = f'http://127.0.0.1:{upstream.port}/x'
        for i, name in interleaved(['bench', 'wrk'], rounds):
            if name == 'wrk':
                sample = wrk_text(['-c64', f'-d{seconds}s', url])
            else:
                result = bench(options, work, url, '--api', 'plain', '--users', 64, '--duration', f'{seconds}s')
                sample = short_of(result) | {'errors': errors_of(result), 'per_s': result['rate']}
            sample |= {'round': i, 'client': name, 'cpu_us': round(sample['cpu_s'] * 1e6 / max(sample['requests'], 1), 3)}
            samples.append(sample)
            say(f"  round {i + 1}, {name:5}: {sample['cpu_us']:5.2f} µs a request, {sample['per_s']:,.0f} requests/s, {sample['errors']} errors")
    us = {name: [s['cpu_us'] for s in sorted(samples, key=lambda s: s['round']) if s['client'] == name] for name in ('bench', 'wrk')}
    results = {'bench_us': spread(us['bench']), 'wrk_us': spread(us['wrk']), 'ratio': spread([b / w for b, w in zip(us['bench'], us['wrk'])]), 'errors': sum(s['errors'] for s in samples)}
    return record('generator', options, results, samples, rounds=rounds, seconds_a_round=seconds, peers={'wrk': version_of(['wrk', '-v']), 'nginx': version_of(['nginx', '-v'])},
                  configuration=['tests/speed/upstream.conf'], how='64 connections, a plain GET, an nginx that answers `return 200` with 1.2 KB; wrk with one thread and no script, its cheapest way, '
                  'weir bench with one worker; processor time of the whole process, start and report included, over the requests that it completed; one ratio a round, the two next to each other')


def closed_pair(options, work, port, connections, seconds, body):
    """One round of each, as a function of its name: the same body over as many connections, each with one request at a time and no pause."""
    environ = dict(os.environ, FIGURE_BODY=body, FIGURE_KEY=KEY)

    def by_wrk():
        out = subprocess.run(['wrk', '-t1', f'-c{connections}', f'-d{seconds}s', '--timeout', '10s', '-s', os.path.join(SPEED, 'post.lua'), f'http://127.0.0.1:{port}/v1/chat/completions'],
                             env=environ, capture_output=True, text=True, check=True).stdout
        r = json.loads([line for line in out.splitlines() if line.startswith('{')][-1])
        return {'requests': r['requests'], 'errors': r['errors'], 'per_s': round(r['requests'] * 1e6 / r['duration_us'], 1), 'p50_ms': r['p50_us'] / 1e3, 'p99_ms': r['p99_us'] / 1e3}

    def by_bench():
        r = bench(options, work, f'http://127.0.0.1:{port}', '--model', 'figure', '--body', body, '--users', connections, '--duration', f'{seconds}s', '--key', KEY)
        return short_of(r) | {'errors': errors_of(r), 'per_s': round(r['rate'], 1)}
    return {'wrk': by_wrk, 'bench': by_bench}


def measure_agree(options, work):
    rounds, seconds = (1, 1) if options.quick else (5, 5)
    body = os.path.join(work, 'body.json')
    with open(body, 'w') as f:
        f.write(request_json())
    samples = []
    with start_mock(options, work, '--ttft', '5ms') as mock:
        most = closed_pair(options, work, mock.port, 512, 1 if options.quick else 3, body)['wrk']()['per_s']
        connections = max(4, round(most / 2 * 0.005))
        run = closed_pair(options, work, mock.port, connections, seconds, body)
        for i, name in interleaved(['bench', 'wrk'], rounds):
            sample = {'round': i, 'client': name, **run[name]()}
            samples.append(sample)
            say(f"  round {i + 1}, {name:5}: p50 {sample['p50_ms']:.3f} ms, p99 {sample['p99_ms']:.3f} ms, {sample['per_s']:,.0f} requests/s of {most:,.0f}, {sample['errors']} errors")
    results = {name: {q: spread([s[q] for s in samples if s['client'] == name]) for q in ('p50_ms', 'p99_ms', 'per_s')} for name in ('bench', 'wrk')}
    b, w = results['bench'], results['wrk']
    results |= {'saturated_per_s': most, 'connections': connections, 'errors': sum(s['errors'] for s in samples),
                'p50_off_percent': round(100 * abs(b['p50_ms']['median'] / w['p50_ms']['median'] - 1), 3),
                'p99_off_allowed': round(abs(b['p99_ms']['median'] - w['p99_ms']['median']) / max(0.2 * w['p99_ms']['median'], 0.3), 3),
                'invalid': most_invalid([s for s in samples if s['client'] == 'bench'])}
    return record('agree', options, results, samples, rounds=rounds, seconds_a_round=seconds, peers={'wrk': version_of(['wrk', '-v'])},
                  how='weir mock answers after 5 ms; wrk has no rate, so both are closed loops over the same number of connections, without a pause: as many as at 5 ms each make half of the '
                      'requests a second that the mock answered to wrk over 512 connections; the same body, medians of the rounds')


def most_invalid(samples):
    """Why, when more than half of the rounds do not count; a median does not see fewer."""
    told = [s['invalid'] for s in samples if s['invalid']]
    return told[0] if 2 * len(told) > len(samples) else ''


def standing_still(server, after_s, for_s):
    """Stops a server's processes with a signal and lets them go on, on a thread."""
    def play():
        time.sleep(after_s)
        for pid in server.pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(for_s)
        for pid in server.pids:
            os.kill(pid, signal.SIGCONT)
    thread = threading.Thread(target=play)
    thread.start()
    return thread


def measure_stopped(options, work):
    body = os.path.join(work, 'body.json')
    with open(body, 'w') as f:
        f.write(request_json())
    share = 0.3 if options.quick else 1
    seconds = round(10 * share)
    environ = dict(os.environ, FIGURE_BODY=body, FIGURE_KEY=KEY)
    results = {}
    with start_mock(options, work, '--ttft', '5ms') as mock:
        url = f'http://127.0.0.1:{mock.port}'
        ways = {'open': lambda: bench(options, work, url, '--model', 'figure', '--body', body, '--rate', 200, '--duration', f'{seconds}s'),
                'users': lambda: bench(options, work, url, '--model', 'figure', '--body', body, '--users', 2, '--duration', f'{seconds}s'),
                'wrk': lambda: wrk_text(['-c2', f'-d{seconds}s', '-s', os.path.join(SPEED, 'post.lua'), url + '/v1/chat/completions'], environ)}
        for name, way in [*ways.items()][:1 if options.quick else None]:
            thread = standing_still(mock, 0.4 * seconds, 1)
            r = way()
            thread.join()
            results[name] = r if name == 'wrk' else short_of(r)
            say(f"  {name:5}: p50 {r['p50_ms']:.2f} ms, p90 {r['p90_ms']:.2f} ms, p99 {r['p99_ms']:.2f} ms, {r['requests']} requests, {r['errors']} errors")
    return record('stopped', options, results, [{'way': name, **r} for name, r in results.items()], peers={'wrk': version_of(['wrk', '-v'])},
                  how='weir mock of 5 ms gets SIGSTOP 4 s after the beginning and SIGCONT a second later; asked at 200 a second, then by 2 users of weir bench and by wrk over 2 connections, '
                      'who both wait for an answer before they ask again; of what comes at a constant rate a tenth finds it standing, and a fiftieth of them all waits longer than 0.8 s')


def splitmix(state):
    """As the mock draws: Steele, Lea, Flood 2014. The next state and a number of 53 bits below 1."""
    mask = (1 << 64) - 1
    state = (state + 0x9e3779b97f4a7c15) & mask
    z = state
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9 & mask
    z = (z ^ z >> 27) * 0x94d049bb133111eb & mask
    return state, (z ^ z >> 31) >> 11


def drawn_ms(seed, count, law):
    """What weir mock drew for its first requests: mock_span_draw, said once more in another language."""
    for number in range(1, count + 1):
        state, u = splitmix(seed ^ number * 0x9e3779b97f4a7c15 & (1 << 64) - 1)
        state, v = splitmix(state)
        yield law((u + 1) * 2.0 ** -53, v * 2.0 ** -53)


def measure_drawn(options, work):
    seed, seconds, rate = 7, 4 if options.quick else 40, 200
    with start_mock(options, work, '--ttft', 'lognormal(30ms,0.8)', '--tokens', 1, '--seed', seed) as mock:
        r = bench(options, work, f'http://127.0.0.1:{mock.port}', '--model', 'figure', '--rate', rate, '--arrivals', 'poisson', '--duration', f'{seconds}s')
    drawn = sorted(drawn_ms(seed, r['requests'], lambda u, v: 30 * math.exp(0.8 * math.sqrt(-2 * math.log(u)) * math.cos(2 * math.pi * v))))
    quantiles = {}
    for name, q in (('p50', 0.5), ('p90', 0.9), ('p99', 0.99), ('p999', 0.999)):
        truth, said = drawn[math.ceil(q * len(drawn)) - 1], r[f'{name}_ms']
        quantiles[name] = {'drawn_ms': round(truth, 4), 'said_ms': round(said, 4), 'allowed': round(abs(said - truth) / max(0.02 * truth, 0.3), 3)}
        say(f"  {name}: drawn {truth:.3f} ms, said {said:.3f} ms: {quantiles[name]['allowed']:.2f} of what is allowed")
    results = {'worst': max(q['allowed'] for q in quantiles.values()), 'quantiles': quantiles, 'errors': errors_of(r), 'invalid': r['invalid']}
    return record('drawn', options, results, [short_of(r)], how=f'weir mock draws its time to the first token from lognormal(30ms,0.8); {rate} Poisson arrivals a second for {seconds} s; '
                  'the same numbers are drawn again from its seed by another program, one for each request that was answered, and sorted')


def measure_erlang(options, work):
    subprocess.run(['make', '-s', 'build/release/tests/sim/test_bench_queue'], cwd=ROOT, check=True)
    environ = dict(os.environ, QUEUE_ARRIVALS=str(100000 if options.quick else 1000000))
    out = subprocess.run([os.path.join(ROOT, 'build', 'release', 'tests', 'sim', 'test_bench_queue')], env=environ, capture_output=True, text=True).stdout
    results = json.loads(next(line for line in out.splitlines() if line.startswith('{')))
    results['off_percent'] = round(100 * abs(results['wait_ms'] / results['erlang_ms'] - 1), 3)
    say(f"  {results['arrivals']:,} arrivals: {results['wait_ms']:.3f} ms, by the formula {results['erlang_ms']:.3f} ms")
    return record('erlang', options, results, [], how='tests/sim/test_bench_queue.c: generator and mock in the simulated world; Poisson arrivals at 70 % of 4 slots with exponential service of 50 ms, '
                  'one seed; the wait is the latency without what the mock drew')


def erlang_wait_ms(slots, load, service_ms):
    b = 1.0
    for i in range(1, slots + 1):
        b = load * b / (i + load * b)
    return b / (1 - load / slots * (1 - b)) * service_ms / (slots - load)


def measure_queue(options, work):
    slots, service, rate, batch, batches, seed = 4, 20, 140, 4, 20, 11
    with start_mock(options, work, '--ttft', f'exponential({service}ms)', '--tokens', 1, '--slots', slots, '--seed', seed) as mock:
        r = bench(options, work, f'http://127.0.0.1:{mock.port}', '--model', 'figure', '--rate', rate, '--arrivals', 'poisson', '--duration', f'{batch * batches + 2}s', '--warmup', '2s')
    served = list(drawn_ms(seed, r['requests'] + r['warmup'], lambda u, v: -service * math.log(u)))
    windows = r['windows'][2:2 + batch * batches]
    means = [sum(w['mean_ms'] * w['ended'] for w in windows[i:i + batch]) / sum(w['ended'] for w in windows[i:i + batch]) for i in range(0, len(windows), batch)]
    wait, law = r['mean_ms'] - statistics.fmean(served), erlang_wait_ms(slots, rate * service / 1e3, service)
    half = 2.093 * statistics.stdev(means) / math.sqrt(len(means))      # Student's, 19 degrees of freedom
    results = {'wait_ms': round(wait, 4), 'erlang_ms': round(law, 4), 'half_ms': round(half, 4), 'off_halves': round(abs(wait - law) / half, 3), 'arrivals': r['requests'],
               'slots': slots, 'load': rate * service / 1e3 / slots, 'service_ms': service, 'errors': errors_of(r), 'invalid': r['invalid']}
    say(f"  {wait:.3f} ms ± {half:.3f} ms, by the formula {law:.3f} ms")
    return record('queue', options, results, [{'batch': i, 'mean_ms': round(m, 4)} for i, m in enumerate(means)], how=f'weir mock with {slots} slots and exponential service of {service} ms, '
                  f'{rate} Poisson arrivals a second; the interval is Student\'s over {batches} batches of {batch} s of latency; both sides draw from seeds, so only the machine changes from run to run')


def measure_held(options, work):
    streams, opening_s, held_s = 9500, 15, 20
    tokens = opening_s + held_s
    with start_mock(options, work, '--ttft', '1s', '--itl', '1s', '--tokens', tokens, '--model', 'figure') as mock, start_weir(options, work, mock.port, streams + 100) as weir:
        r = bench(options, work, f'http://127.0.0.1:{weir.port}', '--model', 'figure', '--key', KEY, '--stream', '--users', streams, '--ramp', f'{opening_s}s', '--duration', '2s')
        peak = weir.memory_mb()
    results = {'errors': errors_of(r), 'kinds': r['errors'], 'in_flight_max': r['in_flight_max'], 'ok': r['ok'], 'tokens': r['tokens'], 'generator_cpu_s': round(r['cpu_s'], 2),
               'weir_pss_after_mb': round(peak[0], 1), 'invalid': r['invalid']}
    say(f"  {r['in_flight_max']} at once, {r['ok']} whole, errors {r['errors']}, generator {r['cpu_s']:.1f} s of processor time, lag {r['generator_lag_ms']:.2f} ms {r['invalid']}")
    return record('held', options, results, [short_of(r, 'in_flight_max')],
                  how=f'generator, weir and mock are a process each; {streams:,} users come within {opening_s} s, each with a stream of {tokens} tokens a second apart, so that the first still '
                      'streams when the last has come; each answer is read to its end mark; weir holds two descriptors a stream')


def measure_plans(options, work):
    folder, scale, samples = os.path.join(ROOT, 'tests', 'load'), 0.02, []
    with start_mock(options, work, '--ttft', 'lognormal(30ms,0.4)', '--tokens', 5, '--itl', '5ms', '--model', 'figure', '--model', 'mock-1') as mock, start_weir(options, work, mock.port, 2000) as weir:
        for plan in sorted(name for name in os.listdir(folder) if name.endswith('.yml')):
            port = mock.port if plan.startswith('agent_') else weir.port        # weir has no agents
            r = bench(options, work, 'run', os.path.join(folder, plan), f'http://127.0.0.1:{port}', '--scale', scale, '--key', KEY)
            samples.append({'plan': plan, **short_of(r, 'span_s', 'verdict'), 'failed': errors_of(r), 'criteria': r['criteria']})
            say(f"  {plan}: {r['verdict']}, {r['requests']} requests in {r['span_s']:.0f} s, {errors_of(r)} errors; " + ', '.join(f"{c['text']}: {c['measured']}" for c in r['criteria']))
    results = {'judged': sum(s['requests'] > 0 and s['criteria'] != [] and all(c['value'] is not None for c in s['criteria']) for s in samples), 'scale': scale,
               'met': sum(s['verdict'] == 'met' for s in samples), 'missed': sum(s['verdict'] == 'missed' for s in samples), 'invalid_runs': sum(s['verdict'] == 'invalid' for s in samples),
               'requests': sum(s['requests'] for s in samples), 'errors': sum(s['failed'] for s in samples)}
    return record('plans', options, results, samples, configuration=['tests/load/' + s['plan'] for s in samples],
                  how='weir bench run of each plan, with its times made shorter; the agents\' plans ask weir mock, the others weir in front of it')


# ---- what ./run said ----

def reload_and_wait(process, log, sign, event):
    """Sends a signal to the keeper, and waits until its log tells of the event once more. False if it tells of a refusal instead."""
    def told(word):
        return open(log).read().count(f' {word} ')
    before, refused = told(event), told('reload_refused') + told('upgrade_refused')
    os.kill(process.pid, sign)
    end = time.monotonic() + 20
    while told(event) == before:
        if told('reload_refused') + told('upgrade_refused') > refused or time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def in_background(results, name, fn):
    thread = threading.Thread(target=lambda: results.__setitem__(name, fn()))
    thread.start()
    return thread


def measure_reloads(options, work):
    reloads, upgrades = (20, 2) if options.quick else (100, 10)
    config = os.path.join(work, 'weir.yaml')
    port, got, threads = free_port(), {}, []

    def write(n, upstream):
        with open(config + '.new', 'w') as f:
            f.write(f'listen: 127.0.0.1:{port}\nlog: {{access: "off"}}\nlimits: {{queue: {2000 + n}}}\nbackends: {{b: {{kind: mock, url: "http://127.0.0.1:{upstream}", concurrency: 2000}}}}\n'
                    f'models: {{figure: {{use: [b/mock-1]}}, m{n}: {{use: [b/mock-1]}}}}\n')
        os.replace(config + '.new', config)
    with start_mock(options, work, '--ttft', '5ms', '--itl', '20ms', '--tokens', '100') as mock:
        write(0, mock.port)
        with Server('weir', [options.weir, 'serve', '-c', config], port, work, lambda p: get(p, '/readyz')[0] == 200) as weir:
            log, url = os.path.join(work, 'weir.out'), f'http://127.0.0.1:{port}'
            seconds = max(10, round((reloads + upgrades) * 0.3))
            for name, words in (('streams', ['--users', 100, '--stream']), ('plain', ['--users', 20, '--max-tokens', 1])):
                folder = os.path.join(work, name)
                os.mkdir(folder)
                threads.append(in_background(got, name, lambda folder=folder, words=words: bench(options, folder, url, '--model', 'figure', '--duration', f'{seconds}s', *words)))
            time.sleep(1)
            applied = upgraded = 0
            began = time.monotonic()
            for n in range(1, reloads + 1):
                write(n, mock.port)
                applied += reload_and_wait(weir.process, log, signal.SIGHUP, 'reloaded')
                if n % (reloads // upgrades) == 0:
                    upgraded += reload_and_wait(weir.process, log, signal.SIGUSR2, 'upgraded')
                time.sleep(max(0, began + n * (seconds - 3) / reloads - time.monotonic()))     # all over the run
            for thread in threads:
                thread.join()
    samples = [{'load': name, **short_of(r), 'failed': errors_of(r), 'kinds': r['errors']} for name, r in got.items()]
    failed = sum(s['failed'] for s in samples) + (reloads - applied) + (upgrades - upgraded)
    say(f"  {applied} reloads, {upgraded} upgrades, {sum(s['requests'] for s in samples):,} requests, {failed} failed: {[s['kinds'] for s in samples]}")
    results = {'failed': failed, 'reloads': applied, 'upgrades': upgraded, 'requests': sum(s['requests'] for s in samples), 'streams': next(s['requests'] for s in samples if s['load'] == 'streams')}
    return record('reloads', options, results, samples, seconds=seconds, how='100 users with streams of two seconds and 20 with plain answers, by weir bench on kept connections, weir mock behind; meanwhile '
                  'reloads by HUP, each with another model and another limit, and upgrades by USR2, over the whole run; failed: every request without a whole answer, every reload or upgrade that was not done')


@contextlib.contextmanager
def tenth_of_a_core():
    """A cgroup with a quota of 10 ms in 100; yields a function for a child to call before it becomes the program. None: there is no such thing here."""
    for root, files in (('/sys/fs/cgroup/cpu', {'cpu.cfs_period_us': '100000', 'cpu.cfs_quota_us': '10000'}), ('/sys/fs/cgroup', {'cpu.max': '10000 100000'})):
        folder = os.path.join(root, f'weir-figures-{os.getpid()}')
        try:
            os.mkdir(folder)
        except OSError:
            continue
        try:
            for name, text in files.items():
                with open(os.path.join(folder, name), 'w') as f:
                    f.write(text)
            yield lambda: open(os.path.join(folder, 'cgroup.procs'), 'w').write(str(os.getpid()))
            return
        except OSError:
            continue
        finally:
            with contextlib.suppress(OSError):
                os.rmdir(folder)
    yield None


def measure_bound(options, work):
    rounds, seconds = (1, 4) if options.quick else (5, 10)
    samples, body, config = [], os.path.join(work, 'body.json'), os.path.join(work, 'weir.yaml')
    with open(body, 'w') as f:
        json.dump({'model': 'figure', 'max_tokens': 5, 'messages': [{'role': 'user', 'content': 'The quick brown fox jumps over the lazy dog. ' * 4500}]}, f)
    with start_mock(options, work, '--tokens', 5) as mock, tenth_of_a_core() as enter:
        if enter is None:
            say('  skipped: no cgroup with a quota of processor time can be made here')
            return None
        port = free_port()
        with open(config, 'w') as f:
            f.write(f'listen: 127.0.0.1:{port}\nstore: {work}/weir.db\nlog: {{access: "off"}}\nbackends: {{b: {{kind: mock, url: "http://127.0.0.1:{mock.port}", concurrency: 2000}}}}\n'
                    'models: {figure: {use: [b/mock-1]}}\n')
        with Server('weir', [options.weir, 'serve', '-c', config], port, work, lambda p: get(p, '/readyz')[0] == 200, before=enter):
            def good(*load):
                r = bench(options, work, f'http://127.0.0.1:{port}', '--body', body, *load, '--duration', f'{seconds}s', '--warmup', '1s', '--timeout', '2s', '--slo', 'latency=2s')
                return r['good_rate'], r
            for i in range(rounds):
                peak = max(good('--users', users)[0] for users in (4, 16, 64))
                rate, flood = good('--rate', round(10 * peak))
                samples.append({'round': i, 'peak_per_s': round(peak, 1), 'offered_per_s': round(10 * peak), 'good_per_s': round(rate, 1), 'kept': round(rate / peak, 3),
                                'flood': short_of(flood), 'kinds': flood['errors'] | {'missed': flood['missed']}})
                say(f"  round {i + 1}: peak {peak:,.0f} a second, of {10 * peak:,.0f} offered {rate:,.0f} good: {rate / peak:.2f}; {samples[-1]['kinds']} {flood['invalid']}")
    results = {'kept': spread([s['kept'] for s in samples]), 'invalid': most_invalid([s['flood'] for s in samples]), 'peak_per_s': spread([s['peak_per_s'] for s in samples])}
    return record('bound', options, results, samples, rounds=rounds, seconds_a_round=seconds, how='weir alone in a cgroup with 10 ms of processor time in 100, prompts of 200 KB, so that one generator can offer ten '
                  'times too much; the peak is the best of 4, 16 and 64 users, in each round anew; then ten times that rate by an open loop, whatever becomes of it; good: answered whole within 2 s')


def read_start(options):
    """Seconds that ./run itself counted until `answered`: first run, then second."""
    seconds = []
    for path in options.chroot_log:
        seconds += [int(s) for s in re.findall(r'^\[ *(\d+) s\] answered', open(path, errors='replace').read(), re.M)]
    if not seconds:
        raise SystemExit('figures: no "[N s] answered" in ' + ', '.join(os.path.basename(p) for p in options.chroot_log))
    results = {'first_s': seconds[0]}
    if len(seconds) > 1:
        results['second_s'] = seconds[1]
    raw = record('start', options, results, seconds, how='a bare Debian bookworm (debootstrap, minbase) with nothing but the checkout; the seconds are those that ./run counted until the answer was whole; packages from a mirror near by')
    raw['command'] = './run --once'
    return raw


def two_mocks(options, work, stack, first, second, **more):
    """Two mocks that misbehave so, and weir in front of them: a function that asks it once, and one that counts calls at each mock."""
    mocks = [stack.enter_context(start_mock(options, work, '--tokens', 1, '--seed', i, *(['--fault', fault] if fault else []))) for i, fault in enumerate((first, second))]
    config, port = os.path.join(work, 'resilience.json'), free_port()
    with open(config, 'w') as f:
        json.dump({'listen': f'127.0.0.1:{port}', 'backends': {f'b{i}': {'url': f'http://127.0.0.1:{m.port}'} for i, m in enumerate(mocks)},
                   'models': {'chat': {'use': ['b0/mock-1', 'b1/mock-1']}}, **more}, f)
    stack.enter_context(Server('weir', [options.weir, 'serve', '-c', config], port, work, listens))
    request = b'{"model":"chat","prompt":"hi","max_tokens":1}'

    def ask(_=None):
        began = time.monotonic()
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
        connection.request('POST', '/v1/completions', request, {'content-type': 'application/json'})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return {'status': answer.status, 'attempts': int(answer.headers.get('x-weir-attempts', 0)), 'began': began, 's': time.monotonic() - began}
    return ask, lambda: [json.loads(get(m.port, '/_mock/stats')[1])['requests'] for m in mocks]


def ridden_out(answers, calls):
    good = sum(a['status'] == 200 for a in answers)
    return {'requests': len(answers), 'good': good, 'good_percent': round(100 * good / len(answers), 3), 'calls': sum(calls), 'calls_a_request': round(sum(calls) / len(answers), 4),
            'attempts_most': max(a['attempts'] for a in answers), 'calls_of_first': calls[0], 'calls_of_second': calls[1]}


def measure_resilience(options, work):
    results, rate, seconds = {}, 100, 12 if options.quick else 65
    for name, first, second, count in (('errors', 'status=500:0.3', 'status=500:0.3', 1000 if options.quick else 10000), ('outage', 'status=503', 'status=503', 1000)):
        with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor(16) as pool:
            ask, calls = two_mocks(options, work, stack, first, second)
            results[name] = ridden_out(list(pool.map(ask, range(count))), calls())
    with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor(128) as pool:
        ask, calls = two_mocks(options, work, stack, 'hang', None, timeouts={'first_token': '1s'})
        began, waiting = time.monotonic(), []
        for i in range(rate * seconds):
            time.sleep(max(began + i / rate - time.monotonic(), 0))
            waiting.append(pool.submit(ask))
        answers = [w.result() for w in waiting]
        late = [a for a in answers if a['began'] - began >= 5]
        slow = sum(a['s'] > 1.2 for a in late)
        results['hang'] = ridden_out(answers, calls()) | {'late': len(late), 'slow': slow, 'slow_percent': round(100 * slow / len(late), 4)}
    for name, r in results.items():
        say(f"  {name}: {r['good']} of {r['requests']} answered, {r['calls_a_request']} calls a request" + (f", {r['slow']} of {r['late']} slow" if name == 'hang' else ''))
    return record('resilience', options, results, [], rate_of_hang=rate, seconds_of_hang=seconds, how='two weir mocks behind one weir as shipped; 16 clients at once, and 100 requests a second '
                  'where one hangs; calls as the mocks counted them, times as the clients saw them')


MEASURES = {'calls': measure_calls, 'latency': measure_latency, 'model': measure_model,
            'since': measure_since, 'streams': measure_streams, 'memory': measure_memory, 'ready': measure_ready, 'local': measure_local, 'switch': measure_switch, 'auth': measure_auth, 'instructions': measure_instructions,
            'generator': measure_generator, 'agree': measure_agree, 'stopped': measure_stopped, 'drawn': measure_drawn, 'erlang': measure_erlang, 'queue': measure_queue, 'held': measure_held,
            'plans': measure_plans, 'resilience': measure_resilience, 'reloads': measure_reloads, 'bound': measure_bound}
QUICK = ['calls', 'streams', 'memory', 'ready', 'generator', 'agree', 'stopped', 'drawn', 'erlang']


# ---- verdicts and pages ----

def number(value, unit):
    digits = 0 if value == int(value) and unit != 'x' else 2 if unit == 'x' or (unit == '' and abs(value) < 10) else 1
    return f'{value:,.{digits}f}{" " + unit if unit else ""}'


def asked(f):
    return f'≤ {number(f.most, f.unit)}' if f.most is not None else f'≥ {number(f.least, f.unit)}' if f.least is not None else 'printed'


def verdict(f, raw, quick=False):
    """(word, what to print, whether it holds)."""
    if raw is None:
        return 'not measured', '', False
    results = raw['results']
    value = f.value(results)
    if value is None:
        return 'not measured', '', False
    most = f.quick if quick and f.quick is not None else f.most
    holds = (most is None or value <= most) and (f.least is None or value >= f.least)
    why = f.invalid(results)
    if why and not quick:
        return f'INVALID: {why}', f'{number(value, f.unit)}{"" if holds else ", and a miss"}', False
    return ('kept' if holds else 'MISSED') if most is not None or f.least is not None else '', number(value, f.unit), holds


def load(name):
    with contextlib.suppress(OSError):
        return json.load(open(os.path.join(RAW, name + '.json')))
    return None


def table(raws, quick=False):
    fine = True
    for f in FIGURES:
        if f.raw not in raws:
            continue
        word, value, holds = verdict(f, raws[f.raw], quick)
        fine = fine and holds
        beside = f.beside(raws[f.raw]['results']) if value else ''
        print(f'{f.name}\n    {value or "-":>10}   asked {asked(f)}{f" (here {number(f.quick, f.unit)})" if quick and f.quick else ""}   {word}{"   " + beside if beside else ""}')
    return fine


def machine_words(raw):
    m = raw.get('machine')
    if m is None:
        return 'On any machine'
    return f"{m['cpu']}, {m['cores']} cores, Linux {m['kernel']}"


def commit_words(raw):
    return raw['commit'] + ('+' if raw.get('changed') else '')


GENERATED = '<!-- Made by tools/figures.py --page from docs/figures/*.json. Do not edit: change the row or measure again. -->\n'


def promises_page(raws):
    out = [GENERATED, '# Promises\n', 'Every figure that weir promises, what was asked of it, and what was measured. A miss is printed as a miss; an invalid run proves nothing either way.',
           'The raw samples are in `docs/figures/`; how each is measured is in [performance.md](performance.md). `+` behind a commit: with changes not yet committed.\n',
           '| figure | asked | measured | command | commit |', '|---|---|---|---|---|']
    for f in FIGURES:
        raw = raws.get(f.raw)
        word, value, _ = verdict(f, raw)
        loud = f'**{word}**' if word not in ('kept', '') else word
        measured = ', '.join(w for w in (value, loud) if w)
        out.append(f"| {f.name} | {asked(f)} | {measured} | {'`' + raw['command'] + '`' if raw else ''} | {commit_words(raw) if raw else ''} |")
    return '\n'.join(out) + '\n'


def sample_rows(raw):
    s = raw['samples']
    if raw['measure'] in ('calls', 'since'):
        yield '| connections | round | proxy | CPU µs a call | calls/s | p50 ms | p99 ms | errors |', '|--:|--:|---|--:|--:|--:|--:|--:|'
        for x in s:
            yield (f"| {x['connections']} | {x['round'] + 1} | {x['proxy']} | {x['cpu_us']:.2f} | {x['per_s']:,} | {x['p50_us'] / 1e3:.2f} | {x['p99_us'] / 1e3:.2f} | {x['errors']} |",)
    elif raw['measure'] == 'streams':
        yield '| round | proxy | CPU µs a chunk | chunks | errors | added delay p50 µs | p99 µs |', '|--:|---|--:|--:|--:|--:|--:|'
        for x in s:
            yield (f"| {x['round'] + 1} | {x['proxy']} | {x['chunk_us']:.2f} | {x['chunks']:,} | {x['errors']} | {x['delay_p50_us']:.0f} | {x['delay_p99_us']:.0f} |",)
    elif raw['measure'] == 'generator':
        yield '| round | client | CPU µs a request | requests/s | p50 ms | p99 ms | errors |', '|--:|---|--:|--:|--:|--:|--:|'
        for x in s:
            yield (f"| {x['round'] + 1} | {x['client']} | {x['cpu_us']:.2f} | {x['per_s']:,.0f} | {x['p50_ms']:.2f} | {x['p99_ms']:.2f} | {x['errors']} |",)
    elif raw['measure'] == 'agree':
        yield '| round | client | p50 ms | p99 ms | requests/s | errors | the generator |', '|--:|---|--:|--:|--:|--:|---|'
        for x in s:
            yield (f"| {x['round'] + 1} | {x['client']} | {x['p50_ms']:.3f} | {x['p99_ms']:.3f} | {x['per_s']:,.0f} | {x['errors']} | {x.get('invalid', '')} |",)
    elif raw['measure'] == 'local':
        yield '| pair | way | tokens | tokens/s |', '|--:|---|--:|--:|'
        for x in s:
            yield (f"| {x['pair'] + 1} | {x['way']} | {x['tokens']} | {x['tps']:.1f} |",)


def performance_page(raws):
    out = [GENERATED, '# Performance\n', 'Latencies, the model\'s tokens and the figures of the load tester were measured by weir bench (which is held against wrk below), the processor time of a call under wrk, and of streams '
           'under tests/speed/streams.c, which checks each byte.\n',
           'weir as shipped, its peers tuned (their configuration is in `tests/speed/`), interleaved in one run on one machine. Only ratios, counts, CPU and memory are promised: '
           'wall time on a shared machine is weather. `make figures` measures all of it again.\n']
    names = list(dict.fromkeys(f.raw for f in FIGURES))
    for name in names:
        raw = raws.get(name)
        out.append(f'## {name.capitalize()}\n')
        if raw is None:
            out.append('Not measured yet.\n')
            continue
        peers = ''.join(f'; {peer} {version}' for peer, version in raw.get('peers', {}).items())
        rounds = f"; {raw['rounds']} rounds" if 'rounds' in raw else ''
        load = f"load before {raw['load_before']}; " if 'load_before' in raw else ''
        out.append(f"{raw['how'][0].upper() + raw['how'][1:]}.\n")
        out.append(f"{machine_words(raw)}{peers}; commit {commit_words(raw)}; {raw['date']}{rounds}; {load}`{raw['command']}`\n")
        out += ['| figure | asked | measured | | |', '|---|---|--:|---|---|']
        for f in FIGURES:
            if f.raw == name:
                word, value, _ = verdict(f, raw)
                out.append(f"| {f.name} | {asked(f)} | {value} | {f'**{word}**' if word not in ('kept', '') else word} | {f.beside(raw['results']) if value else ''} |")
        rows = [line for lines in sample_rows(raw) for line in lines]
        if rows:
            out += ['', '<details><summary>samples</summary>\n', *rows, '\n</details>']
        out.append('')
    return '\n'.join(out) + '\n'


def loadtest_table(raws):
    """The figures of the load tester, which docs/loadtest.md has between two marks."""
    out = ['| | asked | measured | | |', '|---|---|--:|---|---|']
    for f in FIGURES:
        if f.name.startswith('Load test: '):
            raw, name = raws.get(f.raw), f.name.removeprefix('Load test: ')
            word, value, _ = verdict(f, raw)
            beside = f.beside(raw['results']) if value else ''
            name = name if re.match(r'p[0-9]', name) else name[0].upper() + name[1:]
            out.append(f"| {name} | {asked(f)} | {value} | {f'**{word}**' if word not in ('kept', '') else word} | {beside}{'; ' if beside else ''}`{f.raw}` |")
    used = [raw for name in dict.fromkeys(f.raw for f in FIGURES if f.name.startswith('Load test: ')) if (raw := raws.get(name))]
    machines = dict.fromkeys(machine_words(raw) for raw in used)
    loads = [raw['load_before'] for raw in used if 'load_before' in raw]
    out += ['', f"{'; '.join(machines)}. Load before a measurement {min(loads, default=0)} to {max(loads, default=0)}."]
    return '\n'.join(out) + '\n'


def write_between(page, begin, end, text):
    path = os.path.join(ROOT, 'docs', page)
    with open(path) as f:
        before, mark, rest = f.read().partition(begin)
    if not mark or end not in rest:
        raise SystemExit(f'figures: docs/{page} has no place for its figures: {begin}')
    with open(path, 'w') as f:
        f.write(before + begin + '\n' + text + rest[rest.index(end):])


def write_pages():
    raws = {f.raw: load(f.raw) for f in FIGURES}
    write_between('loadtest.md', '<!-- figures: made by tools/figures.py --page from docs/figures/*.json -->', '<!-- end -->', loadtest_table(raws))
    for page, text in (('performance.md', performance_page(raws)), ('promises.md', promises_page(raws))):
        with open(os.path.join(ROOT, 'docs', page), 'w') as f:
            f.write(text.rstrip('\n') + '\n')
        say(f'docs/{page}')


def keep(raw):
    os.makedirs(RAW, exist_ok=True)
    with open(os.path.join(RAW, raw['measure'] + '.json'), 'w') as f:
        json.dump(raw, f, indent=1, ensure_ascii=False)
        f.write('\n')


def measure_all(options, names):
    missing = [p for p in ('nginx', 'haproxy', 'wrk') if not shutil.which(p)]
    if missing:
        raise SystemExit('figures: not installed: ' + ', '.join(missing))
    if not os.access(options.weir, os.X_OK):
        raise SystemExit('figures: no weir to measure: run make')
    raws = {}
    for name in names:
        say(name)
        options.load = round(os.getloadavg()[0], 2)
        with tempfile.TemporaryDirectory(prefix='weir-figures-') as work:
            raws[name] = MEASURES[name](options, work)
        if raws[name] is not None and not options.quick:
            keep(raws[name])
    return raws


def main():
    import figures_cache, figures_flood, figures_hedge  # here, as they read this file
    for more in (figures_cache, figures_flood, figures_hedge):
        FIGURES.extend(more.FIGURES)
        MEASURES.update(more.MEASURES)
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('measures', nargs='*', metavar='MEASURE', help=' '.join(MEASURES))
    p.add_argument('--quick', action='store_true', help='under a minute, nothing kept, loose bounds')
    p.add_argument('--page', action='store_true', help='write the pages from the raw files')
    p.add_argument('--rounds', type=int, default=7, help='of calls and of streams (7; at least 5)')
    p.add_argument('--weir', default=os.path.join(ROOT, 'build', 'weir'), help='the binary to measure')
    p.add_argument('--chroot-log', nargs='+', default=[], metavar='FILE', help='what ./run said on a bare machine')
    options = p.parse_args()
    options.weir = os.path.abspath(options.weir)
    options.load = round(os.getloadavg()[0], 2)
    os.environ['PATH'] += ':/usr/sbin:/sbin'
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))     # so that what we started is stopped
    if (wrong := [m for m in options.measures if m not in MEASURES]):
        p.error(f"no measure is called {wrong[0]}; there are {' '.join(MEASURES)}")
    if not options.quick and options.rounds < 5:
        p.error('at least 5 rounds')
    raws = {}
    if options.chroot_log:
        raws['start'] = read_start(options)
        keep(raws['start'])
    if options.measures or options.quick or not (options.page or options.chroot_log):
        raws |= measure_all(options, options.measures or (QUICK if options.quick else list(MEASURES)))
        if not options.measures and not options.quick and 'start' not in raws and (raw := load('start')):
            raws['start'] = raw
    fine = table(raws, options.quick) if raws else True
    if options.page or not options.quick:
        write_pages()
        figures_flood.write_pages()
    return 0 if fine else 1


if __name__ == '__main__':
    sys.exit(main())

#!/usr/bin/env python3
"""The scenarios of weir bench that are more than a load: python3 tests/clients/test_bench_special.py BUILD_WEIR [NAME...]
Each is shown a server that is as it should be, and one that is not: the second one must be found out."""
import contextlib
import json
import os
import re
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from rig import Mock, ROOT, WEIR, Weir, one_model, run, until

ENV = {k: v for k, v in os.environ.items() if k != 'WEIR_KEY'}
KEYS = [f'sk-CANARY-of-tenant-{i}' for i in range(4)]


class Bench:
    """One run of a scenario: exit code, words, and JSON: .runs, of which .json is the one with the findings."""

    def __init__(self, *words):
        with tempfile.TemporaryDirectory(prefix='weir-bench.') as folder:
            file = Path(folder) / 'result.json'
            done = subprocess.run([WEIR, 'bench', *map(str, words), '--json', file], capture_output=True, text=True, timeout=55, env=ENV, cwd=folder)
            self.code, self.out, self.err = done.returncode, done.stdout, done.stderr
            found = json.loads(file.read_text()) if file.exists() else {}
        assert 'CANARY' not in self.out + self.err + json.dumps(found), 'it told a key'
        self.runs = found.get('runs', [found])
        self.json = next((r for r in self.runs if r.get('findings')), self.runs[0])

    def expect(self, code):
        """A machine that was too busy for the generator's own clock says so, and that is no matter here: what was counted is looked at all the same."""
        late = self.code == 3 and all(r['invalid'] == '' or 'was late' in r['invalid'] for r in self.runs)
        assert self.code == code or late, f'exit code {self.code}, not {code}:\n{self.out}{self.err}'
        return self

    def finding(self, name):
        return next(f for f in self.json['findings'] if f['name'] == name)

    def run(self, ending):
        return next(r for r in self.runs if r['name'].endswith(ending))

    def missed(self):
        return re.findall(r'MISSED\s+(.*)', self.out)


@contextlib.contextmanager
def serving(server):
    """A socketserver on a thread, by its URL."""
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01}, daemon=True)
    thread.start()
    try:
        yield f'http://127.0.0.1:{server.server_address[1]}'
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


class Answerer(BaseHTTPRequestHandler):
    """Answers in one write, so that no kernel waits for the other's acknowledgement."""
    protocol_version = 'HTTP/1.1'
    wbufsize = 65536

    def log_message(self, *_):
        pass

    def answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in {'content-type': 'application/json', 'content-length': str(len(body)), **headers}.items():
            self.send_header(name.replace('_', '-'), value)
        self.end_headers()
        self.wfile.write(body)


class Threads(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128


def corrupting(mock, spoil):
    """A proxy in front of a mock that passes bytes on as spoil(bytes) makes them."""
    port = int(mock.url.rsplit(':', 1)[1])

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            with socket.create_connection(('127.0.0.1', port)) as up:
                back = threading.Thread(target=self.copy, args=(up, self.request, spoil), daemon=True)
                back.start()
                self.copy(self.request, up, lambda b: b)
                back.join(10)

        @staticmethod
        def copy(a, b, change):
            with contextlib.suppress(OSError):
                while data := a.recv(65536):
                    b.sendall(change(data))
            for s in a, b:
                with contextlib.suppress(OSError):
                    s.shutdown(socket.SHUT_RDWR)
    return Threads(('127.0.0.1', 0), Handler)


# ---- verify ----

SLOW = ('--itl', '3ms', '--ttft', '5ms')     # so that a stream can be left in the middle
SHORT = ('--duration', '1s', '--users', 10)


def test_verify_is_clean_through_weir():
    with Mock(*SLOW, '--seed', 11, '--tokens', 9) as m, Weir(one_model(m)) as w:
        b = Bench('verify', w.url, '--mock', m.url, *SHORT).expect(0)
        assert b.json['requests'] == b.json['ok'] > 50, b.json
        assert b.finding('cancelled')['value'] == 1 and b.finding('still_active')['value'] == 0, b.out
        assert 0 <= b.finding('cancel_delay')['value'] < 50, b.out
        assert re.search(r'streams were left in the middle, and the mock saw [1-9]\d* of them end', b.out), b.out


def test_verify_knows_what_ollama_says():
    with Mock(*SLOW, '--dialect', 'ollama') as m:
        b = Bench('verify', f'{m.url}/api/chat', '--mock', m.url, *SHORT).expect(0)
        assert b.json['requests'] == b.json['ok'] > 50, b.json


def test_verify_takes_odd_writes_and_large_tokens():
    with Mock(*SLOW, '--fault', 'splitutf8', '--fault', 'bigline:0.02') as m, Weir(one_model(m)) as w:
        b = Bench('verify', w.url, '--mock', m.url, *SHORT, '--criteria', 'errors <= 0').expect(0)
        assert b.json['ok'] > 20 and m.stats()['faults']['bigline'] > 0, (b.json, m.stats())


def test_verify_finds_one_wrong_letter():
    with Mock(*SLOW) as m, serving(corrupting(m, lambda b: b.replace(b'bridge', b'bridgE'))) as url:
        b = Bench('verify', url, '--mock', m.url, *SHORT).expect(1)
        assert b.json['errors'].get('wrong', 0) > 5 and b.json['errors'].keys() == {'wrong'}, b.json['errors']
        assert b.json['ok'] > 0, 'some answers have no bridge'
        assert any('errors <= 0' in line for line in b.missed()), b.out


def test_verify_finds_a_server_that_reads_on_for_nobody():
    """A proxy that goes on reading from the model when its client has left."""
    with Mock('--itl', '20ms', '--ttft', '1ms', '--tokens', 100) as m:
        port = int(m.url.rsplit(':', 1)[1])

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                with socket.create_connection(('127.0.0.1', port)) as up:
                    threading.Thread(target=self.ask, args=(up,), daemon=True).start()
                    with contextlib.suppress(OSError):
                        while data := up.recv(65536):
                            with contextlib.suppress(OSError):
                                self.request.sendall(data)

            def ask(self, up):
                with contextlib.suppress(OSError):
                    while data := self.request.recv(65536):
                        up.sendall(data)
        with serving(Threads(('127.0.0.1', 0), Handler)) as url:
            b = Bench('verify', url, '--mock', m.url, '--duration', '300ms', '--users', 10, '--timeout', '10s').expect(1)
            assert any('cancel_delay' in line for line in b.missed()), b.out


def test_verify_needs_a_mock_that_pauses():
    with Mock() as m:
        assert '--itl' in Bench('verify', m.url, *SHORT).expect(1).err
        with Weir(one_model(m)) as w:
            assert '--mock URL' in Bench('verify', w.url, *SHORT).expect(1).err


def test_plans_verify_too():
    plan = 'url: http://127.0.0.1:1\napi: openai\nmodel: chat\nverify: true\nusers: 3\nduration: 300ms\nflows:\n  - name: f\n    steps:\n      - ask: {}\n'
    with Mock('--seed', 5, '--tokens', 7) as m, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'plan.yml'
        file.write_text(plan)
        assert Bench('run', file, m.url).expect(0).json['ok'] > 10
        with serving(corrupting(m, lambda b: re.sub(rb'("content":")[a-z]', rb'\1~', b))) as url:
            assert Bench('run', file, url, '--mock', m.url).expect(1).json['errors'].keys() == {'wrong'}


# ---- cache ----

def caching(mock, capacity, says=True):
    """An HTTP server in front of a mock that keeps the last answers, and says so."""
    kept, lock = OrderedDict(), threading.Lock()

    class Handler(Answerer):
        def do_GET(self):
            self.answer(*mock.get(self.path)[::2])

        def do_POST(self):
            body = self.rfile.read(int(self.headers['content-length']))
            with lock:
                hit = kept.get(body)
                if hit:
                    kept.move_to_end(body)
            answer = hit or mock.post(self.path, json.loads(body))[::2]
            with lock:
                kept[body] = answer
                while len(kept) > capacity:
                    kept.popitem(last=False)
            self.answer(*answer, **({'x_weir_cache': 'hit' if hit else 'miss'} if says else {}))
    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.daemon_threads = True
    return server


MIX = ('--requests', 300, '--distinct', 40, '--users', 1)


def test_cache_without_limits_is_ideal():
    with Mock('--ttft', '10ms') as m, serving(caching(m, 1000)) as url:
        b = Bench('cache', url, *MIX).expect(0)
        asked = m.stats()['requests']       # once for each prompt that came at all: the ideal, counted by somebody else
        assert b.run('all')['requests'] == 300 and abs(b.finding('ideal_share')['value'] - (300 - asked) / 300) < 1e-9, (asked, b.out)
        assert abs(b.finding('of_ideal')['value'] - 1) < 1e-9, b.out
        assert b.run('hits')['requests'] == 300 - asked and b.run('misses')['requests'] == asked, b.out
        assert b.run('hits')['p50_ms'] < b.run('misses')['p50_ms'], b.out


def test_cache_that_is_too_small_is_found():
    with Mock() as m, serving(caching(m, 3)) as url:
        b = Bench('cache', url, *MIX).expect(1)
        assert 0 < b.finding('of_ideal')['value'] < 0.9 and any('of_ideal' in line for line in b.missed()), b.out


def test_cache_that_says_nothing_is_not_guessed():
    with Mock() as m, serving(caching(m, 1000, says=False)) as url:
        b = Bench('cache', url, *MIX).expect(1)
        assert 'The server said nothing about its cache' in b.out and 'not measured' in b.out, b.out


# ---- context ----

def test_context_grows_through_weir():
    with Mock('--tokens', 3) as m, Weir(one_model(m)) as w:
        b = Bench('context', w.url, '--turns', 60, '--users', 3).expect(0)
        assert b.run('all')['requests'] == 180 == m.idle()['requests'], b.out
        assert b.finding('turns')['value'] == 60, b.out
        assert [r['requests'] for r in b.runs[1:]] == [30, 30, 90, 30], b.out
        assert b.run('turn 60')['tokens_in'] > 5 * b.run('turn 10')['tokens_in'], 'a conversation carries what was said'


def test_context_finds_the_turn_that_breaks():
    with Mock('--tokens', 3, '--fault', 'status=400:1:25') as m:
        b = Bench('context', m.url, '--turns', 60, '--users', 1).expect(1)
        assert b.finding('turns')['value'] == 25 and 'The first failure was at turn 26' in b.out, b.out


# ---- fair ----

def keys_file(folder, weights):
    file = Path(folder) / 'keys'
    file.write_text('# tenants\n' + ''.join(f'{key} {weight}\n' for key, weight in zip(KEYS, weights)))
    return file


def test_fair_when_there_is_enough_for_all():
    with Mock('--ttft', '5ms') as m, tempfile.TemporaryDirectory() as folder:
        conf = one_model(m, keys={f't{i}': {'key': key} for i, key in enumerate(KEYS)})
        with Weir(conf) as w:
            b = Bench('fair', w.url, '--keys', keys_file(folder, [100, 5, 5, 5]), '--rate', 200, '--duration', '1s', '--model', 'chat').expect(0)
            assert b.finding('jain')['value'] > 0.99, b.out
            assert b.run('all')['requests'] == 200 == sum(r['requests'] for r in b.runs[1:]) and b.run('all')['errors'] == {}, b.out
            assert b.run('tenant 1 x100')['tokens'] > 5 * b.run('tenant 2 x5')['tokens'], b.out


def test_fair_finds_who_is_left_out():
    """A server that refuses all but the greedy one."""
    class Handler(Answerer):
        def do_POST(self):
            self.rfile.read(int(self.headers['content-length']))
            good = KEYS[0] in self.headers['authorization']
            answer = {'choices': [{'message': {'content': 'x'}}], 'usage': {'completion_tokens': 5}} if good else {'error': 'busy'}
            self.answer(200 if good else 429, json.dumps(answer).encode())
    with serving(ThreadingHTTPServer(('127.0.0.1', 0), Handler)) as url, tempfile.TemporaryDirectory() as folder:
        b = Bench('fair', url, '--keys', keys_file(folder, [10, 5, 5, 5]), '--rate', 100, '--duration', '1s', '--model', 'x').expect(1)
        assert b.finding('jain')['value'] < 0.6 and any('jain' in line for line in b.missed()), b.out
        assert b.run('tenant 2 x5')['ok'] == 0 < b.run('tenant 1 x10')['ok'], b.out


def test_fair_refuses_files_that_are_wrong():
    with Mock() as m, tempfile.TemporaryDirectory() as folder:
        assert '--keys FILE' in Bench('fair', m.url).expect(2).err
        assert 'keys:2: behind the key stands its weight' in Bench('fair', m.url, '--keys', keys_file(folder, ['many', 1])).expect(2).err
        assert 'has 1 keys' in Bench('fair', m.url, '--keys', keys_file(folder, [1])).expect(2).err


# ---- leak ----

def test_leak_finds_none_in_weir():
    with Mock() as m, Weir(one_model(m)) as w:
        b = Bench('leak', w.url, '--pid', w.child.pid, '--requests', 20000).expect(0)     # its stories and log fill rings that have an end
        assert b.json['requests'] == 20000 and b.finding('rss_before')['value'] > 1, b.out
        assert b.finding('leak_mb')['low'] < 0.1 and abs(b.finding('leak_fds')['value']) < 1, b.out


LEAKING = '''
import os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
kept = []
class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    wbufsize = 65536
    def log_message(self, *_): pass
    def do_GET(self):
        kept.append(bytes([1]) * 4000)      # touched, or it would be no memory
        if len(kept) % 20 == 0:
            kept.append(os.open('/dev/null', os.O_RDONLY))
        self.send_response(200)
        self.send_header('content-length', '2')
        self.end_headers()
        self.wfile.write(b'ok')
server = HTTPServer(('127.0.0.1', 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
'''


def test_leak_finds_one_that_is_there():
    with subprocess.Popen([sys.executable, '-c', LEAKING], stdout=subprocess.PIPE, text=True) as server:
        try:
            port = int(server.stdout.readline())
            b = Bench('leak', f'http://127.0.0.1:{port}/x', '--pid', server.pid, '--users', 1, '--requests', 1000).expect(1)
            leak, fds = b.finding('leak_mb'), b.finding('leak_fds')
            assert 3 < leak['low'] <= leak['value'] <= leak['high'] < 6, b.out      # 4 KB of each: 4 MB of a thousand
            assert 45 < fds['value'] < 55, b.out
            assert {'leak_mb', 'leak_fds'} <= {line.split('.')[0] for line in b.missed()}, b.out
        finally:
            server.kill()


def test_leak_needs_a_process():
    with Mock() as m:
        assert '--pid' in Bench('leak', m.url).expect(2).err


# ---- overhead ----

def test_overhead_cannot_tell_from_a_blink():
    with Mock() as m, Weir(one_model(m)) as w:
        b = Bench('overhead', w.url, '--direct', m.url, '--pid', w.child.pid, '--users', 1, '--scale', 0.03).expect(0)
        names = [r['name'] for r in b.runs]
        assert [name.split()[1] for name in names] == ['without', 'with', 'with', 'without'] * 2, names
        assert 'cannot tell' in b.out and b.finding('overhead_p50')['low'] is None, b.out
        assert b.finding('overhead_cpu')['value'] >= 0, b.out
        asked = m.idle()['requests']
        assert asked >= sum(r['requests'] for r in b.runs), 'both ways end at the same model'


def test_overhead_needs_the_other_way():
    with Mock() as m:
        assert '--direct URL' in Bench('overhead', m.url).expect(2).err


def test_scenarios_make_their_own_prompts():
    with Mock() as m, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'p'
        file.write_text('a prompt\n')
        for words in ('cache',), ('context',), ('overhead', '--direct', m.url):
            assert 'makes its own prompts' in Bench(words[0], m.url, *words[1:], '--prompts', file).expect(2).err


if __name__ == '__main__':
    run(globals())

#!/usr/bin/env python3
"""weir cache warm and weir cache simulate, from outside: python3 tests/clients/test_cache_cli.py BUILD_WEIR [NAME...]

The server that is warmed is a stand-in that says what a test tells it to say, so that each of its words is seen; and a real weir at the end.
"""
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import rig
from rig import Mock, Weir, one_model, until

TRACES = Path(os.environ.get('BENCH_DATA') or rig.ROOT.parent / 'shared' / 'data') / 'mooncake'


class Standin:
    """A server that keeps answers, as far as anybody can see. answer(path, body, times): status, headers, JSON; or None: the usual hit or miss. Who asks for what is
    there only (x-weir-cache: only) is not counted, and gets what was kept, or 504; and of what begins with "unkept" nothing is."""

    def __init__(self, answer=None):
        standin = self
        self.asked, self.times, self.kept, self.lock, self.answer = [], {}, set(), threading.Lock(), answer or (lambda *_: None)
        self.connections, self.at_once, self.most, self.looked = 0, 0, 0, []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            wbufsize = -1       # head and body in one packet: else the kernel waits between them
            has_asked = False

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers['content-length'])))
                name = (self.path, json.dumps(body, sort_keys=True))
                if self.headers.get('x-weir-cache') == 'only':
                    with standin.lock:
                        standin.looked.append(name)
                        is_kept = name in standin.kept
                    self.tell(*((200, {'x-weir-cache': 'hit'}, {}) if is_kept else (504, {'x-weir-cache': 'miss'}, {'error': {'code': 'not_cached'}})))
                    return
                with standin.lock:
                    standin.asked.append((self.path, body, self.headers.get('authorization'), time.monotonic()))
                    standin.connections += not self.has_asked   # warm's look whether anybody is there is none of them
                    self.has_asked = True
                    standin.at_once += 1
                    standin.most = max(standin.most, standin.at_once)
                    times = standin.times[name] = standin.times.get(name, 0) + 1
                    is_kept = name in standin.kept
                try:
                    said = standin.answer(self.path, body, times)
                finally:
                    with standin.lock:
                        standin.at_once -= 1
                if said is None:
                    with standin.lock:
                        if '"unkept' not in name[1]:
                            standin.kept.add(name)
                    said = 200, {'x-weir-cache': 'hit' if is_kept else 'miss'}, {'choices': []}
                self.tell(*said)

            def tell(self, status, headers, out):
                out = json.dumps(out).encode()
                self.send_response(status)
                for header, value in {'content-type': 'application/json', 'content-length': len(out), **headers}.items():
                    self.send_header(header, str(value))
                self.end_headers()
                self.wfile.write(out)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):     # clients that go away in the middle
                pass

        self.server = Server(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.server.server_port}'
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def weir(*words, env=None):
    return subprocess.run([str(rig.WEIR), 'cache', *map(str, words)], capture_output=True, text=True, timeout=50, env={**os.environ, **(env or {})})


class File:
    """with File(lines) as path"""

    def __init__(self, *lines):
        self.folder = tempfile.TemporaryDirectory(prefix='weir-lines.')
        self.path = Path(self.folder.name) / 'lines'
        self.path.write_bytes(b''.join((line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode()) + b'\n' for line in lines))

    def __enter__(self):
        return self.path

    def __exit__(self, *_):
        self.folder.cleanup()


def chat(words, **more):
    return {'model': 'chat', 'temperature': 0, 'messages': [{'role': 'user', 'content': words}], **more}


# ---- warm ----

def test_each_form_of_a_line_is_asked_and_kept():
    embedding = {'model': 'embed', 'input': 'x'}
    bare = {'messages': [{'role': 'user', 'content': 'bare'}]}
    with Standin() as s, File(chat('one'), 'What is a "weir"? é', {'path': '/v1/embeddings', 'body': embedding}, '', bare, '{ "path" : "/v1/completions", "body": {} }') as file:
        ran = weir('warm', file, '--to', s.url, '--model', 'small', '--key', 'sk-1', '--concurrency', 1)
        assert ran.returncode == 0, ran.stderr
        assert re.fullmatch(r'5 of 5 asked in \S+: 5 stored, 0 there already\n', ran.stdout), ran.stdout
        asked = [(path, body) for path, body, *_ in s.asked]
        assert asked == [
            ('/v1/chat/completions', chat('one')),
            ('/v1/chat/completions', {'model': 'small', 'temperature': 0, 'messages': [{'role': 'user', 'content': 'What is a "weir"? é'}]}),
            ('/v1/embeddings', embedding),
            ('/v1/chat/completions', {'model': 'small', **bare}),
            ('/v1/completions', {'model': 'small'}),
        ], asked
        assert {key for *_, key, _ in s.asked} == {'Bearer sk-1'}
        assert s.connections == 1, 'a connection is kept from question to question'
        again = weir('warm', file, '--to', s.url, '--model', 'small', env={'WEIR_KEY': 'sk-2'})
        assert again.returncode == 0 and ': 0 stored, 5 there already' in again.stdout, again
        assert s.asked[-1][2] == 'Bearer sk-2'


def test_what_was_not_kept_is_told_by_reason():
    def answer(path, body, times):
        words = body['messages'][0]['content']
        if words.startswith('no'):
            return 200, {'x-weir-cache': 'bypass', 'x-weir-cache-why': words[3:]}, {}
        if words == 'mute':
            return 200, {}, {}
        return (400, {}, {'error': {'message': 'Not \x1b[31mthat.'}}) if words == 'bad' else None
    with Standin(answer) as s, File(chat('a'), chat('no tools'), chat('no temperature'), chat('no tools', top_p=0.5), chat('bad'), chat('mute')) as file:
        ran = weir('warm', file, '--to', s.url)
        assert ran.returncode == 1
        summary = re.fullmatch(r'6 of 6 asked in \S+: 1 stored, 0 there already, 3 bypassed \((.*)\), 1 without a word about a cache, 1 failed\n', ran.stdout)
        assert summary and set(summary.group(1).split(', ')) == {'tools 2', 'temperature 1'}, ran.stdout
        assert f'{file}:5: status 400: Not ?[31mthat.\n' in ran.stderr, ran.stderr
        assert 'is ' + s.url + ' a weir with cache.exact on?' in ran.stderr, ran.stderr
        told = json.loads(weir('warm', file, '--to', s.url, '--json').stdout)
        assert told['hits'] == 1 and told['bypassed'] == {'tools': 2, 'temperature': 1} and told['failures'] == [{'line': 5, 'why': 'status 400: Not ?[31mthat.'}], told
        assert (told['questions'], told['asked'], told['untold'], told['failed'], told['stopped']) == (6, 6, 1, 1, False), told


def test_what_was_answered_and_is_not_there_was_not_kept():
    with Standin() as s, File(chat('a'), chat('unkept: refused'), chat('b')) as file:
        ran = weir('warm', file, '--to', s.url, '--concurrency', 1)
        assert ran.returncode == 1 and re.fullmatch(r'3 of 3 asked in \S+: 2 stored, 0 there already, 1 not kept\n', ran.stdout), ran
        assert re.fullmatch(re.escape(f'weir cache warm: {file}:2: answered, and not kept: ') + r'.*\n', ran.stderr), ran
        assert len(s.asked) == len(s.looked) == 3, s.looked
        told = json.loads(weir('warm', file, '--to', s.url, '--json').stdout)
        assert (told['hits'], told['stored'], told['unkept'], told['failed'], told['failures'][0]['line']) == (2, 0, 1, 0, 2), told
    with Standin(lambda *_: (200, {'x-weir-cache': 'join'}, {})) as s, File(chat('joined')) as file:
        ran = weir('warm', file, '--to', s.url)
        assert ran.returncode == 1 and ', 1 not kept\n' in ran.stdout and len(s.looked) == 2, 'who joined looks again: a moment later it may be there'
    with Mock('--tokens', '100000', '--ttft', '0') as m, Weir(one_model(m)) as w, File(chat('long')) as file:
        ran = weir('warm', file, '--to', w.url)
        assert ran.returncode == 1 and ': 0 stored, 0 there already, 1 not kept\n' in ran.stdout, ran


def test_a_byte_order_mark_is_no_part_of_the_first_line():
    with Standin() as s, File(b'\xef\xbb\xbf' + json.dumps(chat('a')).encode(), chat('b')) as file:
        ran = weir('warm', file, '--to', s.url, '--concurrency', 1)
        assert ran.returncode == 0 and [body for _, body, *_ in s.asked] == [chat('a'), chat('b')], (ran, s.asked)


def test_what_cannot_be_written_has_failed():
    with Standin() as s, File(chat('a')) as file, open('/dev/full', 'w') as full:
        for words in (['warm', file, '--to', s.url], ['warm', file, '--to', s.url, '--json'], ['simulate', 'zipf:1,5,5'], ['simulate', 'zipf:1,5,5', '--json']):
            ran = subprocess.run([str(rig.WEIR), 'cache', *map(str, words)], stdout=full, stderr=subprocess.PIPE, text=True, timeout=50)
            assert ran.returncode == 1 and ran.stderr == f'weir cache {words[0]}: what it had to say could not be written\n', (words, ran)


def test_wrong_lines_are_all_told_and_nothing_is_asked():
    lines = [chat('fine'), '{"messages":', {'input': 'x'}, {'path': 'v1', 'body': {}}, {'path': '/v1/x', 'body': {}, 'more': 1}, 'a prompt', b'\xff\xfe', {'messages': [], 'top_p': 1}]
    with Standin() as s, File(*lines) as file:
        ran = weir('warm', file, '--to', s.url)
        assert ran.returncode == 2 and not s.asked, ran
        told = ran.stderr.splitlines()
        assert [re.match(re.escape(f'weir cache warm: {file}:') + r'(\d+): ', line).group(1) for line in told] == ['2', '3', '4', '5', '6', '7', '8'], ran.stderr
        assert 'not JSON: ' in told[0] and 'no "messages"' in told[1] and '{"path": "/v1/...", "body": {...}}' in told[2], ran.stderr
        assert told[4].endswith('a prompt; --model NAME says whom to ask') and told[5].endswith('not UTF-8'), ran.stderr
    with File(*['{'] * 25) as file:
        told = weir('warm', file, '--to', 'http://127.0.0.1:1').stderr.splitlines()
        assert len(told) == 11 and told[-1].endswith('and 15 lines more are wrong'), told
    with File('', '  ') as file:
        assert weir('warm', file).stderr.endswith('holds no request\n')


def test_wrong_use():
    for words, said in [
        (['warm'], 'FILE is missing'), (['warn', 'x'], 'there is no weir cache warn, did you mean warm'), ([], 'warm or simulate?'),
        (['warm', 'x', '--concurrency', '0'], 'concurrency'), (['warm', 'x', '--to', 'http://h', '-c', 'y'], '--config has no meaning'),
        (['warm', 'x', '--key', 'a b'], 'the key has a blank'), (['warm', '/nowhere'], '/nowhere: cannot be opened'),
        (['simulate'], 'TRACE is missing'), (['simulate', 'zipf:1,5,5', '--entries', '0'], '--entries is numbers'), (['simulate', 'zipf:1,5,5', '--answer', '1KiB'], '--answer says'),
        (['simulate', 'zipf:1,5,5', '--bytes', '1KiB'], 'with room for an answer'), (['simulate', 'zipf:1,x,5'], 'KEYS must be'),
    ]:
        ran = weir(*words)
        assert ran.returncode == 2 and said in ran.stderr and not ran.stdout, (words, ran)
    with Standin() as s, File(chat('x')) as file:
        ran = weir('warm', file, '--to', s.url + '/v1/chat/completions')
        assert ran.returncode == 1 and 'base URL' in ran.stderr and not s.asked, ran
    for words in (['--help'], ['warm', '--help'], ['simulate', '--help']):
        ran = weir(*words)
        assert ran.returncode == 0 and ran.stdout.index('  weir cache ') < ran.stdout.index('usage:'), ran


def test_who_is_told_to_come_later_waits():
    def answer(path, body, times):
        if body['messages'][0]['content'] == 'limited' and times == 1:
            return 429, {'retry-after': 1, 'retry-after-ms': 300}, {'error': {'message': 'Later.'}}
        if body['messages'][0]['content'] == 'shed' and times < 3:
            return 503, {'retry-after-ms': 20, 'x-should-retry': 'true'}, {'error': {'message': 'Later.'}}
        return None
    with Standin(answer) as s, File(chat('limited'), chat('b'), chat('shed'), chat('d')) as file:
        ran = weir('warm', file, '--to', s.url, '--concurrency', 1)
        assert ran.returncode == 0 and ': 4 stored' in ran.stdout, ran
        words = [body['messages'][0]['content'] for _, body, *_ in s.asked]
        assert words == ['limited', 'limited', 'b', 'shed', 'shed', 'shed', 'd'], words
        at = [when for *_, when in s.asked]
        assert at[1] - at[0] >= 0.3, 'the wait was not kept'


def test_while_one_is_told_to_wait_nobody_asks():
    def answer(path, body, times):
        return (429, {'retry-after-ms': 300}, {}) if body['messages'][0]['content'] == 'limited' and times == 1 else None
    with Standin(answer) as s, File(chat('a'), chat('limited'), *[chat(str(i)) for i in range(200)]) as file:
        ran = weir('warm', file, '--to', s.url, '--concurrency', 2)
        assert ran.returncode == 0, ran
        words = [body['messages'][0]['content'] for _, body, *_ in s.asked]
        meanwhile = words[words.index('limited') + 1:].index('limited')
        assert meanwhile <= 20, f'{meanwhile} were asked meanwhile'     # one that was on its way, and some when both may ask again


def test_who_is_told_to_come_tomorrow_or_never_has_failed():
    def answer(path, body, times):
        headers = {'retry-after': 86400} if body['messages'][0]['content'] == 'spent' else {}
        return 429, {**headers, 'x-should-retry': 'false'}, {'error': {'message': 'The budget is spent.'}}
    with Standin(answer) as s, File(chat('spent'), chat('too large')) as file:
        ran = weir('warm', file, '--to', s.url)
        assert ran.returncode == 1 and ', 2 failed' in ran.stdout and 'status 429: The budget is spent.' in ran.stderr, ran
        assert len(s.asked) == 2


def test_a_wrong_key_is_told_once():
    with Standin(lambda *_: (401, {}, {'error': {'message': 'This API key is not known.'}})) as s, File(*[chat(str(i)) for i in range(50)]) as file:
        ran = weir('warm', file, '--to', s.url, '--concurrency', 1)
        assert ran.returncode == 1 and len(s.asked) == 1, ran
        assert ran.stdout.startswith('1 of 50 asked') and '--key or WEIR_KEY' in ran.stderr, ran


def test_no_more_are_asked_at_once_than_said():
    gate = threading.Barrier(3)

    def answer(*_):
        gate.wait(20)
    with Standin(answer) as s, File(*[chat(str(i)) for i in range(9)]) as file:
        ran = weir('warm', file, '--to', s.url, '--concurrency', 3)
        assert ran.returncode == 0 and s.most == 3 and s.connections == 3, (ran, s.most, s.connections)


def test_cut_answers_have_failed_and_closed_connections_are_replaced():
    with socket.socket() as listener, File(chat('a'), chat('b'), chat('c')) as file:
        listener.bind(('127.0.0.1', 0))
        listener.listen()
        whole = b'HTTP/1.1 200 OK\r\nx-weir-cache: miss\r\ncontent-length: 2\r\n\r\n{}'
        kept = whole.replace(b'miss', b'hit')

        def serve():
            for answer in (b'', whole, kept, whole[:-1], whole, kept):  # the first is warm's look whether anybody is there
                connection = listener.accept()[0]
                if answer:
                    connection.recv(65536)
                    connection.sendall(answer)
                connection.close()      # says nothing of that, so warm thinks that it is kept
        threading.Thread(target=serve, daemon=True).start()
        ran = weir('warm', file, '--to', f'http://127.0.0.1:{listener.getsockname()[1]}', '--concurrency', 1)
        assert ran.returncode == 1 and ': 2 stored, 0 there already, 1 failed' in ran.stdout, ran
        assert f'{file}:2: the answer was cut' in ran.stderr, ran


def test_who_goes_before_saying_a_word_may_be_starting_again():
    whole = b'HTTP/1.1 200 OK\r\nx-weir-cache: hit\r\ncontent-length: 2\r\n\r\n{}'

    def warmed(answers, *lines):
        with socket.socket() as listener, File(*lines) as file:
            listener.bind(('127.0.0.1', 0))
            listener.listen()

            def serve():
                for answer in answers:
                    connection = listener.accept()[0]
                    connection.recv(65536)      # a reset that came sooner could be one of connecting
                    connection.sendall(answer or b'')
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', answer is None, 0))
                    connection.close()
            threading.Thread(target=serve, daemon=True).start()
            return weir('warm', file, '--to', f'http://127.0.0.1:{listener.getsockname()[1]}', '--concurrency', 1)
    # the first is warm's look; None is a reset
    ran = warmed([b'', whole, None, b'', None, whole, whole], chat('a'), chat('b'), chat('c'))
    assert ran.returncode == 0 and ': 0 stored, 3 there already' in ran.stdout, ran
    ran = warmed([b'', None, b'', whole, None, whole], chat('a'), chat('b'), chat('c'), chat('d'))     # of one that has never answered it is not to be hoped for
    assert ran.returncode == 1 and ': 0 stored, 2 there already, 2 failed' in ran.stdout, ran
    begins = time.monotonic()
    ran = warmed([b'', whole] + [b''] * 100, chat('a'), chat('b'), chat('c'), chat('d'))               # ten seconds for all, not for each
    assert ran.returncode == 1 and ': 0 stored, 1 there already, 3 failed' in ran.stdout and 9 < time.monotonic() - begins < 20, ran


def test_nobody_there():
    with socket.socket() as free, File(chat('a')) as file:
        free.bind(('127.0.0.1', 0))
        ran = weir('warm', file, '--to', f'http://127.0.0.1:{free.getsockname()[1]}')
        assert ran.returncode == 1 and 'nobody answers at' in ran.stderr, ran
        ran = weir('warm', file, '--socket', file.parent / 'none')
        assert ran.returncode == 1 and ran.stdout.startswith('0 of 1 asked') and f'{file.parent}/none: ' in ran.stderr, ran


def stopped(child):
    out, err = child.communicate(timeout=20)
    assert child.returncode == 1, (child.returncode, out, err)
    return out, err


def test_ctrl_c_tells_how_far_it_came():
    going = threading.Event()

    def answer(path, body, times):
        if body['messages'][0]['content'] == 'slow':
            going.set()
            time.sleep(30)      # longer than the test lasts: it is warm that goes
    with Standin(answer) as s, File(chat('a'), chat('b'), chat('slow'), chat('d')) as file:
        child = subprocess.Popen([rig.WEIR, 'cache', 'warm', file, '--to', s.url, '--concurrency', '1'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert going.wait(20)
        child.send_signal(signal.SIGINT)
        out, err = stopped(child)
        assert out.startswith('2 of 4 asked in ') and ': 2 stored' in out and err.endswith('weir cache warm: stopped\n'), (out, err)


def test_progress_is_one_line_that_is_redrawn_on_a_terminal():
    going, go_on = threading.Event(), threading.Event()

    def answer(path, body, times):
        if body['messages'][0]['content'] == 'slow':
            going.set()
            assert go_on.wait(20)
    with Standin(answer) as s, File(chat('a'), chat('slow')) as file:
        ours, its = pty.openpty()
        child = subprocess.Popen([rig.WEIR, 'cache', 'warm', file, '--to', s.url, '--concurrency', '1'], stdout=subprocess.PIPE, stderr=its, env={**os.environ, 'TERM': 'xterm'})
        os.close(its)
        assert going.wait(20)
        drawn = bytearray()

        def is_drawn():
            drawn.extend(os.read(ours, 4096))
            return b'\r1 of 2: 1 stored, 0 there already; about ' in drawn
        until('the line is drawn', is_drawn, 20)
        go_on.set()
        assert child.wait(20) == 0
        try:
            drawn.extend(os.read(ours, 4096))
        except OSError:     # the other end is closed
            pass
        os.close(ours)
        child.stdout.close()
        assert b'\n' not in drawn and drawn.endswith(b'\r\x1b[K'), drawn


def test_a_running_weir_is_asked_through_its_socket_and_keeps_the_answers():
    keys = {'a': {'key': 'wk-0123456789abcdef'}}
    with Mock('--tokens', '3', '--ttft', '0') as m, Weir(one_model(m, keys=keys)) as w, File(chat('a'), 'b', chat('a', temperature=1)) as file:
        where = ['--socket', w.folder / 'weir' / (w.url.rsplit(':', 1)[1] + '.sock'), '--model', 'chat']
        ran = weir('warm', file, *where, '--key', 'wk-0123456789abcdef')
        assert ran.returncode == 1 and ': 2 stored, 0 there already, 1 bypassed (temperature 1)' in ran.stdout, ran
        ran = weir('warm', file, *where, '--key', 'wk-0123456789abcdef', '--json')
        told = json.loads(ran.stdout)
        assert (told['hits'], told['stored'], told['bypassed']) == (2, 0, {'temperature': 1}) and m.stats()['requests'] == 4, (ran, m.stats())
        status, headers, _ = w.post('/v1/chat/completions', {'messages': chat('b')['messages'], 'model': 'chat', 'temperature': 0.0}, {'authorization': 'Bearer wk-0123456789abcdef'})
        assert (status, headers['x-weir-cache']) == (200, 'hit') and m.stats()['requests'] == 4, headers
        ran = weir('warm', file, *where)
        assert ran.returncode == 1 and 'status 401' in ran.stderr and '--key or WEIR_KEY' in ran.stderr and m.stats()['requests'] == 4, ran


# ---- simulate ----

def simulated(*words):
    ran = weir('simulate', *words, '--json')
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


POLICIES = ['weir', 'lru', 'clock', 'sieve', 'ideal']


def test_a_trace_of_lines_is_replayed():
    with File('a', 'b', 'a', 'c', 'a', 'b') as file:
        told = simulated(file, '--entries', '1,2,3')
        assert told['questions'] == 6 and told['keys'] == 3 and told['most'] == 0.5, told
        assert [size['entries'] for size in told['sizes']] == [1, 2, 3]
        ideal, lru = [size['ideal'] for size in told['sizes']], [size['lru'] for size in told['sizes']]
        assert ideal == [0.333333, 0.5, 0.5] and lru == [0, 0.333333, 0.5], told
        table = weir('simulate', file, '--entries', '2').stdout
        assert '6 questions for 3 keys; a cache of any size answers 50.00 % of them at most' in table, table
        assert re.search(r'^ENTRIES +OF KEYS +WEIR +LRU +CLOCK +SIEVE +IDEAL +WEIR OF IDEAL$', table, re.M) and "Belady's MIN" in table, table
        assert re.search(r'^ +2 +66\.67 % +.* 50\.00 % +', table, re.M), table


def test_sizes_in_bytes_are_answers_of_a_size():
    sizes = simulated('zipf:0.9,1000,20000', '--bytes', '400KiB,1MiB', '--answer', '4KiB')['sizes']
    assert [(size['bytes'], size['entries']) for size in sizes] == [(409600, 100), (1048576, 256)], sizes
    assert [size['entries'] for size in simulated('zipf:0.9,1000,20000')['sizes']][-1] == simulated('zipf:0.9,1000,20000')['keys']


def test_weirs_own_policy_is_near_the_best_where_few_are_asked_often():
    size, = simulated('zipf:0.9,100000,1000000', '--entries', '10000')['sizes']
    assert size['weir'] >= max(size[p] for p in ('lru', 'clock', 'sieve')) - 0.01, size
    assert all(size[p] <= size['ideal'] for p in POLICIES), size


def test_the_public_traces_of_mooncake_are_replayed():
    if not TRACES.exists():
        print(f'skipped: no {TRACES}; BENCH_DATA names the folder that has the public traces')
        return
    for name, questions, keys in (('conversation_trace.jsonl', 288500, 182790), ('synthetic_trace.jsonl', 121877, 43924)):
        told = simulated(TRACES / name)
        assert (told['questions'], told['keys']) == (questions, keys), told
        assert len(told['sizes']) == 7 and {told['sizes'][-1][p] for p in POLICIES} == {told['most']}, told
        for size in told['sizes']:
            assert all(size[p] <= size['ideal'] for p in POLICIES) and size['weir'] >= max(size[p] for p in ('lru', 'clock', 'sieve')) - 0.01, (name, size)


rig.run(globals())

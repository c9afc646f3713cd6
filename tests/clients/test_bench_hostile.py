#!/usr/bin/env python3
"""weir bench against servers that mean it ill: python3 tests/clients/test_bench_hostile.py BUILD_WEIR [NAME...]
Whatever comes back, the tester ends in time, within a bound of memory, and calls what happened by its name."""
import contextlib
import itertools
import json
import os
import resource
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from rig import WEIR, run

ENV = {k: v for k, v in os.environ.items() if k != 'WEIR_KEY'}
MEGABYTE = 1 << 20
SMALL_MB = 48       # the program itself, and what it holds of an answer before it has had enough
LARGE_MB = 900      # an answer of 60 MB, its tree, and what the growing of its buffer leaves behind


@contextlib.contextmanager
def server(behave):
    """A server of threads: behave(connection, number) for each connection; what it does wrong itself ends its connection."""
    listener = socket.create_server(('127.0.0.1', 0), backlog=256)
    numbers = itertools.count()

    def talk(peer, number):
        with peer, contextlib.suppress(OSError):
            peer.settimeout(10)
            behave(peer, number)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                peer, _ = listener.accept()
                threading.Thread(target=talk, args=(peer, next(numbers)), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f'http://127.0.0.1:{listener.getsockname()[1]}'
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def asked(peer):
    """One request, its body included. False: there is none."""
    data = b''
    while b'\r\n\r\n' not in data:
        piece = peer.recv(65536)
        if not piece:
            return False
        data += piece
    head, _, body = data.partition(b'\r\n\r\n')
    left = next((int(line[15:]) for line in head.lower().split(b'\r\n') if line.startswith(b'content-length:')), 0) - len(body)
    while left > 0:
        left -= len(peer.recv(65536))
    return True


def answers(*pieces, again=None):
    """A server that answers each request with these bytes, and then with `again` until the client has enough."""
    def behave(peer, _):
        while asked(peer):
            for piece in pieces:
                peer.sendall(piece)
            while again:
                peer.sendall(again)
    return behave


def high_water_mb(pid):
    """What the process held at most until now. Not of its rusage, where what this one had when it forked counts too."""
    with contextlib.suppress(OSError):
        for line in open(f'/proc/{pid}/status'):
            if line.startswith('VmHWM:'):
                return int(line.split()[1]) / 1024
    return 0


def bench(url, *words, memory_mb=SMALL_MB):
    """The result as JSON, after looking at how it ended and at what it took."""
    with tempfile.TemporaryDirectory(prefix='weir-hostile.') as folder:
        file = Path(folder) / 'result.json'
        command = [str(WEIR), 'bench', url, '--model', 'm', '--users', '2', '--duration', '200ms', '--timeout', '400ms', '--json', str(file), *words]
        with open(Path(folder) / 'said', 'w+') as said:
            child = subprocess.Popen(command, stdout=said, stderr=said, env=ENV, cwd=folder)
            highest = 0
            while child.poll() is None:
                highest = max(highest, high_water_mb(child.pid))
                time.sleep(0.005)
            said.seek(0)
            told = said.read()
        assert child.returncode in (0, 1, 3), (child.returncode, told)
        r = json.loads(file.read_text())
        assert child.returncode != 3 or 'late' in r['invalid'] or 'busy' in r['invalid'], told     # it may have been kept from its work, and says so
        assert r['requests'] > 0 and r['requests'] == r['ok'] + sum(r['errors'].values()), r
        assert 0 < highest < memory_mb, f'{highest:.0f} MB'
        return r


def expect(behave, kinds, *words, path='/v1/chat/completions', **more):
    with server(behave) as url:
        r = bench(url + path, *words, **more)
        seen = set(r['errors']) | ({'ok'} if r['ok'] else set())
        assert seen <= set(kinds.split()), (seen, r)
        return r


HEAD = b'HTTP/1.1 200 OK\r\n'
CHUNKED = HEAD + b'content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n'
EVENTS = HEAD + b'content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n'


def chunk(data):
    return b'%x\r\n%b\r\n' % (len(data), data)


def whole(body):
    return HEAD + b'content-type: application/json\r\ncontent-length: %d\r\n\r\n' % len(body) + body


def content(text):
    return json.dumps({'choices': [{'delta': {'content': text}, 'message': {'content': text}}]}).encode()


def test_headers_without_end():
    expect(answers(HEAD, again=b'x-more: and more\r\n' * 100), 'protocol')
    expect(answers(HEAD + b'x-long: ', again=b'x' * 65536), 'protocol')


def test_a_body_without_end_is_counted_and_not_kept():
    r = expect(answers(HEAD + b'\r\n', again=b'x' * 65536), 'timeout', path='/anything')
    assert r['bytes_in'] > 64 * MEGABYTE, r['bytes_in']     # far more than it may keep: the bound of memory has been tried
    expect(answers(CHUNKED, again=chunk(b' ' * 65536)), 'timeout protocol', memory_mb=4 * SMALL_MB + 2 * 64)


def test_garbage():
    for noise in (b'\0' * 4096, b'\x16\x03\x01' + b'\xff' * 600, b'HTTP/9.9 banana\r\n\r\n', b'HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n', b'\n\n\n\n', b'SSH-2.0-x\r\n'):
        expect(answers(noise, again=noise), 'protocol')
    expect(answers(whole(b'{"choices": [' + b'[' * 100000)), 'protocol')
    expect(answers(whole(b'\xff\xfe{}')), 'protocol')


def test_lines_of_ten_megabytes():
    words = content('x' * (10 * MEGABYTE))
    stream = chunk(b'data: ' + words + b'\n\n') + chunk(b'data: [DONE]\n\n') + b'0\r\n\r\n'
    r = expect(answers(EVENTS, stream), 'ok timeout', '--stream', '--users', '1', '--timeout', '20s', memory_mb=LARGE_MB // 4)
    assert r['ok'] >= 1
    line = json.dumps({'message': {'content': 'x' * (10 * MEGABYTE)}, 'done': True}).encode() + b'\n'
    r = expect(answers(whole(line)), 'ok timeout', '--stream', '--api', 'ollama', '--users', '1', '--timeout', '20s', path='/api/chat', memory_mb=LARGE_MB // 4)
    assert r['ok'] >= 1
    expect(answers(EVENTS, b'', again=chunk(b'x' * 65536)), 'protocol timeout', '--stream', '--users', '1', '--timeout', '20s', memory_mb=LARGE_MB // 4)


def test_an_answer_of_sixty_megabytes():
    numbers = b'{"choices":[{"message":{"content":"a"}}],"n":[' + b'0,' * (30 * MEGABYTE) + b'0]}'
    r = expect(answers(whole(numbers)), 'ok timeout', '--users', '1', '--timeout', '30s', memory_mb=LARGE_MB)
    assert r['ok'] >= 1
    expect(answers(whole(b'{"choices":"' + b'x' * (70 * MEGABYTE) + b'"}')), 'protocol', '--users', '1', '--timeout', '30s', memory_mb=LARGE_MB)


def test_without_memory_it_says_so():
    """Sixteen answers of 60 MB at once, and 300 MB for all."""
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (300 * MEGABYTE, 300 * MEGABYTE))
    with server(answers(whole(b'{"choices":"' + b'x' * (60 * MEGABYTE) + b'"}'))) as url:
        done = subprocess.run([WEIR, 'bench', url, '--model', 'm', '--users', '16', '--duration', '10s'], capture_output=True, text=True, timeout=50, env=ENV, preexec_fn=limit)
        assert done.returncode == 3 and 'ran out of memory' in done.stdout.replace('\n  ', ' '), done.stdout + done.stderr


def test_closing_anywhere():
    answer = whole(content('hello there'))

    def behave(peer, number):
        """Each connection is closed a byte later than the one before, every third by a reset, and some before anything was read."""
        if number % 7 == 6 or not asked(peer):
            return
        peer.sendall(answer[:number % (len(answer) + 1)])
        if number % 3 == 0:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')

    r = expect(behave, 'ok reset cut protocol', '--duration', '500ms')
    assert {'reset', 'cut'} <= set(r['errors']), r


def test_answers_before_they_were_asked():
    answer = whole(content('early'))

    def behave(peer, _):
        peer.sendall(answer)
        while asked(peer):
            peer.sendall(answer + answer)       # the second one is nobody's

    expect(behave, 'ok protocol reset cut')


def test_interim_answers_without_end():
    expect(answers(b'', again=b'HTTP/1.1 100 Continue\r\n\r\n' * 100), 'protocol')
    r = expect(answers(b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n' + whole(content('hi'))), 'ok')
    assert r['ok'] > 0


def test_redirects_are_not_followed():
    with server(answers(whole(content('hi')))) as elsewhere:
        away = b'HTTP/1.1 302 Found\r\nlocation: %b/\r\ncontent-length: 0\r\n\r\n' % elsewhere.encode()
        expect(answers(away), 'http_302')


def test_tokens_that_cannot_be():
    for usage in (b'18446744073709551615', b'-5', b'1e300', b'"many"', b'99999999999999999999999999'):
        r = expect(answers(whole(b'{"choices":[{"message":{"content":"a"}}],"usage":{"prompt_tokens":1,"completion_tokens":%b}}' % usage)), 'ok protocol')
        assert r['tokens'] >= 0, r


if __name__ == '__main__':
    run(globals())

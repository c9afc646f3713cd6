"""test_faults.py: backends that misbehave, as the user of the official Python SDK sees them: each fault of `weir mock` with a healthy backend behind it and
alone, and backends of raw sockets for what no mock would do. Alone a fault is an error the SDK raises; it never looks like an answer."""
import concurrent.futures
import contextlib
import json
import os
import re
import socket
import struct
import threading

import openai
from openai import OpenAI

import rig
from rig import Mock, Weir, one_model, raises, until

HELLO = [{'role': 'user', 'content': 'Hello'}]
IMPATIENT = {'timeouts': {'first_token': '500ms', 'between_tokens': '500ms'}}

# What a fault is to a stream: SILENT another backend answers, BREAKS the client has tokens already, WHOLE no harm is done. A plain answer never breaks.
SILENT, BREAKS, WHOLE = 'silent', 'breaks', 'whole'
FAULTS = {
    'status=500': SILENT, 'status=503': SILENT, 'status=429,retry-after=2': SILENT, 'hang': SILENT, 'hang-headers': SILENT, 'cut=first': SILENT,
    'rst=first': SILENT, 'stall=first': SILENT, 'errorevent=first': SILENT, 'garbage': SILENT, 'html': SILENT, 'hugeheader': SILENT,
    'cut': BREAKS, 'rst': BREAKS, 'stall': BREAKS, 'badchunk': BREAKS, 'errorevent': BREAKS,
    'drip': WHOLE, 'splitutf8': WHOLE, 'bigline': WHOLE, 'nodone': WHOLE, 'echo-id': WHOLE,
}
HARMLESS_PLAIN = {'drip', 'splitutf8', 'bigline', 'nodone', 'echo-id'}
SILENCES = {'hang', 'hang-headers', 'stall', 'stall=first'}     # what only a time-out ends; a busy machine needs longer for the others
CODES = {'cut': 'connection_reset', 'rst': 'connection_reset', 'stall': 'timeout', 'badchunk': 'bad_upstream_answer', 'errorevent': 'upstream_failed'}


@contextlib.contextmanager
def asking(*mocks, **more):
    """A new weir, which knows nothing of the fault before, and an SDK without patience of its own."""
    with Weir(one_model(*mocks, **more)) as w, OpenAI(base_url=w.url + '/v1', api_key='x', max_retries=0, timeout=30) as c:
        yield w, c


def plain(c):
    return c.chat.completions.create(model='chat', messages=HELLO).choices[0]


def stream(c, pieces):
    """Adds the tokens to pieces as they come; returns the finish_reason."""
    finish = None
    for chunk in c.chat.completions.create(model='chat', messages=HELLO, stream=True):
        for choice in chunk.choices:
            pieces.extend([choice.delta.content] if choice.delta.content else [])
            finish = choice.finish_reason or finish
    return finish


def test_each_fault_with_a_healthy_backend_behind_it():
    """hostile 77, hostile 78, complaint 1, complaint 4: the user gets a whole answer, or, with tokens in hand already, an error."""
    with Mock('--itl', '0ms') as a, Mock('--tokens', '6') as b:
        for fault, kind in FAULTS.items():
            a.script(faults=[fault], tokens=8)
            patience = IMPATIENT if fault in SILENCES else {}
            with asking(a, b, **patience) as (w, c):
                pieces = []
                if kind == BREAKS:
                    with raises(openai.APIError) as e:
                        stream(c, pieces)
                    assert e.error.code == CODES[fault] and pieces and 'b0: ' in str(e.error), (fault, e.error.body, pieces)
                else:
                    assert stream(c, pieces) == 'stop' and len(pieces) == (6 if kind == SILENT else 8), (fault, pieces)
            with asking(a, b, **patience) as (w, c):
                choice = plain(c)
                assert choice.finish_reason == 'stop' and len(choice.message.content.split(' ')) == (8 if fault in HARMLESS_PLAIN else 6), (fault, choice)


def test_each_fault_alone():
    """hostile 77, hostile 78, complaint 2, complaint 12: an exception with a code and a request id, and the backend's fault in words; never a clean end."""
    with Mock('--itl', '0ms') as a:
        for fault, kind in FAULTS.items():
            a.script(faults=[fault], tokens=8)
            patience = IMPATIENT if fault in SILENCES else {}
            with asking(a, **patience) as (w, c):
                if kind != WHOLE:
                    pieces = []
                    with raises(openai.APIError) as e:
                        stream(c, pieces)
                    check_error(fault, e.error, kind == BREAKS)
                    assert bool(pieces) == (kind == BREAKS), (fault, pieces)
            with asking(a, **patience) as (w, c):
                if fault not in HARMLESS_PLAIN:
                    with raises(openai.APIError) as e:
                        plain(c)
                    check_error(fault, e.error, False)


def check_error(fault, e, is_event):
    assert e.body['request_id'] and e.body['message'].startswith('b0: '), (fault, e.body)
    if is_event:    # the SDK raises its plain APIError for an error within a stream
        assert type(e) is openai.APIError and e.code == CODES[fault], (fault, type(e), e.body)
    else:
        timed_out = fault in SILENCES
        assert type(e) is openai.InternalServerError and e.status_code == (504 if timed_out else 502), (fault, type(e), e)
        assert e.code == ('timeout' if timed_out else 'upstream_failed'), (fault, e.code)
        assert e.response.headers['x-should-retry'] == 'true', fault
        assert e.response.headers.get('retry-after') == ('2' if 'retry-after' in fault else None), fault


def test_a_wrong_length():
    """hostile 78: both ways of it; for a plain answer, which alone has a length."""
    with Mock() as a, Mock('--tokens', '6') as b:
        for fault in ('wronglength', 'wronglength=short'):
            a.script(faults=[fault])
            with asking(a, b) as (w, c):
                assert len(plain(c).message.content.split(' ')) == 6, fault
            with asking(a) as (w, c):
                for _ in range(2):
                    with raises(openai.InternalServerError) as e:
                        plain(c)
                    assert e.error.code == 'upstream_failed', (fault, e.error.body)
                a.script(faults=[])
                assert plain(c).finish_reason == 'stop'


# ---- backends of raw sockets ----

class Rogue:
    """A backend that reads a request's head and then does with its socket whatever `answer` does. One thread a connection."""

    def __init__(self, answer):
        self.answer, self.open = answer, set()
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.url = f'http://127.0.0.1:{self.listener.getsockname()[1]}'
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for s in list(self.open):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.serve, args=self.listener.accept()[:1], daemon=True).start()

    def serve(self, s):
        self.open.add(s)
        with contextlib.suppress(OSError), s:
            head = b''
            while b'\r\n\r\n' not in head:
                some = s.recv(65536)
                if not some:
                    return
                head += some
            if head.startswith(b'GET '):
                s.sendall(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: 11\r\n\r\n{"data":[]}')
            else:
                self.answer(s)
        self.open.discard(s)


STREAM = b'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n'      # until the connection closes: no chunks to count


def event(text, finish=None):
    return b'data: ' + json.dumps({'choices': [{'index': 0, 'delta': {'content': text}, 'finish_reason': finish}]}).encode() + b'\n\n'


def pour(s, first, flood):
    s.sendall(STREAM + first)
    while True:
        s.sendall(flood)


def test_a_flood_of_nothing_stalls_nobody():
    """hostile 78, complaint 11: comments, broken lines or anything behind [DONE], as fast as a machine can send them. The only worker serves others
    meanwhile, and the stream ends at its time-out: neither happens if whoever reads the flood never lets go."""
    floods = {': nothing\n\n' * 20000: 'timeout', '\n' * 65536: 'timeout'}
    for flood, code in floods.items():
        with Rogue(lambda s: pour(s, event('one'), flood.encode())) as r, asking(r, workers=1, **IMPATIENT) as (w, c), concurrent.futures.ThreadPoolExecutor(1) as pool:
            pieces = []
            reading = pool.submit(stream, c, pieces)
            until('the first token is there', lambda: pieces == ['one'])
            for _ in range(5):
                assert w.get('/readyz')[0] == 200
            assert reading.exception(20).code == code, reading.exception()
    with Rogue(lambda s: pour(s, event('one', 'stop') + b'data: [DONE]\n\n', b'data: {"a":"secret"}\n\n' * 10000)) as r:
        with asking(r, workers=1, backends={'b0': {'concurrency': 1}}) as (w, c):
            for _ in range(3):      # the only slot and the only worker are there for the next one
                pieces = []
                assert stream(c, pieces) == 'stop' and pieces == ['one']


def test_a_line_without_end():
    """hostile 77: an event line of 10 MB passes (bigline), one over 16 MB does not: an error, and what was read of it is forgotten."""
    with Rogue(lambda s: pour(s, event('one') + b'data: {"choices":[{"delta":{"content":"', b'x' * 65536)) as r, asking(r) as (w, c):
        highest = []
        for _ in range(8):
            pieces = []
            with raises(openai.APIError) as e:
                stream(c, pieces)
            assert e.error.code == 'bad_upstream_answer' and pieces == ['one'], e.error
            highest.append(memory_kib(w, 'VmHWM'))
        assert highest[-1] < highest[3] + 1024, f'it grows line by line: {highest} KiB'


# ---- memory, and many at once ----

def server_pid(w):
    """The server is the keeper's child: it alone has a thread per worker and the sockets."""
    children = open(f'/proc/{w.child.pid}/task/{w.child.pid}/children').read().split()
    assert children, 'the keeper has no child'
    return int(children[0])


def memory_kib(w, field='VmRSS'):
    return int(re.search(rf'^{field}:\s+(\d+)', open(f'/proc/{server_pid(w)}/status').read(), re.M).group(1))


def cpu_s(w):
    fields = open(f'/proc/{server_pid(w)}/stat').read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def test_a_batch_of_20_mb_passes_in_little_memory():
    """complaint 15: no cap on an answer's size, and no copy of it either: a reader that is slower than the backend holds the backend back."""
    size = 20 << 20

    def answer(s):
        body = b'{"object":"list","data":[],"usage":{"prompt_tokens":1,"total_tokens":1},"x":"' + b'v' * (size - 79) + b'"}'
        s.sendall(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n' % len(body) + body)
    with Rogue(answer) as r, asking(r) as (w, c):
        before = memory_kib(w, 'VmHWM')
        body = c.embeddings.with_raw_response.create(model='chat', input='x').content
        assert len(body) == size and body.endswith(b'vvv"}')
        assert memory_kib(w, 'VmHWM') - before < 8 * 1024, f'{memory_kib(w, "VmHWM") - before} KiB for an answer of 20 MiB'


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    s.close()


def ask_raw(w, **more):
    host, port = w.url.removeprefix('http://').split(':')
    s = socket.create_connection((host, int(port)), 20)
    body = json.dumps({'model': 'chat', 'messages': HELLO, 'stream': True, **more}).encode()
    s.sendall(b'POST /v1/chat/completions HTTP/1.1\r\nhost: w\r\ncontent-length: %d\r\n\r\n' % len(body) + body)
    return s


def test_thirty_clients_leave_big_streams():
    """complaint 10: thirty clients reset streams of megabytes at the same time. Readiness answers, every backend is free, and weir has hardly worked for it."""
    with Mock('--tokens', '100000') as m, asking(m, workers=1, backends={'b0': {'concurrency': 64}}) as (w, c):
        clients = [ask_raw(w) for _ in range(30)]
        for s in clients:
            s.settimeout(30)
            got = 0
            while got < 1 << 18:
                got += len(s.recv(1 << 16))
        before = cpu_s(w)
        for s in clients:
            reset(s)
        assert w.get('/readyz')[0] == 200
        assert m.idle()['cancelled'] == 30
        assert cpu_s(w) - before < 1, 'seconds of work to forget thirty clients'
        until('they are counted', lambda: w.number('weir_clients_left_total{during="streaming"}') == 30)
        pieces = []
        m.script(tokens=3)
        assert stream(c, pieces) == 'stop' and len(pieces) == 3


def tcp_timers(pid):
    """Which timer runs on each of the process's established TCP sockets (1 retransmission, 2 keepalive), by its local and remote port."""
    mine = set()
    for fd in os.listdir(f'/proc/{pid}/fd'):
        with contextlib.suppress(OSError):
            mine.add(os.readlink(f'/proc/{pid}/fd/{fd}'))
    timers = {}
    for line in open('/proc/net/tcp').read().splitlines()[1:]:
        f = line.split()
        if f[3] == '01' and f'socket:[{f[9]}]' in mine:
            timers[int(f[1].split(':')[1], 16), int(f[2].split(':')[1], 16)] = int(f[5].split(':')[0], 16)
    return timers


def test_who_vanishes_is_noticed():
    """complaint 11: a peer that is gone without FIN or RST (half-open TCP) is asked by keepalive whether it lives, on both sides of weir."""
    with Mock('--fault', 'hang') as m, asking(m) as (w, c), ask_raw(w) as s:
        until('the mock is asked', lambda: m.stats()['active'] == 1)
        client, backend = s.getsockname()[1], int(m.url.rsplit(':', 1)[1])

        def both():
            timers = {remote: timer for (_, remote), timer in tcp_timers(server_pid(w)).items()}
            return timers.get(client) == 2 and timers.get(backend) == 2
        until('both connections have a keepalive timer', both)


rig.run(globals())

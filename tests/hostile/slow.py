"""slow.py: clients that are slow, many, or never end. Each must be ended by its time-out or its limit, cost little memory, and leave others alone.

The tests want a house with CONF. Each stands beside a twin: as slow, or as long, as may be.
"""
import re
import resource
import select
import socket
import subprocess
import time

import wire
from table import BODY, CHAT, GET

LIMIT_S = 1.0                   # of the house's time-outs
# So many models make GET /v1/models long (27 KB) and cheap: slow readers must cost buffers, not computing.
FILLED = {'models': {f'filler-{i:04}': {'use': ['probed/mock-1']} for i in range(400)}}
CONF = {**FILLED, 'timeouts': {'header': '1s', 'body': '1s', 'write': '1s'}}
MANY, IDLE = 50, 3000
STEP_S = 0.02                   # between two bytes of a client that drips
OVERDUE_S = 25                  # a machine that is busy may be late; a connection that is never closed is found
MB = 1 << 20
GROWS_TO = 1 << 30              # bytes a client that does not stop would send
GROWS_PIECE = 256 * 1024
SENT_MAX = 32 * MB              # what the kernel's buffers and the reading away after a refusal may swallow of them
MEMORY_MAX = 48 * MB            # what a class may add to weir's memory: 3,000 idle connections cost 6 MB, a few hundred slow answers 25 MB

if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < IDLE + 1000:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)


def timeouts(house, kind):
    return house.weir.number(f'weir_timeouts_total{{kind="{kind}"}}')


def drip(port, first, then, count=MANY):
    """Sends `first` on many connections, then a byte of `then` to each, again and again, until all are answered: [(statuses, closed, seconds)]."""
    lines = [wire.Line(port, timeout=OVERDUE_S) for _ in range(count)]
    began, at, results = time.monotonic(), 0, []
    for line in lines:
        line.send([first])
    while lines:
        ready = select.select(lines_by_socket := {line.socket: line for line in lines}, [], [], STEP_S)[0]
        for s in ready:
            line = lines_by_socket[s]
            line.read_to_end()
            results.append((line.statuses(), line.is_closed, time.monotonic() - began))
            lines.remove(line)
            line.close()
        for line in lines:
            line.send([then[at % len(then):at % len(then) + 1]])
        at += 1
        assert time.monotonic() - began < OVERDUE_S, f'{len(lines)} of {count} are still waited for'
    return results


def dripped_too_long(house, kind, first, then):
    before = timeouts(house, kind)
    results = drip(house.port, first, then)
    wrong = [r for r in results if r[0] != [408] or not r[1]]
    soon = [r for r in results if r[2] < LIMIT_S * 0.95]
    counted = timeouts(house, kind) - before
    return ([f'not answered with 408 and closed: {wrong[:3]}'] if wrong else []) + ([f'ended too soon: {soon[:3]}'] if soon else []) + (
        [f'{counted} time-outs counted, not {MANY}'] if counted != MANY else [])


def in_time(port, pieces):
    """The twin: one byte at a time, but with its last byte in time."""
    line = wire.Line(port)
    line.send([bytes([b]) for b in pieces])
    assert line.read_one() and line.statuses() == [200], line.statuses()
    line.close()


def slow_headers(house):
    """hostile 22"""
    wrong = dripped_too_long(house, 'header', GET.encode(), b'X-A: b\r\n')
    in_time(house.port, f'{GET}X-A: b\r\n\r\n'.encode())
    return wrong


def slow_body(house):
    """hostile 22"""
    wrong = dripped_too_long(house, 'body', f'{CHAT}Content-Length: 100000\r\n\r\n'.encode(), b' ')
    in_time(house.port, f'{CHAT}Content-Length: 64\r\n\r\n{BODY}'.encode())
    return wrong


LONG_ANSWER = b'GET /v1/models HTTP/1.1\r\nHost: weir\r\n\r\n'


def reader(port, requests, window):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    s.settimeout(OVERDUE_S)
    s.connect(('127.0.0.1', port))
    s.sendall(LONG_ANSWER * requests)
    return s


def read_away(s, step=65536):
    """Bytes that came until the end, and whether it was a reset."""
    got = 0
    try:
        while some := s.recv(step):
            got += len(some)
    except ConnectionResetError:
        return got, True
    return got, False


def slow_read(house):
    """hostile 22: clients that ask for megabytes and take nothing are cut after timeouts.write; one that asks as much and reads gets it all"""
    requests, before, memory = 600, timeouts(house, 'write'), house.memory()
    readers = [reader(house.port, requests, 4096) for _ in range(MANY)]
    began = time.monotonic()
    while timeouts(house, 'write') - before < MANY:
        if time.monotonic() - began > OVERDUE_S:
            return [f'{timeouts(house, "write") - before} of {MANY} readers were cut']
        select.select([], [], [], STEP_S)
    grown = house.memory() - memory
    wrong = [f'memory grew by {grown // MB} MB'] if grown > MEMORY_MAX else []
    for s in readers:
        read_away(s)
        s.close()
    line = wire.Line(house.port)
    line.send([LONG_ANSWER * requests])
    for _ in range(requests):
        assert line.read_one(), f'closed after {len(line.answers)} answers'
    line.close()
    return wrong + ([] if line.statuses() == [200] * requests else ['the reader that reads did not get all'])


def idle_connections(house):
    """hostile 22: thousands that never ask cost little, and are closed without a word; one that asks in time is served"""
    memory = house.memory()
    idle = [socket.create_connection(('127.0.0.1', house.port), timeout=OVERDUE_S) for _ in range(IDLE)]
    asker = wire.Line(house.port)
    asker.send([f'{GET}\r\n'.encode()])
    assert asker.read_one() and asker.statuses() == [200]
    grown = house.memory() - memory
    said = 0
    for s in idle:
        said += len(s.recv(1))
        s.close()
    asker.close()
    return ([f'memory grew by {grown // MB} MB'] if grown > MEMORY_MAX else []) + ([f'{said} bytes were said to nobody'] if said else [])


# What grows, and what it gets: (name, what stands before, the piece that comes again and again, statuses that are right)
CHUNKED = CHAT + 'Transfer-Encoding: chunked\r\n\r\n'
GROWING = [
    ('a header value', f'{GET}X-A: ', 'a' * GROWS_PIECE, [431]),
    ('a header name', GET, 'a' * GROWS_PIECE, [431]),
    ('headers', GET, 'X-A: b\r\n' * (GROWS_PIECE // 8), [431]),
    ('the target', 'GET /', 'a' * GROWS_PIECE, [414]),
    ('the method', '', 'A' * GROWS_PIECE, [400]),
    ('blanks before a value', f'{GET}X-A:', ' ' * GROWS_PIECE, [431]),
    ('empty lines before a request', '', '\r\n' * (GROWS_PIECE // 2), [431]),
    ('a chunk extension', f'{CHUNKED}1;', 'a' * GROWS_PIECE, [400]),
    ('zeros of a chunk size', CHUNKED, '0' * GROWS_PIECE, [400]),
    ('extensions of many chunks', CHUNKED, '1;aaaaaaaaa\r\n \r\n' * (GROWS_PIECE // 16), [400]),
    ('trailers', f'{CHUNKED}1\r\n{{\r\n0\r\n', 'X-A: b\r\n' * (GROWS_PIECE // 8), [400, 431]),
    ('a body without length', f'{CHUNKED}', f'{GROWS_PIECE:x}\r\n{"a" * GROWS_PIECE}\r\n', [413]),
]


def grow(port, before, piece):
    """(statuses, bytes sent) of a client that does not stop before 1 GB."""
    line = wire.Line(port)
    sent, go_on = 0, line.send([before.encode()])
    piece = piece.encode()
    while go_on and sent < GROWS_TO:
        go_on = line.send([piece])
        sent += len(piece)
    try:
        line.read_to_end()
    except ConnectionResetError:
        pass            # it sent on after the end, so the kernel may throw away what was not read yet
    line.close()
    return line.statuses(), sent


def growing(house):
    """hostile 20: whatever grows is refused at its limit, by status where the client still reads, and held nowhere; what is long and ends is served"""
    wrong, memory = [], house.memory()
    for name, before, piece, right in GROWING:
        got, sent = grow(house.port, before, piece)
        most = SENT_MAX + (32 * MB if right == [413] else 0)        # limits.body
        if sent > most or got not in ([], *([s] for s in right)):
            wrong.append(f'{name}: {got} after {sent // MB} MB')
    grown = house.memory() - memory
    line = wire.Line(house.port)
    line.send([f'{CHAT}Content-Length: {8 * MB}\r\n\r\n{BODY}{" " * (8 * MB - len(BODY))}'.encode()])
    if not line.read_one() or line.statuses() != [200]:
        wrong.append(f'a body of 8 MB: {line.statuses()}')
    line.close()
    return wrong + ([f'memory grew by {grown // MB} MB'] if grown > MEMORY_MAX + 32 * MB else [])


# ---- slowhttptest, the tool that attackers have ----

SLOWHTTPTEST = {
    '-H': ['-u', '/v1/chat/completions', '-t', 'POST', '-i', '1'],
    '-B': ['-u', '/v1/chat/completions', '-i', '1'],
    '-X': ['-u', '/v1/models', '-k', '10', '-w', '1', '-y', '512', '-n', '1', '-z', '5'],
}


def slowhttptest(port, mode, seconds, connections, out=subprocess.DEVNULL):
    words = [f'http://127.0.0.1:{port}{word}' if word.startswith('/') else word for word in SLOWHTTPTEST[mode]]
    return subprocess.Popen(['slowhttptest', mode, '-c', str(connections), '-r', str(connections), '-l', str(seconds), '-p', '5', *words],
                            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)


def slowhttptest_modes(house):
    """hostile 22: all three at once; to their own probe the service stays available, and slow heads and bodies are closed before the test is over"""
    seconds, wrong = 5, []
    running = {mode: slowhttptest(house.port, mode, seconds, 400, subprocess.PIPE) for mode in SLOWHTTPTEST}
    for mode, child in running.items():
        out = re.sub(r'\x1b\[[0-9;]*m', '', child.communicate(timeout=60)[0].decode(errors='replace'))
        available = re.findall(r'service available:\s*(\w+)', out)
        end = re.search(r'Exit status:\s*(.*)', out)
        if not available or set(available) != {'YES'}:
            wrong.append(f'slowhttptest {mode}: service available: {available}; {out[-300:]}')
        if not end or (mode != '-X' and 'No open connections left' not in end.group(1)):
            wrong.append(f'slowhttptest {mode}: {end and end.group(1)}')
    return wrong


TESTS = [slow_headers, slow_body, slow_read, idle_connections, growing, slowhttptest_modes]

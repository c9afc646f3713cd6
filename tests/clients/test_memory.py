"""test_memory.py: limits.memory from outside: a flood of everything that costs memory, and what the kernel says weir took."""
import json
import re
import resource
import selectors
import socket

import rig
from rig import Mock, Weir, one_model, until

MIB = 1 << 20
LIMIT = 128 * MIB
CEILING = LIMIT * 115 // 100 + 32 * MIB     # malloc's holes, the program itself and its libraries
CHAT = {'model': 'chat', 'messages': [{'role': 'user', 'content': 'Hello'}]}


def server_of(weir):
    """The process that serves: the keeper's only child here."""
    return int(open(f'/proc/{weir.child.pid}/task/{weir.child.pid}/children').read().split()[0])


def highest(weir):
    return int(re.search(r'VmHWM:\s+(\d+) kB', open(f'/proc/{server_of(weir)}/status').read()).group(1)) * 1024


def head(length, path='/v1/chat/completions'):
    return f'POST {path} HTTP/1.1\r\nhost: w\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n'.encode()


class Crowd:
    """Many sockets that write what they have as weir takes it, and read only if they are readers."""

    def __init__(self, weir):
        host, port = re.fullmatch(r'http://([^:]+):(\d+)', weir.url).groups()
        self.address, self.members, self.selector = (host, int(port)), [], selectors.DefaultSelector()

    def add(self, count, pieces, reads=True):
        """pieces: what each sends, by reference, so that a thousand large bodies cost us one."""
        for _ in range(count):
            s = socket.socket()
            s.setblocking(False)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect_ex(self.address)
            member = {'socket': s, 'pieces': list(pieces), 'at': 0, 'got': b'', 'closed': False, 'reads': reads}
            self.members.append(member)
            self.selector.register(s, selectors.EVENT_WRITE | (selectors.EVENT_READ if reads else 0), member)

    def turn(self, wait=0.01):
        """True if any byte moved."""
        moved = False
        for key, events in self.selector.select(wait):
            m = key.data
            try:
                if events & selectors.EVENT_READ:
                    some = m['socket'].recv(65536)
                    moved = True
                    m['got'] += some[:4096] if len(m['got']) < 4096 else b''
                    if not some:
                        self.leave(m)
                        continue
                if events & selectors.EVENT_WRITE:
                    moved |= self.write(m)
            except OSError:     # refused and closed while we still wrote
                self.leave(m)
        return moved

    def write(self, m):
        if not m['pieces']:
            if m['reads']:
                self.selector.modify(m['socket'], selectors.EVENT_READ, m)
            else:
                self.selector.unregister(m['socket'])
            return False
        sent = m['socket'].send(memoryview(m['pieces'][0])[m['at']:m['at'] + 65536])
        m['at'] += sent
        if m['at'] == len(m['pieces'][0]):
            m['pieces'].pop(0)
            m['at'] = 0
        return sent > 0

    def leave(self, m):
        if not m['closed']:
            m['closed'] = True
            try:
                self.selector.unregister(m['socket'])
            except KeyError:
                pass
            m['socket'].close()

    def settle(self):
        """Until nothing moves any more."""
        quiet = 0
        while quiet < 20:
            quiet = 0 if self.turn() else quiet + 1

    def close(self):
        for m in self.members:
            self.leave(m)
        self.selector.close()

    def statuses(self):
        return [int(m['got'][9:12]) for m in self.members if m['got'].startswith(b'HTTP/1.1 ')]


def status(weir):
    told = rig.subprocess.run([rig.WEIR, 'status', '--json', '--socket', next(weir.folder.rglob('*.sock'))], capture_output=True, text=True, timeout=20)
    return json.loads(told.stdout)


def flood(weir, fill, look):
    """Lets a crowd do what fill says, looks at weir while it does, and ends it."""
    crowd = Crowd(weir)
    try:
        fill(crowd)
        crowd.settle()
        for _ in range(3):                          # what was begun goes on filling memory meanwhile
            assert weir.get('/healthz')[0] == 200   # the pages answer, whoever else does not
            assert weir.number('weir_memory_used_bytes') <= LIMIT
            assert status(weir)['memory']['limit_bytes'] == LIMIT
            crowd.settle()
        return look(crowd)
    finally:
        crowd.close()


def is_served(weir):
    return until('a plain question is answered', lambda: weir.post('/v1/chat/completions', CHAT)[0] == 200)


def test_memory_stays_under_its_limit():
    """hostile 79, hostile 20: large bodies whole, begun and chunked, values by the million, slow readers, heads without end, idle connections; one after
    another and then again. What weir took at most is what the kernel says; what was refused was refused by 503 or 413 and nobody crashed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
    text = json.dumps({'model': 'chat', 'messages': [{'role': 'user', 'content': 'x' * (8 * MIB)}]}).encode()
    values = b'{"model":"chat","messages":[{"role":"user"}],"x":[' + b'0,' * (16 * MIB - 40) + b'0]}'
    some_values = b'{"model":"chat","messages":[{"role":"user"}],"x":[' + b'0,' * 400000 + b'0]}'
    chunk = b'40000\r\n' + b' ' * 0x40000 + b'\r\n'
    stream = json.dumps({**CHAT, 'stream': True, 'max_tokens': 40000}).encode()
    with Mock('--tokens', '40000') as m, Weir(one_model(m, limits={'memory': '128MiB', 'body': '32MiB', 'queue': 5000}, timeouts={'write': '600s', 'body': '600s'},
                                                       backends={'b0': {'concurrency': 4000}})) as w:
        is_served(w)
        first = server_of(w)
        for _ in range(2):
            assert 503 in flood(w, lambda c: c.add(60, [head(len(text)), text]), Crowd.statuses)
            assert 503 in flood(w, lambda c: c.add(60, [head(30 * MIB), text]), Crowd.statuses)
            assert set(flood(w, lambda c: c.add(12, [head(len(values)), values]), Crowd.statuses)) <= {413, 503}
            flood(w, lambda c: c.add(40, [head(len(some_values)), some_values]), Crowd.statuses)
            begun = b'POST /v1/chat/completions HTTP/1.1\r\nhost: w\r\ntransfer-encoding: chunked\r\n\r\n'
            assert 503 in flood(w, lambda c: c.add(40, [begun, *[chunk] * 24]), Crowd.statuses)
            short_of = w.number('weir_memory_refusals_total')
            flood(w, lambda c: c.add(1500, [head(len(stream)), stream], reads=False), Crowd.statuses)
            assert w.number('weir_memory_refusals_total') - short_of < 15   # they wait for their readers; nearly all had failed where each read on
            flood(w, lambda c: c.add(1500, [b'GET / HTTP/1.1\r\nx-long: ' + b'x' * 60000]), Crowd.statuses)
            flood(w, lambda c: c.add(3000, []), Crowd.statuses)
            is_served(w)
            assert highest(w) <= CEILING, f'{highest(w) / MIB:.0f} MiB'
            print(f'    at most {highest(w) / MIB:.0f} MiB, {w.number("weir_memory_used_bytes") / MIB:.1f} MiB accounted now')
        assert server_of(w) == first, 'the server was started anew'
        until('the floods have given back what they took', lambda: w.number('weir_memory_used_bytes') < LIMIT // 4, 20)
        assert rig.ask(w.url, 'POST', '/v1/chat/completions', text)[0] == 200
        refused = w.number('weir_refusals_total{reason="memory"}')
        assert refused > 0 and w.number('weir_memory_refusals_total') > 0 and w.number('weir_bodies_read_aside_total') > 0
        assert '128MiB' in rig.subprocess.run([rig.WEIR, 'status', '--socket', next(w.folder.rglob('*.sock'))], capture_output=True, text=True).stdout


def test_terminals_are_not_obeyed():
    """hostile 75: a model's name and a path with escapes, line ends and marks that turn text around, in the log and in what operators see."""
    name = '\x1b[2J\x1b]0;owned\x07\r\nFAKE line level=error "\u009b31m\u202egnp.exe\u2028'
    with Mock() as m, Weir(one_model(m)) as w:
        status, headers, body = w.post('/v1/chat/completions', {**CHAT, 'model': name})
        assert status == 404 and '\x1b' not in body.decode()
        line = w.access_line(headers['x-request-id'])
        log = w.err.read_text() + w.out.read_text()
        told = rig.subprocess.run([rig.WEIR, 'explain', headers['x-request-id'], '--socket', next(w.folder.rglob('*.sock'))], capture_output=True, text=True)
        assert told.returncode == 0 and 'gnp.exe' in told.stdout and 'gnp.exe' in line, (told, line)
        for where, said in (('log', log), ('explain', told.stdout)):
            for bad in ('\x1b', '\x07', '\r', '\u009b', '\u202e', '\u2028'):
                assert bad not in said, (where, hex(ord(bad)))
            assert not re.search('(?m)^FAKE', said), where


if __name__ == '__main__':
    rig.run(globals())

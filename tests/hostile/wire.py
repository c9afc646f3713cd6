"""wire.py: sends a row of table.py over a raw socket, in one piece or cut, and reads every answer that comes back. Used by probes.py and the others."""
import os
import random
import re
import socket

READ_S = 20             # nothing that is not late needs a hundredth of it; the machine may be busy
DATE = re.compile(r'(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT')


class Answer:
    def __init__(self, head):
        first, *lines = head.decode('latin-1').split('\r\n')
        found = re.fullmatch(r'HTTP/1\.1 (\d{3}) [ -~]*', first)
        assert found, f'no status line: {first!r}'
        self.status = int(found.group(1))
        pairs = [line.split(': ', 1) for line in lines]
        self.headers = {name.lower(): value for name, value in pairs}
        assert len(self.headers) == len(pairs), f'a header came twice: {lines}'
        self.body = b''

    def has_body(self):
        return self.status >= 200 and self.status not in (204, 304)


class Line:
    """A connection, and the answers that came on it. heads: which answers are to HEAD, counted from 0 and without 100s."""

    def __init__(self, port, heads=(), timeout=READ_S):
        self.socket = socket.create_connection(('127.0.0.1', port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.heads, self.rest, self.answers, self.is_closed = heads, b'', [], False

    def close(self):
        self.socket.close()

    def send(self, pieces):
        """False if weir has closed: what is left would reach nobody."""
        try:
            for piece in pieces:
                self.socket.sendall(piece)
                os.sched_yield()        # so that weir, if it waits, sees this piece alone
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False

    def read_more(self):
        some = self.socket.recv(65536)
        self.is_closed = some == b''
        self.rest += some

    def take(self, length):
        while len(self.rest) < length:
            assert not self.is_closed, f'an answer was cut: {self.rest[-200:]!r}'
            self.read_more()
        taken, self.rest = self.rest[:length], self.rest[length:]
        return taken

    def take_line(self):
        while b'\r\n' not in self.rest:
            assert not self.is_closed, f'an answer was cut: {self.rest[-200:]!r}'
            self.read_more()
        line, self.rest = self.rest.split(b'\r\n', 1)
        return line

    def read_body(self, answer):
        if answer.headers.get('transfer-encoding') == 'chunked':
            body = b''
            while size := int(self.take_line(), 16):
                body += self.take(size)
                assert self.take(2) == b'\r\n'
            assert self.take_line() == b''
            return body
        return self.take(int(answer.headers['content-length']))

    def read_one(self):
        """False when weir closed instead, between two answers."""
        while b'\r\n\r\n' not in self.rest:
            if self.is_closed:
                assert self.rest == b'', f'bytes that are no answer: {self.rest[:200]!r}'
                return False
            self.read_more()
        head, self.rest = self.rest.split(b'\r\n\r\n', 1)
        answer = Answer(head)
        if answer.has_body() and sum(a.status >= 200 for a in self.answers) not in self.heads:
            answer.body = self.read_body(answer)
        self.answers.append(answer)
        return True

    def read_to_end(self):
        while self.read_one():
            pass

    def statuses(self):
        return [a.status for a in self.answers]


# ---- ways to cut the same bytes ----

def whole(data, _):
    return [data]


def bytewise(data, _):
    """Each byte alone; of long data the middle in larger pieces, as it is all alike."""
    edge = 600
    if len(data) <= 4 * edge:
        return [data[i:i + 1] for i in range(len(data))]
    middle = data[edge:-edge]
    return bytewise(data[:edge], _) + [middle[i:i + 997] for i in range(0, len(middle), 997)] + bytewise(data[-edge:], _)


def cut(data, seed):
    r = random.Random(seed)
    at = sorted(r.randrange(len(data) + 1) for _ in range(r.randint(1, 6)))
    return [data[a:b] for a, b in zip([0] + at, at + [len(data)]) if a < b]

"""Requests and answers for agree.py: a grammar of what is right, and mutations of it, each with a name. One seed is one list of cases, byte for byte."""
import random

EOL = b'\r\n'


class Request:
    """One request in parts; a mutation changes parts, and bytes() joins them."""

    def __init__(self, rng):
        self.method = rng.choice([b'GET', b'POST', b'POST', b'PUT', b'OPTIONS', b'DELETE', b'HEAD'])
        self.gap1 = self.gap2 = b' '
        self.target = rng.choice([b'/', b'/v1/models', b'/a/b?c=d&e', b'/%20x', b'http://w/x'])
        self.version = b'HTTP/1.1'
        self.line_end = EOL
        self.headers = [[b'host', b': ', b'w', EOL]] + [[n, b': ', v, EOL] for n, v in rng.sample(PLAIN, rng.randrange(4))]
        self.blank = EOL
        self.framing = rng.choice(['none', 'length', 'chunked']) if self.method != b'HEAD' else 'none'
        self.body = bytes(rng.randrange(256) for _ in range(rng.choice([0, 1, 5, 40]))) if self.framing != 'none' else b''
        self.wire = None
        if self.framing == 'length':
            self.add(rng, b'content-length', b'%d' % len(self.body))
            self.wire = self.body
        elif self.framing == 'chunked':
            self.add(rng, b'transfer-encoding', b'chunked')
            self.chunks = [[b'%x' % len(c), EOL, c, EOL] for c in cut(rng, self.body)]
            self.last = [b'0', EOL]
            self.trailer = EOL

    def add(self, rng, name, value):
        self.headers.insert(rng.randrange(min(1, len(self.headers)), len(self.headers) + 1), [name, b': ', value, EOL])

    def find(self, name):
        return next((h for h in self.headers if h[0].lower() == name), None)

    def first_line(self):
        return self.method + self.gap1 + self.target + self.gap2 + self.version

    def bytes(self):
        head = self.first_line() + self.line_end + b''.join(b''.join(h) for h in self.headers) + self.blank
        if self.framing == 'chunked':
            return head + b''.join(b''.join(c) for c in self.chunks) + b''.join(self.last) + self.trailer
        return head + (self.wire or b'')


class Answer(Request):
    """The same with a status line; a body may also end with the connection."""

    def __init__(self, rng):
        super().__init__(rng)
        self.status = rng.choice([b'200', b'200', b'200', b'404', b'503', b'299', b'204', b'304'])
        self.reason = rng.choice([b'OK', b'Not Found', b'', b'caf\xc3\xa9'])
        self.headers[0] = [b'server', b': ', b'w', EOL]
        if self.framing == 'none' and self.status not in (b'204', b'304'):
            self.wire = b'until the end'

    def first_line(self):
        return self.version + self.gap1 + self.status + self.gap2 + self.reason


PLAIN = [(b'accept', b'*/*'), (b'user-agent', b'x/1 (y; z)'), (b'x-empty', b''), (b'authorization', b'Bearer k'), (b'cookie', b'a=b; c="d"'),
         (b'content-type', b'application/json'), (b'x-wide', b'caf\xc3\xa9'), (b'X-Case', b'Y')]


def cut(rng, body):
    parts = []
    while body:
        n = rng.randrange(1, len(body) + 1)
        parts.append(body[:n])
        body = body[n:]
    return parts


# ---- mutations: a function of (rng, message); returning False means that it does not fit this one ----

MUTATIONS = []
REQUEST_ONLY = {'host_none', 'host_odd', 'host_extra', 'before_odd', 'blank_lines_before', 'blank_lines_before_lf', 'expect', 'expect_other'}


def mutation(fn):
    MUTATIONS.append((fn.__name__, fn))
    return fn


def part(name, field, *values):
    """A mutation that puts one of the values into a field of the message."""
    def change(rng, r):
        if not hasattr(r, field) or (isinstance(r, Answer) and field in ('method', 'target')):
            return False
        setattr(r, field, rng.choice(values))
    MUTATIONS.append((name, change))


def header(name, *pairs):
    """A mutation that adds one more header."""
    def change(rng, r):
        r.add(rng, *rng.choice(pairs))
    MUTATIONS.append((name, change))


part('method_unknown', 'method', b'FOO', b'M-SEARCH', b'PROPFIND', b'QUERY')
part('method_lower', 'method', b'get', b'Post')
part('method_bytes', 'method', b'G ET', b'G\x00T', b'', b'G:T', b'\xff')
part('method_connect', 'method', b'CONNECT')
part('gap_wide', 'gap1', b'  ', b'   ')
part('gap_tab', 'gap1', b'\t')
part('gap_none', 'gap1', b'')
part('gap2_wide', 'gap2', b'  ', b' \t')
part('gap2_none', 'gap2', b'')
part('target_blank', 'target', b'/a b', b'/ ')
part('target_control', 'target', b'/\x00', b'/\x01a', b'/a\x7f', b'/\r')
part('target_wide', 'target', b'/caf\xc3\xa9', b'/\xff')
part('target_fragment', 'target', b'/a#b', b'/#')
part('target_quotes', 'target', b'/"a"', b'/<a>', b'/a|b', b'/a\\b', b'/^', b'/`', b'/{a}')
part('target_escape', 'target', b'/%', b'/%4', b'/%zz', b'/a%2', b'/%00')
part('target_form', 'target', b'a', b'w/x', b'//w/x', b'ftp://w/x', b'?a', b'w:80')
part('target_star', 'target', b'*', b'/*')
part('target_long', 'target', b'/' + b'a' * 7000, b'/' + b'a' * 9000)
part('target_host', 'target', b'http://w/', b'http://w:80/', b'http://v/x', b'http://u@w/', b'http:///x', b'HTTP://w/x', b'http://w?x')
part('version_old', 'version', b'HTTP/1.0')
part('version_other', 'version', b'HTTP/0.9', b'HTTP/1.2', b'HTTP/2.0', b'HTTP/3.0', b'HTTP/0.0')
part('version_form', 'version', b'HTTP/1', b'HTTP/1.', b'HTTP/11', b'HTTP/1.10', b'http/1.1', b'HTTP/ 1.1', b'HTTP/1.1 ', b'HTTP/+1.1', b'', b'HTTP/1,1')
part('version_protocol', 'version', b'RTSP/1.0', b'ICE/1.0', b'HTTPS/1.1', b'SHTTP/1.1')
part('status_form', 'status', b'20', b'2000', b'abc', b'', b'+200', b'2 0', b'-20', b'099', b'000')
part('status_other', 'status', b'600', b'999', b'201', b'205')
part('status_interim', 'status', b'100', b'103', b'101', b'102')
part('reason_bytes', 'reason', b'a\x00b', b'a\x7f', b'\x01', b'a\rb', b'a\tb', b'\xff')
part('line_end_lf', 'line_end', b'\n')
part('line_end_cr', 'line_end', b'\r', b'\r\r\n')
part('blank_lf', 'blank', b'\n')
part('blank_cr', 'blank', b'\r\r\n', b'\r')
header('length_extra', (b'content-length', b'0'), (b'content-length', b'5'), (b'Content-Length', b'5, 5'))
header('length_odd', (b'content-length', b'+5'), (b'content-length', b'-1'), (b'content-length', b'0x5'), (b'content-length', b'5 '), (b'content-length', b' 5'),
       (b'content-length', b'5a'), (b'content-length', b''), (b'content-length', b'1e1'), (b'content-length', b'5_0'), (b'content-length', b'5;'))
header('length_zeros', (b'content-length', b'00'), (b'content-length', b'005'))
header('length_huge', (b'content-length', b'9223372036854775807'), (b'content-length', b'9223372036854775808'), (b'content-length', b'18446744073709551616'),
       (b'content-length', b'9' * 40))
header('coding_extra', (b'transfer-encoding', b'chunked'), (b'Transfer-Encoding', b'Chunked'))
header('coding_other', (b'transfer-encoding', b'identity'), (b'transfer-encoding', b'gzip, chunked'), (b'transfer-encoding', b'chunked, gzip'), (b'transfer-encoding', b'xchunked'),
       (b'transfer-encoding', b'chunked;x'), (b'transfer-encoding', b''), (b'transfer-encoding', b'"chunked"'), (b'transfer-encoding', b'\x0bchunked'))
header('coding_twice', (b'transfer-encoding', b'chunked, chunked'), (b'transfer-encoding', b'chunked,'))
header('names_alike', (b'content_length', b'5'), (b'transfer_encoding', b'chunked'), (b'content-length_', b'5'), (b'x-content-length', b'5'))
header('host_extra', (b'host', b'w'), (b'Host', b'v'))
header('close', (b'connection', b'close'), (b'Connection', b'Close'), (b'connection', b'x, close'))
header('keep_alive', (b'connection', b'keep-alive'), (b'connection', b'upgrade'))
header('upgrade', (b'upgrade', b'websocket'), (b'upgrade', b'h2c'))
header('expect', (b'expect', b'100-continue'))
header('expect_other', (b'expect', b'200-ok'), (b'expect', b''))
header('value_control', (b'x', b'a\x00b'), (b'x', b'a\x01b'), (b'x', b'a\x7fb'), (b'x', b'a\rb'), (b'x', b'\x0b'), (b'x', b'\x1b[0m'))
header('value_lf', (b'x', b'a\nb'), (b'x', b'a\nb: c'), (b'x', b'a\n'))
header('value_tab', (b'x', b'a\tb'), (b'x', b'\ta\t'))
header('value_fold', (b'x', b'a\r\n b'), (b'x', b'a\r\n\tb: c'), (b'x', b'\r\n b'))
header('name_bytes', (b'a b', b'c'), (b'', b'c'), (b'a\x00', b'c'), (b'a(b)', b'c'), (b'a\xc3\xa9', b'c'), (b'"a"', b'c'), (b'a/b', b'c'), (b'a\tb', b'c'))
header('name_blank', (b'x ', b'c'), (b'x\t', b'c'), (b'content-length ', b'5'), (b'transfer-encoding ', b'chunked'))
header('name_first_blank', (b' x', b'c'), (b'\tx', b'c'))
header('name_long', (b'x' * 100, b'c'), (b'x' * 200, b'c'))


def of_a_header(fn):
    def change(rng, r):
        return fn(rng, rng.choice(r.headers)) if r.headers else False
    MUTATIONS.append((fn.__name__, change))
    return fn


@of_a_header
def colon_none(rng, h):
    h[1] = b''


@of_a_header
def colon_tight(rng, h):
    h[1] = rng.choice([b':', b':  ', b':\t', b': \t '])


@of_a_header
def header_end_lf(rng, h):
    h[3] = b'\n'


@of_a_header
def header_end_cr(rng, h):
    h[3] = rng.choice([b'\r', b'\r\r\n', b'\n\r'])


@mutation
def host_none(rng, r):
    r.headers = [h for h in r.headers if h[0] != b'host']


@mutation
def host_odd(rng, r):
    if not r.find(b'host'):
        return False
    r.find(b'host')[2] = rng.choice([b'', b'w w', b'w/x', b'w:80', b'w:x', b'w:', b'u@w', b'[::1]:80', b'[::1', b'w,v', b'\xc3\xa9', b'w:99999', b'a_b', b'[x]', b'%77'])


@mutation
def length_too_long(rng, r):
    if r.framing != 'length':
        return False
    r.find(b'content-length')[2] = b'%d' % (len(r.body) + rng.randrange(1, 9))


@mutation
def length_too_short(rng, r):
    if r.framing != 'length' or not r.body:
        return False
    r.find(b'content-length')[2] = b'%d' % rng.randrange(len(r.body))


@mutation
def headers_many(rng, r):
    r.headers += [[b'x-%d' % i, b': ', b'y', EOL] for i in range(rng.choice([60, 99, 120, 150]))]


@mutation
def value_long(rng, r):
    r.headers.append([b'x', b': ', b'y' * rng.choice([2000, 14000]), EOL])


@mutation
def blank_lines_before(rng, r):
    r.method = rng.choice([b'\r\n', b'\r\n\r\n']) + r.method


@mutation
def blank_lines_before_lf(rng, r):
    r.method = rng.choice([b'\n', b'\n\r\n', b'\n\n']) + r.method


@mutation
def before_odd(rng, r):
    r.method = rng.choice([b' ', b'\r', b'\x00', b'\xef\xbb\xbf', b'\t\r\n', b' \r\n']) + r.method


def chunked(fn):
    def change(rng, r):
        if r.framing != 'chunked':
            return False
        return fn(rng, r)
    MUTATIONS.append((fn.__name__, change))
    return fn


def some_chunk(rng, r):
    return rng.choice(r.chunks + [r.last])


@chunked
def chunk_size_odd(rng, r):
    c = some_chunk(rng, r)
    c[0] = rng.choice([b'+' + c[0], b'-' + c[0], b'0x' + c[0], c[0] + b'g', b'', b' ' + c[0], c[0] + b'_0', c[0] + b',', b'"' + c[0] + b'"'])


@chunked
def chunk_size_blank(rng, r):
    some_chunk(rng, r)[0] += rng.choice([b' ', b'\t', b'  '])


@chunked
def chunk_size_zeros(rng, r):
    c = some_chunk(rng, r)
    c[0] = rng.choice([b'0', b'000', b'0' * 30]) + c[0]


@chunked
def chunk_size_upper(rng, r):
    for c in r.chunks:
        c[0] = c[0].upper()


@chunked
def chunk_size_wrong(rng, r):
    if not r.chunks:
        return False
    c = rng.choice(r.chunks)
    c[0] = b'%x' % max(1, len(c[2]) + rng.choice([-1, 1, 2, 16]))


@chunked
def chunk_size_huge(rng, r):
    some_chunk(rng, r)[0] = rng.choice([b'7fffffffffffffff', b'8000000000000000', b'ffffffffffffffff', b'10000000000000000', b'100000005', b'f' * 40])


@chunked
def chunk_extension(rng, r):
    some_chunk(rng, r)[0] += rng.choice([b';a', b';a=b', b';a="b c"', b';a=b;c=d'])


@chunked
def chunk_extension_blank(rng, r):
    some_chunk(rng, r)[0] += rng.choice([b' ;a=b', b'; a=b', b';a =b', b';a= b', b';a="b" '])


@chunked
def chunk_extension_odd(rng, r):
    some_chunk(rng, r)[0] += rng.choice([b';', b';=', b';a=', b';a="b', b';a=\x00', b';a="b\x01"', b';a=b\n', b';\xff', b';a="b\\"c"', b';;', b';a="b"c'])


@chunked
def chunk_extension_long(rng, r):
    some_chunk(rng, r)[0] += b';a=' + b'b' * rng.choice([900, 2000])


@chunked
def chunk_line_lf(rng, r):
    some_chunk(rng, r)[1] = b'\n'


@chunked
def chunk_line_cr(rng, r):
    some_chunk(rng, r)[1] = rng.choice([b'\r', b'\r\r\n', b'\n\r'])


@chunked
def chunk_data_lf(rng, r):
    if not r.chunks:
        return False
    rng.choice(r.chunks)[3] = b'\n'


@chunked
def chunk_data_end_odd(rng, r):
    if not r.chunks:
        return False
    rng.choice(r.chunks)[3] = rng.choice([b'', b'\r', b'xx', b'\n\r', b'\r\n\r\n', b'\r\r\n', b'\r\nx'])


@chunked
def trailer_plain(rng, r):
    r.trailer = rng.choice([b'x: y\r\n\r\n', b'x-sum: 1\r\nz:\r\n\r\n'])


@chunked
def trailer_framing(rng, r):
    r.trailer = rng.choice([b'content-length: 5\r\n\r\n', b'transfer-encoding: chunked\r\n\r\n', b'host: v\r\n\r\n'])


@chunked
def trailer_odd(rng, r):
    r.trailer = rng.choice([b'x\r\n\r\n', b' x: y\r\n\r\n', b'x : y\r\n\r\n', b'x: \x00\r\n\r\n', b': y\r\n\r\n'])


@chunked
def trailer_lf(rng, r):
    r.trailer = rng.choice([b'\n', b'x: y\n\r\n', b'x: y\r\n\n'])


@chunked
def trailer_long(rng, r):
    r.trailer = b'x: ' + b'y' * rng.choice([3000, 5000]) + b'\r\n\r\n'


# ---- mutations of the finished bytes ----

def at_random(rng, wire):
    i = rng.randrange(len(wire))
    return rng.choice([
        lambda: wire[:i] + bytes([rng.randrange(256)]) + wire[i + 1:],
        lambda: wire[:i] + wire[i + 1:],
        lambda: wire[:i] + bytes([rng.choice(b' \t\r\n:;,\x00\x0b\xff0')]) + wire[i:],
        lambda: wire[:i] + wire[i:i + 8] + wire[i:],
    ])()


def case(rng, kind_of):
    """(the names of what was done, the bytes)"""
    r = kind_of(rng)
    names = []
    for _ in range(rng.choice([0, 1, 1, 1, 1, 1, 2])):
        name, change = rng.choice(MUTATIONS)
        if not (kind_of is Answer and name in REQUEST_ONLY) and change(rng, r) is not False:
            names.append(name)
    wire = r.bytes()
    kind = rng.randrange(10)
    if kind == 0 and not names:
        wire = at_random(rng, wire)
        names.append('byte_at_random')
    elif kind == 1 and not names:
        wire = wire[:rng.randrange(len(wire))]
        names.append('cut')
    if kind >= 5 and kind_of is Request:
        wire += Request(rng).bytes()  # the next one: who read another length reads another request
    return names or ['none'], wire


def cases(seed, count, kind_of=Request):
    rng = random.Random(seed)
    return [case(rng, kind_of) for _ in range(count)]

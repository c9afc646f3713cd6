"""table.py: every probe of the HTTP edge, one row each; probes.py sends them, and docs/http11probe.md is made from them.

A row:  refused(ID, CASE, ASKS, SEND, STATUS, twin=(OLD, NEW), why=…)      or  served(ID, CASE, ASKS, SEND, GETS, why=…)

ID      upper case: the test of this name in Http11Probe (github.com/MDA2AV/Http11Probe), a list of what servers get wrong; lower case: our own
CASE    the numbered case of hostile input that the row is a test of
ASKS    what RFC 9110 and 9112 ask of the server, and where; the words MUST, SHOULD and MAY are theirs
SEND    the bytes, or a list of them: the next piece is written when the answers to the ones before have come
GETS    statuses of all answers in their order, then `open` or `closed`: whether the connection serves on; `late` in front: only a time-out ends it
twin    the same bytes with OLD replaced by NEW once, which is right; it gets 200 and `open`, or what stands third (a GET
        whose body is chunked is answered and then closed: only a body of known length is read away)
why     where the RFCs leave a choice, or ask for less than MUST: why weir does what it does

A refused row closes the connection. Every answer must be whole, have its own id, a date and, if it is an error, a body in OpenAI's shape; every 200
to a chat is one call of the backend, and nothing else is one. Rows whose answer stands behind `interim` may get one 100 before it.
"""
from dataclasses import dataclass, field

BODY = '{"model":"chat","messages":[{"role":"user","content":"Hey"}]}   '
assert len(BODY) == 64 == 0x40

GET = 'GET /healthz HTTP/1.1\r\nHost: weir\r\n'
CHAT = 'POST /v1/chat/completions HTTP/1.1\r\nHost: weir\r\n'
LEN = 'Content-Length: 64\r\n'
TE = 'Transfer-Encoding: chunked\r\n'
CHUNKS = f'40\r\n{BODY}\r\n0\r\n\r\n'
WHOLE = f'{CHAT}{LEN}\r\n{BODY}'                # a right request; behind a wrong one it must never be answered
HIDDEN = f'{CHUNKS}{WHOLE}'                     # by chunks a body and a second request, by length one body
HIDDEN_LEN = f'Content-Length: {len(HIDDEN)}\r\n'


@dataclass
class Row:
    id: str
    case: str
    asks: str
    send: list
    gets: str
    twin: tuple | None = None
    why: str = ''
    interim: bool = False
    headers: dict = field(default_factory=dict)     # of the first answer: name -> value; None: must not be there

    @property
    def is_listed(self):
        return self.id.isupper()


ROWS = []


def served(id, case, asks, send, gets='200 open', **more):
    ROWS.append(Row(id, case, asks, [send] if isinstance(send, str) else send, gets, **more))


def refused(id, case, asks, send, status=400, twin=None, **more):
    served(id, case, asks, send, f'{status} closed', twin=twin, **more)


# Arguments that more than one row has.
LF = 'Readers that disagree on line ends disagree on where a request begins, and no client we know of ends lines with LF alone.'
OWS = 'Blanks around a value are part of no value; every client library may send them.'
BOTH = 'The RFC lets a server go by Transfer-Encoding and close. Refusing costs no honest client anything, as none may send both.'
TRAILER = 'Fields of a trailer are never merged into the head. One that names a length or coding is an attempt at something; the others are read past.'
UPGRADE = 'No protocol to switch to is offered here, so the header says nothing to us and the request is served as it is.'
METHOD = 'The server never echoes a request, so TRACE is known and not allowed.'
ZEROS = 'Legal by the grammar and read as octal by some; no client library writes it.'
EMPTY_ITEM = 'A list may have empty elements elsewhere. Of codings there is one that we read, and whoever writes it with commas hides it from somebody.'
BODY_ON_GET = 'A body means nothing here, but its length is known: it is read away, and the next request begins behind it.'

# ---- lines and the request line ----

served('COMP-BASELINE', 'hostile 18', 'a right request is served', f'{GET}\r\n')
refused('RFC9112-2.2-BARE-LF-REQUEST-LINE', 'hostile 9', 'MAY take LF for a line end (9112 2.2)', f'GET /healthz HTTP/1.1\nHost: weir\r\n\r\n', twin=('1.1\n', '1.1\r\n'), why=LF)
refused('RFC9112-2.2-BARE-LF-HEADER', 'hostile 9', 'MAY take LF for a line end (9112 2.2)', f'{GET}X-Test: a\n\r\n', twin=('a\n', 'a\r\n'), why=LF)
refused('RFC9112-3-CR-ONLY-LINE-ENDING', 'hostile 9', 'MUST refuse a CR without LF, or make it a blank (9112 2.2)', 'GET /healthz HTTP/1.1\rHost: weir\r\n\r\n', twin=('1.1\r', '1.1\r\n'))
served('COMP-LEADING-CRLF', 'hostile 13', 'SHOULD skip an empty line before a request (9112 2.2)', f'\r\n\r\n{GET}\r\n')
refused('COMP-WHITESPACE-BEFORE-HEADERS', 'hostile 12', 'MUST refuse, or skip such lines (9112 2.2)', 'GET /healthz HTTP/1.1\r\n \r\nHost: weir\r\n\r\n', twin=('1.1\r\n \r\n', '1.1\r\n'))
refused('RFC9112-3-MULTI-SP-REQUEST-LINE', 'hostile 14', 'SHOULD 400, MAY split at any blanks (9112 3)', 'GET  /healthz HTTP/1.1\r\nHost: weir\r\n\r\n', twin=('GET  ', 'GET '))
refused('COMP-REQUEST-LINE-TAB', 'hostile 14', 'SHOULD 400, MAY split at any blanks (9112 3)', 'GET\t/healthz HTTP/1.1\r\nHost: weir\r\n\r\n', twin=('\t', ' '))
refused('RFC9112-3-MISSING-TARGET', 'hostile 17', 'SHOULD 400 (9112 3)', 'GET HTTP/1.1\r\nHost: weir\r\n\r\n', twin=('GET ', 'GET /healthz '))
refused('RFC9112-3.2-FRAGMENT-IN-TARGET', 'hostile 17', 'SHOULD 400: no form of target has a fragment (9112 3.2)', 'GET /healthz#a HTTP/1.1\r\nHost: weir\r\n\r\n', twin=('#', '?'))
refused('COMP-SPACE-IN-TARGET', 'hostile 17', 'SHOULD 400 (9112 3.2)', 'GET /healthz?a b HTTP/1.1\r\nHost: weir\r\n\r\n', twin=('a b', 'a+b'))
refused('RFC9112-2.3-INVALID-VERSION', 'hostile 14', 'any refusal; 505 is for versions (9110 15.6.6)', 'GET /healthz HTTP/9.9\r\nHost: weir\r\n\r\n', 505, twin=('9.9', '1.1'))
refused('RFC9112-2.3-HTTP09-REQUEST', 'hostile 14', 'SHOULD 400: no version, so no request line (9112 3)', 'GET /healthz\r\n', twin=('\r\n', ' HTTP/1.0\r\n\r\n', '200 closed'))
refused('COMP-VERSION-MISSING-MINOR', 'hostile 14', 'SHOULD 400 (9112 2.3, 3)', 'GET /healthz HTTP/1\r\nHost: weir\r\n\r\n', twin=('/1\r', '/1.1\r'))
refused('COMP-VERSION-LEADING-ZEROS', 'hostile 14', 'SHOULD 400 (9112 2.3, 3)', 'GET /healthz HTTP/01.01\r\nHost: weir\r\n\r\n', twin=('01.01', '1.1'))
refused('COMP-VERSION-WHITESPACE', 'hostile 14', 'SHOULD 400 (9112 2.3, 3)', 'GET /healthz HTTP/ 1.1\r\nHost: weir\r\n\r\n', twin=('/ 1', '/1'))
refused('COMP-VERSION-CASE', 'hostile 14', 'SHOULD 400: the name is case-sensitive (9112 2.3)', 'GET /healthz http/1.1\r\nHost: weir\r\n\r\n', twin=('http/', 'HTTP/'))
refused('COMP-HTTP12-VERSION', 'hostile 14', 'SHOULD serve as 1.1 (9110 2.5); MAY 505 (9110 15.6.6)', 'GET /healthz HTTP/1.2\r\nHost: weir\r\n\r\n', 505, twin=('1.2', '1.1'),
        why='There is no HTTP/1.2 and none is being made: who says so is broken or testing us.')
refused('version-longer', 'hostile 14', 'SHOULD 400 (9112 2.3, 3)', 'GET /healthz HTTP/1.10\r\nHost: weir\r\n\r\n', twin=('1.10', '1.1'))
refused('version-letter-behind', 'hostile 14', 'SHOULD 400 (9112 2.3, 3)', 'GET /healthz HTTP/1.1x\r\nHost: weir\r\n\r\n', twin=('1.1x', '1.1'))
refused('version-minor-257', 'hostile 14', 'any refusal: 257 is 1 in eight bits (9112 2.3, 3)', 'GET /healthz HTTP/1.257\r\nHost: weir\r\n\r\n', 505, twin=('257', '1'))
refused('version-major-257', 'hostile 14', 'SHOULD 400: 257 is 1 in eight bits (9112 2.3, 3)', 'GET /healthz HTTP/257.1\r\nHost: weir\r\n\r\n', twin=('257', '1'))
refused('version-0.9', 'hostile 14', '505 is for versions (9110 15.6.6)', 'GET /healthz HTTP/0.9\r\nHost: weir\r\n\r\n', 505, twin=('0.9', '1.1'))
refused('end-of-headers-cr-x', 'hostile 13', 'MUST refuse a CR without LF, or make it a blank (9112 2.2)', f'{GET}\rX{WHOLE}', twin=('\rX', '\r\n', '200 200 open'))

# ---- methods ----

refused('COMP-METHOD-CASE', 'hostile 15', 'SHOULD 501: methods are case-sensitive (9110 9.1)', 'get /healthz HTTP/1.1\r\nHost: weir\r\n\r\n', twin=('get', 'GET'),
        why='No method begins like this, so the bytes may be any protocol: they are refused at the first wrong letter, and the connection closes.')
refused('COMP-UNKNOWN-METHOD', 'hostile 15', 'SHOULD 501 (9110 9.1)', 'FOOBAR /healthz HTTP/1.1\r\nHost: weir\r\n\r\n', twin=('FOOBAR', 'GET'),
        why='No method begins like this, so the bytes may be any protocol: they are refused at the first wrong letter, and the connection closes.')
refused('method-prefix', 'hostile 15', 'SHOULD 501 (9110 9.1)', 'GE /healthz HTTP/1.1\r\nHost: weir\r\n\r\n', twin=('GE ', 'GET '), why='As an unknown method.')
refused('method-longer', 'hostile 15', 'SHOULD 501 (9110 9.1)', 'GETS /healthz HTTP/1.1\r\nHost: weir\r\n\r\n', twin=('GETS', 'GET'), why='As an unknown method.')
refused('method-no-token', 'hostile 15', 'SHOULD 400 (9112 3)', 'G(T /healthz HTTP/1.1\r\nHost: weir\r\n\r\n', twin=('(', 'E'))
refused('method-33-bytes', 'hostile 15', 'MAY limit (9112 3)', f'{"G" * 33} /healthz HTTP/1.1\r\nHost: weir\r\n\r\n', twin=('G' * 33, 'GET'), why='As an unknown method.')
refused('COMP-METHOD-CONNECT', 'hostile 23', 'SHOULD 501 or 405: no tunnel here (9110 9.3.6)', 'CONNECT weir:443 HTTP/1.1\r\nHost: weir:443\r\n\r\n', 501,
        twin=('CONNECT weir:443', 'GET http://weir:443/healthz'))
served('COMP-METHOD-TRACE', 'hostile 15', 'MAY be refused (9110 9.3.8)', 'TRACE / HTTP/1.1\r\nHost: weir\r\n\r\n', '405 open', headers={'allow': 'GET, HEAD, OPTIONS'}, why=METHOD)
served('COMP-TRACE-WITH-BODY', 'hostile 15', 'a client must not send it (9110 9.3.8)', f'TRACE / HTTP/1.1\r\nHost: weir\r\n{LEN}\r\n{BODY}', '405 open', why=METHOD)
served('COMP-TRACE-SENSITIVE', 'hostile 15', 'SHOULD leave credentials out of the echo (9110 9.3.8)', 'TRACE / HTTP/1.1\r\nHost: weir\r\nAuthorization: Bearer sk-canary\r\n\r\n', '405 open')
served('COMP-405-ALLOW', 'hostile 15', 'MUST send Allow (9110 15.5.6)', 'DELETE / HTTP/1.1\r\nHost: weir\r\n\r\n', '405 open', headers={'allow': 'GET, HEAD, OPTIONS'})
served('COMP-OPTIONS-ALLOW', 'hostile 15', 'SHOULD send Allow (9110 9.3.7)', 'OPTIONS / HTTP/1.1\r\nHost: weir\r\n\r\n', '204 open', headers={'allow': 'GET, HEAD, OPTIONS'})
served('COMP-NO-CL-IN-204', 'hostile 15', 'MUST NOT send Content-Length (9110 8.6)', 'OPTIONS / HTTP/1.1\r\nHost: weir\r\n\r\n', '204 open', headers={'content-length': None, 'transfer-encoding': None})
served('COMP-OPTIONS-STAR', 'hostile 16', 'the one right use of * (9112 3.2.4)', 'OPTIONS * HTTP/1.1\r\nHost: weir\r\n\r\n', '204 open', headers={'allow': 'GET, HEAD, POST, DELETE, OPTIONS'})
refused('COMP-ASTERISK-WITH-GET', 'hostile 16', 'SHOULD 400 (9112 3.2.4)', 'GET * HTTP/1.1\r\nHost: weir\r\n\r\n', twin=('GET', 'OPTIONS', '204 open'))
served('COMP-HEAD-NO-BODY', 'hostile 19', 'MUST NOT send content (9110 9.3.2)', 'HEAD /healthz HTTP/1.1\r\nHost: weir\r\n\r\n', headers={'content-length': '3'})
refused('head-refused-no-body', 'hostile 19', 'MUST NOT send content (9110 9.3.2)', 'HEAD /healthz HTTP/1.1\r\nHost: \r\n\r\n', twin=('Host: ', 'Host: weir'))

# ---- what answers must have ----

served('COMP-DATE-HEADER', 'hostile 15', 'MUST send Date (9110 6.6.1)', f'{GET}\r\n')             # every answer of every row is looked at
served('COMP-DATE-FORMAT', 'hostile 15', 'MUST be IMF-fixdate (9110 5.6.7)', f'{GET}\r\n')
served('COMP-CONTENT-TYPE', 'hostile 15', 'SHOULD send Content-Type (9110 8.3)', f'{GET}\r\n', headers={'content-type': 'text/plain; charset=utf-8'})
served('COMP-CONNECTION-CLOSE', 'hostile 18', 'MUST close after the answer (9112 9.6)', f'{GET}Connection: close\r\n\r\n', '200 closed', headers={'connection': 'close'})
served('COMP-HTTP10-DEFAULT-CLOSE', 'hostile 14', '1.0 is closed unless it asks to be kept (9112 9.3)', 'GET /healthz HTTP/1.0\r\nHost: weir\r\n\r\n', '200 closed')
served('COMP-NO-1XX-HTTP10', 'hostile 23', 'MUST NOT send 1xx to 1.0 (9110 15.2)', f'{CHAT.replace("1.1", "1.0")}Expect: 100-continue\r\n{LEN}\r\n{BODY}', '200 closed')
served('SMUG-PIPELINE-SAFE', 'hostile 18', 'pipelined requests are answered in order (9112 9.3.2)', f'{GET}\r\n{WHOLE}{GET}\r\n', '200 200 200 open')

# ---- Host and the target ----

refused('RFC9112-7.1-MISSING-HOST', 'hostile 16', 'MUST 400 (9112 3.2)', 'GET /healthz HTTP/1.1\r\n\r\n', twin=('1.1\r\n', '1.1\r\nHost: weir\r\n'))
refused('RFC9110-5.4-DUPLICATE-HOST', 'hostile 16', 'MUST 400 (9112 3.2)', f'{GET}Host: other.example\r\n\r\n', twin=('\r\nHost: other', '\r\nX-Host: other'))
refused('COMP-DUPLICATE-HOST-SAME', 'hostile 16', 'MUST 400 (9112 3.2)', f'{GET}Host: weir\r\n\r\n', twin=('weir\r\nHost: ', 'weir\r\nX-Host: '))
refused('COMP-HOST-WITH-USERINFO', 'hostile 16', 'MUST 400: no valid value (9112 3.2)', f'GET /healthz HTTP/1.1\r\nHost: user@weir\r\n\r\n', twin=('@', '.'))
refused('COMP-HOST-WITH-PATH', 'hostile 16', 'MUST 400: no valid value (9112 3.2)', f'GET /healthz HTTP/1.1\r\nHost: weir/path\r\n\r\n', twin=('/path', ''))
refused('COMP-HOST-EMPTY-VALUE', 'hostile 16', 'MUST 400: an http URL has a host (9110 4.2.1, 9112 3.2)', 'GET /healthz HTTP/1.1\r\nHost: \r\n\r\n', twin=('Host: ', 'Host: w'))
refused('SMUG-MULTIPLE-HOST-COMMA', 'hostile 16', 'MUST 400: no valid value (9112 3.2)', 'GET /healthz HTTP/1.1\r\nHost: weir, other.example\r\n\r\n', twin=(', other', '.other'))
served('COMP-HTTP10-NO-HOST', 'hostile 16', 'HTTP/1.0 has no Host (9112 3.2)', 'GET /healthz HTTP/1.0\r\n\r\n', '200 closed', why='Load balancers still ask so whether we live.')
served('COMP-ABSOLUTE-FORM', 'hostile 16', 'MUST accept (9112 3.2.2)', 'GET http://weir/healthz HTTP/1.1\r\nHost: weir\r\n\r\n')
refused('SMUG-ABSOLUTE-URI-HOST-MISMATCH', 'hostile 16', 'MUST ignore Host (9112 3.2.2); a client must send it the same (3.2)', 'GET http://other.example/healthz HTTP/1.1\r\nHost: weir\r\n\r\n',
        twin=('other.example', 'weir'), why='Nobody sends two names by accident, and whoever stands before us may go by the other one: refusing is what both agree on.')
refused('host-with-blank', 'hostile 16', 'MUST 400: no valid value (9112 3.2)', 'GET /healthz HTTP/1.1\r\nHost: we ir\r\n\r\n', twin=('we ir', 'we.ir'))
refused('host-port-65536', 'hostile 16', 'MUST 400: no valid value (9112 3.2)', 'GET /healthz HTTP/1.1\r\nHost: weir:65536\r\n\r\n', twin=('65536', '65535'))
refused('MAL-URL-BACKSLASH', 'hostile 17', 'SHOULD 400: in no URI (9112 3.2)', 'GET /health\\z HTTP/1.1\r\nHost: weir\r\n\r\n', twin=('\\', ''))
refused('MAL-NON-ASCII-URL', 'hostile 17', 'SHOULD 400: in no URI (9112 3.2)', 'GET /healthz?caf\xc3\xa9 HTTP/1.1\r\nHost: weir\r\n\r\n', twin=('\xc3\xa9', '%c3%a9'))
refused('MAL-URL-OVERLONG-UTF8', 'hostile 17', 'SHOULD 400: in no URI (9112 3.2)', 'GET /healthz?\xc0\xaf HTTP/1.1\r\nHost: weir\r\n\r\n', twin=('\xc0\xaf', '/'))
refused('MAL-NUL-IN-URL', 'hostile 17', 'SHOULD 400: in no URI (9112 3.2)', 'GET /healthz\0 HTTP/1.1\r\nHost: weir\r\n\r\n', twin=('\0', ''))
refused('MAL-URL-PERCENT-NULL', 'hostile 17', 'nothing', 'GET /healthz?%00 HTTP/1.1\r\nHost: weir\r\n\r\n', twin=('%00', '%30'), why='A name that ends at its NUL for whoever decodes it in C; no name of ours has one.')
served('MAL-URL-PERCENT-CRLF', 'hostile 17', 'nothing', 'GET /v1/models/x%0d%0aX-Injected:%20true HTTP/1.1\r\nHost: weir\r\n\r\n', '404 open', headers={'x-injected': None},
       why='A legal URL of something that is not there. It is never decoded into a head or a log line.')
refused('target-escape-cut', 'hostile 17', 'SHOULD 400: in no URI (9112 3.2)', 'GET /healthz?%4 HTTP/1.1\r\nHost: weir\r\n\r\n', twin=('%4', '%41'))
served('COMP-LONG-URL-OK', 'hostile 20', 'SHOULD take 8000 bytes (9112 3)', f'GET /healthz?{"a" * 7900} HTTP/1.1\r\nHost: weir\r\n\r\n')
refused('MAL-LONG-URL', 'hostile 20', 'MUST 414 (9112 3)', f'GET /healthz?{"a" * 100_000} HTTP/1.1\r\nHost: weir\r\n\r\n', 414, twin=('a' * 100_000, 'a' * 8000))
refused('target-8193-bytes', 'hostile 20', 'MUST 414 (9112 3)', f'GET /healthz?{"a" * 8184} HTTP/1.1\r\nHost: weir\r\n\r\n', 414, twin=('?a', '?'))

# ---- header lines ----

refused('RFC9112-5.1-OBS-FOLD', 'hostile 12', 'MUST 400, or make it one line (9112 5.2)', f'{GET}X-Test: a\r\n b\r\n\r\n', twin=('a\r\n b', 'a b'))
refused('RFC9110-5.6.2-SP-BEFORE-COLON', 'hostile 11', 'MUST 400 (9112 5.1)', f'{GET}X-Test : a\r\n\r\n', twin=(' :', ':'))
refused('RFC9112-5-EMPTY-HEADER-NAME', 'hostile 11', 'SHOULD 400: no field line (9112 2.2, 5)', f'{GET}: a\r\n\r\n', twin=('\r\n:', '\r\nX:'))
refused('RFC9112-5-INVALID-HEADER-NAME', 'hostile 11', 'SHOULD 400: no field line (9112 2.2, 5)', f'{GET}Bad[Name: a\r\n\r\n', twin=('[', '-'))
refused('RFC9112-5-HEADER-NO-COLON', 'hostile 11', 'SHOULD 400: no field line (9112 2.2, 5)', f'{GET}NoColon\r\n\r\n', twin=('NoColon', 'NoColon:'))
refused('MAL-NON-ASCII-HEADER-NAME', 'hostile 11', 'SHOULD 400: no token (9112 2.2; 9110 5.1)', f'{GET}X-T\xc3\xabst: a\r\n\r\n', twin=('\xc3\xab', 'e'))
refused('NORM-TAB-IN-NAME', 'hostile 11', 'SHOULD 400: no token (9112 2.2; 9110 5.1)', f'{CHAT}{LEN}Content\tLength: 99\r\n\r\n{BODY}', twin=('\t', '.'))
refused('MAL-CONTROL-CHARS-HEADER', 'hostile 10', 'invalid, MAY be kept (9110 5.5)', f'{GET}X-Test: a\x07\x08\x0bb\r\n\r\n', twin=('\x07\x08\x0b', ''),
        why='No client sends them, and logs and terminals take them for orders.')
refused('MAL-NUL-IN-HEADER-VALUE', 'hostile 10', 'MUST 400, or make it a blank (9110 5.5)', f'{GET}X-Test: a\0b\r\n\r\n', twin=('\0', '0'))
refused('SMUG-BARE-CR-HEADER-VALUE', 'hostile 10', 'MUST 400, or make it a blank (9110 5.5)', f'{CHAT}{LEN}X-Test: a\rb\r\n\r\n{BODY}', twin=('\r' 'b', ' b'))
refused('bare-cr-before-value', 'hostile 10', 'MUST 400, or make it a blank (9110 5.5)', f'{GET}X-Test:\ra\r\n\r\n', twin=('\ra', ' a'))
refused('nul-behind-value', 'hostile 10', 'MUST 400, or make it a blank (9110 5.5)', f'{GET}X-Test: a\0\r\n\r\n', twin=('\0', ''))
refused('MAL-LONG-HEADER-NAME', 'hostile 20', '431 (6585 5)', f'{GET}{"A" * 100_000}: a\r\n\r\n', 431, twin=('A' * 100_000, 'A' * 128))
refused('MAL-LONG-HEADER-VALUE', 'hostile 20', '431 (6585 5)', f'{GET}X-Big: {"B" * 100_000}\r\n\r\n', 431, twin=('B' * 100_000, 'B' * 60_000))
refused('MAL-MANY-HEADERS', 'hostile 20', '431 (6585 5)', GET + ''.join(f'X-H-{i}: a\r\n' for i in range(10_000)) + '\r\n', 431,
        twin=(''.join(f'X-H-{i}: a\r\n' for i in range(50, 10_000)), ''))
refused('MAL-LONG-METHOD', 'hostile 15', 'SHOULD 501 (9110 9.1)', f'{"A" * 100_000} /healthz HTTP/1.1\r\nHost: weir\r\n\r\n', twin=('A' * 100_000, 'GET'), why='As an unknown method.')
refused('MAL-BINARY-GARBAGE', 'hostile 15', 'SHOULD 400 (9112 3)', ''.join(chr(i * 181 + 99 & 255) for i in range(256)))
refused('MAL-WHITESPACE-ONLY-LINE', 'hostile 13', 'SHOULD 400 (9112 3)', f'   \r\n{GET}\r\n', twin=('   ', ''))
refused('MAL-H2-PREFACE', 'hostile 14', '505 or 400 (9110 15.6.6)', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 505, twin=('PRI * HTTP/2.0\r\n\r\nSM', 'GET /healthz HTTP/1.1\r\nHost: weir'))
refused('high-byte-is-no-blank-host', 'hostile 21', 'MUST 400: no valid value (9112 3.2)', 'GET /healthz HTTP/1.1\r\nHost: weir\xa0\r\n\r\n', twin=('\xa0', ' '))
refused('high-byte-is-no-blank-length', 'hostile 21', 'MUST 400: no valid value (9112 6.3)', f'{CHAT}Content-Length: 64\x85\r\n\r\n{BODY}', twin=('\x85', ' '))
refused('high-byte-is-no-blank-coding', 'hostile 21', 'MUST 400: not chunked at its end (9112 6.3)', f'{CHAT}Transfer-Encoding: chunked\xa0\r\n\r\n{CHUNKS}', twin=('\xa0', ' '))

# ---- Content-Length ----

refused('RFC9112-6.1-CL-NON-NUMERIC', 'hostile 5', 'MUST 400 (9112 6.3)', f'{CHAT}Content-Length: abc\r\n\r\n{BODY}', twin=('abc', '64'))
refused('RFC9112-6.1-CL-PLUS-SIGN', 'hostile 5', 'MUST 400 (9112 6.3)', f'{CHAT}Content-Length: +64\r\n\r\n{BODY}', twin=('+', ''))
refused('SMUG-CL-NEGATIVE', 'hostile 5', 'MUST 400 (9112 6.3)', f'{CHAT}Content-Length: -64\r\n\r\n{BODY}', twin=('-64', '64'))
refused('SMUG-CL-NEGATIVE-ZERO', 'hostile 5', 'MUST 400 (9112 6.3)', 'GET /healthz HTTP/1.1\r\nHost: weir\r\nContent-Length: -0\r\n\r\n', twin=('-0', '0'))
refused('SMUG-CL-LEADING-ZEROS', 'hostile 5', 'MAY take it (9110 8.6)', f'{CHAT}Content-Length: 0064\r\n\r\n{BODY}', twin=('00', ''), why=ZEROS)
refused('SMUG-CL-LEADING-ZEROS-OCTAL', 'hostile 5', 'MAY take it (9110 8.6)', f'{CHAT}Content-Length: 0100\r\n\r\n{BODY}{" " * 36}', twin=('0100', '100'), why=ZEROS)
refused('SMUG-CL-DOUBLE-ZERO', 'hostile 5', 'MAY take it (9110 8.6)', f'{GET}Content-Length: 00\r\n\r\n', twin=('00', '0'), why=ZEROS)
refused('SMUG-CL-OCTAL', 'hostile 5', 'MUST 400 (9112 6.3)', f'{CHAT}Content-Length: 0o100\r\n\r\n{BODY}', twin=('0o100', '64'))
refused('SMUG-CL-HEX-PREFIX', 'hostile 5', 'MUST 400 (9112 6.3)', f'{CHAT}Content-Length: 0x40\r\n\r\n{BODY}', twin=('0x40', '64'))
refused('SMUG-CL-UNDERSCORE', 'hostile 5', 'MUST 400 (9112 6.3)', f'{CHAT}Content-Length: 6_4\r\n\r\n{BODY}', twin=('_', ''))
refused('SMUG-CL-INTERNAL-SPACE', 'hostile 5', 'MUST 400 (9112 6.3)', f'{CHAT}Content-Length: 6 4\r\n\r\n{BODY}', twin=('6 4', '64'))
refused('SMUG-CL-COMMA-DIFFERENT', 'hostile 5', 'MUST 400 (9112 6.3)', f'{CHAT}Content-Length: 64, 10\r\n\r\n{BODY}', twin=(', 10', ''))
refused('SMUG-CL-COMMA-SAME', 'hostile 5', 'MUST 400, or take the one value (9112 6.3)', f'{CHAT}Content-Length: 64, 64\r\n\r\n{BODY}', twin=(', 64', ''))
refused('SMUG-CL-COMMA-TRIPLE', 'hostile 5', 'MUST 400, or take the one value (9112 6.3)', f'{CHAT}Content-Length: 64, 64, 64\r\n\r\n{BODY}', twin=(', 64, 64', ''))
served('SMUG-CL-TRAILING-SPACE', 'hostile 5', 'blanks around a value are no part of it (9110 5.5)', f'{CHAT}Content-Length: 64 \r\n\r\n{BODY}', why=OWS)
served('SMUG-CL-EXTRA-LEADING-SP', 'hostile 5', 'blanks around a value are no part of it (9110 5.5)', f'{CHAT}Content-Length:  64\r\n\r\n{BODY}', why=OWS)
served('MAL-CL-TAB-BEFORE-VALUE', 'hostile 5', 'blanks around a value are no part of it (9110 5.5)', f'{CHAT}Content-Length:\t64\r\n\r\n{BODY}', why=OWS)
refused('MAL-CL-EMPTY', 'hostile 5', 'MUST 400 (9112 6.3)', f'{CHAT}Content-Length: \r\n\r\n{BODY}', twin=('Length: ', 'Length: 64'))
refused('MAL-CL-OVERFLOW', 'hostile 5', 'MUST 400 (9112 6.3; 9110 8.6)', f'{CHAT}Content-Length: 99999999999999999999\r\n\r\n{BODY}', twin=('9' * 20, '64'))
refused('length-2-to-64-and-64', 'hostile 5', 'MUST 400 (9112 6.3; 9110 8.6)', f'{CHAT}Content-Length: 18446744073709551680\r\n\r\n{BODY}', twin=('18446744073709551680', '64'))
refused('SMUG-DUPLICATE-CL', 'hostile 6', 'MUST 400 (9112 6.3)', f'{CHAT}{LEN}Content-Length: 10\r\n\r\n{BODY}', twin=('Content-Length: 10\r\n', ''))
refused('lengths-same', 'hostile 6', 'MUST 400, or take the one value (9112 6.3)', f'{CHAT}{LEN}{LEN}\r\n{BODY}', twin=(LEN + LEN, LEN))
refused('SMUG-DUPLICATE-CL-SMUGGLED-GET', 'hostile 6', 'MUST 400 (9112 6.3)', f'{CHAT}{LEN}Content-Length: {len(BODY + WHOLE)}\r\n\r\n{BODY}{WHOLE}',
        twin=(f'Content-Length: {len(BODY + WHOLE)}\r\n', '', '200 200 open'))
refused('NORM-UNDERSCORE-CL', 'hostile 7', 'nothing: another header', f'{CHAT}{LEN}Content_Length: 99\r\n\r\n{BODY}', twin=('_', '.'), why='Servers of the CGI family read it as Content-Length; nobody else has a use for it.')
refused('NORM-SP-BEFORE-COLON-CL', 'hostile 11', 'MUST 400 (9112 5.1)', f'{CHAT}{LEN}Content-Length : 5\r\n\r\n{BODY}', twin=('Content-Length : 5', 'X-Length: 5'))
refused('MAL-POST-CL-HUGE-NO-BODY', 'hostile 5', '413, without waiting for the body (9110 15.5.14)', f'{CHAT}Content-Length: 999999999\r\n\r\n', 413, twin=('999999999\r\n\r\n', f'64\r\n\r\n{BODY}'),
        why='It is more than limits.body, which the head already tells: no byte of it is waited for and none is reserved.')

# ---- Transfer-Encoding ----

refused('SMUG-CL-TE-BOTH', 'hostile 7', 'MAY 400 (9112 6.1)', f'{CHAT}Content-Length: {len(CHUNKS)}\r\n{TE}\r\n{CHUNKS}', twin=(f'Content-Length: {len(CHUNKS)}\r\n', ''), why=BOTH)
refused('SMUG-CLTE-PIPELINE', 'hostile 7', 'MAY 400 (9112 6.1)', f'{GET}Content-Length: 4\r\n{TE}\r\n0\r\n\r\n', twin=('Content-Length: 4\r\n', '', '200 closed'), why=BOTH)
refused('SMUG-TECL-PIPELINE', 'hostile 7', 'MAY 400 (9112 6.1)', f'{GET}{TE}Content-Length: 30\r\n\r\n0\r\n\r\n', twin=('Content-Length: 30\r\n', '', '200 closed'), why=BOTH)
refused('SMUG-CLTE-CONN-CLOSE', 'hostile 7', 'MUST close after any answer (9112 6.1)', f'{GET}Content-Length: 5\r\n{TE}\r\n0\r\n\r\n', twin=('Content-Length: 5\r\n', '', '200 closed'))
refused('SMUG-TECL-CONN-CLOSE', 'hostile 7', 'MUST close after any answer (9112 6.1)', f'{GET}{TE}Content-Length: 5\r\n\r\n0\r\n\r\n', twin=('Content-Length: 5\r\n', '', '200 closed'))
refused('SMUG-CLTE-DESYNC', 'hostile 7', 'MUST close after any answer (9112 6.1)', f'{GET}Content-Length: 6\r\n{TE}\r\n0\r\n\r\nX', twin=(f'Content-Length: 6\r\n{TE}', f'Content-Length: 6\r\n'))
refused('SMUG-TECL-DESYNC', 'hostile 7', 'MUST close after any answer (9112 6.1)', f'{GET}{TE}Content-Length: 6\r\n\r\n0\r\n\r\nX', twin=(f'{TE}Content-Length: 6\r\n', f'Content-Length: 6\r\n'))
refused('SMUG-CLTE-SMUGGLED-GET', 'hostile 7', 'MUST close after any answer (9112 6.1)', f'{CHAT}{HIDDEN_LEN}{TE}\r\n{HIDDEN}', twin=(HIDDEN_LEN, '', '200 200 open'))
refused('SMUG-CLTE-SMUGGLED-GET-CL-PLUS', 'hostile 7', 'MUST close after any answer (9112 6.1)', f'{CHAT}{HIDDEN_LEN.replace(": ", ": +")}{TE}\r\n{HIDDEN}',
        twin=(HIDDEN_LEN.replace(': ', ': +'), '', '200 200 open'))
refused('SMUG-CLTE-SMUGGLED-GET-CL-NON-NUMERIC', 'hostile 7', 'MUST close after any answer (9112 6.1)', f'{CHAT}Content-Length: {len(HIDDEN)}x\r\n{TE}\r\n{HIDDEN}',
        twin=(f'Content-Length: {len(HIDDEN)}x\r\n', '', '200 200 open'))
refused('SMUG-CLTE-SMUGGLED-GET-TE-OBS-FOLD', 'hostile 12', 'MUST 400, or make it one line and close (9112 5.2, 6.1)', f'{CHAT}{HIDDEN_LEN}Transfer-Encoding:\r\n chunked\r\n\r\n{HIDDEN}',
        twin=(f'{HIDDEN_LEN}Transfer-Encoding:\r\n chunked\r\n', TE, '200 200 open'))
refused('SMUG-CLTE-SMUGGLED-HEAD', 'hostile 7', 'MUST close after any answer (9112 6.1)', f'{GET}Content-Length: 56\r\n{TE}\r\n0\r\n\r\nHEAD /healthz HTTP/1.1\r\nHost: weir\r\nX-Test: abc\r\n\r\n',
        twin=(f'{TE}', ''))
refused('SMUG-CLTE-SMUGGLED-GET-TE-TRAILING-SPACE', 'hostile 7', 'MUST close after any answer (9112 6.1)', f'{CHAT}{HIDDEN_LEN}Transfer-Encoding: chunked \r\n\r\n{HIDDEN}', twin=(HIDDEN_LEN, '', '200 200 open'))
refused('SMUG-CLTE-SMUGGLED-GET-TE-LEADING-COMMA', 'hostile 7', 'MUST close after any answer (9112 6.1)', f'{CHAT}{HIDDEN_LEN}Transfer-Encoding: , chunked\r\n\r\n{HIDDEN}',
        twin=(f'{HIDDEN_LEN}Transfer-Encoding: , ', 'Transfer-Encoding: ', '200 200 open'))
refused('SMUG-CLTE-SMUGGLED-GET-TE-CASE-MISMATCH', 'hostile 7', 'MUST close after any answer (9112 6.1)', f'{CHAT}{HIDDEN_LEN}Transfer-Encoding: Chunked\r\n\r\n{HIDDEN}', twin=(HIDDEN_LEN, '', '200 200 open'))
refused('SMUG-TE-DUPLICATE-HEADERS-SMUGGLED-GET', 'hostile 8', 'MUST close after any answer (9112 6.1)', f'{CHAT}{HIDDEN_LEN}{TE}Transfer-Encoding: identity\r\n\r\n{HIDDEN}',
        twin=(f'{HIDDEN_LEN}{TE}Transfer-Encoding: identity\r\n', TE, '200 200 open'))
refused('SMUG-TECL-SMUGGLED-GET', 'hostile 7', 'MUST close after any answer (9112 6.1)', f'{CHAT}{TE}Content-Length: 4\r\n\r\n{len(WHOLE):x}\r\n{WHOLE}\r\n0\r\n\r\n', twin=('Content-Length: 4\r\n', '', '400 open'))
refused('SMUG-TE-XCHUNKED', 'hostile 8', 'MUST 400: not chunked at its end (9112 6.3)', f'{CHAT}Transfer-Encoding: xchunked\r\n{LEN}\r\n{BODY}', twin=('Transfer-Encoding: xchunked\r\n', ''))
refused('SMUG-TE-TRAILING-SPACE', 'hostile 8', 'MAY 400: it is both (9112 6.1)', f'{CHAT}Transfer-Encoding: chunked \r\n{LEN}\r\n{BODY}', twin=('Transfer-Encoding: chunked \r\n', ''), why=BOTH)
refused('SMUG-TE-SP-BEFORE-COLON', 'hostile 11', 'MUST 400 (9112 5.1)', f'{CHAT}Transfer-Encoding : chunked\r\n{LEN}\r\n{BODY}', twin=('Transfer-Encoding : chunked\r\n', ''))
refused('SMUG-TE-DOUBLE-CHUNKED', 'hostile 8', 'MAY 400: it is both (9112 6.1)', f'{CHAT}Transfer-Encoding: chunked, chunked\r\n{LEN}\r\n{BODY}', twin=('Transfer-Encoding: chunked, chunked\r\n', ''), why=BOTH)
refused('SMUG-TE-CASE-MISMATCH', 'hostile 8', 'MAY 400: it is both (9112 6.1)', f'{CHAT}Transfer-Encoding: Chunked\r\n{LEN}\r\n{BODY}', twin=('Transfer-Encoding: Chunked\r\n', ''), why=BOTH)
refused('SMUG-TE-NOT-FINAL-CHUNKED', 'hostile 8', 'MUST 400 (9112 6.3)', f'{CHAT}Transfer-Encoding: chunked, gzip\r\n\r\n{CHUNKS}', twin=(', gzip', ''))
refused('SMUG-TE-HTTP10', 'hostile 8', 'MUST treat the framing as faulty (9112 6.1)', f'{CHAT.replace("1.1", "1.0")}{TE}{LEN}\r\n{BODY}', twin=(TE, '', '200 closed'))
refused('SMUG-TE-EMPTY-VALUE', 'hostile 8', 'MAY 400: it is both (9112 6.1)', f'{CHAT}Transfer-Encoding: \r\n{LEN}\r\n{BODY}', twin=('Transfer-Encoding: \r\n', ''), why=BOTH)
refused('SMUG-TE-LEADING-COMMA', 'hostile 8', 'MAY 400: it is both (9112 6.1)', f'{CHAT}Transfer-Encoding: , chunked\r\n{LEN}\r\n{BODY}', twin=('Transfer-Encoding: , chunked\r\n', ''), why=BOTH)
refused('SMUG-TE-TRAILING-COMMA', 'hostile 8', 'MAY 400: it is both (9112 6.1)', f'{CHAT}Transfer-Encoding: chunked,\r\n{LEN}\r\n{BODY}', twin=('Transfer-Encoding: chunked,\r\n', ''), why=BOTH)
refused('SMUG-TE-DUPLICATE-HEADERS', 'hostile 8', 'MUST 400: not chunked at its end (9112 6.3)', f'{CHAT}{TE}Transfer-Encoding: identity\r\n{LEN}\r\n{BODY}', twin=(f'{TE}Transfer-Encoding: identity\r\n', ''))
refused('SMUG-TE-VTAB', 'hostile 10', 'MUST 400: not chunked at its end (9112 6.3)', f'{CHAT}Transfer-Encoding: \x0bchunked\r\n{LEN}\r\n{BODY}', twin=('Transfer-Encoding: \x0bchunked\r\n', ''))
refused('SMUG-TE-FORMFEED', 'hostile 10', 'MUST 400: not chunked at its end (9112 6.3)', f'{CHAT}Transfer-Encoding: \x0cchunked\r\n{LEN}\r\n{BODY}', twin=('Transfer-Encoding: \x0cchunked\r\n', ''))
refused('SMUG-TE-NULL', 'hostile 10', 'MUST 400, or make it a blank (9110 5.5)', f'{CHAT}Transfer-Encoding: chunked\0\r\n{LEN}\r\n{BODY}', twin=('Transfer-Encoding: chunked\0\r\n', ''))
refused('SMUG-TE-IDENTITY', 'hostile 8', 'MUST 400: not chunked at its end (9112 6.3)', f'{CHAT}Transfer-Encoding: identity\r\n{LEN}\r\n{BODY}', twin=('Transfer-Encoding: identity\r\n', ''))
refused('SMUG-TRANSFER_ENCODING', 'hostile 7', 'nothing: another header', f'{CHAT}Transfer_Encoding: chunked\r\n{LEN}\r\n{BODY}', twin=('_', '.'), why='Servers of the CGI family read it as Transfer-Encoding; nobody else has a use for it.')
refused('NORM-UNDERSCORE-TE', 'hostile 7', 'nothing: another header', f'{CHAT}{LEN}Transfer_Encoding: chunked\r\n\r\n{BODY}', twin=('_', '.'), why='Servers of the CGI family read it as Transfer-Encoding; nobody else has a use for it.')
refused('NORM-CASE-TE', 'hostile 7', 'MAY 400: it is both (9112 6.1)', f'{CHAT}{LEN}TRANSFER-ENCODING: chunked\r\n\r\n{BODY}', twin=('TRANSFER-ENCODING: chunked\r\n', ''), why=BOTH)
refused('SMUG-CHUNKED-WITH-PARAMS', 'hostile 8', 'MUST 400: chunked has no parameters (9112 7, 6.3)', f'{CHAT}Transfer-Encoding: chunked;a=b\r\n{LEN}\r\n{BODY}', twin=('Transfer-Encoding: chunked;a=b\r\n', ''))
refused('SMUG-TE-OBS-FOLD', 'hostile 12', 'MUST 400, or make it one line and close (9112 5.2, 6.1)', f'{CHAT}Transfer-Encoding:\r\n chunked\r\n{LEN}\r\n{BODY}', twin=('Transfer-Encoding:\r\n chunked\r\n', ''))
refused('SMUG-OPTIONS-TE-OBS-FOLD', 'hostile 12', 'MUST 400, or make it one line and close (9112 5.2, 6.1)', f'OPTIONS / HTTP/1.1\r\nHost: weir\r\nTransfer-Encoding:\r\n chunked\r\n{LEN}\r\n{BODY}',
        twin=('Transfer-Encoding:\r\n chunked\r\n', '', '204 open'))
refused('SMUG-TE-TAB-BEFORE-VALUE', 'hostile 8', 'MAY 400: it is both (9112 6.1)', f'{CHAT}Transfer-Encoding:\tchunked\r\n{LEN}\r\n{BODY}', twin=('Transfer-Encoding:\tchunked\r\n', ''), why=BOTH)
refused('COMP-UNKNOWN-TE-501', 'hostile 8', 'MUST 400: not chunked at its end (9112 6.3); SHOULD 501 (6.1)', f'{CHAT}Transfer-Encoding: gzip\r\n\r\n{CHUNKS}', twin=('gzip', 'chunked'),
        why='Where two sentences ask for two statuses, the MUST wins. A coding before chunked is a 501.')
refused('coding-before-chunked', 'hostile 8', 'SHOULD 501 (9112 6.1)', f'{CHAT}Transfer-Encoding: gzip, chunked\r\n\r\n{CHUNKS}', 501, twin=('gzip, ', ''))
refused('coding-comma-before', 'hostile 8', 'MUST ignore empty elements of lists (9110 5.6.1)', f'{CHAT}Transfer-Encoding: ,chunked\r\n\r\n{CHUNKS}', 501, twin=(',', ''), why=EMPTY_ITEM)
refused('coding-comma-behind', 'hostile 8', 'MUST ignore empty elements of lists (9110 5.6.1)', f'{CHAT}Transfer-Encoding: chunked,\r\n\r\n{CHUNKS}', twin=(',', ''), why=EMPTY_ITEM)
refused('coding-twice', 'hostile 8', 'a client must not (9112 6.1)', f'{CHAT}{TE}{TE}\r\n{CHUNKS}', twin=(TE + TE, TE))
refused('coding-identity-behind', 'hostile 8', 'MUST 400 (9112 6.3)', f'{CHAT}Transfer-Encoding: chunked, identity\r\n\r\n{CHUNKS}', twin=(', identity', ''))

# ---- chunks ----

served('COMP-CHUNKED-BODY', 'hostile 18', 'MUST read (9112 7.1)', f'{CHAT}{TE}\r\n{CHUNKS}')
served('COMP-CHUNKED-MULTI', 'hostile 18', 'MUST read (9112 7.1)', f'{CHAT}{TE}\r\n10\r\n{BODY[:16]}\r\n30\r\n{BODY[16:]}\r\n0\r\n\r\n')
served('COMP-CHUNKED-EMPTY', 'hostile 18', 'MUST read (9112 7.1)', f'{CHAT}{TE}\r\n0\r\n\r\n', '400 open', why='Read as the empty body it is, which no call may have: the connection serves on.')
served('COMP-CHUNKED-EXTENSION', 'hostile 1', 'MUST ignore those it does not know (9112 7.1.1)', f'{CHAT}{TE}\r\n40;a=b\r\n{BODY}\r\n0\r\n\r\n')
served('COMP-CHUNKED-TRAILER-VALID', 'hostile 18', 'MAY read past (9112 7.1.2)', f'{CHAT}{TE}\r\n40\r\n{BODY}\r\n0\r\nX-Sum: a\r\n\r\n')
served('COMP-CHUNKED-HEX-UPPERCASE', 'hostile 1', 'MUST read (9112 7.1)', f'{CHAT}{TE}\r\n3A\r\n{BODY[:58]}\r\n6\r\n{BODY[58:]}\r\n0\r\n\r\n')
served('COMP-CHUNKED-NO-FINAL', 'hostile 18', 'MUST treat as incomplete (9112 8)', f'{CHAT}{TE}\r\n40\r\n{BODY}\r\n', 'late 408 closed', twin=(f'{BODY}\r\n', CHUNKS[4:]), why='408 when timeouts.body is over.')
for name, size, case in (
        ('SMUG-CHUNK-HEX-PREFIX', '0x40', 'hostile 1'), ('SMUG-CHUNK-SIZE-PLUS', '+40', 'hostile 1'), ('SMUG-CHUNK-NEGATIVE', '-40', 'hostile 1'),
        ('SMUG-CHUNK-UNDERSCORE', '4_0', 'hostile 1'), ('SMUG-CHUNK-LEADING-SP', ' 40', 'hostile 1'), ('SMUG-CHUNK-SIZE-TRAILING-OWS', '40 ', 'hostile 1'),
        ('SMUG-CHUNK-BARE-SEMICOLON', '40;', 'hostile 2'), ('chunk-size-word-behind', '40 z', 'hostile 2'), ('chunk-two-semicolons', '40;;', 'hostile 2'),
        ('chunk-letter-behind', '40z', 'hostile 2'), ('chunk-size-empty', '', 'hostile 3'), ('MAL-CHUNK-SIZE-OVERFLOW', 'FFFFFFFFFFFFFFFF0', 'hostile 4'),
        ('chunk-size-2-to-64-and-64', '10000000000000040', 'hostile 4'), ('chunk-size-2-to-64-less-1', 'ffffffffffffffff', 'hostile 4'),
        ('SMUG-CHUNK-EXT-INVALID-TOKEN', '40;bad[=x', 'hostile 2'), ('SMUG-CHUNK-EXT-CTRL', '40;\0ext', 'hostile 10'), ('SMUG-CHUNK-EXT-CR', '40;a\rX', 'hostile 10'),
        ('chunk-ext-nul-value', '40;a=\0', 'hostile 10')):
    asks = 'MUST read large sizes without overflow (9112 7.1)' if case == 'hostile 4' else 'SHOULD 400: no chunk line (9112 2.2, 7.1)'
    refused(name, case, asks, f'{CHAT}{TE}\r\n{size}\r\n{BODY}\r\n0\r\n\r\n', twin=(f'\r\n\r\n{size}\r\n', '\r\n\r\n40\r\n'))
refused('SMUG-CHUNK-EXT-LF', 'hostile 9', 'MAY take LF for a line end (9112 2.2)', f'{CHAT}{TE}\r\n40;a\n{BODY}\r\n0\r\n\r\n', twin=('a\n', 'a\r\n'), why=LF)
refused('SMUG-CHUNK-LF-TERM', 'hostile 9', 'MAY take LF for a line end (9112 2.2)', f'{CHAT}{TE}\r\n40\r\n{BODY}\n0\r\n\r\n', twin=(f'{BODY}\n', f'{BODY}\r\n'), why=LF)
refused('SMUG-CHUNK-LF-TRAILER', 'hostile 9', 'MAY take LF for a line end (9112 2.2)', f'{CHAT}{TE}\r\n40\r\n{BODY}\r\n0\r\n\n', twin=('0\r\n\n', '0\r\n\r\n'), why=LF)
refused('SMUG-CHUNK-BARE-CR-TERM', 'hostile 9', 'MUST refuse a CR without LF, or make it a blank (9112 2.2)', f'{CHAT}{TE}\r\n40\r{BODY}\r\n0\r\n\r\n', twin=('40\r', '40\r\n'))
refused('SMUG-CHUNK-MISSING-TRAILING-CRLF', 'hostile 13', 'SHOULD 400: no chunk (9112 2.2, 7.1)', f'{CHAT}{TE}\r\n40\r\n{BODY}0\r\n\r\n', twin=(f'{BODY}0', f'{BODY}\r\n0'))
refused('SMUG-CHUNK-SPILL', 'hostile 13', 'SHOULD 400: no chunk (9112 2.2, 7.1)', f'{CHAT}{TE}\r\n40\r\n{BODY}!!\r\n0\r\n\r\n', twin=('!!', ''))
refused('chunk-end-xx', 'hostile 13', 'SHOULD 400: no chunk (9112 2.2, 7.1)', f'{CHAT}{TE}\r\n40\r\n{BODY}XX0\r\n\r\n', twin=('XX', '\r\n'))
served('chunk-byte-behind-body', 'hostile 18', 'the body has ended; what follows is a request (9112 7.1)', f'{CHAT}{TE}\r\n{CHUNKS}X', '200 400 closed', twin=('0\r\n\r\nX', '0\r\n\r\n'))
refused('SMUG-CHUNK-INVALID-SIZE-DESYNC', 'hostile 1', 'SHOULD 400: no chunk line (9112 2.2, 7.1)', f'{CHAT}{TE}\r\n40\r\n{BODY}\r\n+0\r\n\r\n{WHOLE}', twin=('+0', '0', '200 200 open'))
refused('MAL-CHUNK-EXT-64K', 'hostile 20', 'ought to limit extensions (9112 7.1.1)', f'{CHAT}{TE}\r\n40;a={"b" * 65536}\r\n{BODY}\r\n0\r\n\r\n', twin=('b' * 65536, 'b' * 64))
refused('SMUG-TRAILER-CL', 'hostile 18', 'MUST NOT merge it (9110 6.5.1)', f'{CHAT}{TE}\r\n40\r\n{BODY}\r\n0\r\nContent-Length: 50\r\n\r\n', twin=('Content-Length: 50', 'X-Length: 50'), why=TRAILER)
refused('SMUG-TRAILER-TE', 'hostile 18', 'MUST NOT merge it (9110 6.5.1)', f'{CHAT}{TE}\r\n40\r\n{BODY}\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n', twin=('0\r\nTransfer-', '0\r\nX-'), why=TRAILER)
served('SMUG-TRAILER-HOST', 'hostile 18', 'MUST NOT merge it (9110 6.5.1)', f'{CHAT}{TE}\r\n40\r\n{BODY}\r\n0\r\nHost: evil.example\r\n\r\n', why=TRAILER)
served('SMUG-TRAILER-AUTH', 'hostile 18', 'MUST NOT merge it (9110 6.5.1)', f'{CHAT}{TE}\r\n40\r\n{BODY}\r\n0\r\nAuthorization: Bearer evil\r\n\r\n', why=TRAILER)
served('SMUG-TRAILER-CONTENT-TYPE', 'hostile 18', 'MUST NOT merge it (9110 6.5.1)', f'{CHAT}{TE}\r\n40\r\n{BODY}\r\n0\r\nContent-Type: text/evil\r\n\r\n', why=TRAILER)

# ---- bodies, and methods that have none ----

served('COMP-POST-CL-BODY', 'hostile 18', 'MUST read (9112 6.2)', WHOLE)
served('COMP-POST-CL-ZERO', 'hostile 18', 'an empty body (9112 6.2)', f'{CHAT}Content-Length: 0\r\n\r\n', '400 open', why='Read as the empty body it is, which no call may have: the connection serves on.')
served('COMP-POST-NO-CL-NO-TE', 'hostile 18', 'an empty body (9112 6.3)', f'{CHAT}\r\n', '400 open', why='Read as the empty body it is, which no call may have: the connection serves on.')
served('COMP-POST-CL-UNDERSEND', 'hostile 18', 'MUST treat as incomplete (9112 8)', f'{CHAT}{LEN}\r\n{BODY[:32]}', 'late 408 closed', twin=(BODY[:32], BODY), why='408 when timeouts.body is over.')
served('COMP-GET-WITH-CL-BODY', 'hostile 19', 'MAY be refused (9110 9.3.1)', f'{GET}{LEN}\r\n{BODY}', why=BODY_ON_GET)
served('SMUG-HEAD-CL-BODY', 'hostile 19', 'MUST read the body or close (9112 9.3)', f'HEAD /healthz HTTP/1.1\r\nHost: weir\r\nContent-Length: {len(WHOLE)}\r\n\r\n{WHOLE}')
served('SMUG-OPTIONS-CL-BODY', 'hostile 19', 'MUST read the body or close (9112 9.3)', f'OPTIONS / HTTP/1.1\r\nHost: weir\r\nContent-Length: {len(WHOLE)}\r\n\r\n{WHOLE}', '204 open')
served('SMUG-GET-CL-BODY-DESYNC', 'hostile 19', 'MUST read the body or close (9112 9.3)', [f'{GET}Content-Length: {len(WHOLE)}\r\n\r\n{WHOLE}', f'{GET}\r\n'], '200 200 open')
served('SMUG-GET-CL-PREFIX-DESYNC', 'hostile 19', 'MUST read the body or close (9112 9.3)', [f'{GET}Content-Length: {len(GET)}\r\n\r\n{GET}', f'\r\n{GET}\r\n'], '200 200 open')
served('SMUG-OPTIONS-CL-BODY-DESYNC', 'hostile 19', 'MUST read the body or close (9112 9.3)', [f'OPTIONS / HTTP/1.1\r\nHost: weir\r\n{LEN}\r\n{BODY}', f'{GET}\r\n'], '204 200 open')
served('SMUG-CL0-BODY-POISON', 'hostile 18', 'the byte behind is the next request\'s (9112 6.3)', [f'{GET}Content-Length: 0\r\n\r\nX', f'{GET}\r\n'], '200 400 closed', twin=('\r\nX', '\r\n', '200 200 open'))
served('get-with-long-unread-body', 'hostile 19', 'MAY be refused (9110 9.3.1)', f'{GET}Content-Length: 70000\r\n\r\n{"a" * 70000}', '200 closed',
        why='Up to 64 KiB are read away to keep the connection; for more it is cheaper to close it.')
served('COMP-DUPLICATE-CT', 'hostile 18', 'a client must not (9110 5.3)', f'{CHAT}{LEN}Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\n{BODY}',
       why='Nobody here goes by it: a body is JSON or is refused, and the backend gets a Content-Type of our own.')
served('COMP-POST-UNSUPPORTED-CT', 'hostile 18', 'MAY 415 (9110 15.5.16)', f'{CHAT}{LEN}Content-Type: application/x-nonsense\r\n\r\n{BODY}',
       why='A body is JSON or is refused, whatever it is called: curl -d calls it a form.')
served('COMP-ACCEPT-NONSENSE', 'hostile 18', 'MAY disregard or 406 (9110 12.5.1)', f'{GET}Accept: application/x-nonsense\r\n\r\n', why='An error in JSON helps more than a 406.')
served('COMP-RANGE-POST', 'hostile 18', 'MUST ignore (9110 14.2)', f'{CHAT}{LEN}Range: bytes=0-10\r\n\r\n{BODY}')
served('COMP-RANGE-INVALID', 'hostile 18', 'MAY ignore (9110 14.2)', f'{GET}Range: bytes=abc-xyz\r\n\r\n', why='No answer here has ranges.')
served('MAL-RANGE-OVERLAPPING', 'hostile 18', 'MAY ignore (9110 14.2)', f'{GET}Range: bytes={"0-," * 999}0-\r\n\r\n', why='No answer here has ranges.')

# ---- Expect and Upgrade ----

served('SMUG-EXPECT-100-CL', 'hostile 23', 'MAY leave the 100 out when the body is there (9110 10.1.1)', f'{CHAT}{LEN}Expect: 100-continue\r\n\r\n{BODY}', interim=True, why='Sent to whoever waits, and to nobody else.')
served('SMUG-EXPECT-100-CL-DESYNC', 'hostile 23', 'MUST read the body or close (9112 9.3)', [f'{CHAT}{LEN}Expect: 100-continue\r\n\r\n{BODY}', f'{GET}\r\n'], '200 200 open', interim=True)
served('expect-then-body', 'hostile 23', 'MUST send 100 or a final status (9110 10.1.1)', [f'{CHAT}{LEN}Expect: 100-continue\r\n\r\n', BODY], '100 200 open')
refused('expect-refused-early', 'hostile 23', 'MAY answer at once and close (9110 10.1.1)', f'{CHAT}Content-Length: 999999999\r\nExpect: 100-continue\r\n\r\n', 413,
        twin=('999999999', '64', 'late 100 408 closed'), why='A client that waits has not sent its body, so nothing of it can be taken for a request.')
refused('COMP-EXPECT-UNKNOWN', 'hostile 23', 'MAY 417 (9110 10.1.1)', f'{GET}Expect: 200-ok\r\n\r\n', 417, twin=('200-ok', '100-continue'), why='Whoever expects something else would otherwise wait for it.')
served('COMP-UPGRADE-POST', 'hostile 23', 'MAY ignore (9110 7.8)', f'{CHAT}{LEN}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n{BODY}', why=UPGRADE)
served('COMP-UPGRADE-MISSING-CONN', 'hostile 23', 'MUST ignore (9110 7.8)', f'{GET}Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n')
served('COMP-UPGRADE-UNKNOWN', 'hostile 23', 'MAY ignore (9110 7.8)', f'{GET}Connection: Upgrade\r\nUpgrade: made-up/1.0\r\n\r\n', why=UPGRADE)
served('COMP-UPGRADE-INVALID-VER', 'hostile 23', 'MAY ignore (9110 7.8); 426 is for who speaks it (6455 4.4)',
       f'{GET}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 99\r\n\r\n', why=UPGRADE)
served('COMP-UPGRADE-HTTP10', 'hostile 23', 'MUST ignore (9110 7.8)', f'GET /healthz HTTP/1.0\r\nHost: weir\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n', '200 closed')
served('upgrade-h2c-hides-nothing', 'hostile 23', 'MAY ignore (9110 7.8)', f'{GET}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAA\r\n\r\n{WHOLE}', '200 200 open', why=UPGRADE)

# ---- what never becomes a request ----

served('MAL-INCOMPLETE-REQUEST', 'hostile 22', '408 (9110 15.5.9)', f'{GET}X-Test: a', 'late 408 closed', twin=(': a', ': a\r\n\r\n'), why='408 when timeouts.header is over.')
served('MAL-EMPTY-REQUEST', 'hostile 22', 'MAY close an idle connection (9112 9.5)', '', 'late closed', why='Nothing was asked, so nothing is answered; closed when timeouts.header is over.')

assert sum(row.is_listed for row in ROWS) == 194 and len({row.id for row in ROWS}) == len(ROWS)

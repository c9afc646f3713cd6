"""routes.py: no spelling of a URL, no method and no pair of headers reaches a route without the guard of its row.

The routes are read from src/serve/routes.def, so a new row is asked in every way too: each route x each key x each spelling.
"""
import atexit
import base64
import hashlib
import hmac
import json
import os
import shutil
import tempfile
import time

import wire
from probes import docs_rows

KEYS = {'user': 'sk-canary-user-0123456789', 'admin': 'sk-canary-admin-0123456789', 'narrow': 'sk-canary-narrow-0123456789'}
SECRET = b'a secret of at least thirty-two bytes'
SECRET_FILE = os.path.join(tempfile.mkdtemp(prefix='weir-hostile-'), 'secret')
atexit.register(shutil.rmtree, os.path.dirname(SECRET_FILE), ignore_errors=True)
with open(SECRET_FILE, 'wb') as f:
    f.write(SECRET)
CONF = {'jwt': {'keys': [SECRET_FILE]},
        'keys': {'user': {'key': KEYS['user']}, 'admin': {'key': KEYS['admin'], 'role': 'admin'}, 'narrow': {'key': KEYS['narrow'], 'models': ['chat']}}}
BAD = KEYS['user'][:-1] + '0'


def jwt(header, payload, secret=None):
    """secret None: nobody signs."""
    part = lambda x: base64.urlsafe_b64encode(x).rstrip(b'=').decode()
    what = part(json.dumps(header).encode()) + '.' + part(json.dumps(payload).encode())
    return what + '.' + (part(hmac.digest(secret, what.encode(), hashlib.sha256)) if secret is not None else '')


NOW = int(time.time())
CLAIMS = {'sub': 'ann', 'role': 'admin', 'exp': NOW + 86400}    # a role is nothing that a token can have
TOKENS = {'token': jwt({'alg': 'HS256'}, CLAIMS, SECRET), 'bad token': jwt({'alg': 'HS256'}, CLAIMS, SECRET + b'x'), 'old token': jwt({'alg': 'HS256'}, {**CLAIMS, 'exp': NOW - 86400}, SECRET)}
BODIES = {'/v1/chat/completions': '{"model":"chat","messages":[{"role":"user","content":"Hey"}]}', '/v1/completions': '{"model":"chat","prompt":"Hey"}',
          '/v1/embeddings': '{"model":"chat","input":"Hey"}'}
REST = {'/v1/models/*': 'chat', '/explain/*': 'x'}

# What each key gets at a route of this kind, spelt as it is.
GETS = {
    'OPEN':   {None: 200, 'bad': 200, 'user': 200, 'admin': 200, 'token': 200, 'bad token': 200, 'old token': 200},
    'USER':   {None: 401, 'bad': 401, 'user': 200, 'admin': 200, 'token': 200, 'bad token': 401, 'old token': 401},
    'ADMIN':  {None: 401, 'bad': 401, 'user': 403, 'admin': 200, 'token': 403, 'bad token': 401, 'old token': 401},
    'SOCKET': {None: 404, 'bad': 404, 'user': 404, 'admin': 404, 'token': 404, 'bad token': 404, 'old token': 404},
}
REFUSED = (400, 401, 403, 404)


class Route:
    def __init__(self, method, path, who):
        self.method, self.who, self.body = method, who, BODIES.get(path, '')
        self.path = path[:-1] + REST[path] if path.endswith('*') else path
        self.gets = {key: 400 if status == 200 and method == 'DELETE' else status for key, status in GETS[who].items()}    # nothing says what to drop
        assert method in ('GET', 'DELETE') or self.body or who == 'SOCKET', f'{path} has no body to be asked with: give it one in BODIES'


def routes():
    return [Route(*args[:3]) for _, macro, args in docs_rows('src/serve/routes.def') if macro == 'ROUTE']


def spellings(path):
    """(name, target, Host, whether the row's guard must answer as if it were spelt right). hostile 33"""
    yield 'as it is', path, 'weir', True
    yield 'with a query', path + '?a=b', 'weir', True
    yield 'with an empty query', path + '?', 'weir', True
    yield 'absolute', 'http://weir' + path, 'weir', True
    yield 'absolute, other scheme', 'https://weir' + path, 'weir', True
    yield 'another Host', path, 'localhost', True
    yield 'absolute, another Host', 'http://localhost' + path, 'weir', False
    yield 'two slashes before', '/' + path, 'weir', False
    yield 'a dot before', '/.' + path, 'weir', False
    yield 'a way up before', '/healthz/..' + path, 'weir', False
    yield 'an encoded dot before', '/%2e' + path, 'weir', False
    yield 'an encoded way up before', '/healthz/%2e%2e' + path, 'weir', False
    yield 'a parameter behind', path + ';a=b', 'weir', False
    yield 'a parameter before', '/;a' + path, 'weir', False
    yield 'a slash behind', path + '/', 'weir', False
    yield 'an encoded slash', '/' + path[1:].replace('/', '%2F') + '%2F', 'weir', False
    yield 'an encoded slash before', '/%2F' + path[1:], 'weir', False
    yield 'an encoded NUL behind', path + '%00', 'weir', False
    yield 'an encoded line end behind', path + '%0d%0a', 'weir', False
    yield 'a fragment', path + '#a', 'weir', False
    yield 'a backslash', path.replace('/', '\\'), 'weir', False
    yield 'a query that names another path', '/nothing?' + path, 'weir', False
    if path != '/':
        yield 'two slashes inside', path.replace('/', '//'), 'weir', False
        yield 'upper case', path.upper(), 'weir', False
        yield 'an encoded letter', f'/%{ord(path[1]):02x}{path[2:]}', 'weir', False
        yield 'an open page before', '/healthz' + path, 'weir', False


def ask(port, method, target, headers=(), body='', host='weir'):
    """The one answer, on a connection of its own."""
    line = wire.Line(port, heads={0} if method == 'HEAD' else ())
    try:
        length = [f'Content-Length: {len(body)}'] if body else []
        line.send(['\r\n'.join([f'{method} {target} HTTP/1.1', f'Host: {host}', 'Connection: close', *length, *headers, '', body]).encode('latin-1')])
        line.read_to_end()
        assert len(line.answers) == 1 and line.rest == b'', line.statuses()
        return line.answers[0]
    finally:
        line.close()


def key_headers(who):
    return [] if who is None else [f'Authorization: Bearer {BAD if who == "bad" else TOKENS.get(who) or KEYS[who]}']


# ---- the tests: each asks, and returns what was wrong; the first argument is a house with CONF ----

def every_route_every_spelling_every_key(house):
    """hostile 33, hostile 34: served with the guard of its row, or refused; never served without it"""
    wrong = []
    for route in routes():
        for name, target, host, is_right in spellings(route.path):
            for who, status in route.gets.items():
                got = ask(house.port, route.method, target, key_headers(who), route.body, host).status
                if (got != status) if is_right else got not in REFUSED:
                    wrong.append(f'{route.method} {target} ({name}), key {who}: {got}')
    return wrong


def every_other_method(house):
    """hostile 34: a method that the row does not name is no way around its guard; HEAD is GET's"""
    wrong = []
    for route in routes():
        for method in ('GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND'):
            for who, status in route.gets.items():
                is_own = method == route.method or (method == 'HEAD' and route.method == 'GET')
                want = status if is_own or route.who == 'SOCKET' else 204 if method == 'OPTIONS' else 405
                for more in ([], [f'X-HTTP-Method-Override: {route.method}']):
                    got = ask(house.port, method, route.path, key_headers(who) + more, route.body if is_own else '').status
                    if got != want:
                        wrong.append(f'{method} {route.path}, key {who}, {more}: {got}, not {want}')
    return wrong


def answered_otherwise(house, rows):
    """Of rows (name, headers, status): those of another status, and those whose 401 does not say how to ask"""
    wrong = []
    for name, headers, status in rows:
        a = ask(house.port, 'POST', '/v1/chat/completions', headers, BODIES['/v1/chat/completions'])
        if a.status != status or (a.status == 401) != ('www-authenticate' in a.headers):
            wrong.append(f'{name}: {a.status} {a.headers}, not {status}')
    return wrong


def every_way_to_send_a_key(house):
    """hostile 42: two headers that disagree, a key where none belongs, a key too long; each beside one that is right"""
    good, other = KEYS['user'], KEYS['admin']
    bearer = f'Authorization: Bearer {good}'
    rows = [
        ('the bearer', [bearer], 200),
        ('lower-case scheme', [f'Authorization: bearer {good}'], 200),
        ('upper-case scheme', [f'AUTHORIZATION: BEARER {good}'], 200),
        ('blanks before the key', [f'Authorization: Bearer   {good}'], 200),
        ('a tab behind the key', [f'Authorization: Bearer {good}\t'], 200),
        ('a tab for the blank', [f'Authorization: Bearer\t{good}'], 401),
        ('no blank', [f'Authorization: Bearer{good}'], 401),
        ('no scheme', [f'Authorization: {good}'], 401),
        ('another scheme', [f'Authorization: Basic {good}'], 401),
        ('scheme alone', ['Authorization: Bearer'], 401),
        ('empty', ['Authorization: '], 401),
        ('a word behind the key', [f'Authorization: Bearer {good} x'], 401),
        ('two keys with a comma', [f'Authorization: Bearer {good}, Bearer {good}'], 401),
        ('upper-case key', [f'Authorization: Bearer {good.upper()}'], 401),
        ('first 20 letters', [f'Authorization: Bearer {good[:20]}'], 401),
        ('a letter more', [f'Authorization: Bearer {good}9'], 401),
        ('in quotes', [f'Authorization: Bearer "{good}"'], 401),
        ('SQL', ["Authorization: Bearer ' OR '1'='1"], 401),
        ('x-api-key', [f'x-api-key: {good}'], 200),
        ('x-api-key with a scheme', [f'x-api-key: Bearer {good}'], 401),
        ('both, the same', [bearer, f'x-api-key: {good}'], 200),
        ('both, different, both known', [bearer, f'x-api-key: {other}'], 401),
        ('both, different, one unknown', [bearer, f'x-api-key: {BAD}'], 401),
        ('twice, the same', [bearer, bearer], 401),
        ('twice, different', [bearer, f'Authorization: Bearer {other}'], 401),
        ('x-api-key twice', [f'x-api-key: {good}', f'x-api-key: {good}'], 401),
        ('with an underscore', [f'x_api_key: {good}'], 401),
        ('for a proxy', [f'Proxy-Authorization: Bearer {good}'], 401),
        ('in a cookie', [f'Cookie: Authorization=Bearer {good}; api_key={good}'], 401),
        ('a high byte before', [f'Authorization: Bearer \xa0{good}'], 401),
        ('a NUL behind', [f'Authorization: Bearer {good}\0'], 400),
        ('4 KiB', [f'Authorization: Bearer {good + "0" * (4096 - len(good))}'], 401),
        ('60 KB', [f'Authorization: Bearer {good + "0" * 60000}'], 401),
        ('64 KiB', [f'Authorization: Bearer {good + "0" * 65536}'], 431),
    ]
    return answered_otherwise(house, rows)


def a_key_in_the_query(house):
    """hostile 42: never taken from the URL, and never written to a log because it stood there"""
    wrong = []
    for name in ('key', 'api_key', 'api-key', 'x-api-key', 'access_token', 'token', 'authorization', 'Authorization'):
        for target in (f'/v1/models?{name}={KEYS["user"]}', f'/v1/models?{name}=Bearer%20{KEYS["user"]}', f'/metrics?{name}={KEYS["admin"]}'):
            if (status := ask(house.port, 'GET', target).status) != 401:
                wrong.append(f'{target}: {status}')
    a = ask(house.port, 'GET', f'/v1/models?key={KEYS["user"]}', key_headers('user'))
    if a.status != 200:
        wrong.append(f'with the right header too: {a.status}')
    house.weir.access_line(a.headers['x-request-id'])   # the log is written in order: what came before is there
    return wrong


def every_way_to_send_a_token(house):
    """hostile 42: two headers that disagree, a token where none belongs; each beside one that is right"""
    good, key = TOKENS['token'], KEYS['user']
    bearer = f'Authorization: Bearer {good}'
    rows = [
        ('the bearer', [bearer], 200),
        ('blanks before the token', [f'Authorization: Bearer   {good}'], 200),
        ('both, the same', [bearer, f'x-api-key: {good}'], 200),
        ('as a key', [f'x-api-key: {good}'], 401),
        ('a key beside it', [bearer, f'x-api-key: {key}'], 401),
        ('twice', [bearer, bearer], 401),
        ('twice, different', [bearer, f'Authorization: Bearer {key}'], 401),
        ('in quotes', [f'Authorization: Bearer "{good}"'], 401),
        ('another scheme', [f'Authorization: JWT {good}'], 401),
        ('no scheme', [f'Authorization: {good}'], 401),
        ('a word behind it', [f'Authorization: Bearer {good} x'], 401),
        ('two with a comma', [f'Authorization: Bearer {good}, Bearer {good}'], 401),
        ('in a cookie', [f'Cookie: token={good}'], 401),
        ('60 KB', [f'Authorization: Bearer {good + "A" * 60000}'], 401),
        ('64 KiB', [f'Authorization: Bearer {good + "A" * 65536}'], 431),
        ('SQL', ["Authorization: Bearer ' OR '1'='1'.x.y"], 401),
        ('dots', ['Authorization: Bearer ..'], 401),
    ]
    return answered_otherwise(house, rows)


def a_token_that_nobody_signed(house):
    """hostile 41: no algorithm, one that is not ours, a kid that leads somewhere, a key that comes along, a token too long: 401 in words of RFC 6750"""
    headers = [{'alg': 'none', 'typ': 'JWT'}, {'alg': 'None'}, {'alg': 'nOnE'}, {'alg': ''}, {}, {'alg': None}, {'alg': ['HS256']}, {'alg': 'RS256'}, {'alg': 'HS512'}, {'alg': 'HS256'},
               {'alg': 'HS256', 'kid': '../../../dev/null'}, {'alg': 'HS256', 'kid': "' OR '1'='1"}, {'alg': 'HS256', 'kid': SECRET_FILE}, {'alg': 'HS256', 'kid': 5},
               {'alg': 'HS256', 'jwk': {'kty': 'oct', 'k': ''}}, {'alg': 'HS256', 'jku': 'http://127.0.0.1/keys'}, {'alg': 'HS256', 'crit': ['x'], 'x': 1}]
    tokens = [jwt(header, claims, secret) for header in headers for secret in (None, b'', b'\0' * 32, SECRET_FILE.encode()) for claims in (CLAIMS, {**CLAIMS, 'pad': 'x' * 8000})]
    tokens += [jwt({'alg': 'none'}, CLAIMS, SECRET), jwt({'alg': 'HS256', 'crit': []}, CLAIMS, SECRET), jwt({'alg': 'HS256'}, {**CLAIMS, 'pad': 'x' * 8000}, SECRET), jwt({'alg': 'HS256'}, {'sub': 'ann'}, SECRET)]
    wrong = []
    for token in tokens:
        a = ask(house.port, 'GET', '/v1/models', [f'Authorization: Bearer {token}'])
        if a.status != 401 or json.loads(a.body)['error']['code'] != 'invalid_token' or not a.headers['www-authenticate'].startswith('Bearer error="invalid_token", error_description="'):
            wrong.append(f'{token[:60]}: {a.status} {a.headers} {a.body[:200]}')
    if (status := ask(house.port, 'GET', '/v1/models', key_headers('token')).status) != 200:
        wrong.append(f'the right one: {status}')
    return wrong


def a_key_for_some_models_only(house):
    """hostile 34: the model is part of what is guarded: the narrow key sees and asks one of the two"""
    body = BODIES['/v1/chat/completions']
    wrong = []
    for method, path, text, status in (('POST', '/v1/chat/completions', body, 200), ('POST', '/v1/chat/completions', body.replace('"chat"', '"canary"'), 403),
                                       ('GET', '/v1/models/chat', '', 200), ('GET', '/v1/models/canary', '', 404)):
        a = ask(house.port, method, path, key_headers('narrow'), text)
        if a.status != status:
            wrong.append(f'{method} {path} {text}: {a.status}, not {status}')
    return wrong


def no_key_was_written(house):
    """hostile 42: after all of the above, and before the house closes"""
    text = '\n'.join(house.weir.lines())
    return [f'{who}\'s key stands in the log' for who, key in [*KEYS.items(), ('a bad one', BAD), *TOKENS.items()] if key in text]


TESTS = [every_route_every_spelling_every_key, every_other_method, every_way_to_send_a_key, every_way_to_send_a_token, a_key_in_the_query, a_token_that_nobody_signed,
         a_key_for_some_models_only, no_key_was_written]

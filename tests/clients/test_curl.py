"""test_curl.py: weir as curl, Prometheus, orchestrators and old HTTP clients see it, and what it writes about them."""
import http.server
import json
import re
import shlex
import socket
import subprocess
import threading

import rig
from rig import Mock, Weir, ask, one_model, until

CANARY_KEY = 'sk-canary-key-0123456789abcdef'
CANARY_PROMPT = 'canary-prompt-Zq8'
CHAT = {'model': 'chat', 'messages': [{'role': 'user', 'content': 'Hello'}]}


def raw(weir, text, timeout=10, is_cut=False):
    """Sends these bytes, reads until weir closes (is_cut: with a reset): status line, headers (lower case, in order), body."""
    host, port = weir.url.removeprefix('http://').split(':')
    with socket.create_connection((host, int(port)), timeout=timeout) as s:
        s.sendall(text.encode())
        got, was_cut = b'', False
        try:
            while some := s.recv(65536):
                got += some
        except ConnectionResetError:
            was_cut = True
        assert was_cut == is_cut, got
    head, _, body = got.partition(b'\r\n\r\n')
    lines = head.decode().split('\r\n')
    return lines[0], [(k.lower(), v.strip()) for k, _, v in (line.partition(':') for line in lines[1:])], body


def curl(*arguments):
    done = subprocess.run(['curl', '-sS', '--max-time', '20', *arguments], capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


# ---- as printed ----

def test_the_printed_line_works():
    """What `weir serve` prints to try is tried, by a shell."""
    with Mock('--tokens', '3') as m, Weir(None, m.url) as w:
        line = until('the line', lambda: w.said(r'(?m)^ +try +(curl .*)$')).group(1)
        assert line.count(w.url + '/v1/chat/completions') == 1, line
        done = subprocess.run(['sh', '-c', line + ' -sS --max-time 20'], capture_output=True, timeout=30)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert len(answer['choices'][0]['message']['content'].split(' ')) == 3, answer
        assert len(w.out.read_text().splitlines()) <= 6


def test_the_printed_line_works_with_keys():
    with Mock('--tokens', '3') as m, Weir(one_model(m, keys={'a': {'key': CANARY_KEY}})) as w:
        line = until('the line', lambda: w.said(r'(?m)^ +try +(curl .*)$')).group(1)
        assert '$KEY' in line and CANARY_KEY not in line
        done = subprocess.run(['sh', '-c', f'KEY={shlex.quote(CANARY_KEY)}; {line} -sS --max-time 20'], capture_output=True, timeout=30)
        assert json.loads(done.stdout)['choices'], done.stdout


def test_curl_streams():
    with Mock('--tokens', '4') as m, Weir(one_model(m)) as w:
        text = curl('-N', '-d', json.dumps({**CHAT, 'stream': True}), w.url + '/v1/chat/completions')
        events = [line for line in text.split('\n') if line]
        assert all(line.startswith('data: ') for line in events) and events[-1] == 'data: [DONE]' and text.endswith('data: [DONE]\n\n')
        assert [json.loads(e[6:])['object'] for e in events[:-1]] == ['chat.completion.chunk'] * 6    # the role, four tokens, the end


def test_either_header_of_a_key():
    with Mock() as m, Weir(one_model(m, keys={'a': {'key': CANARY_KEY}})) as w:
        for header in ({'authorization': 'Bearer ' + CANARY_KEY}, {'Authorization': 'bearer ' + CANARY_KEY}, {'x-api-key': CANARY_KEY}):
            assert w.post('/v1/chat/completions', CHAT, header)[0] == 200, header
        status, headers, body = w.post('/v1/chat/completions', CHAT)
        assert status == 401 and headers['www-authenticate'] == 'Bearer' and json.loads(body)['error']['code'] == 'missing_api_key'
        for header in ({'authorization': 'Bearer ' + CANARY_KEY[:-1]}, {'authorization': 'Basic ' + CANARY_KEY}, {'authorization': 'Bearer ' + CANARY_KEY, 'x-api-key': 'other'}):
            status, _, body = w.post('/v1/chat/completions', CHAT, header)
            assert status == 401 and json.loads(body)['error']['code'] == 'invalid_api_key', (header, body)
        assert m.stats()['requests'] == 3


# ---- pages ----

def test_health():
    with Mock() as m, Weir(one_model(m, keys={'a': {'key': CANARY_KEY}})) as w:
        for path in ('/health', '/'):
            status, headers, body = w.get(path)
            page = json.loads(body)
            assert status == 200 and page['status'] == 'ok' and page['version'] and page['uptime_seconds'] >= 0 and page['models'] >= 1, page
            assert headers['content-type'] == 'application/json' and headers['cache-control'] == 'no-store'
        assert w.get('/healthz')[0] == 200 and w.get('/readyz')[2] == b'ready\n'


def test_ready_without_backends():
    """Dead backends are their own trouble: an orchestrator must not restart weir for it."""
    with Mock() as m:
        with Weir(one_model(m)) as w:
            m.stop()
            assert w.post('/v1/chat/completions', CHAT)[0] == 502
            assert w.get('/readyz')[0] == 200 and w.get('/health')[0] == 200


def test_not_ready_while_draining():
    with Mock('--itl', '30ms', '--tokens', '20') as m, Weir(one_model(m, timeouts={'drain': '5s'})) as w:
        host, port = w.url.removeprefix('http://').split(':')
        with socket.create_connection((host, int(port))) as s, socket.create_connection((host, int(port))) as probe:
            body = json.dumps({**CHAT, 'stream': True})
            s.sendall(f'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n{body}'.encode())
            probe.sendall(b'GET /readyz HTTP/1.1\r\nhost: x\r\n')    # a request that is half here
            assert s.recv(65536).startswith(b'HTTP/1.1 200')
            w.child.terminate()
            until('it drains', lambda: any('stopping' in line for line in w.lines()))
            got = b''
            while b'[DONE]' not in got:
                some = s.recv(65536)
                assert some, 'the stream was cut by the drain'
                got += some


def test_head_and_options():
    with Mock() as m, Weir(one_model(m)) as w:
        for path in ('/health', '/v1/models', '/metrics', '/v1/models/chat'):
            head, get = ask(w.url, 'HEAD', path), ask(w.url, 'GET', path)
            assert head[0] == get[0] == 200 and head[2] == b'' and int(head[1]['content-length']) > 0, (path, head)
        status, headers, body = ask(w.url, 'HEAD', '/v1/chat/completions')
        assert status == 405 and headers['allow'] == 'POST, OPTIONS' and body == b''
        status, headers, body = ask(w.url, 'DELETE', '/v1/models')
        assert status == 405 and headers['allow'] == 'GET, HEAD, OPTIONS' and json.loads(body)['error']['code'] == 'method_not_allowed'
        assert ask(w.url, 'OPTIONS', '/v1/models')[0] == 204
        assert ask(w.url, 'GET', '/v1/nothing')[0] == 404


def test_http_1_0():
    """An old client: no Host, no keep-alive, and a stream that ends with the connection."""
    with Mock('--tokens', '3') as m, Weir(one_model(m)) as w:
        line, headers, body = raw(w, 'GET /health HTTP/1.0\r\n\r\n')
        assert line.startswith('HTTP/1.') and ' 200 ' in line and json.loads(body)['status'] == 'ok'
        text = json.dumps({**CHAT, 'stream': True})
        line, headers, body = raw(w, f'POST /v1/chat/completions HTTP/1.0\r\ncontent-length: {len(text)}\r\n\r\n{text}')
        assert ' 200 ' in line and 'transfer-encoding' not in dict(headers), headers
        assert body.startswith(b'data: {') and body.endswith(b'data: [DONE]\n\n')
        text = json.dumps(CHAT)
        line, headers, body = raw(w, f'POST /v1/chat/completions HTTP/1.0\r\ncontent-length: {len(text)}\r\n\r\n{text}')
        assert int(dict(headers)['content-length']) == len(body) and json.loads(body)['choices']


def test_http_1_0_sees_a_cut():
    """Without chunks an end looks like an end: there is the error event, and then a reset."""
    with Mock('--fault', 'cut', '--itl', '1ms') as m, Weir(one_model(m)) as w:
        text = json.dumps({**CHAT, 'stream': True})
        _, _, body = raw(w, f'POST /v1/chat/completions HTTP/1.0\r\ncontent-length: {len(text)}\r\n\r\n{text}', is_cut=True)
        assert b'[DONE]' not in body and json.loads(body.decode().strip().split('\n\n')[-1].removeprefix('data: '))['error']['code'] == 'connection_reset'


def test_http_1_1_sees_a_cut():
    """The chunks of a cut stream do not end either: whoever does not read events notices as well."""
    with Mock('--fault', 'cut', '--itl', '1ms') as m, Weir(one_model(m)) as w:
        text = json.dumps({**CHAT, 'stream': True})
        _, headers, body = raw(w, f'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(text)}\r\n\r\n{text}')
        assert dict(headers)['transfer-encoding'] == 'chunked' and b'"error"' in body and b'[DONE]' not in body and not body.endswith(b'0\r\n\r\n')


def test_expect_100():
    with Mock() as m, Weir(one_model(m)) as w:
        text = curl('-D', '-', '-H', 'Expect: 100-continue', '-d', json.dumps(CHAT), w.url + '/v1/chat/completions')
        assert text.startswith('HTTP/1.1 100') and 'HTTP/1.1 200' in text


# ---- metrics ----

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*",?)*\})? (\S+)$')


def parse_metrics(text):
    """Prometheus' text format, strictly: {name: type}, {sample with labels: value}."""
    types, helps, samples, family = {}, set(), {}, None
    assert text.endswith('\n')
    for line in text.splitlines():
        if line.startswith('# HELP '):
            name, words = line[7:].split(' ', 1)
            assert name not in helps and words, line
            helps.add(name)
        elif line.startswith('# TYPE '):
            name, kind = line[7:].split(' ')
            assert name not in types and kind in ('counter', 'gauge', 'histogram'), line
            types[name] = kind
            family = name
        elif line and not line.startswith('#'):
            found = SAMPLE.match(line)
            assert found, f'no sample: {line}'
            base = re.sub(r'_(bucket|sum|count)$', '', found.group(1)) if types.get(family) == 'histogram' else found.group(1)
            assert base == family, f'{line} stands under {family}'
            key = found.group(1) + (found.group(2) or '')
            assert key not in samples, f'twice: {key}'
            samples[key] = float(found.group(3))
    assert set(types) == helps and samples
    return types, samples


def check_histograms(types, samples):
    for name in [n for n, kind in types.items() if kind == 'histogram']:
        series = {}
        for key, value in samples.items():
            if key.startswith(name + '_bucket{'):
                bound = re.search(r'le="([^"]+)"', key).group(1)
                series.setdefault(re.sub(r',?le="[^"]+"', '', key), []).append((float(bound.replace('+Inf', 'inf')), value))
        for key, buckets in series.items():
            assert [b for b, _ in buckets] == sorted(b for b, _ in buckets) and buckets[-1][0] == float('inf'), key
            assert [v for _, v in buckets] == sorted(v for _, v in buckets), f'{key} is not cumulative'
            labels = key.removeprefix(name + '_bucket').replace('{}', '')
            assert samples[f'{name}_count{labels}'] == buckets[-1][1], key


def test_metrics():
    with Mock('--tokens', '5') as m, Weir(one_model(m)) as w:
        for n in range(4):
            assert w.post('/v1/chat/completions', {**CHAT, 'stream': n % 2 == 0})[0] == 200
        assert w.post('/v1/chat/completions', {**CHAT, 'model': 'no"\\\nbody'})[0] == 404
        status, headers, body = w.get('/metrics')
        assert status == 200 and headers['content-type'].startswith('text/plain; version=0.0.4'), headers
        types, samples = parse_metrics(body.decode())
        check_histograms(types, samples)
        assert all(name.startswith('weir_') or name.startswith('process_') for name in types), sorted(types)
        assert all(name.endswith('_total') for name, kind in types.items() if kind == 'counter' and name.startswith('weir_'))
        assert samples['weir_tokens_total{type="completion"}'] == 20 and samples['weir_attempts_total'] == 4
        assert samples['weir_refusals_total{reason="unknown"}'] == 1 and samples['weir_streams_started_total'] >= 2
        assert 'body' not in ''.join(k for k in samples if 'no\\' in k), 'a name that a client sent became a label'
        again = parse_metrics(w.get('/metrics')[2].decode())[1]
        falls = [k for k, v in again.items() if types.get(k.split('{')[0]) == 'counter' and v < samples.get(k, 0)]
        assert not falls and set(samples) <= set(again), falls
        assert json.loads(w.get('/api/v1/metrics')[2])


def test_metrics_are_for_admins():
    keys = {'a': {'key': CANARY_KEY}, 'root': {'key': 'sk-root-0123456789', 'role': 'admin'}}
    with Mock() as m, Weir(one_model(m, keys=keys)) as w:
        assert w.get('/metrics')[0] == 401
        assert w.get('/metrics', headers={'authorization': 'Bearer ' + CANARY_KEY})[0] == 403
        status, _, body = w.get('/metrics', headers={'authorization': 'Bearer sk-root-0123456789'})
        assert status == 200 and parse_metrics(body.decode())


# ---- what is written about a request ----

def everything_written(weir):
    return '\n'.join(weir.lines())


def say_canaries(w, m):
    """Requests of every kind whose prompt and key must not be written anywhere. Returns the ids of their answers."""
    key = {'authorization': 'Bearer ' + CANARY_KEY}
    prompt = [{'role': 'user', 'content': CANARY_PROMPT}]
    ids = []

    def say(body, headers=None, path='/v1/chat/completions'):
        status, headers, text = ask(w.url, 'POST', path, body if isinstance(body, bytes) else json.dumps(body), {'content-type': 'application/json', **(headers or key)})
        ids.append((status, headers['x-request-id']))
        return status, text
    assert say({'model': 'chat', 'messages': prompt})[0] == 200
    assert say({'model': 'chat', 'messages': prompt, 'stream': True})[0] == 200
    assert say({'model': 'chat', 'input': CANARY_PROMPT}, path='/v1/embeddings')[0] == 200
    assert say({'model': 'chat', 'prompt': CANARY_PROMPT}, path='/v1/completions')[0] == 200
    assert say({'model': 'chat', 'messages': prompt, 'temperature': CANARY_PROMPT})[0] == 400
    assert say(b'{"messages": "' + CANARY_PROMPT.encode())[0] == 400
    assert say({'model': 'chat', 'messages': prompt}, {'authorization': 'Bearer ' + CANARY_KEY + 'x'})[0] == 401
    for fault, status in (('status=500', 502), ('garbage', 502), ('hang', 504)):
        m.script(faults=[fault])
        assert say({'model': 'chat', 'messages': prompt}, {**key, 'x-weir-timeout-ms': '200'})[0] == status
    m.script(faults=['cut'])
    text = json.dumps({'model': 'chat', 'messages': prompt, 'stream': True})
    _, headers, body = raw(w, f'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-api-key: {CANARY_KEY}\r\ncontent-length: {len(text)}\r\n\r\n{text}')
    assert b'"error"' in body
    return ids + [(200, dict(headers)['x-request-id'])]


def no_secret_in(what, text):
    for secret in (CANARY_KEY, CANARY_PROMPT):
        assert secret not in text, f'{what}: {[line for line in text.splitlines() if secret in line]}'


def check_log(form):
    with Mock() as m, Weir(one_model(m, keys={'team-a': {'key': CANARY_KEY}, 'root': {'key': 'sk-root-0123456789', 'role': 'admin'}},
                                     log={'level': 'debug', 'format': form})) as w:
        ids = say_canaries(w, m)
        assert len({i for _, i in ids}) == len(ids)
        for status, request_id in ids:
            line = w.access_line(request_id)
            if form == 'json':
                row = json.loads(line)
                assert row['status'] == status and row['request_id'] == request_id, row
            else:
                assert f'status={status} ' in line, line
        assert sum(request_id in line for line in w.lines() for _, request_id in ids) == len(ids), 'one line each'
        assert 'team-a' in w.access_line(ids[0][1]), 'the name of the key is told, the key is not'
        no_secret_in('the log', everything_written(w))
        root = {'authorization': 'Bearer sk-root-0123456789'}
        for path in ('/metrics', '/api/v1/metrics', '/health', '/v1/models'):
            no_secret_in(path, w.get(path, headers=root)[2].decode())
        for command in (['explain', ids[0][1]], ['explain', ids[-1][1]], ['status', '--json'], ['requests', '--json']):
            done = subprocess.run([rig.WEIR, *command, '--socket', next(w.folder.glob('weir/*.sock'))], capture_output=True, timeout=20)
            assert done.returncode == 0, (command, done.stderr)
            no_secret_in(f'weir {command[0]}', (done.stdout + done.stderr).decode())
        w.stop()


def test_the_log_tells_neither_key_nor_prompt():
    check_log('text')


def test_the_log_as_json_tells_neither_key_nor_prompt():
    check_log('json')


def test_a_request_id_is_ours_and_the_clients_is_no_injection():
    """Line ends and quotes in what a client sends never make a line of the log."""
    with Mock() as m, Weir(one_model(m)) as w:
        status, headers, _ = ask(w.url, 'POST', '/v1/chat/completions', json.dumps({**CHAT, 'model': 'x\n2026 fake line "'}), {'content-type': 'application/json'})
        assert status == 404
        line = w.access_line(headers['x-request-id'])
        assert 'reason=' in line and not any(line.startswith('2026 fake') for line in w.lines())


class Parrot(http.server.BaseHTTPRequestHandler):
    """A backend that keeps the requests it gets."""
    seen = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers['content-length']))
        self.seen.append((dict(self.headers.items()), json.loads(body)))
        answer = json.dumps({'object': 'chat.completion', 'choices': []}).encode()
        self.send_response(200)
        self.send_header('content-type', 'application/json')
        self.send_header('content-length', str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def test_what_reaches_a_backend():
    """The backend's own key and not the client's, the id, the trace; the body with the backend's name of the model and nothing else changed."""
    with http.server.HTTPServer(('127.0.0.1', 0), Parrot) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        conf = {'keys': {'a': {'key': CANARY_KEY}}, 'backends': {'b': {'url': f'http://127.0.0.1:{server.server_port}/v1', 'key': 'sk-of-the-backend'}},
                'models': {'chat': {'use': ['b/real-name']}}}
        with Weir(conf) as w:
            trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
            body = {'messages': [{'role': 'user', 'content': CANARY_PROMPT}], 'model': 'chat', 'x': [1.50, {'y': None}]}
            status, answer, _ = w.post('/v1/chat/completions', body, {'authorization': 'Bearer ' + CANARY_KEY, 'traceparent': trace, 'cookie': 'a=b', 'x-weir-session': 's'})
        server.shutdown()
    assert status == 200 and len(Parrot.seen) == 1
    headers, got = Parrot.seen[0]
    headers = {name.lower(): value for name, value in headers.items()}
    assert got == {**body, 'model': 'real-name'} and list(got) == list(body)
    assert headers['authorization'] == 'Bearer sk-of-the-backend' and CANARY_KEY not in str(headers)
    assert headers['x-request-id'] == answer['x-request-id'] and headers['traceparent'] == trace
    assert 'cookie' not in headers and not [name for name in headers if name.startswith('x-weir')], headers


rig.run(globals())

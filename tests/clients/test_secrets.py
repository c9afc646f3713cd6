"""test_secrets.py: where keys may be, and where they may not: every key here has CANARY in it, and after the calls everything that weir writes, shows, answers or
keeps in memory is searched for it."""
import http.client
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import rig
from rig import Mock, Weir, one_model, until

CHAT = {'model': 'chat', 'messages': [{'role': 'user', 'content': 'Hello'}]}
CANARY = 'CANARY'
CLIENT = 'CANARY-client'        # in every key of a client
BACKEND = 'CANARY-backend'      # in every key of a backend


def client_key(how):
    return f'sk-{CLIENT}-{how}-0123456789abcdefghij'


def backend_key(how):
    return f'sk-{BACKEND}-{how}-0123456789abcdefghij'


# ---- a backend that tells whatever it was told ----

class Gossip(http.server.BaseHTTPRequestHandler):
    """Answers as the request's `user` says, with the request's headers in the answer's and the key in what it says."""
    protocol_version = 'HTTP/1.1'
    seen = []

    def log_message(self, *_):
        pass

    def say(self, status, body, kind='application/json'):
        body = body.encode()
        self.send_response(status)
        for name, value in self.headers.items():
            if name.lower() not in ('content-length', 'content-type', 'host', 'connection', 'accept', 'x-request-id'):
                self.send_header(name, value)
                self.send_header('x-echo-' + name, value)
        for name in ('set-cookie', 'x-goog-api-key', 'server', 'cf-ray', 'openai-organization', 'www-authenticate', 'location', 'proxy-authenticate', 'x-weir-backend'):
            self.send_header(name, self.headers.get('authorization', 'none'))
        self.send_header('content-type', kind)
        self.send_header('content-length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.say(200, json.dumps({'object': 'list', 'data': [{'id': 'mock-1', 'object': 'model'}]}))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers['content-length'])))
        Gossip.seen.append((dict(self.headers.items()), body))
        key = self.headers.get('authorization', '').removeprefix('Bearer ')
        how = body.get('user', 'fine')
        error = {'error': {'message': f'no such thing, {key}, really', 'type': 'x', 'code': None}}
        if how == 'fine':
            self.say(200, json.dumps({'id': 'x', 'object': 'chat.completion', 'choices': [{'index': 0, 'message': {'role': 'assistant', 'content': 'hi'}, 'finish_reason': 'stop'}]}))
        elif how.isdigit():
            self.say(int(how), json.dumps(error))
        elif how == 'twin':
            self.say(400, json.dumps({'error': {'message': 'no such thing, really', 'type': 'x', 'code': None}}))
        elif how == 'escaped':
            self.say(400, json.dumps(error).replace(key, ''.join(f'\\u{ord(c):04x}' for c in key)))
        elif how == 'nested':
            self.say(422, json.dumps({'detail': [{'loc': ['header', 'authorization'], 'input': key}]}))
        elif how == 'long':
            self.say(400, json.dumps({**error, 'pad': 'x' * 400000}))
        elif how == 'type':
            self.say(200, 'hello', f'text/{key}')
        elif how == 'disguised':
            self.say(200, json.dumps(error))
        elif how == 'event':
            self.say(200, f'data: {json.dumps(error)}\n\n', 'text/event-stream')
        elif how == 'late':
            self.say(200, 'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n' + f'data: {json.dumps(error)}\n\n', 'text/event-stream')


class Gossips:
    """A server of Gossip for a `with`."""

    def __enter__(self):
        Gossip.seen = []
        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Gossip)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None      # a connection that weir closed is no news
        self.url = f'http://127.0.0.1:{self.server.server_port}'
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


# ---- looking everywhere ----

def command(weir, *arguments):
    done = subprocess.run([str(rig.WEIR), *arguments, '--socket', str(admin_socket(weir))], capture_output=True, timeout=20)
    return (done.stdout + done.stderr).decode()


def admin_socket(weir):
    port = weir.url.rsplit(':', 1)[1]
    return weir.folder / 'weir' / f'{port}.sock'


def memory_of(pid):
    """Every byte this process could write, with where it stands."""
    for line in Path(f'/proc/{pid}/maps').read_text().splitlines():
        where, rights, *rest = line.split()
        if 'r' not in rights or 'w' not in rights and '[' not in line or line.endswith(('[vvar]', '[vsyscall]', '[vvar_vclock]')):
            continue
        begin, end = (int(n, 16) for n in where.split('-'))
        with open(f'/proc/{pid}/mem', 'rb', 0) as f:
            f.seek(begin)
            try:
                yield line, f.read(end - begin)
            except OSError:
                pass


def found_in(pid, words):
    """[(mapping, bytes around)] of every place where one of the words stands."""
    pattern = re.compile(b'|'.join(re.escape(w.encode()) for w in words))
    return [(line, bytes(block[max(m.start() - 24, 0):m.end() + 40])) for line, block in memory_of(pid) for m in pattern.finditer(block)]


def everything_told(w, answers, ids):
    """Whatever an operator, a client or a neighbour on the machine can see."""
    told = {'output': '\n'.join(w.lines()), 'answers': '\n'.join(answers)}
    for words in (('status',), ('status', '--json'), ('requests',), *(('explain', i) for i in ids)):
        told[' '.join(words)] = command(w, *words)
    for path in ('/metrics', '/api/v1/metrics', '/health', '/', '/nothing'):
        told[path] = str(w.get(path, headers={'x-api-key': client_key('admin')}))
    for pid in (w.child.pid, w.server_pid()):
        for what in ('cmdline', 'environ'):
            told[f'{pid} {what}'] = Path(f'/proc/{pid}/{what}').read_bytes().decode(errors='replace')
    for file in Path(w.folder).rglob('*'):
        if file.is_file():
            told[str(file)] = file.read_text(errors='replace')
    return told


def assert_silent(told, word=CANARY):
    for where, text in told.items():
        at = text.find(word)
        assert at < 0, f'{where}: …{text[max(at - 200, 0):at + 60]}…'


def ask_cut(url, method, path, body, headers):
    """As rig.ask, also where the answer is cut: then what came of it."""
    host, port = url.removeprefix('http://').split(':')
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    try:
        connection.request(method, path, body, {'content-type': 'application/json', **headers})
        answer = connection.getresponse()
        heads = {name.lower(): value for name, value in answer.getheaders()}
        try:
            return answer.status, heads, answer.read()
        except http.client.IncompleteRead as cut:
            return answer.status, heads, cut.partial
    finally:
        connection.close()


def raw(w, data, cut=None):
    """Bytes on a connection of their own, in two pieces if cut says where; what comes back."""
    host, port = w.url.removeprefix('http://').split(':')
    with socket.create_connection((host, int(port)), timeout=10) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.sendall(data[:cut])
        if cut:
            s.sendall(data[cut:])
        s.shutdown(socket.SHUT_WR)
        got = b''
        while some := s.recv(65536):
            got += some
    return got.decode(errors='replace')


def configured_every_way(folder, gossip, mock):
    """Keys from the file, ${NAME}, ${file:…}, WEIR_… and --set, for clients and for backends: (conf, arguments, environment)."""
    secret = folder / 'secret'
    secret.write_text(client_key('file') + '\n')
    other = folder / 'other'
    other.write_text(backend_key('file') + '\n')
    conf = {'backends': {'b0': {'url': gossip.url, 'key': backend_key('plain')}, 'b1': {'url': mock.url, 'key': '${BACKEND_KEY}'},
                         'b2': {'url': mock.url + '/x', 'key': '${file:%s}' % other}, 'b3': {'url': mock.url + '/y'}, 'b4': {'url': mock.url + '/z'},
                         'dead': {'url': 'http://127.0.0.1:1', 'key': backend_key('dead')}},
            'models': {'chat': {'use': ['b0/mock-1']}, 'mock': {'use': ['dead/m'], 'fallback': ['b1/mock-1']}},
            'keys': {'plain': {'key': client_key('plain')}, 'env': {'key': '${CLIENT_KEY}'}, 'file': {'key': '${file:%s}' % secret}, 'over': {'role': 'user'},
                     'set': {'role': 'user'}, 'admin': {'key': client_key('admin'), 'role': 'admin'}},
            'timeouts': {'first_token': '300ms', 'drain': '1s'}, 'log': {'level': 'debug'}}
    arguments = ['--set', 'keys.set.key=' + client_key('set'), '--set', 'backends.b3.key=' + backend_key('set')]
    env = {'CLIENT_KEY': client_key('env'), 'BACKEND_KEY': backend_key('env'), 'WEIR_KEYS__OVER__KEY': client_key('over'), 'WEIR_BACKENDS__B4__KEY': backend_key('over')}
    return conf, arguments, env


def ask_everything(w, mock):
    """Calls and failures of every kind, each with a key somewhere: (what came back, ids)."""
    answers, ids = [], []

    def say(body, headers, path='/v1/chat/completions', method='POST'):
        status, heads, text = ask_cut(w.url, method, path, body if isinstance(body, (bytes, type(None))) else json.dumps(body), headers)
        answers.append(f'{status} {heads} {text.decode(errors="replace")}')
        ids.append(heads['x-request-id'])
        return status
    for how in ('plain', 'env', 'file', 'over', 'set', 'admin'):
        assert say(CHAT, {'authorization': 'Bearer ' + client_key(how)}) == 200, how
        assert say(CHAT, {'x-api-key': client_key(how)}) == 200, how
        assert say(CHAT, {'authorization': 'Bearer ' + client_key(how)[:-1]}) == 401, how
    key = {'authorization': 'Bearer ' + client_key('plain')}
    # hostile 42: a key where none belongs, two of them, one of 64 KiB
    assert say(CHAT, {}, f'/v1/chat/completions?api_key={client_key("plain")}&key={client_key("env")}') == 401
    assert say(CHAT, key, f'/v1/chat/completions?api_key={client_key("plain")}') == 200
    assert say(CHAT, {'authorization': 'Basic ' + client_key('plain')}) == 401
    assert say(CHAT, {'authorization': 'Bearer ' + client_key('plain') * 1500}) in (401, 431)
    for name in ('x-goog-api-key', 'api-key', 'cookie', 'proxy-authorization', 'x-forwarded-for', 'openai-organization', 'anthropic-api-key', 'traceparent', 'tracestate', 'user-agent'):
        assert say(CHAT, {**key, name: client_key('elsewhere')}) == 200, name
    # hostile 32: what other gateways wrote into their database
    assert say(CHAT, {'authorization': f"Bearer ' OR '1'='1 {client_key('sql')}"}) == 401
    for body, status in ((b'{"model": "' + client_key('body').encode(), 400), ({**CHAT, 'temperature': client_key('body')}, 400), ({**CHAT, 'model': 'none'}, 404)):
        assert say(body, key) == status
    for how in ('400', '401', '403', '404', '422', '429', '500', '302', 'escaped', 'nested', 'long', 'type', 'disguised'):
        assert say({**CHAT, 'user': how}, key) >= 400, how
    for how in ('event', 'late', '500'):
        say({**CHAT, 'user': how, 'stream': True}, key)
    for fault in ('status=500', 'status=401', 'garbage', 'hang', 'cut', 'html', 'rst'):
        mock.script(faults=[fault])
        say({**CHAT, 'model': 'mock'}, key)
    # heads that come in pieces, two requests at once, and what is refused before it is a request
    head = 'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\nx-api-key: %s\r\n' % (client_key('plain'), client_key('plain'))
    body = json.dumps(CHAT)
    whole = (head + f'content-length: {len(body)}\r\n\r\n{body}').encode()
    for cut in (60, 80, 100, len(head) - 20):
        answers.append(raw(w, whole, cut))
    answers.append(raw(w, whole * 3))
    answers.append(raw(w, f'GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {client_key("plain")}\r\n\r\n'.encode() * 20))
    answers.append(raw(w, (head + 'content-length: 5\r\ncontent-length: 6\r\n\r\n').encode()))
    answers.append(raw(w, (head + f'bad header {client_key("bad")}\r\n\r\n').encode()))
    answers.append(raw(w, head.encode()))                                   # and then nothing
    answers.append(raw(w, f'GET / HTTP/1.1\r\nauthorization: Bearer {client_key("nohost")}\r\n\r\n'.encode()))
    return answers, ids


# ---- the tests ----

def test_no_key_is_told_or_kept():
    """hostile 39, hostile 32, hostile 36, hostile 38, hostile 42: in no log, page, answer, listing or file; and of clients' keys nothing is left in memory either."""
    for log_format in ('text', 'json'):
        with Gossips() as gossip, Mock() as m:
            folder = Path(os.path.dirname(m.folder)) / f'weir-keys.{os.getpid()}.{log_format}'
            folder.mkdir()
            try:
                conf, arguments, env = configured_every_way(folder, gossip, m)
                conf['log']['format'] = log_format
                conf['retries'] = {'attempts': 1}       # a failure tells as much as six of them, in less time
                with Weir(conf, *arguments, env=env) as w:
                    answers, ids = ask_everything(w, m)
                    command(w, 'reload')
                    assert w.post('/v1/chat/completions', CHAT, {'x-api-key': client_key('over')})[0] == 200, 'a reload finds what was put aside'
                    assert_silent(everything_told(w, answers, ids))
                    for who, pid in (('keeper', w.child.pid), ('server', w.server_pid())):
                        until(f'the {who} has forgotten', lambda: not found_in(pid, [CLIENT]))      # an answer may be here before its task has ended
                        for how in ('env', 'file', 'set', 'over', 'dead'):      # 'plain' is the gossip's, who sends it back: its bytes are nobody's secret to weir
                            places = found_in(pid, [backend_key(how)])
                            assert 1 <= len(places) <= 2, f'{who}: the backend\'s key {how} stands in {len(places)} places: {places}'
            finally:
                shutil.rmtree(folder)


def test_what_a_backend_hears():
    """hostile 38: of all that a client sends, a backend gets the body and these headers."""
    with Gossips() as gossip, Weir(one_model(gossip, keys={'a': {'key': client_key('plain')}})) as w:
        many = {name: client_key('elsewhere') for name in ('cookie', 'x-forwarded-for', 'forwarded', 'proxy-authorization', 'api-key', 'openai-project', 'via', 'x-real-ip', 'accept-language')}
        status, headers, _ = w.post('/v1/chat/completions', CHAT, {'authorization': 'Bearer ' + client_key('plain'), **many})
        heard, _ = Gossip.seen[-1]
        assert status == 200 and heard['authorization'] == 'Bearer ' + rig.BACKEND_KEY
        assert sorted(heard) == ['accept', 'accept-encoding', 'authorization', 'content-length', 'content-type', 'host', 'user-agent', 'x-request-id'], heard
        assert CLIENT not in str(heard)
        ours = {'date', 'x-request-id', 'content-type', 'content-length', 'x-weir-cache', 'x-weir-cache-why', 'x-weir-backend', 'x-weir-attempts', 'x-weir-queue-ms', 'x-weir-overhead-us'}
        assert set(headers) == ours and headers['x-weir-backend'] == 'b0', headers


def test_a_server_that_died_leaves_no_key():
    """hostile 39: the keys outlive the server in the keeper's vault; its last words have none of them; and the next server reads them again."""
    with Gossips() as gossip, Mock() as m:
        folder = Path(os.path.dirname(m.folder)) / f'weir-keys.{os.getpid()}.death'
        folder.mkdir()
        try:
            conf, arguments, env = configured_every_way(folder, gossip, m)
            with Weir(conf, *arguments, env=env) as w:
                first = w.server_pid()
                assert w.post('/v1/chat/completions', CHAT, {'x-api-key': client_key('env')})[0] == 200
                os.kill(first, signal.SIGABRT)
                until('the keeper tells it', lambda: any('was killed by signal 6' in line for line in w.lines()))
                until('another serves', lambda: serves(w, client_key('env')))
                for how in ('set', 'file', 'over', 'plain'):
                    assert w.post('/v1/chat/completions', CHAT, {'x-api-key': client_key(how)})[0] == 200, how
                until('the last request is forgotten', lambda: not found_in(w.server_pid(), [CLIENT]))  # its answer may be here before its task has ended
                assert not (found := found_in(w.child.pid, [CLIENT])), found
        finally:
            shutil.rmtree(folder)


def serves(w, key):
    try:
        return w.post('/v1/chat/completions', CHAT, {'x-api-key': key})[0] == 200
    except OSError:
        return False


def test_complaints_show_no_key():
    """hostile 39: a configuration that is refused is shown with its place, never with its keys."""
    key = client_key('plain')
    wrong = [
        f'keys: {{a: {{key: "{key} x"}}}}', f'keys: {{a: {{key: ["{key}"]}}}}', f'keys: {{a: "{key}"}}', f'keys: "{key}"', f'keys: {{a: {{key: "{key}", key_sha256: "{key}"}}}}',
        f'keys: {{a: {{key_sha256: "{key}"}}}}', f'keys: {{a: {{key: "{key}", role: root}}}}', f'keys: {{a: {{key: "{key}"}}, b: {{key: "{key}"}}}}',
        f'keys: {{a: {{key: "{key}"', f'keys:\n  a: {{key: "{key}"}}\n\tb: 1', f'backends: {{b: {{url: "http://u:{key}@h"}}}}', f'backends: {{b: {{url: "http://h", key: "{key} "}}}}',
        f'backends: {{b: {{url: "http://h", key: "{key}", kind: "{key[:3]}"}}}}', f'keys: {{a: {{key: "{key}", models: "x"}}}}', f'backends: {{b: {{kind: llama, key: "{key}"}}}}',
    ]
    with tempfile.TemporaryDirectory(prefix='weir-check.') as folder:
        file = Path(folder) / 'weir.yaml'
        for text in wrong:
            file.write_text(text + '\n')
            done = subprocess.run([str(rig.WEIR), 'check', '-c', file], capture_output=True, timeout=20)
            assert done.returncode != 0, text
            assert CANARY not in (done.stdout + done.stderr).decode(), (text, done)
        file.write_text('backends: {b: {url: "http://h"}}\n')
        for name, value, is_right in (('keys.a.key', key + ' ', False), ('keys.a.key', key, True), ('backends.b.key', key + '\n', False), ('backends.b.key', key, True),
                                      ('keys.a.key', '', False), ('backends.b.proxy', f'http://u:{key}@p', False), ('backends.b.proxy', f'http://u:{key}@p:1', True)):
            for words, more in ((['--set', f'{name}={value}'], {}), ([], {'WEIR_' + name.upper().replace('.', '__'): value})):
                done = subprocess.run([str(rig.WEIR), 'check', '-c', file, *words], env={**os.environ, **more}, capture_output=True, timeout=20)
                said = (done.stdout + done.stderr).decode()
                assert (done.returncode == 0) == is_right and (is_right or name in said) and CANARY not in said, done
        file.write_text(f'keys: {{a: {{key: "{key}"}}}}\nbackends: {{b: {{url: "http://h", key: "{key}b"}}}}\n')     # the twin
        done = subprocess.run([str(rig.WEIR), 'check', '-c', file], capture_output=True, timeout=20)
        assert done.returncode == 0 and CANARY not in (done.stdout + done.stderr).decode(), done


# ---- hostile 35: no key, no public address ----

def check(text):
    with tempfile.TemporaryDirectory(prefix='weir-check.') as folder:
        file = Path(folder) / 'weir.yaml'
        file.write_text(text)
        done = subprocess.run([str(rig.WEIR), 'check', '-c', file], capture_output=True, timeout=20)
        return done.returncode, (done.stdout + done.stderr).decode()


def test_a_public_address_needs_a_key():
    """hostile 35: in whatever way it is written; and what is no address is not looked up."""
    backend = '\nbackends: {b: {url: "http://h"}}\n'
    keys = 'keys: {a: {key: "%s"}}' % client_key('plain')
    for address in ('0.0.0.0:4040', '[::]:4040', '10.0.0.5:4040', '[fd00::1]:4040', '[::ffff:0.0.0.0]:4040', '[::ffff:10.0.0.5]:4040', '128.0.0.1:4040', '[::2]:4040', '0.0.0.0:0'):
        for key in ('listen', 'admin.listen'):
            section = f'listen: "{address}"' if key == 'listen' else f'admin: {{listen: "{address}"}}'
            code, said = check(section + backend)
            assert code != 0 and f'{key}: a non-loopback address needs at least one key' in said, (address, said)
            assert check(section + '\n' + keys + backend)[0] == 0, address
    for address in ('127.0.0.1:4040', '127.8.9.10:4040', '[::1]:4040', 'localhost:4040', '[::ffff:127.0.0.1]:4040'):
        assert check(f'listen: "{address}"' + backend)[0] == 0, address
    for address in ('0:4040', '*:4040', ':4040', '2130706433:4040', '0x7f000001:4040', 'example.com:4040', 'unix:/tmp/x', '@weir', '/tmp/x.sock', '127.0.0.1', '[::1%lo]:4040', '127.1:4040'):
        assert check(f'listen: "{address}"' + backend)[0] != 0, address


def test_the_last_key_of_a_public_address_stays():
    """hostile 35: a reload that would leave a public address open is refused, and the key still needed."""
    with Mock() as m, Weir(one_model(m, listen='0.0.0.0:0', keys={'a': {'key': client_key('plain')}})) as w:
        assert w.post('/v1/chat/completions', CHAT)[0] == 401
        file = w.conf_folder / 'weir.yaml'
        conf = json.loads(file.read_text())
        del conf['keys']
        file.write_text(json.dumps(conf))
        said = command(w, 'reload')
        assert 'a non-loopback address needs at least one key' in said, said
        assert w.post('/v1/chat/completions', CHAT)[0] == 401
        assert w.post('/v1/chat/completions', CHAT, {'x-api-key': client_key('plain')})[0] == 200


def passed_socket(address, *arguments):
    """weir with a listening socket that systemd would pass (sd_listen_fds): the process."""
    with socket.create_server((address, 0)) as s:
        line = f'exec 3<&{s.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"'
        return subprocess.Popen(['sh', '-c', line, str(rig.WEIR), 'serve', '--socket', 'off', *arguments, 'http://127.0.0.1:1'],
                                pass_fds=(s.fileno(),), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_public_socket_of_systemd_needs_a_key():
    """hostile 35: the configuration says loopback, but what was passed is open to all. With a key it is served, and so is a loopback one without."""
    refused = passed_socket('0.0.0.0')
    said, _ = refused.communicate(timeout=20)
    assert refused.returncode == 1 and 'passed with LISTEN_FDS can be reached from other machines: that needs at least one key' in said, said
    for address, arguments in (('0.0.0.0', ('--set', 'keys.a.key=' + client_key('set'))), ('127.0.0.1', ())):
        served = passed_socket(address, *arguments)
        first = served.stdout.readline()
        served.terminate()
        rest, _ = served.communicate(timeout=20)
        assert 'serves http://' in first and served.returncode == 0, first + rest
        assert_silent({address: first + rest})


if __name__ == '__main__':
    rig.run(globals())

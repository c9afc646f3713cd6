"""rig.py: weir and its mock as processes, for clients that see only what strangers see; and the runner of a file's tests.

    with Mock('--tokens', '5') as m, Weir(one_model(m)) as w:
        status, headers, body = w.get('/v1/models')

Each process gets a free port of loopback and a folder of its own, is asked whether it is ready, and is ended by TERM: it must then exit with 0.
A failed test prints what the processes wrote. Nothing here waits for a fixed time: everything is asked for until a deadline.
A file of tests is called with the program's path and perhaps words; only tests that have one of them in their name are then run.
"""
import asyncio
import contextlib
import http.client
import http.server
import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WEIR = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / 'build' / 'weir').resolve()
START_S = 15            # a start takes milliseconds; the machine may be busy
STOP_S = 15
TEST_S = 60             # a test that takes longer hangs
BACKEND_KEY = 'sk-CANARY-of-every-backend-0123456789'   # unless a test says otherwise; no output of any process may hold it, see Process.keys_told

# Whoever runs this may have a proxy, or keys of a real account.
for _name in list(os.environ):
    if _name.lower().endswith('_proxy') or _name.startswith(('OPENAI_', 'WEIR_')) and _name != 'WEIR_LOCAL':
        del os.environ[_name]


def until(what, question, seconds=5, every=0.005):
    """Asks until the answer is true, and returns it."""
    end = time.monotonic() + seconds
    while True:
        answer = question()
        if answer:
            return answer
        assert time.monotonic() < end, f'not within {seconds} s: {what}'
        time.sleep(every)


def ask(url, method, path, body=None, headers=None, tls=None):
    """One request on a connection of its own: status, headers (lower case), body as bytes. tls: the SSLContext for an https URL."""
    scheme, host, port = re.fullmatch(r'(https?)://([^:]+):(\d+)', url).groups()
    if scheme == 'https':
        connection = http.client.HTTPSConnection(host, int(port), timeout=20, context=tls)
    else:
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


class Process:
    """A program of ours with its folder and its output. Its subclasses know when it is ready."""
    running = []
    tls = None          # the SSLContext to ask it with, if it speaks TLS
    is_shared = False   # by all tests of a file: it is ended after the last one

    def __init__(self, name, *arguments, env=None, before=None):
        """env: variables besides the usual ones. before: called in the child before it becomes the program (limits, closed descriptors)."""
        self.name = name
        self.folder = Path(tempfile.mkdtemp(prefix=f'weir-{name}.'))
        self.out, self.err = self.folder / 'stdout', self.folder / 'stderr'
        home = {'HOME': str(self.folder), 'XDG_RUNTIME_DIR': str(self.folder), 'XDG_STATE_HOME': str(self.folder)}
        with open(self.out, 'wb') as out, open(self.err, 'wb') as err:
            self.child = subprocess.Popen([str(WEIR), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                          env={**os.environ, **home, **(env or {})}, cwd=self.folder, preexec_fn=before)
        Process.running.append(self)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.stop(quietly=kind is not None)

    def lines(self):
        return (self.out.read_text(errors='replace') + self.err.read_text(errors='replace')).splitlines()

    def said(self, pattern):
        assert self.child.poll() is None, f'{self.name} ended with {self.child.returncode} instead of starting'
        return re.search(pattern, self.out.read_text(errors='replace'))

    def stop(self, quietly=False):
        """quietly: the test has failed already, and its own story matters more."""
        if self not in Process.running:
            return
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            code = self.child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            code = f'nothing within {STOP_S} s of TERM'
        if quietly:
            return      # forget_all prints and forgets
        assert code == 0, f'{self.name} answered TERM with {code}'
        told = self.keys_told()
        assert not told, f'{self.name} wrote a key: {told}'
        self.forget()

    keys = ()           # that this process was given

    def keys_told(self):
        """Lines of all it wrote that have a key in them: every test of every file looks for them, without asking."""
        return [line for line in self.lines() if 'CANARY' in line or any(key in line for key in self.keys)]

    def forget(self):
        Process.running.remove(self)
        shutil.rmtree(self.folder, ignore_errors=True)

    @classmethod
    def forget_all(cls, tell):
        for process in list(cls.running):
            if tell:
                print(f'--- {process.name} wrote, at last:', *process.lines()[-25:], sep='\n    ')
            if not process.is_shared or process.child.poll() is not None:
                process.stop(quietly=True)
                process.forget()

    def get(self, path, **more):
        return ask(self.url, 'GET', path, tls=self.tls, **more)

    def post(self, path, body, headers=None):
        return ask(self.url, 'POST', path, json.dumps(body), {'content-type': 'application/json', **(headers or {})}, self.tls)


class Mock(Process):
    """`weir mock` on a free port: m.url, m.stats(), m.script(...)."""

    def __init__(self, *options):
        super().__init__('mock', 'mock', '--listen', '127.0.0.1:0', *options)
        self.url = until('the mock tells its address', lambda: self.said(r'(http://127\.0\.0\.\d+:\d+)'), START_S).group(1)

    def stats(self):
        status, _, body = self.get('/_mock/stats')
        assert status == 200, body
        return json.loads(body)

    def script(self, **options):
        status, _, body = self.post('/_mock/script', options)
        assert status == 200, body

    def idle(self, seconds=5):
        """Waits until nothing is being answered, and returns the statistics."""
        return until('the mock is idle', lambda: (s := self.stats()) and s['active'] == 0 and s['queued'] == 0 and s, seconds)


class Weir(Process):
    """`weir serve` on a free port. conf: the configuration as a dict (JSON is YAML). arguments: others of the command line. tls: as ask() has it."""

    def __init__(self, conf=None, *arguments, tls=None, **more):
        own = []
        self.tls = tls
        if conf is not None:
            file = Path(tempfile.mkdtemp(prefix='weir-conf.')) / 'weir.yaml'
            file.write_text(json.dumps({'listen': '127.0.0.1:0', **conf}, indent=1))
            own = ['-c', file]
        else:
            own = ['--listen', '127.0.0.1:0']
        self.conf_folder = own[1].parent if conf is not None else None
        self.keys = [member['key'] for section in ('keys', 'backends') for member in ((conf or {}).get(section) or {}).values() if '${' not in member.get('key', '${')]
        super().__init__('serve', 'serve', *own, *arguments, **more)
        self.url = until('weir tells its address', lambda: self.said(r'serves (https?://127\.0\.0\.1:\d+)/v1'), START_S).group(1)
        until('weir is ready', lambda: self.get('/readyz')[0] == 200, START_S)

    def forget(self):
        super().forget()
        if self.conf_folder:
            shutil.rmtree(self.conf_folder, ignore_errors=True)

    def server_pid(self):
        """Of the process that the keeper started to serve."""
        children = Path(f'/proc/{self.child.pid}/task/{self.child.pid}/children')
        return until('the keeper has a server', lambda: [int(p) for p in children.read_text().split() if Path(f'/proc/{p}/exe').resolve() == WEIR])[0]

    def access_line(self, request_id):
        """The access log's line of a finished request, which is written a moment after its answer."""
        return until(f'the log has {request_id}', lambda: next((line for line in self.lines() if request_id in line), None))

    def number(self, name, headers=None):
        """One value of /metrics, by its whole name with labels."""
        _, _, body = self.get('/metrics', headers=headers)
        found = re.search(rf'^{re.escape(name)} (\S+)$', body.decode(), re.M)
        assert found, f'/metrics has no {name}'
        return float(found.group(1))


class Scribe(http.server.ThreadingHTTPServer):
    """A backend that writes down what it is asked: asked holds the bodies. answer(body) says what it says: status, type, bytes."""
    daemon_threads = True

    def __init__(self, answer):
        super().__init__(('127.0.0.1', 0), ScribeHandler)
        self.asked, self.answer = [], answer
        self.url = f'http://127.0.0.1:{self.server_port}'
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class ScribeHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers['content-length'])))
        self.server.asked.append(body)
        status, kind, answer = self.server.answer(body)
        self.send_response(status)
        self.send_header('content-type', kind)
        self.send_header('content-length', str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self):
        self.send_error(404)

    def log_message(self, *_):
        pass


def one_model(*mocks, model='chat', **more):
    """A configuration: one model in front of these mocks; the first is used, the others are its fallback."""
    backends = {f'b{i}': {'url': m.url, 'key': BACKEND_KEY} for i, m in enumerate(mocks)}
    names = [f'b{i}/mock-1' for i in range(len(mocks))]
    models = {model: {'use': names[:1], **({'fallback': names[1:]} if names[1:] else {})}}
    return merged({'backends': backends, 'models': models, 'timeouts': {'drain': '1s'}}, more)


def merged(a, b):
    """b over a, key by key."""
    out = dict(a)
    for key, value in b.items():
        out[key] = merged(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


@contextlib.contextmanager
def raises(kind):
    """with raises(Error) as e: …; then e.error is the exception."""
    class Caught:
        error = None
    caught = Caught()
    try:
        yield caught
    except kind as error:
        caught.error = error
        return
    raise AssertionError(f'no {kind.__name__} was raised')


# ---- the runner ----

def _overdue(*_):
    raise AssertionError(f'longer than {TEST_S} s')


def _run_one(test):
    """True if it passed."""
    signal.signal(signal.SIGALRM, _overdue)
    signal.alarm(TEST_S)
    try:
        asyncio.run(test()) if inspect.iscoroutinefunction(test) else test()
        assert all(p.is_shared for p in Process.running), 'the test left processes behind'
        return True
    except Exception:
        traceback.print_exc(file=sys.stdout)
        return False
    finally:
        signal.alarm(0)


def run(names):
    """Runs every test_… of names (a module's globals()), or those whose name has one of the command line's words in it. Does not return."""
    tests = [value for name, value in names.items() if name.startswith('test_') and callable(value)]
    words = sys.argv[2:]
    tests = [test for test in tests if not words or any(word in test.__name__ for word in words)]
    passed = 0
    for test in tests:
        began = time.monotonic()
        good = _run_one(test)
        print(f'{"ok" if good else "FAILED"}  {test.__name__[5:]}  {(time.monotonic() - began) * 1000:.0f} ms', flush=True)
        Process.forget_all(tell=not good)
        passed += good
    failed = len(tests) - passed
    for process in list(Process.running):
        try:
            process.stop()
        except AssertionError as error:
            print(f'FAILED  {error}', *process.lines()[-25:], sep='\n    ')
            failed += 1
    print(f'{passed} passed, {failed} failed')
    sys.exit(0 if passed and not failed else 1)

"""test_exhaustion.py: what happens when the machine runs out of descriptors, connections, disk, processes and threads: who is there goes on being served, who comes
waits or is told, and all is well again when there is room."""
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

import rig
from rig import Mock, Process, Weir, one_model, until

CHAT = {'model': 'chat', 'messages': [{'role': 'user', 'content': 'Hello'}]}


def limited(what, number):
    return lambda: resource.setrlimit(what, (number, number))


class Line:
    """A client's connection that stays."""

    def __init__(self, weir, timeout=10):
        host, port = weir.url.removeprefix('http://').split(':')
        self.socket = socket.create_connection((host, int(port)), timeout=timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, text):
        self.socket.sendall(text.encode())

    def head(self):
        """Begins a request and does not go on."""
        self.send('POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n')

    def post(self, body=CHAT):
        text = json.dumps(body)
        self.send(f'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(text)}\r\n\r\n{text}')

    def status(self):
        """Of a whole answer; 0 when the connection was closed."""
        got = b''
        while b'\r\n\r\n' not in got:
            some = self.socket.recv(65536)
            if not some:
                return 0
            got += some
        head, _, body = got.partition(b'\r\n\r\n')
        self.answer = head.decode()
        length = int(self.answer.lower().split('content-length: ')[1].split('\r\n')[0])
        while len(body) < length:
            body += self.socket.recv(65536)
        self.body = body
        return int(head.split()[1])

    def is_open(self):
        self.socket.setblocking(False)
        try:
            return self.socket.recv(1, socket.MSG_PEEK) != b''
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        finally:
            self.socket.settimeout(10)


def cpu_s(pid):
    """User and system time of a process."""
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def descriptors(pid):
    return len(os.listdir(f'/proc/{pid}/fd'))


# ---- descriptors and connections ----

def fill(w, stack, canary):
    """Connections until the server has no descriptor left. They have begun a request, so none of them is idle."""
    for _ in range(200):
        line = stack.enter_context(Line(w))
        line.head()
        canary.post()
        assert canary.status() == 200
        if descriptors(w.server_pid()) >= 64:
            return
    raise AssertionError('there were always descriptors')


def test_no_descriptor_for_a_client():
    """EMFILE at accept: who is there is served as before, nothing spins, and who came meanwhile is served when there is room."""
    conf = {'workers': 1, 'limits': {'connections': 1000}, 'timeouts': {'header': '3s', 'drain': '1s'}}
    with Mock('--tokens', '3') as m, Weir(one_model(m, **conf), before=limited(resource.RLIMIT_NOFILE, 64)) as w, ExitStack() as stack:
        canary = stack.enter_context(Line(w))
        canary.post()
        assert canary.status() == 200
        fill(w, stack, canary)
        late = stack.enter_context(Line(w))
        late.post()
        pid, began = w.server_pid(), cpu_s(w.server_pid())
        for _ in range(50):
            canary.post()
            assert canary.status() == 200
        assert descriptors(pid) >= 64, 'and all the while there was none left'
        assert late.status() == 200                     # after timeouts.header the slow ones are gone
        assert cpu_s(pid) - began < 0.5, 'waiting for descriptors costs nothing'    # 3 s went by; a loop that spins takes all of them
        assert w.number('weir_accept_pauses_total') >= 1
        with Line(w) as other:
            other.post()
            assert other.status() == 200


def test_no_descriptor_for_a_backend():
    """EMFILE at connect: 503 that says so, with Retry-After; the next one is served."""
    conf = {'workers': 1, 'limits': {'connections': 1000}, 'timeouts': {'header': '3s', 'drain': '1s'}}
    with Mock('--tokens', '3') as m, Weir(one_model(m, **conf), before=limited(resource.RLIMIT_NOFILE, 64)) as w, ExitStack() as stack:
        canary, other, twin = (stack.enter_context(Line(w)) for _ in range(3))
        for line in (other, twin):
            line.send('GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n')
            assert line.status() == 200
        canary.post()
        assert canary.status() == 200
        fill(w, stack, canary)
        m.script(faults=['hang'])
        other.post()                                    # takes the one connection to the backend that there is
        until('the backend is asked', lambda: m.stats()['active'] == 1)
        twin.post()
        assert twin.status() == 503 and json.loads(twin.body)['error']['code'] == 'out_of_descriptors', twin.body
        assert 'retry-after: 1' in twin.answer and 'x-should-retry: true' in twin.answer, twin.answer
        other.socket.close()                            # and with it its connection to the backend
        m.script(faults=[])
        until('it is given back', lambda: m.stats()['active'] == 0)
        twin.post()
        assert twin.status() == 200


def test_too_many_connections():
    """limits.connections: the longest idle makes room for a new one, as a busy one never does; and without the limit nobody has to go."""
    for limit, goes in ((4, True), (400, False)):
        with Mock('--tokens', '3') as m, Weir(one_model(m, workers=1, limits={'connections': limit})) as w, ExitStack() as stack:
            lines = [stack.enter_context(Line(w)) for _ in range(limit if goes else 5)]
            for line in lines[:-1]:
                line.post()
                assert line.status() == 200
            lines[-1].head()                            # busy from here on
            late = stack.enter_context(Line(w))
            late.post()
            assert late.status() == 200                 # a second later, when one has been idle so long
            assert [line.is_open() for line in lines].count(False) == (1 if goes else 0)
            assert lines[-1].is_open(), 'it was not idle'
            assert not goes or not lines[0].is_open(), 'the longest idle goes'


# ---- the log ----

def test_full_disk_for_the_log():
    """Lines are lost and counted; nobody waits, nothing ends; and the first line that can be written again says how many are missing."""
    folder = Path(tempfile.mkdtemp(prefix='weir-log.'))
    try:
        file = folder / 'log'
        with Mock('--tokens', '3') as m, Weir(one_model(m, log={'file': str(file)}), before=limited(resource.RLIMIT_FSIZE, 65536)) as w:
            w.post('/v1/chat/completions', CHAT)
            until('the log is full', lambda: [w.get('/nothing') for _ in range(40)] and w.number('weir_log_lines_dropped_total') > 0, 20)
            assert file.stat().st_size == 65536
            for _ in range(20):
                assert w.post('/v1/chat/completions', CHAT)[0] == 200
            file.rename(folder / 'log.1')
            w.child.send_signal(signal.SIGUSR1)
            until('there is a new one', lambda: w.post('/v1/chat/completions', CHAT)[0] == 200 and file.exists() and 'status=200' in file.read_text())
            first = file.read_text().splitlines()[0]
            assert 'log lines were lost here: File too large' in first, first
            assert file.read_text().count('lines were lost') == 1
    finally:
        shutil.rmtree(folder)


def test_a_log_that_takes_nothing():
    """A device that is always full, a folder that is not ours to write to, a reader that has gone."""
    with Mock('--tokens', '3') as m:
        with Weir(one_model(m, log={'file': '/dev/full'})) as w:
            for _ in range(5):
                assert w.post('/v1/chat/completions', CHAT)[0] == 200
            until('losses are counted', lambda: w.number('weir_log_lines_dropped_total') >= 5)
        reader, writer = os.pipe()
        with Weir(one_model(m), before=lambda: os.dup2(writer, 2)) as w:
            os.close(reader)
            os.close(writer)
            for _ in range(5):
                assert w.post('/v1/chat/completions', CHAT)[0] == 200
            until('losses are counted', lambda: w.number('weir_log_lines_dropped_total') >= 5)


def test_a_log_that_cannot_be_opened_again():
    """USR1 when the folder is gone: weir says so and goes on with the file it has."""
    folder = Path(tempfile.mkdtemp(prefix='weir-log.'))
    try:
        file = folder / 'logs' / 'log'
        file.parent.mkdir()
        with Mock('--tokens', '3') as m, Weir(one_model(m, log={'file': str(file)})) as w:
            aside = folder / 'aside'
            file.parent.rename(aside)
            w.child.send_signal(signal.SIGUSR1)
            until('it says so', lambda: 'cannot be opened again: No such file or directory' in (aside / 'log').read_text())
            _, headers, _ = w.post('/v1/chat/completions', CHAT)
            until('the line is there', lambda: headers['x-request-id'] in (aside / 'log').read_text())
    finally:
        shutil.rmtree(folder)


def test_closed_standard_descriptors():
    """Started with 0, 1 and 2 closed: they become /dev/null. A socket with the number 2 would send our log to a client."""
    with Mock('--tokens', '3') as m, socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
        free.close()
        w = Process('serve', 'serve', '--listen', f'127.0.0.1:{port}', m.url, before=lambda: os.closerange(0, 3))
        w.url = f'http://127.0.0.1:{port}'

        def ready():
            try:
                return w.get('/readyz')[0] == 200
            except OSError:
                return False
        with w:
            until('it serves', ready, rig.START_S)
            for pid in (w.child.pid, Weir.server_pid(w)):
                assert [os.readlink(f'/proc/{pid}/fd/{fd}') for fd in (0, 1, 2)] == ['/dev/null'] * 3
            until('its model is found', lambda: w.post('/v1/chat/completions', {**CHAT, 'model': 'mock-1'})[0] == 200)


# ---- processes and threads ----

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/types.h>
static long forks, threads, events; /* the first FAIL_FORKS fail, every eventfd, and threads from the FAIL_THREADS-th on */
static long number(const char *name) { const char *s = getenv(name); return s ? atol(s) : 0; }
__attribute__((constructor)) static void begin(void) { forks = number("FAIL_FORKS"); threads = number("FAIL_THREADS"); events = number("FAIL_EVENTFDS"); }
pid_t fork(void) { if (forks > 0) { forks--; errno = EAGAIN; return -1; } return ((pid_t (*)(void))dlsym(RTLD_NEXT, "fork"))(); }
int eventfd(unsigned n, int flags) { if (events > 0) { errno = EMFILE; return -1; } return ((int (*)(unsigned, int))dlsym(RTLD_NEXT, "eventfd"))(n, flags); }
int pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *arg)
{
    static long made;
    if (threads > 0 && ++made >= threads) return EAGAIN;
    return ((int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))dlsym(RTLD_NEXT, "pthread_create"))(t, a, f, arg);
}
"""


class Shim:
    """A library in front of libc whose fork, pthread_create and eventfd fail as the environment says."""

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix='weir-shim.'))
        (self.folder / 'shim.c').write_text(SHIM)
        self.library = self.folder / 'shim.so'
        subprocess.run(['cc', '-shared', '-fPIC', '-o', self.library, self.folder / 'shim.c', '-ldl'], check=True, timeout=60)
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder)

    def env(self, **numbers):
        return {'LD_PRELOAD': str(self.library), **{name: str(n) for name, n in numbers.items()}}


def test_no_process_for_the_server():
    """fork fails three times: each is told, the pauses grow, and the fourth serves."""
    with Shim() as shim, Mock('--tokens', '3') as m, Weir(one_model(m), env=shim.env(FAIL_FORKS=3)) as w:
        assert w.post('/v1/chat/completions', CHAT)[0] == 200
        assert sum('cannot be started: Resource temporarily unavailable' in line for line in w.lines()) == 3


def test_no_process_for_a_local_model():
    """Neither does a model that cannot be started end anything: it is tried again."""
    conf = {'backends': {'here': {'kind': 'llama'}}, 'models': {'chat': {'use': ['here/smollm2']}}, 'timeouts': {'drain': '1s'}}
    with Shim() as shim, Weir(conf, env=shim.env(FAIL_FORKS=1)) as w:
        until('it is told', lambda: any('smollm2 cannot be started: Resource temporarily unavailable' in line for line in w.lines()))
        until('it is started', lambda: any('smollm2 started on port' in line for line in w.lines()), 20)


def ends_with(env, sentence):
    """weir serve that cannot start: it says why, and ends with 1."""
    done = subprocess.run([str(rig.WEIR), 'serve', '--listen', '127.0.0.1:0', 'http://127.0.0.1:1'], env={**os.environ, **env}, capture_output=True, timeout=50)
    assert done.returncode == 1, done
    assert sentence in done.stderr.decode(), done.stderr.decode()


def test_no_thread_and_no_descriptor_at_the_start():
    with Shim() as shim:
        ends_with(shim.env(FAIL_THREADS=2), 'cannot start its job threads: Resource temporarily unavailable')  # the first read the configuration
        ends_with(shim.env(FAIL_EVENTFDS=1), 'cannot start: The server has no descriptors left')


def test_what_a_local_model_inherits():
    """Of our environment nothing, of our sockets none."""
    conf = {'backends': {'here': {'kind': 'llama'}}, 'models': {'chat': {'use': ['here/smollm2']}}, 'timeouts': {'drain': '1s'}}
    with Weir(conf, env={'PROVIDER_KEY': 'sk-CANARY-environment', 'LLAMA_API_KEY': 'x'}) as w:
        until('it is started', lambda: any('smollm2 started on port' in line for line in w.lines()), 20)
        children = Path(f'/proc/{w.child.pid}/task/{w.child.pid}/children')
        model = until('it is llama-server', lambda: [p for p in children.read_text().split() if 'llama-server' in os.readlink(f'/proc/{p}/exe')])[0]
        assert sorted(filter(None, Path(f'/proc/{model}/environ').read_text().split('\0'))) == ['HOME=/nonexistent', 'LANG=C.UTF-8', 'PATH=/usr/local/bin:/usr/bin:/bin']

        def sockets(pid):
            return {os.readlink(f'/proc/{pid}/fd/{fd}') for fd in os.listdir(f'/proc/{pid}/fd') if os.path.exists(f'/proc/{pid}/fd/{fd}')} - {'/dev/null'}
        assert not {s for s in sockets(model) & sockets(w.child.pid) if s.startswith(('socket:', 'pipe:', '/memfd:'))}


rig.run(globals())

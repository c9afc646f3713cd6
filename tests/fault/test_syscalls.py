#!/usr/bin/env python3
"""The shipped binary under strace, which lets the Nth call of a kind fail in each of its threads, for one kind, error and N after another.

    test_syscalls.py [build/weir] [SYSCALL...]

Either weir says in a sentence why it cannot start and exits with 1, or it serves: few requests fail (the ones the fault hit), the next ones
succeed, and TERM ends it with 0. It never crashes, and nothing hangs. strace needs no more than being root in a plain chroot.
"""
import concurrent.futures
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'clients'))
import rig  # noqa: E402

START_S = 20
ANSWER_S = 8
STOP_S = 20
AT_ONCE = 2
LOST_MAX = 6            # each of four threads may meet the fault once, on a request's way or on its retry's
WELL_IN_A_ROW = 4
TRIES_MAX = 16

# call: errors, the last N that is tried. What only the loader or a start does has its Ns there; the rest reaches into the requests.
CALLS = {
    'accept4': ('EMFILE ENFILE ENOBUFS ENOMEM ECONNABORTED EPROTO', 3),
    'recvfrom': ('ECONNRESET ETIMEDOUT ENOMEM EINTR', 5),
    'sendmsg': ('EPIPE ECONNRESET ENOBUFS ENOMEM EINTR', 5),
    'connect': ('ENETUNREACH EADDRNOTAVAIL ECONNREFUSED EACCES', 4),
    'socket': ('EMFILE ENFILE ENOBUFS ENOMEM', 4),
    'bind': ('EADDRINUSE EACCES', 2),
    'listen': ('EADDRINUSE', 2),
    'setsockopt': ('ENOPROTOOPT', 6),
    'getsockopt': ('ENOBUFS', 2),
    'getsockname': ('ENOBUFS', 1),
    'epoll_create1': ('EMFILE ENOMEM', 2),
    'eventfd2': ('EMFILE ENODEV', 2),
    'epoll_ctl': ('ENOMEM ENOSPC', 8),
    'epoll_pwait2': ('EINTR', 4),
    'mmap': ('ENOMEM', 34),         # the first is the loader's, which then cannot speak
    'mprotect': ('ENOMEM', 14),
    'madvise': ('ENOMEM EINVAL', 3),
    'clone': ('EAGAIN ENOMEM', 1),
    'clone3': ('EAGAIN', 4),
    'pipe2': ('EMFILE', 1),
    'signalfd4': ('EMFILE', 1),
    'openat': ('EMFILE ENFILE EACCES', 12),
    'read': ('EIO EINTR', 6),
    'write': ('EIO ENOSPC EINTR', 5),
    'poll': ('EINTR ENOMEM', 3),
    'mkdir': ('ENOSPC EACCES', 2),
    'unlink': ('EACCES', 2),
    'getrandom': ('EINTR', 4),
    'prctl': ('EPERM', 1),
    'sched_getaffinity': ('EPERM', 1),
    'sigaltstack': ('ENOMEM', 2),
    'close': ('EINTR', 6),
    'fsync': ('EIO', 1),
}
CRASHED = re.compile(r'ASSERT|ended by signal|killed by signal|stack overflow|Sanitizer|core dumped')
PLAIN = {'model': 'chat', 'max_tokens': 4, 'messages': [{'role': 'user', 'content': 'x'}]}


def served(url, i):
    """One request, in turn a plain one, a stream and a page; None if it was answered well, else what came of it."""
    try:
        if i % 3 == 2:
            status, _, body = ask(url, 'GET', '/health')
            return None if status == 200 and b'"status"' in body else f'{status} {body[:200]}'
        status, _, body = ask(url, 'POST', '/v1/chat/completions', {**PLAIN, 'stream': i % 3 == 1})
        whole = body.endswith(b'data: [DONE]\n\n') if i % 3 == 1 else b'"choices"' in body
        return None if status == 200 and whole else f'{status} {body[-200:]}'
    except TimeoutError as error:
        return f'HUNG {error}'
    except Exception as error:
        return repr(error)


def ask(url, method, path, body=None):
    host, port = re.fullmatch(r'http://([^:]+):(\d+)', url).groups()
    connection = rig.http.client.HTTPConnection(host, int(port), timeout=ANSWER_S)
    try:
        connection.request(method, path, json.dumps(body) if body else None, {'content-type': 'application/json'})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


class Traced:
    """weir serve under strace with one fault."""

    def __init__(self, mock_url, inject):
        self.folder = Path(tempfile.mkdtemp(prefix='weir-fault.'))
        conf = {'listen': '127.0.0.1:0', 'backends': {'b0': {'url': mock_url}}, 'models': {'chat': {'use': ['b0/mock-1']}}, 'timeouts': {'drain': '2s', 'connect': '2s'}}
        (self.folder / 'weir.yaml').write_text(json.dumps(conf))
        self.log = self.folder / 'out'
        call = inject.split(':')[0]
        traced = ['strace', '-f', '-qq', '-o', '/dev/null', '-e', f'trace={call}', '-e', f'inject={inject}']
        with open(self.log, 'wb') as out:
            self.child = subprocess.Popen([*traced, str(rig.WEIR), 'serve', '-c', str(self.folder / 'weir.yaml')], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                          env={**os.environ, 'HOME': str(self.folder), 'XDG_RUNTIME_DIR': str(self.folder)}, cwd=self.folder, start_new_session=True)

    def said(self):
        return self.log.read_text(errors='replace')

    def url(self):
        """Its address, or None if it ended."""
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            found = re.search(r'(http://127\.0\.0\.1:\d+)/v1', self.said())
            if found:
                return found.group(1)
            if self.child.poll() is not None:
                return None
            time.sleep(0.01)
        raise AssertionError('it neither starts nor ends')

    def stop(self):
        """Its exit code after TERM."""
        children = Path(f'/proc/{self.child.pid}/task/{self.child.pid}/children').read_text().split()
        for pid in children or [self.child.pid]:
            os.kill(int(pid), signal.SIGTERM)
        try:
            return self.child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            raise AssertionError('TERM does not end it') from None

    def forget(self):
        if self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def look(traced):
    """What must hold; returns how it went: 'refused' to start, or 'served'."""
    url = traced.url()
    if url is None:
        code = traced.child.returncode
        assert 0 < code < 128, f'it ended with {code} instead of starting'
        assert traced.said().strip(), 'it ended without a word'
        return 'refused'
    lost, row = [], 0
    for i in range(TRIES_MAX):
        why = served(url, i)
        if why is None:
            row += 1
        else:
            assert not why.startswith('HUNG'), why
            lost.append(why)
            row = 0
        if row >= WELL_IN_A_ROW and i >= 2 * WELL_IN_A_ROW:
            break
    if row == 0 and traced.child.poll() == 1 and 'cannot start' in traced.said():
        return 'refused'        # a thread of the server was refused when its address had been told already
    assert row >= WELL_IN_A_ROW and len(lost) <= LOST_MAX, f'{len(lost)} requests were lost: {lost}'
    code = traced.stop()
    assert code == 0, f'TERM ended it with {code}'
    return 'served'


def case(mock_url, call, error, n):
    inject = f'{call}:error={error}:when={n}'
    traced = Traced(mock_url, inject)
    try:
        how = look(traced)
        crash = CRASHED.search(traced.said())
        assert not crash, f'it crashed: {crash.group(0)}'
        return how, None
    except AssertionError as error_:
        return 'failed', f'{inject}: {error_}\n' + ''.join(f'    {line}\n' for line in traced.said().splitlines()[-8:])
    finally:
        traced.forget()


def main():
    words = sys.argv[2:]
    cases = [(call, error, n) for call, (errors, most) in CALLS.items() for error in errors.split() for n in range(2 if call == 'mmap' else 1, most + 1) if not words or call in words]
    passed = failed = 0
    with rig.Mock('--tokens', '4') as mock:
        how, why = case(mock.url, 'accept4', 'EMFILE', 60000)     # one that is never reached
        if why is not None:
            print(f'FAILED without any fault, or strace: {why}')
            print('0 passed, 1 failed')
            sys.exit(1)
        tally = {}
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            for (call, error, n), (how, why) in zip(cases, pool.map(lambda c: case(mock.url, *c), cases)):
                tally.setdefault(call, {'refused': 0, 'served': 0, 'failed': 0})[how] += 1
                if why:
                    print(f'not ok: {why}', flush=True)
        for call, counts in tally.items():
            print(f'{call}: {counts["served"]} served, {counts["refused"]} refused to start, {counts["failed"]} not ok')
            passed += counts['served'] + counts['refused']
            failed += counts['failed']
        rig.Process.forget_all(tell=False) if failed else None
    print(f'{passed} passed, {failed} failed')
    sys.exit(0 if passed and not failed else 1)


if __name__ == '__main__':
    main()

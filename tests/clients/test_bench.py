#!/usr/bin/env python3
"""weir bench from outside: python3 tests/clients/test_bench.py BUILD_WEIR [NAME...]
What it says and how it exits, against weir, against the mock and its faults. Numbers are compared with what the mock counted, never with a clock."""
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from rig import Mock, WEIR, Weir, one_model, run, until

KEY = 'sk-CANARY-of-the-load-test'
ENV = {k: v for k, v in os.environ.items() if k != 'WEIR_KEY'}


def is_busy(text):
    """It says that the generator itself was the limit: on a machine with other things to do, any run may."""
    return 'was late' in text or 'threads were busy' in text


class Bench:
    """One run of weir bench: its exit code, its words, and its JSON if it wrote one."""

    def __init__(self, *words, env=None):
        with tempfile.TemporaryDirectory(prefix='weir-bench.') as folder:
            file = Path(folder) / 'result.json'
            more = ['--json', file] if words and '--help' not in words and '--json' not in words else []
            done = subprocess.run([WEIR, 'bench', *map(str, words), *map(str, more)], capture_output=True, text=True, timeout=50, env={**ENV, **(env or {})}, cwd=folder)
            self.code, self.out, self.err = done.returncode, done.stdout, done.stderr
            self.json = json.loads(file.read_text()) if file.exists() else None
        assert 'CANARY' not in self.out + self.err + json.dumps(self.json), 'it told its key'

    def counted(self):
        """What was counted: the machine may have been too busy for the generator's own clock, which then says so, and that is no matter here. Without criteria one
        error of a hundred is one too many."""
        expected = 0 if self.json and self.json['ok'] > 0.99 * self.json['requests'] else 1
        assert self.code == expected or (self.code == 3 and is_busy(self.json['invalid'])), f'exit code {self.code}:\n{self.out}{self.err}'
        return self.json

    def expect(self, code):
        assert self.code == code, f'exit code {self.code}, not {code}:\n{self.out}{self.err}'
        return self


SHORT = ('--duration', '500ms')


def test_asks_weir_and_says_yes():
    with Mock('--tokens', '3', '--ttft', '1s') as m, Weir(one_model(m)) as w:      # so slow that no busy machine makes the run invalid
        b = Bench(w.url, '--users', 4, '--duration', '2s', '--criteria', 'error_rate < 1%').expect(0)
        r = b.json
        assert r['requests'] == r['ok'] > 0 and r['errors'] == {}, r
        assert r['verdict'] == 'met', r
        assert 'asks the model chat' in b.err, b.err
        assert m.idle()['requests'] == r['requests'], (m.stats(), r)
        assert r['tokens'] == 3 * r['requests'] or r.get('tokens_out') == 3 * r['requests'], r


def test_json_has_the_fields_that_are_promised():
    with Mock('--itl', '1ms', '--tokens', '3') as m:
        r = Bench(m.url, '--rate', 50, '--stream', *SHORT).counted()
        for name in 'requests ok errors rate p50_ms p75_ms p90_ms p95_ms p99_ms p999_ms mean_ms stdev_ms ttft itl tokens cached_share generator_lag_ms rss_mb verdict'.split():
            assert name in r, f'{name} is missing in {sorted(r)}'
        assert r['requests'] == 25, r
        assert 0 < r['p50_ms'] <= r['p99_ms']
        assert 0 < r['ttft']['p50_ms'] <= r['p99_ms'], r['ttft']


def test_a_missed_criterion_is_1_and_says_which():
    with Mock('--ttft', '1s') as m:
        b = Bench(m.url, '--users', 2, '--duration', '2s', '--criteria', 'p50 < 1ms', '--criteria', 'error_rate < 1%').expect(1)
        assert b.json['verdict'] == 'missed'
        assert re.search(r'MISSED\s+p50 < 1ms', b.out), b.out


def test_the_generator_as_the_limit_is_3():
    with Mock('--ttft', '300ms') as m:      # 2,000 a second of which each takes 0.3 s: 600 descriptors, and there are 200
        b = subprocess.run(['bash', '-c', f'ulimit -n 200; exec {WEIR} bench {m.url} --rate 2000 --duration 1s'], capture_output=True, text=True, timeout=50, env=ENV)
        assert b.returncode == 3, b
        assert re.search(r'were not sent|ran out of descriptors', b.stdout + b.stderr), b


def starved(core):
    """In the child: the lowest priority of all, on this core alone."""
    os.sched_setaffinity(0, {core})
    os.nice(19)


def test_a_starved_generator_is_3_however_good_it_looks():
    """Beside two loops on one core it gets a hundredth of it: no criterion that is met makes such a run count."""
    core = min(os.sched_getaffinity(0))
    loops = [subprocess.Popen(['/bin/sh', '-c', 'while :; do :; done'], preexec_fn=lambda: os.sched_setaffinity(0, {core})) for _ in range(2)]
    try:
        with Mock('--ttft', '5ms') as m:
            for words in (('--rate', 100), ('--users', 4)):
                b = subprocess.run([WEIR, 'bench', m.url, *map(str, words), '--duration', '2s', '--criteria', 'p99 < 1m', '--criteria', 'error_rate < 1%'],
                                   capture_output=True, text=True, timeout=50, env=ENV, preexec_fn=lambda: starved(core))
                assert b.returncode == 3 and 'INVALID: the generator was late' in b.stdout, b.stdout + b.stderr
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


WRONG = [
    ((), 'a URL or a scenario is missing'),
    (('127.0.0.1:4040',), 'no URL such as'),
    (('http://127.0.0.1:1/a b',), 'blank'),
    (('ftp://127.0.0.1:1',), 'http'),
    (('http://127.0.0.1:1', '--usrs', '3'), 'did you mean --users'),
    (('http://127.0.0.1:1', '--users', '0'), '--users must be a number from 1'),
    (('http://127.0.0.1:1', '--users', '3', '--rate', '3'), 'exclude each other'),
    (('http://127.0.0.1:1', '--rate', '-3'), '--rate must be'),
    (('http://127.0.0.1:1', '--arrivals', 'poisson'), '--arrivals needs --rate'),
    (('http://127.0.0.1:1', '--rate', '3', '--arrivals', 'gamma'), 'gamma:CV'),
    (('http://127.0.0.1:1', '--duration', '10'), 'a time such as'),
    (('http://127.0.0.1:1', '--api', 'opena'), 'did you mean openai'),
    (('http://127.0.0.1:1', '--slo', 'tfft=3ms'), 'did you mean ttft'),
    (('http://127.0.0.1:1', '--slo', 'ttft=3'), 'a time such as'),
    (('http://127.0.0.1:1', '--criteria', 'p59 < 3ms'), 'p5'),
    (('http://127.0.0.1:1', '--key', 'two words'), 'no header can carry'),
]


def test_wrong_use_is_2_and_one_sentence():
    for words, part in WRONG:
        b = Bench(*words).expect(2)
        assert part in b.err and b.err.count('\n') == 1, (words, b.err)


def test_files_that_are_not_there_are_named():
    with Mock() as m:
        assert 'nowhere.txt' in Bench(m.url, '--body', 'nowhere.txt', *SHORT).expect(2).err
        assert 'no such process' in Bench(m.url, '--pid', 2 ** 22 + 1, *SHORT).expect(2).err
        assert 'only one of them' in Bench(m.url, '--body', 'a', '--prompts', 'b', *SHORT).expect(2).err


def test_nobody_there_is_1():
    with socket.socket() as s:      # bound and not listening: nobody else gets the port
        s.bind(('127.0.0.1', 0))
        b = Bench(f'http://127.0.0.1:{s.getsockname()[1]}', *SHORT).expect(1)
        assert 'nobody answers' in b.err and 'refused' in b.err, b.err
    assert 'does not resolve' in Bench('http://no-such-host.invalid', *SHORT).expect(1).err


FAULTS = [      # fault, options, the kind it is counted as
    ('status=500', (), 'http_500'),
    ('status=429', ('--stream',), 'http_429'),
    ('cut', ('--stream',), 'cut'),
    ('cut=first', (), 'reset'),
    ('rst=first', (), 'reset'),
    ('rst', ('--stream',), 'cut'),
    ('hang', ('--timeout', '100ms'), 'timeout'),
    ('stall', ('--stream', '--timeout', '100ms'), 'timeout'),
    ('errorevent', ('--stream',), 'error'),
    ('errorevent', (), 'error'),
    ('nodone', ('--stream',), 'cut'),
    ('html', (), 'protocol'),
    ('garbage', (), 'protocol'),
]


def test_faults_are_errors_by_kind():
    with Mock() as m:
        for fault, words, kind in FAULTS:
            m.script(faults=[fault])
            r = Bench(m.url, '--rate', 40, '--duration', '250ms', *words).counted()
            assert r['errors'] == {kind: 10} and r['requests'] == 10 and r['ok'] == 0, (fault, words, r['errors'])


def test_every_second_answer_bad_is_seen_as_such():
    with Mock('--fault', 'status=503:0.5') as m:
        r = Bench(m.url, '--rate', 200, '--duration', '1s').counted()
        refused = m.stats()['faults']['status']
        assert r['errors'] == {'http_503': refused} and r['ok'] == 200 - refused, (r, refused)


def test_kept_connections_that_were_closed_are_replaced():
    """A server that closes each connection behind its first answer without having said so."""
    answer = b'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'
    with socket.create_server(('127.0.0.1', 0), backlog=64) as listener:
        import threading

        def serve():
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    if peer.recv(4096):
                        peer.sendall(answer)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        r = Bench(f'http://127.0.0.1:{listener.getsockname()[1]}/x', '--users', 1, *SHORT).counted()
        assert r['ok'] == r['requests'] > 10 and r['errors'] == {}, r
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def test_apis_are_known_from_the_path():
    with Mock('--dialect', 'ollama', '--tokens', '2') as m:
        b = Bench(f'{m.url}/api/chat', '--stream', *SHORT, '--users', 1)
        r = b.counted()
        assert r['ok'] == r['requests'] > 0 and 'asks the model mock-1' in b.err, b.err
        r = Bench(m.url, '--api', 'ollama', *SHORT, '--users', 1).counted()
        assert r['ok'] == r['requests'] > 0, r
        assert m.idle()['paths'].keys() >= {'/api/chat', '/api/tags'}
    with Mock('--ttft', '5ms') as m:
        assert Bench(f'{m.url}/_mock/stats', *SHORT, '--users', 1).counted()['ok'] > 0
        assert m.stats()['requests'] == 0       # plain: nothing asked a model
        url = m.url.replace('127.0.0.1', 'localhost')
        r = Bench(url, *SHORT, '--users', 2, '--model', 'other').counted()
        assert r['ok'] == r['requests'] > 0, r  # ::1 has nobody, and costs nothing


def test_the_key_is_sent_and_never_told():
    with Mock('--ttft', '5ms') as m:
        conf = one_model(m, keys={'team': {'key': KEY}})
        with Weir(conf) as w:
            assert 'status 401' in Bench(w.url, *SHORT).expect(1).err
            assert Bench(w.url, *SHORT, '--key', KEY).counted()['errors'] == {}
            assert Bench(w.url, *SHORT, env={'WEIR_KEY': KEY}).counted()['errors'] == {}


def test_reports_are_written():
    with Mock('--ttft', '5ms') as m, tempfile.TemporaryDirectory() as folder:
        files = {form: Path(folder) / f'r.{form}' for form in ('csv', 'html', 'junit')}
        Bench(m.url, *SHORT, '--criteria', 'p95 < 5s', *[x for form, file in files.items() for x in (f'--{form}', file)]).counted()
        assert files['csv'].read_text().count('\n') >= 2
        assert '<html' in files['html'].read_text()
        assert 'testcase' in files['junit'].read_text()
        asked = m.idle()['requests']
        b = Bench(m.url, *SHORT, '--csv', '/nowhere/r.csv').expect(1)
        assert m.idle()['requests'] == asked    # nobody waits for a load test whose report cannot be written
        assert '/nowhere/r.csv' in b.err, b.err


def test_warm_up_and_connections():
    with Mock() as m:
        r = Bench(m.url, '--rate', 40, '--duration', '1s', '--warmup', '500ms', '--connections-new').counted()
        assert r['requests'] == 20 and r['warmup'] == 20, r
        assert m.stats()['requests'] == 40


def test_pid_reports_the_server():
    with Mock('--ttft', '5ms') as m:
        r = Bench(m.url, '--users', 4, '--duration', '2s', '--pid', m.child.pid).counted()
        assert 1 < r['rss_mb'] < 1000, r['rss_mb']


def test_interrupted_it_reports_what_there_is():
    with Mock('--ttft', '20ms') as m, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'r.json'
        p = subprocess.Popen([WEIR, 'bench', m.url, '--users', '3', '--duration', '1h', '--json', file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV)
        until('some were answered', lambda: m.stats()['completed'] >= 20)
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=20)
        r = json.loads(file.read_text())
        assert p.returncode in (0, 3), (p.returncode, err)
        assert 17 <= r['requests'] <= m.idle()['completed'] and r['errors'] == {}, r
        assert 'requests' in out


def test_interrupted_twice_it_ends_at_once():
    with Mock('--fault', 'hang') as m:
        p = subprocess.Popen([WEIR, 'bench', m.url, '--duration', '1h'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENV)
        until('they wait', lambda: m.stats()['active'] >= 1)
        p.send_signal(signal.SIGINT)
        p.send_signal(signal.SIGINT)
        assert p.wait(20) in (3, -signal.SIGINT)     # by the signal, or faster than it: nothing was measured


if __name__ == '__main__':
    run(globals())

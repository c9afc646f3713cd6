#!/usr/bin/env python3
"""Answers shared through a real redis-server: two weirs, and processes of one purpose (tests/speed/shared.c, which looks at each answer it gets): a Redis that is stopped, killed, emptied, that
closes connections or whose strings are damaged costs nobody more than a miss (complaint 39, hostile 58). tests/sim/test_shared.c has the rest."""
import json
import signal
import socket
import subprocess

import rig
from redis_server import Redis
from rig import until

CALLERS = 32
WAIT_MS = 200       # longer than a busy machine makes Redis late by itself; 10 ms are for tests/sim/test_shared.c
PROGRAM = rig.ROOT / 'build/release/tests/speed/shared'


class Sharer:
    """A process with two workers whose callers get and put all the time."""

    def __init__(self, redis, *more):
        subprocess.run(['make', '-s', 'V=release', str(PROGRAM.relative_to(rig.ROOT))], cwd=rig.ROOT, check=True)
        self.child = subprocess.Popen([PROGRAM, str(redis.port), str(WAIT_MS), '2', str(CALLERS), *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def counts(self):
        self.child.stdin.write('\n')
        self.child.stdin.flush()
        line = self.child.stdout.readline()
        assert line, f'it ended with {self.child.wait()}'
        return json.loads(line)

    def more(self, what, count, seconds=20):
        """Waits until it has counted so many more."""
        before = self.counts()[what]
        until(f'{count} more {what}', lambda: self.counts()[what] >= before + count, seconds)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.child.stdin.close()
        code = self.child.wait(20)
        assert kind is not None or code == 0, code


def all_of(redis, *words):
    """One command whose answer is a list of strings."""
    with socket.create_connection(('127.0.0.1', redis.port), timeout=5) as s:
        f = s.makefile('rb')
        s.sendall(' '.join(words).encode() + b'\r\n')
        return [(f.readline(), f.readline())[1].strip().decode() for _ in range(int(f.readline()[1:]))]


def test_what_one_has_put_another_finds():
    with Redis() as redis, Sharer(redis) as a:
        a.more('gets', 10000)
        with Sharer(redis, 'read') as b:
            b.more('hits', 1000)
            b.more('told', 3)       # of what a has dropped


def test_a_stopped_one_keeps_nobody_waiting_twice():
    """complaint 39"""
    with Redis() as redis, Sharer(redis) as a:
        a.more('hits', 2000)
        before = a.counts()
        redis.child.send_signal(signal.SIGSTOP)
        a.more('gets', 5000)
        stopped = a.counts()
        assert stopped['late'] - before['late'] <= CALLERS, (before, stopped)   # who asked in the same moment as the first
        a.more('gets', 5000)
        assert a.counts()['late'] == stopped['late'], 'somebody waited although Redis is away'
        redis.child.send_signal(signal.SIGCONT)
        a.more('hits', 2000)
        assert a.counts()['longest_us'] < (WAIT_MS + 100) * 1000, a.counts()
        print(f'    late: {stopped["late"] - before["late"]} of {CALLERS} callers')


def test_a_killed_one_costs_nothing():
    """complaint 39"""
    with Redis() as redis, Sharer(redis) as a:
        a.more('hits', 2000)
        redis.kill()
        a.more('gets', 5000)
        redis.start()
        a.more('hits', 2000)
        assert a.counts()['late'] == 0, a.counts()


def test_hostile_58_closed_connections_cross_no_answers():
    """each answer is looked at by who gets it"""
    with Redis() as redis, Sharer(redis) as a:
        a.more('hits', 1000)
        for _ in range(5):
            redis.ask('CLIENT', 'KILL', 'TYPE', 'normal')
            redis.ask('CLIENT', 'KILL', 'TYPE', 'pubsub')
            a.more('hits', 300)


def test_an_emptied_one_is_filled_again():
    with Redis() as redis, Sharer(redis) as a:
        a.more('hits', 1000)
        assert redis.ask('FLUSHALL') == b'+OK'
        a.more('hits', 1000)
        assert redis.ask('DEL', 'weir:cache:drops') == b':1'
        a.more('hits', 1000)


def test_damaged_answers_are_misses():
    with Redis() as redis, Sharer(redis) as a:
        a.more('hits', 1000)
        for offset in (0, 12, 20, 60, 81, 110, 130):
            for name in all_of(redis, 'KEYS', 'weir:cache:*')[:200]:
                redis.ask('SETRANGE', name, str(offset), '!')
        a.more('hits', 1000)


def test_nothing_stays_in_redis_for_ever():
    with Redis() as redis, Sharer(redis) as a:
        a.more('hits', 100)
        names = all_of(redis, 'KEYS', '*')
        assert 'weir:cache:drops' in names and len(names) > 10, names
        for name in names[:50]:
            assert name.startswith('weir:cache:') and 0 < int(redis.ask('TTL', name)[1:]) <= 30 * 86400, name


# ---- two weirs ----

def shared_conf(mock, redis):
    return rig.one_model(mock, workers=2, redis={'url': f'redis://127.0.0.1:{redis.port}', 'wait': f'{WAIT_MS}ms'}, log={'access': 'off'})


def said(w, prompt, path='/v1/completions', **more):
    body = {'model': 'chat', 'temperature': 0, 'prompt': prompt} if path == '/v1/completions' else {'model': 'chat', 'input': prompt}
    status, headers, text = w.post(path, body, more)
    assert status == 200, text
    return headers['x-weir-cache'], text


def test_two_weirs_share_their_answers_and_their_drops():
    with Redis() as redis, rig.Mock('--tokens', '3') as mock, rig.Weir(shared_conf(mock, redis)) as a, rig.Weir(shared_conf(mock, redis)) as b:
        until('both are connected', lambda: all(said(w, f'{w.url} {i}')[0] and json.loads(w.get('/api/v1/cache/stats')[2])['layers']['shared']['stored'] > 0
                                                for w in (a, b) for i in range(3)))
        calls = mock.stats()['requests']
        first = said(a, 'one')
        again = until('the other has it', lambda: (x := said(b, 'one'))[0] == 'hit' and x)
        assert first[1] == again[1] and mock.stats()['requests'] <= calls + 2


def test_embeddings_too():
    with Redis() as redis, rig.Mock() as mock, rig.Weir(shared_conf(mock, redis)) as a, rig.Weir(shared_conf(mock, redis)) as b:
        until('connected', lambda: said(a, ['x', 'y'], '/v1/embeddings') and said(b, ['x', 'y'], '/v1/embeddings')[0] == 'hit')


def test_a_killed_redis_is_a_miss():
    """complaint 39"""
    with Redis() as redis, rig.Mock('--tokens', '1') as mock, rig.Weir(shared_conf(mock, redis)) as a:
        said(a, 'one')
        redis.kill()
        for i in range(50):
            said(a, f'{i}')
        assert said(a, 'one')[0] == 'hit'


rig.run(globals())

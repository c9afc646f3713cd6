#!/usr/bin/env python3
"""Two real weirs and a real redis-server: limits hold for both together, and a Redis that is slow, frozen, killed, closed or refuses costs nobody a request
(complaint 39). tests/sim/test_redis.c has what Redis may do to one connection."""
import concurrent.futures
import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time

import rig
from redis_server import Redis
from rig import Mock, Scribe, Weir, one_model, until

KEY, OPS_KEY = 'sk-shared-0123456789', 'sk-operator-0123456789'
AUTH, OPS = {'authorization': f'Bearer {KEY}'}, {'authorization': f'Bearer {OPS_KEY}'}


# The wait is longer than a busy machine makes Redis late by itself; 10 ms are for tests/sim/test_redis.c.
def conf(mock, redis, credentials='', **limits):
    return one_model(mock, keys={'a': {'key': KEY, **limits}, 'ops': {'key': OPS_KEY, 'role': 'admin'}}, workers=2, log={'access': 'off'},
                     redis={'url': f'redis://{credentials}127.0.0.1:{redis.port}', 'wait': '200ms'},
                     models={'chat': {'price': {'in': 0, 'out': 1000000}}})


@contextlib.contextmanager
def two(mock, redis, **more):
    """Two weirs that share."""
    with Weir(conf(mock, redis, **more)) as a, Weir(conf(mock, redis, **more)) as b:
        until('their four workers are connected', lambda: sessions(redis) >= 4)
        yield a, b


def sessions(redis):
    with socket.create_connection(('127.0.0.1', redis.port), timeout=5) as s:
        s.sendall(b'KEYS weir:limit:session:*\r\n')
        return int(s.makefile('rb').readline()[1:])


def ask(w, tokens=1):
    return w.post('/v1/completions', {'model': 'chat', 'prompt': 'hi', 'max_tokens': tokens}, AUTH)[0]


def many(weirs, count, at_once=8, tokens=1):
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda i: ask(weirs[i % len(weirs)], tokens), range(count)))


def told(w, event):
    return sum(f' {event} ' in line for line in w.lines())


def test_a_rate_holds_for_both_together():
    with Redis() as redis, Mock('--tokens', '1') as mock, two(mock, redis, rpm=60) as both:
        statuses = many(both, 200)
        assert set(statuses) == {200, 429}
        assert 60 <= statuses.count(200) <= 62, statuses.count(200)     # one comes back each second
        assert mock.stats()['requests'] == statuses.count(200)


def test_answers_from_memory_are_requests_for_both_together():
    """they wait for nobody, so a few more than a minute's may slip through while Redis hears of them; alone each instance would answer sixty"""
    with Redis() as redis, Mock('--tokens', '1') as mock, two(mock, redis, rpm=60) as both:
        same = {'model': 'chat', 'prompt': 'hi', 'max_tokens': 1, 'temperature': 0}
        statuses = [both[i % 2].post('/v1/completions', same, AUTH)[0] for i in range(160)]
        assert set(statuses) == {200, 429} and 60 <= statuses.count(200) <= 80, statuses.count(200)
        assert mock.stats()['requests'] == 1
        assert sum(w.number('weir_redis_noted_total', OPS) for w in both) >= 58
        until('who asks now is told so by both', lambda: [w.post('/v1/completions', same, AUTH)[0] for w in both] == [429, 429])


def test_tokens_hold_for_both_together():
    """answers of 50 tokens as max_tokens says, and a prompt of a few: the first that does not fit is refused, and what is reserved in vain comes back"""
    with Redis() as redis, Mock('--tokens', '50') as mock, two(mock, redis, tpm=1000) as both:
        served = many(both, 60, tokens=50).count(200)
        assert 16 <= served <= 22, served


def test_a_budget_holds_for_both_together():
    with Redis() as redis, Mock('--tokens', '1') as mock, two(mock, redis, budget={'usd': 20, 'per': '1d'}) as both:
        served = many(both, 60).count(200)
        assert served == 20, served     # a dollar a token


def test_places_are_shared_and_those_of_a_dead_instance_come_back():
    with Redis() as redis, Mock('--tokens', '1', '--ttft', '30s') as mock, Mock('--tokens', '1') as quick:
        more = {'concurrency': 4}
        with Weir(conf(mock, redis, **more)) as a, Weir(conf(quick, redis, **more)) as b:
            until('all are connected', lambda: sessions(redis) >= 4)
            held = []
            for _ in range(4):
                c = http.client.HTTPConnection(*a.url[7:].split(':'))
                c.request('POST', '/v1/completions', json.dumps({'model': 'chat', 'prompt': 'hi'}), {'content-type': 'application/json', **AUTH})
                held.append(c)
            until('four are in flight', lambda: mock.stats()['active'] == 4)
            assert ask(b) == 429
            os.kill(a.server_pid(), signal.SIGKILL)
            for c in held:
                c.close()
            assert ask(b) == 429, 'what it held counts for a while: nobody knows that it is dead'
            until('its sessions are over', lambda: ask(b) == 200, 30, 0.5)


def under_load(both, what):
    """Asks all the time, eight at once, while what() happens; the statuses."""
    statuses, stop = [], threading.Event()

    def client(w):
        while not stop.is_set():
            statuses.append(ask(w))
    threads = [threading.Thread(target=client, args=(both[i % 2],)) for i in range(8)]
    for thread in threads:
        thread.start()
    try:
        what(lambda n: until(f'{n} more are answered', lambda c=len(statuses): len(statuses) >= c + n, 20))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return statuses


def late(w):
    return w.number('weir_redis_late_total', OPS)


def test_a_frozen_one_delays_five_requests():
    """complaint 39"""
    with Redis() as redis, Mock('--tokens', '1') as mock, two(mock, redis, rpm=1000000) as both:
        def freeze(answered):
            answered(200)
            redis.child.send_signal(signal.SIGSTOP)
            until('both have noticed', lambda: all(told(w, 'redis_away') for w in both), 20)
            before = [late(w) for w in both]
            answered(500)
            assert [late(w) for w in both] == before, 'somebody waited although Redis is away'
            redis.child.send_signal(signal.SIGCONT)
            until('both share again', lambda: all(told(w, 'redis_back') for w in both), 20)
        statuses = under_load(both, freeze)
        assert set(statuses) == {200}, set(statuses)
        assert all(late(w) <= 6 for w in both), [late(w) for w in both]
        assert all(told(w, 'redis_away') == 1 and told(w, 'redis_back') == 1 for w in both), both[0].lines()


def test_a_killed_one_costs_nothing():
    """complaint 39: one line when it goes, one when it is back"""
    with Redis() as redis, Mock('--tokens', '1') as mock, two(mock, redis, rpm=1000000) as both:
        def kill(answered):
            answered(200)
            redis.kill()
            until('both have noticed', lambda: all(told(w, 'redis_away') for w in both), 20)
            answered(500)
            redis.start()
            until('both share again', lambda: all(told(w, 'redis_back') for w in both), 20)
            asked = [w.number('weir_redis_asked_total', OPS) for w in both]
            answered(200)
            assert all(w.number('weir_redis_asked_total', OPS) > n for w, n in zip(both, asked))
        statuses = under_load(both, kill)
        assert set(statuses) == {200}, set(statuses)
        assert all(late(w) <= 6 for w in both), [late(w) for w in both]
        assert all(told(w, 'redis_away') == 1 and told(w, 'redis_back') == 1 for w in both), both[0].lines()


def test_one_that_never_was_is_told_of_once():
    """complaint 39: and each instance counts alone"""
    redis = Redis()
    with redis, Mock('--tokens', '1') as mock:
        redis.kill()
        with Weir(conf(mock, redis, rpm=60)) as w:
            until('it has noticed', lambda: told(w, 'redis_away'))
            assert 60 <= many([w], 80).count(200) <= 62
            assert told(w, 'redis_away') == 1 and late(w) == 0
        redis.start()


def test_forgotten_scripts_are_loaded_again():
    with Redis() as redis, Mock('--tokens', '1') as mock, two(mock, redis, rpm=1000000) as both:
        assert redis.ask('SCRIPT', 'FLUSH') == b'+OK'
        assert set(many(both, 100)) == {200}
        until('both share again', lambda: all(told(w, 'redis_back') for w in both), 20)
        before = sum(w.number('weir_redis_unanswered_total', OPS) for w in both)
        assert set(many(both, 100)) == {200}
        assert sum(w.number('weir_redis_unanswered_total', OPS) for w in both) == before


def test_a_password_is_asked_for_and_never_told():
    with Redis('--requirepass', 'CANARY-p%ss') as redis, Mock('--tokens', '1') as mock:
        with Weir(conf(mock, redis, ':CANARY-p%25ss@', rpm=60)) as w:
            until('it is asked', lambda: ask(w) == 200 and w.number('weir_redis_asked_total', OPS) > 0)
        with Weir(conf(mock, redis, 'default:CANARY-p%25ss@', rpm=60)) as w:
            until('it is asked', lambda: ask(w) == 200 and w.number('weir_redis_asked_total', OPS) > 0)
        for wrong in ('', ':CANARY-wrong@'):
            with Weir(conf(mock, redis, wrong, rpm=60)) as w:
                until('it has noticed', lambda: told(w, 'redis_away'))
                assert ask(w) == 200


def test_nothing_stays_in_redis_for_ever():
    with Redis() as redis, Mock('--tokens', '1') as mock, two(mock, redis, rpm=60, budget={'usd': 20, 'per': '1d'}) as both:
        assert set(many(both, 4)) == {200}
        with socket.create_connection(('127.0.0.1', redis.port), timeout=5) as s:
            f = s.makefile('rb')
            s.sendall(b'KEYS *\r\n')
            names = [(f.readline(), f.readline())[1].strip().decode() for _ in range(int(f.readline()[1:]))]
        names = [name for name in names if not name.startswith('weir:cache:')] # test_shared.py looks at these
        assert len(names) == 5 and all(name.startswith('weir:limit:') for name in names), names
        for name in names:
            assert 0 < int(redis.ask('TTL', name)[1:]) <= 86400 + 60, name


def test_who_joined_behind_its_reservation_and_asks_after_all_reserves_once():
    """both have their share of a limit from Redis before one of them joins the other, whose body cannot be told as events"""
    def unfinished(body):
        time.sleep(0.1)
        choice = {'index': 0, 'text': 'hi', 'finish_reason': None}
        if body.get('stream'):
            return 200, 'text/event-stream', f'data: {json.dumps({"choices": [choice | {"finish_reason": "stop"}]})}\n\ndata: [DONE]\n\n'.encode()
        return 200, 'application/json', json.dumps({'choices': [choice], 'usage': {'prompt_tokens': 1, 'completion_tokens': 1, 'total_tokens': 2}}).encode()

    with Redis() as redis, Scribe(unfinished) as backend, Weir(conf(backend, redis, tpm=1000000)) as w, concurrent.futures.ThreadPoolExecutor(2) as pool:
        until('its workers are connected', lambda: sessions(redis) >= 2)
        for i in range(20):
            body = {'model': 'chat', 'prompt': f'hi {i}', 'max_tokens': 5, 'temperature': 0}
            both = list(pool.map(lambda more: w.post('/v1/completions', body | more, AUTH), ({}, {'stream': True})))
            assert [status for status, *_ in both] == [200, 200], both
        assert 20 < len(backend.asked) <= 40, 'the body came first, at least once'
        held = w.number('weir_limited_tokens_total{what="reserved"}', OPS) - w.number('weir_limited_tokens_total{what="returned"}', OPS)
        assert 0 <= held <= 40 * 5, held     # of each request what it took, once


rig.run(globals())

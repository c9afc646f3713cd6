#!/usr/bin/env python3
"""Broken backends behind a real weir: what its clients see of them, and how often they are asked in vain. tests/sim/test_resilience.c does the same in simulated
time, tests/flow/breaker_*.flow tell it step by step."""
import concurrent.futures
import json
import subprocess


import rig
from rig import BACKEND_KEY, Mock, WEIR, Weir, until


def pool_of(*mocks, **more):
    """One model that all of them serve in turn."""
    backends = {f'b{i}': {'url': m.url, 'key': BACKEND_KEY} for i, m in enumerate(mocks)}
    models = {'chat': {'use': [f'b{i}/mock-1' for i in range(len(mocks))], 'balance': 'round_robin'}}
    return rig.merged({'backends': backends, 'models': models, 'timeouts': {'drain': '1s'}}, more)


def ask(w):
    status, headers, _ = w.post('/v1/completions', {'model': 'chat', 'prompt': 'hi', 'max_tokens': 1})
    return status, int(headers.get('x-weir-attempts', 0))


def many(w, count, at_once=16):
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda _: ask(w), range(count)))


def calls(*mocks):
    return sum(m.stats()['requests'] for m in mocks)


def story(w, *words):
    socket = next(w.folder.rglob('*.sock'))
    return json.loads(subprocess.run([WEIR, *words, '--json', '--socket', socket], capture_output=True, text=True, check=True).stdout)


def test_a_third_of_errors_is_ridden_out():
    """complaint 25: seven in ten thousand fail six times in a row; more than seven of 1,500 would be a wonder"""
    with Mock('--fault', 'status=500:0.3', '--tokens', '1') as a, Mock('--fault', 'status=500:0.3', '--tokens', '1', '--seed', '2') as b, Weir(pool_of(a, b)) as w:
        answers = many(w, 1500)
        assert sum(status == 200 for status, _ in answers) >= 1493, [s for s, _ in answers if s != 200]
        assert max(attempts for _, attempts in answers) <= 6
        assert calls(a, b) <= 1.5 * 1500, calls(a, b)


def test_an_outage_costs_a_call_a_request():
    """hostile 80, complaint 26"""
    with Mock('--fault', 'status=503') as a, Mock('--fault', 'status=503') as b, Weir(pool_of(a, b)) as w:
        assert {status for status, _ in many(w, 1000)} == {502}
        assert 1000 <= calls(a, b) <= 1100, calls(a, b)
        assert w.number('weir_retries_throttled_total') > 900


def test_one_that_hangs_is_left_alone():
    """complaint 25: as soon as five have waited in vain nobody waits any more, though its list of models goes on answering"""
    with Mock('--fault', 'hang') as a, Mock('--tokens', '1') as b, Weir(pool_of(a, b, timeouts={'first_token': '300ms'})) as w:
        assert {status for status, _ in many(w, 20)} == {200}
        until('its breaker is open', lambda: many(w, 16) and w.number('weir_backend_breaker{backend="b0"}') == 2)
        asked = a.stats()['requests']
        assert set(many(w, 500)) == {(200, 1)}
        checks = w.number('weir_health_checks_total')
        until('it was looked at', lambda: w.number('weir_health_checks_total') > checks + 1, 15)
        assert set(many(w, 100)) == {(200, 1)}
        assert a.stats()['requests'] == asked


def test_an_operator_sees_it():
    """complaint 44: what is said about a breaker is what it does: status, metrics, one line of the log, and the story of the call that opened it"""
    with Mock('--fault', 'status=500') as a, Mock('--tokens', '1') as b, Weir(pool_of(a, b)) as w:
        ids = []
        while w.number('weir_backend_breaker{backend="b0"}') == 0:
            status, headers, _ = w.post('/v1/completions', {'model': 'chat', 'prompt': 'hi'})
            assert status == 200
            ids.append(headers['x-request-id'])
            assert len(ids) <= 11
        assert a.stats()['requests'] == 5
        backends = {b['name']: b for b in story(w, 'status')['fleet']['backends']}
        assert (backends['b0']['breaker'], backends['b0']['opened'], backends['b1']['breaker']) == ('open', 1, 'closed')
        assert 50_000 < backends['b0']['open_ms'] <= 60_000
        table = subprocess.run([WEIR, 'status', '--socket', next(w.folder.rglob('*.sock'))], capture_output=True, text=True, check=True).stdout
        assert any(line.startswith('b0') and ' open ' in line for line in table.splitlines()), table
        assert story(w, 'explain', ids[-1])['attempts'][0]['breaker'] == 'opened'
        assert w.number('weir_backend_breaker_opened_total{backend="b0"}') == 1
        many(w, 50)
        until('the log says so', lambda: [line for line in w.lines() if 'b0 is not asked for 60 s' in line])
        assert len([line for line in w.lines() if 'b0 is not asked' in line]) == 1


def test_one_that_was_down_comes_back():
    """complaint 41: the port is closed, later open again: weir finds it without a call of a client, and without a paid one"""
    with Mock('--tokens', '1') as b:
        with Mock('--tokens', '1') as a:
            port = a.url.rsplit(':', 1)[1]
            w = Weir(pool_of(a, b)).__enter__()
        until('its breaker is open', lambda: {s for s, _ in many(w, 4)} == {200} and w.number('weir_backend_breaker{backend="b0"}') == 2, 20)
        with Mock('--tokens', '1', '--listen', f'127.0.0.1:{port}') as a:
            until('it is half-open', lambda: w.number('weir_backend_breaker{backend="b0"}') == 1, 20)
            assert a.stats()['requests'] == 0
            assert ask(w) == (200, 1)
            until('it is closed', lambda: w.number('weir_backend_breaker{backend="b0"}') == 0)
            assert a.stats()['requests'] == 1
            w.stop()



rig.run(globals())

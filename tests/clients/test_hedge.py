#!/usr/bin/env python3
"""A second backend for a late first token, behind a real weir: what its client and `weir explain` see of it. tests/flow/hedge_*.flow tell it step by step."""
import concurrent.futures
import json
import subprocess

import rig
from rig import BACKEND_KEY, Mock, WEIR, Weir


def ask(w):
    status, headers, _ = w.post('/v1/completions', {'model': 'chat', 'prompt': 'hi', 'max_tokens': 1})
    assert status == 200
    return headers


def test_who_is_late_is_not_waited_for():
    """complaint 29: twenty answers of 200 ms are what is known when one takes 20 s"""
    with Mock('--tokens', '1', '--ttft', '200ms') as a, Mock('--tokens', '1', '--ttft', '200ms', '--seed', '2') as b:
        config = {'backends': {'a': {'url': a.url, 'key': BACKEND_KEY}, 'b': {'url': b.url, 'key': BACKEND_KEY}},
                  'models': {'chat': {'use': ['a/mock-1', 'b/mock-1'], 'balance': 'round_robin', 'hedge': 'on'}}}
        with Weir(config) as w:
            with concurrent.futures.ThreadPoolExecutor(20) as pool:
                assert {h['x-weir-attempts'] for h in pool.map(lambda _: ask(w), range(20))} == {'1'}
            a.script(ttft='20s')
            b.script(ttft='0ms')
            headers = ask(w)
            if headers['x-weir-attempts'] == '1': # it was b's turn; the next one asks a first
                headers = ask(w)
            assert headers['x-weir-attempts'] == '2', headers
            assert headers['x-weir-backend'] == 'b', headers
            words = [WEIR, 'explain', headers['x-request-id'], '--socket', next(w.folder.rglob('*.sock'))]
            first, second = json.loads(subprocess.run([*words, '--json'], capture_output=True, text=True, check=True).stdout)['attempts']
            assert (first['backend'], first['hedge'], first['result']) == ('a', 'lost', 'CANCELLED') and 'sooner' in first['why'], first
            assert (second['backend'], second['hedge'], second['result']) == ('b', 'won', 'used'), second
            told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
            assert 'hedged, lost' in told and 'hedged, won' in told, told
            assert w.number('weir_hedges_won_total') == 1 and w.number('weir_attempts_failed_total') == 0
            assert w.number('weir_backend_in_flight{backend="a"}') == 0


rig.run(globals())

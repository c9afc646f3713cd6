#!/usr/bin/env python3
"""A second backend for a late first token, behind a real weir: what its client, `weir explain` and the other backend see of it. tests/flow/hedge_*.flow tell it step by step."""
import json
import subprocess

import rig
from rig import BACKEND_KEY, Mock, WEIR, Weir

GOOD = 15  # calls, before one of the two hangs


def test_one_that_hangs_now_and_then_is_not_waited_for():
    """complaint 29"""
    with Mock('--tokens', '1', '--ttft', '20ms', '--fault', f'hang:1:{GOOD}') as a, Mock('--tokens', '1', '--ttft', '20ms', '--seed', '2') as b:
        config = {'backends': {'a': {'url': a.url, 'key': BACKEND_KEY}, 'b': {'url': b.url, 'key': BACKEND_KEY}},
                  'models': {'chat': {'use': ['a/mock-1', 'b/mock-1'], 'balance': 'round_robin', 'hedge': 'on'}}}
        with Weir(config) as w:
            for n in range(2 * GOOD + 2):
                status, headers, _ = w.post('/v1/completions', {'model': 'chat', 'prompt': 'hi', 'max_tokens': 1})
                assert status == 200
                if a.stats()['requests'] > GOOD:
                    break
            assert headers['x-weir-attempts'] == '2' and headers['x-weir-backend'] == 'b', (n, headers)
            socket = next(w.folder.rglob('*.sock'))
            words = [WEIR, 'explain', headers['x-request-id'], '--socket', socket]
            first, second = json.loads(subprocess.run([*words, '--json'], capture_output=True, text=True, check=True).stdout)['attempts']
            assert (first['backend'], first['hedge'], first['result']) == ('a', 'lost', 'cancelled') and 'sooner' in first['why'], first
            assert (second['backend'], second['hedge'], second['result']) == ('b', 'won', 'used'), second
            told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
            assert 'hedged, lost' in told and 'hedged, won' in told, told
            assert w.number('weir_hedges_won_total') >= 1 and w.number('weir_attempts_failed_total') == 0
            assert w.number('weir_backend_in_flight{backend="a"}') == 0


rig.run(globals())

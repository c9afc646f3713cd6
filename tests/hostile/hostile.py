#!/usr/bin/env python3
"""hostile.py: wrong bytes, crafted URLs and slow clients against the shipped weir, with an ordinary client beside them all the time.

  hostile.py WEIR [WORD...]     all of it, or the rows and tests with one of the words in their name; ends with "N passed, N failed"
  hostile.py WEIR --figures [CLASS...]     what the ordinary client feels, alone and beside each class; all of them go into docs/figures/canary.json, and how
                                           many tests of the list are passed into docs/figures/probes.json

table.py has the rows, routes.py and slow.py the tests; a failed one prints what came instead. The test fails on wrong answers, on the canary's wrong
answers, and where its median grows by MEDIAN_RATIO_MAX; figures of latency are for --figures.
"""
import json
import os
import statistics
import subprocess
import sys
import time
import traceback
import types
from concurrent.futures import ThreadPoolExecutor

import attack
import probes
import routes
import slow
from house import HERE, House, timed
from rig import WEIR, Process

MEDIAN_RATIO_MAX = 25       # alone it is a fraction of a millisecond: on a machine with other work to do it doubles by itself
SAMPLES_MIN = 20            # fewer say nothing about a median
ROUNDS, ROUND_S = 11, 3     # of seven the median still moved by a quarter
HOW = ('one client asks small questions on one connection, a millisecond apart; the class runs on the same machine, on what nobody else wants of its processors (SCHED_IDLE); '
       'for each class rounds of alone and beside take turns; a ratio is the median of the rounds\' ratios '
       'of p99; "right requests" is no hostile class: it is what another busy client costs on this machine')


class Score:
    def __init__(self, words):
        self.words, self.passed, self.failed = words, 0, 0

    def wants(self, name):
        return not self.words or any(word in name for word in self.words)

    def add(self, name, wrong):
        self.passed += not wrong
        self.failed += bool(wrong)
        for sentence in wrong[:5]:
            print(f'FAILED  {name}: {sentence}'[:1500])
        if len(wrong) > 5:
            print(f'        and {len(wrong) - 5} more')

    def test(self, function, house):
        try:
            wrong = function(house)
        except Exception:
            wrong = [traceback.format_exc()]
        self.add(function.__name__, wrong)


def run_rows(score, house):
    judge = probes.Judge()
    for name, row in probes.cases():
        if score.wants(name) and not probes.is_late(row):
            score.add(name, probes.run_case(house, judge, name, row))


def run_late_rows(score, house):
    """All at once: each does nothing but wait for its time-out."""
    judge = probes.Judge()
    cases = [(name, row) for name, row in probes.cases() if probes.is_late(row) and score.wants(name)]
    with ThreadPoolExecutor(len(cases) or 1) as pool:
        for (name, _), wrong in zip(cases, pool.map(lambda case: probes.run_late(house.port, judge, *case), cases)):
            score.add(name, wrong)


def canary_wrong(seen, alone, beside):
    wrong = [f'the canary: {sentence}' for sentence in seen['wrong']]
    if not beside:
        wrong.append('the canary was answered not once')
    if len(beside) >= SAMPLES_MIN and statistics.median(beside) > MEDIAN_RATIO_MAX * statistics.median(alone):
        wrong.append(f'the canary waited {statistics.median(beside) * 1e3:.1f} ms in the median, alone {statistics.median(alone) * 1e3:.1f} ms')
    return wrong


def run_house(score, parts, **conf):
    """parts: (name, what to do). The canary is judged for each."""
    windows = []
    with House(**conf) as house:
        _, *alone = timed(house.canary.alone)
        for name, part in parts:
            before = score.passed + score.failed
            _, *window = timed(lambda: part(house))
            windows.append((name, window, score.passed + score.failed - before))
        seen = house.canary.stop()
        alone = house.canary.during(*alone)
        for name, window, count in windows:
            if count == 0:
                continue
            beside = house.canary.during(*window)
            score.add(f'the canary beside {name}', canary_wrong(seen, alone, beside))
            print(f'{name}: {count} tests in {window[1] - window[0]:.1f} s; the canary asked {len(beside)} times'
                  + (f', median {statistics.median(beside) * 1e3:.2f} ms (alone {statistics.median(alone) * 1e3:.2f})' if beside else ''), flush=True)


def tests_of(score, module):
    return [(test.__name__.replace('_', ' '), lambda house, test=test: score.test(test, house)) for test in module.TESTS if score.wants(test.__name__)]


def run_tests(words):
    score = Score(words)
    for parts, conf in (
            ([('the rows', lambda house: run_rows(score, house))], {}),
            ([('the late rows', lambda house: run_late_rows(score, house)), *tests_of(score, slow)], slow.CONF),
            ([('URLs and keys', lambda house: [score.test(test, house) for test in routes.TESTS if score.wants(test.__name__)])], {'canary_key': routes.KEYS['admin'], **routes.CONF})):
        try:
            run_house(score, parts, **conf)
        except Exception:
            score.add('the house', [traceback.format_exc()])
        Process.forget_all(tell=bool(score.failed))
    print(f'{score.passed} passed, {score.failed} failed')
    return 0 if score.passed and not score.failed else 1


# ---- figures ----

def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def beside(house, name):
    """The window in which the class was under way. It comes from elsewhere: it may use the processors, but not keep them from who is measured: at nice 19 it would have
    slices of milliseconds."""
    child = subprocess.Popen(['chrt', '--idle', '0', sys.executable, str(HERE / 'hostile.py'), str(WEIR), '--attack', name, str(house.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b'on\n', f'{name} did not start'
    window = pause()
    assert child.poll() is None, f'{name} ended by itself'
    child.stdin.close()
    child.wait()
    return window


def pause():
    began = time.monotonic()
    time.sleep(ROUND_S)     # measuring is what takes this long
    return began, time.monotonic()


def measure(name):
    """{alone, beside: {p50_ms, p99_ms, count}, p99_ratio} of one class: rounds of alone and beside, turn by turn, so that noise hits both."""
    with House(**slow.FILLED) as house:
        house.canary.alone()
        windows = [(pause(), beside(house, name)) for _ in range(ROUNDS)]
        seen = house.canary.stop()
        assert not seen['wrong'], seen['wrong']
        pairs = [(house.canary.during(*a), house.canary.during(*b)) for a, b in windows]
    out = {}
    for i, side in enumerate(('alone', 'beside')):
        every = [x for pair in pairs for x in pair[i]]
        out[side] = {'p50_ms': round(percentile(every, 0.5) * 1e3, 3), 'p99_ms': round(percentile(every, 0.99) * 1e3, 3), 'count': len(every)}
    ratios = [percentile(b, 0.99) / percentile(a, 0.99) for a, b in pairs]
    out['p99_ratio'] = round(statistics.median(ratios), 2)
    return out, [round(r, 2) for r in ratios]


def probes_passed():
    """Each test of the list with its twin."""
    listed = [(name, row) for name, row in probes.cases() if row.is_listed]
    wrong, judge = set(), probes.Judge()
    for late, conf in ((False, {}), (True, slow.CONF)):
        with House(**conf) as house:
            house.canary.alone()
            for name, row in listed:
                if probes.is_late(row) == late and (probes.run_late(house.port, judge, name, row) if late else probes.run_case(house, judge, name, row)):
                    wrong.add(row.id)
    ids = {row.id for _, row in listed}
    return {'listed': len(ids), 'passed': len(ids - wrong), 'argued': len({row.id for _, row in listed if row.why}), 'wrong': sorted(wrong)}


def figures(words):
    sys.path.insert(0, str(HERE.parents[1] / 'tools'))
    import figures as raw
    options = types.SimpleNamespace(weir=str(WEIR), load=round(os.getloadavg()[0], 2))
    results, samples = {'classes': {}}, {}
    for name in words or attack.ATTACKS:
        results['classes'][name], samples[name] = measure(name)
        print(name, json.dumps(results['classes'][name]), flush=True)
    hostile = [name for name in results['classes'] if name != attack.CONTROL]
    results['worst'] = max(hostile, key=lambda name: results['classes'][name]['p99_ratio'])
    results['worst_p99_ratio'] = results['classes'][results['worst']]['p99_ratio']
    if not words:
        raw.keep(raw.record('probes', options, probes_passed(), [], how='the tests of Http11Probe, written anew, on sockets against weir serve, each beside a twin that is served')
                 | {'command': 'tests/hostile/hostile.py build/weir --figures'})
        raw.keep(raw.record('canary', options, results, samples, rounds=ROUNDS, round_s=ROUND_S, how=HOW) | {'command': 'tests/hostile/hostile.py build/weir --figures'})
    return 0


def main():
    words = sys.argv[2:]
    if words[:1] == ['--attack']:
        return attack.ATTACKS[words[1]](int(words[2]))
    return figures(words[1:]) if words[:1] == ['--figures'] else run_tests(words)


if __name__ == '__main__':
    sys.exit(main())

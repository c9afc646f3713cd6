#!/usr/bin/env python3
"""The standard scenarios, plans, searches and comparisons of weir bench from outside: python3 tests/clients/test_bench_scenarios.py BUILD_WEIR [NAME...]
All of them at a fraction of their length. What they find is compared with what the mock was told to be."""
import copy
import json
import os
import random
import re
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from xml.dom import minidom

from rig import Mock, ROOT, WEIR, Weir, one_model, run, until
from test_bench import ENV, Bench, is_busy

PLANS = ROOT / 'tests' / 'load'


def said(b, code):
    """The exit code, unless the machine was too busy for the generator's own clock: then it says so, and what was counted is right all the same."""
    if b.code == 3 and is_busy(' '.join((b.out + b.err).split())):
        return b
    return b.expect(code)


def runs(b):
    return b.json['runs'] if 'runs' in b.json else [b.json]


def finding(r, name):
    return next(f for f in r['findings'] if f['name'] == name)


def verdicts(r):
    return {v['text']: v['met'] for v in r['criteria']}


# ---- the table ----

def test_quick_asks_weir():
    with Mock('--ttft', '50ms') as m, Weir(one_model(m)) as w:
        b = said(Bench('quick', w.url, '--scale', '0.03'), 0)
        assert b.json['name'] == 'quick' and verdicts(b.json) == {'error_rate < 1%': True}, b.json
        assert m.idle()['requests'] == b.json['requests'] + b.json['warmup'], (m.stats(), b.json)


def test_without_criteria_all_failing_is_missed():
    with Mock('--fault', 'status=500') as m:
        for words in ((m.url, '--duration', '300ms'), ('quick', m.url, '--scale', '0.02')):
            b = Bench(*words, '--rate', 50)
            assert b.code in (1, 3) and verdicts(b.json) == {'error_rate < 1%': False}, b.out
        b = Bench(m.url, '--rate', 50, '--duration', '300ms', '--criteria', 'errors > 0')
        assert verdicts(b.json) == {'errors > 0': True}, 'criteria of the command line replace the usual one'


def test_full_is_a_run_a_level_and_one_curve():
    """Eight at a time, 20 ms each: 400 a second, from 8 users on."""
    with Mock('--ttft', '20ms', '--slots', '8') as m, tempfile.TemporaryDirectory() as folder:
        page, suites = Path(folder) / 'r.html', Path(folder) / 'r.xml'
        b = said(Bench('full', m.url, '--scale', '0.05', '--users', 64, '--html', page, '--junit', suites), 0)
        assert [r['name'] for r in runs(b)] == ['full 1 user', 'full 2 users', 'full 6 users', 'full 32 users', 'full 64 users'], b.out
        levels = runs(b)[-1]['levels']
        assert [point['level'] for point in levels] == [1, 2, 6, 32, 64], levels
        assert 'Throughput stops growing at about 32 users' in b.out, b.out
        assert levels[3]['rate'] < 1.4 * levels[2]['rate'] and levels[4]['p50_ms'] > 1.5 * levels[3]['p50_ms'], levels
        assert all(r['levels'] == [] for r in runs(b)[:-1])
        assert page.read_text().count('<section') == 5
        assert len(minidom.parse(str(suites)).getElementsByTagName('testsuite')) == 5


def test_ramp_draws_its_curve_from_one_run():
    with Mock('--ttft', '20ms') as m:
        b = said(Bench('ramp', m.url, '--duration', '6s', '--users', 40), 0)
        assert b.json['in_flight_max'] <= 40
        levels = b.json['levels']
        assert len(levels) == 6 and levels[0]['level'] < 5 and levels[-1]['level'] > 35, levels       # a point a second
        assert levels[-1]['rate'] > 4 * levels[0]['rate'] and 'Throughput still grows' in b.out, b.out


def test_spike_says_how_much_slower_and_when_it_is_over():
    """One user has 20 ms; forty, four at a time, wait ten times as long; and nobody waits a second after the spike."""
    with Mock('--ttft', '20ms', '--slots', '4') as m:
        b = said(Bench('spike', m.url, '--duration', '3s', '--users', 40, '--warmup', '0'), 0)
        assert 5 < finding(b.json, 'degradation')['value'] < 20, b.out
        assert 5 < finding(b.json, 'degradation_p50')['value'] < 20, b.out
        assert finding(b.json, 'recovery')['value'] in (0, 1000), b.out
        assert re.search(r'Under the spike p95 was .* itself again', ' '.join(b.out.split())), b.out


def slower_and_slower(m, over):
    """The mock gets slower while it answers: five milliseconds more with every 40 requests."""
    for step in range(1, 200):
        until('more requests', lambda: over.is_set() or m.stats()['requests'] >= 40 * step, 40)
        if over.is_set():
            return
        m.script(ttft=f'{20 + 5 * step}ms')


def test_sustained_sees_a_server_that_drifts():
    for is_drifting in (False, True):
        with Mock('--ttft', '20ms') as m:
            over = threading.Event()
            clock = threading.Thread(target=slower_and_slower, args=(m, over))
            if is_drifting:
                clock.start()
            try:
                b = said(Bench('sustained', m.url, '--users', 2, '--duration', '6s', '--warmup', '0', '--pid', m.child.pid), 1 if is_drifting else 0)
            finally:
                over.set()
                if is_drifting:
                    clock.join()
            drift = finding(b.json, 'drift')
            assert drift['low'] <= drift['value'] <= drift['high'], drift
            assert verdicts(b.json) == {'error_rate < 1%': True, 'drift.low < 10%': not is_drifting, 'memory_growth.low < 10%': True}, b.out
            assert drift['value'] > 0.3 if is_drifting else abs(drift['value']) < 0.1, drift


def test_without_a_pid_nothing_is_said_of_memory():
    with Mock('--ttft', '20ms') as m:
        b = Bench('sustained', m.url, '--users', 2, '--duration', '1s', '--warmup', '0')
        assert 'memory' not in b.out and b.code in (1, 3), b.out    # a second is too short to tell drift, which is then missed
        assert 'drift.low < 10%: not measured' in b.out, b.out


def test_stress_of_a_server_that_sheds():
    """A hundred a second; what is too much is refused at once by weir's short queue, so most of the good answers are left at five times as much."""
    with Mock('--ttft', '100ms', '--slots', '10') as m:
        conf = {'backends': {'b0': {'url': m.url, 'concurrency': 10}}, 'models': {'chat': {'use': ['b0/mock-1']}}, 'limits': {'queue': 4}, 'timeouts': {'drain': '1s'}}
        with Weir(conf) as w:
            b = said(Bench('stress', w.url, '--rate', 80, '--duration', '1s', '--timeout', '1s', '--warmup', '0'), 0)
            if b.json is None:
                return      # the machine was too busy already when the capacity was looked for
            capacity = b.json['levels'][2]['level']
            assert [round(point['level'] / capacity, 3) for point in b.json['levels']] == [0.1, 0.5, 1, 2, 5] and 75 < capacity < 150, b.json['levels']
            assert finding(b.json, 'goodput_retained')['value'] > 0.6 and finding(b.json, 'recovery')['value'] == 0, b.out
            assert b.json['levels'][4]['error_share'] > 0.6 and 'of its capacity' in b.out, b.out


def test_stress_without_a_capacity_is_1():
    with Mock('--fault', 'status=500') as m:
        assert 'no capacity to build on' in Bench('stress', m.url, '--rate', 20, '--duration', '300ms', '--warmup', '0').expect(1).err


# ---- find-max ----

def test_find_max_finds_the_slots_of_a_server():
    """Four at a time, and in a second only a few hundred answers to see it by: 4, and a few more where the edges of so short a run hide it."""
    with Mock('--ttft', '10ms', '--slots', '4') as m:
        b = said(Bench(m.url, '--find-max', '--users', 3, '--duration', '1s', '--warmup', '0'), 0)
        assert b.json['levels'][0]['level'] == 3 and b.json['name'].startswith('find-max '), b.json['levels']
        assert b.code == 3 or re.search(r'Throughput grows up to [3-8] users', b.out) and 3 <= verdict_value(b) <= 8, b.out


def verdict_value(b):
    return next(v['value'] for v in b.json['criteria'] if v['text'] == 'a level is held')


def test_find_max_of_a_server_that_does_nothing_is_1():
    with Mock('--fault', 'status=500') as m:
        b = said(Bench(m.url, '--find-max', '--rate', 20, '--scale', '0.05'), 1)
        assert b.code == 3 or 'Does not even hold' in b.out and verdicts(b.json)['a level is held'] is False, b.out


def test_find_max_ends_where_the_generator_is_the_limit():
    """The generator stands still while the mock answers others: the level in which it did is no level of the server."""
    with Mock('--ttft', '20ms') as m, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'r.json'
        p = subprocess.Popen([WEIR, 'bench', m.url, '--find-max', '--rate', '100', '--scale', '0.2', '--json', file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV)
        until('it has begun', lambda: m.stats()['completed'] >= 40)
        p.send_signal(signal.SIGSTOP)
        for _ in range(2000):   # so long that many of a level's two hundred requests are late
            m.stats()
        p.send_signal(signal.SIGCONT)
        out, err = p.communicate(timeout=40)
        assert p.returncode == 3, (p.returncode, out, err)
        assert 'the generator is the limit' in ' '.join(out.split()) and 'was late' in out, out
        assert json.loads(file.read_text())['verdict'] == 'invalid'


# ---- plans ----

SCALES = {'baseline_100': 0.004, 'ramp_1000': 0.002, 'spike_1000': 0.01, 'sustained_1000': 0.0008, 'agent_registration': 0.01, 'agent_inference': 0.004}


def test_the_six_plans_run_and_each_criterion_is_judged():
    plans = sorted(PLANS.glob('*.yml'))
    assert sorted(SCALES) == [p.stem for p in plans]
    with Mock('--ttft', '10ms') as m, Weir(one_model(m, model='mock-1')) as w:
        for plan in plans:
            url = m.url if plan.stem.startswith('agent') else w.url     # weir does not register agents
            b = said(Bench('run', plan, url, '--scale', SCALES[plan.stem]), 0)
            assert b.json['name'] == plan.stem and b.json['ok'] > 5, (plan, b.out)
            assert len(b.json['criteria']) == 3, (plan, b.json['criteria'])
            assert all(v['met'] for v in b.json['criteria']) or b.code == 3, (plan, b.out)


def test_a_plans_missed_criterion_is_1_and_more_may_be_added():
    with Mock('--fault', 'status=503') as m:
        b = Bench('run', PLANS / 'agent_registration.yml', m.url, '--scale', '0.005', '--criteria', 'requests > 0')
        assert b.code in (1, 3), b
        assert verdicts(b.json)['percentage(errors) < 5'] is False and verdicts(b.json)['requests > 0'] is True, b.out


# ---- save and compare ----

def test_saved_runs_are_kept_one_behind_the_other():
    with Mock('--ttft', '20ms') as m, tempfile.TemporaryDirectory() as state:
        env = {'XDG_STATE_HOME': state}
        file = Path(state) / 'weir' / 'bench' / 'before.json'
        for count in (1, 2):
            said(Bench('save', 'before', 'quick', m.url, '--scale', '0.02', env=env), 0)
            kept = json.loads(file.read_text())['runs']
            assert len(kept) == count and all(r['name'] == 'quick' for r in kept), kept
        said(Bench('save', 'before', 'run', PLANS / 'agent_registration.yml', m.url, '--scale', '0.003', env=env), 0)
        assert [r['name'] for r in json.loads(file.read_text())['runs']] == ['quick', 'quick', 'agent_registration']
        assert list(file.parent.iterdir()) == [file]
        file.write_text('{"weir_bench": 1, "runs": [')     # cut short
        b = Bench('save', 'before', 'quick', m.url, '--scale', '0.02', env=env).expect(1)
        assert 'before.json' in b.err and file.read_text().endswith('['), 'what cannot be read is not written over'


def steady(template, name, ms, seconds=30, errors=0):
    """A run of so many equal seconds, made from a real one: a hundred requests in each."""
    r, draw = copy.deepcopy(template), random.Random(f'{name}{ms}')
    window = {**r['windows'][0], 'ended': 100, 'rate': 100, 'error_share': errors}
    r.update(name=name, invalid='', warmup_s=0, span_s=seconds, requests=100 * seconds, ok=int(100 * seconds * (1 - errors)), rate=100, ok_rate=100, criteria=[])
    r['windows'] = [{**window, 'at_s': i, **{key: ms * factor * draw.uniform(0.99, 1.01) for key, factor in (('mean_ms', 1), ('p50_ms', 1), ('p95_ms', 1.2), ('p99_ms', 1.5))}}
                    for i in range(seconds)]
    r['latency'].update(mean_ms=ms, p50_ms=ms, p95_ms=1.2 * ms, p99_ms=1.5 * ms, stdev_ms=ms / 10)
    return r


def test_compare_tells_worse_from_chance():
    with Mock('--ttft', '20ms') as m, tempfile.TemporaryDirectory() as folder:
        template = Bench(m.url, '--rate', 100, '--duration', '1s').json
        files = {}
        for name, made in {'old': [steady(template, 'quick', 20), steady(template, 'other', 50)], 'same': [steady(template, 'quick', 20.05)],
                           'longer': [steady(template, 'quick', 20.01, 90)], 'slow': [steady(template, 'other', 50.1), steady(template, 'quick', 23)],
                           'stranger': [steady(template, 'nothing of that kind', 20)], 'invalid': [{**steady(template, 'quick', 20), 'invalid': 'the generator was late'}]}.items():
            files[name] = Path(folder) / f'{name}.json'
            files[name].write_text(json.dumps({'weir_bench': 1, 'runs': made}))
        compare = lambda new, *words: Bench('compare', files['old'], files[new], '--json', 'x', *words) if '--json' in words else compare_of(files['old'], files[new], *words)
        assert 'quick: Nothing got worse' in compare('same', '--fail-on-regression', '5%').expect(0).out
        assert compare('longer', '--fail-on-regression', '5%').expect(0).out.count('WORSE') == 0      # neither is what has more requests without an error better
        b = compare('slow', '--fail-on-regression', '5%').expect(1)
        assert re.search(r'p50 .* WORSE', b.out) and 'quick: p50 got worse by more than +5.0 %' in b.out, b.out
        assert b.out.count('runs: 1 before, 1 after') == 2, 'each test by itself'
        compare('slow', '--fail-on-regression', '30%').expect(0)
        compare('slow').expect(0)       # nobody asked for a verdict
        b = compare('slow', '--metric', 'p95', '--fail-on-regression', '5').expect(1)
        assert 'p95' in b.out and 'p50' not in b.out, b.out
        compare('invalid', '--fail-on-regression', '5%').expect(3)
        assert 'no test in common' in compare('stranger').expect(2).err


def compare_of(old, new, *words):
    """Bench adds --json, which compare has no use for."""
    b = Bench.__new__(Bench)
    done = subprocess.run([WEIR, 'bench', 'compare', old, new, *words], capture_output=True, text=True, timeout=50, env=ENV)
    b.code, b.out, b.err, b.json = done.returncode, done.stdout, done.stderr, None
    return b


# ---- words ----

WRONG = [
    (('quik',), 'did you mean quick'),
    (('svae', 'x'), 'did you mean save'),
    (('quick', 'http://127.0.0.1:1', 'more'), 'one too many'),
    (('quick', 'http://127.0.0.1:1', '--ramp', '3s'), '--ramp has no meaning for quick'),
    (('http://127.0.0.1:1', '--scale', '2'), '--scale has no meaning'),
    (('quick', '--scale', '0'), '--scale must be a number above 0'),
    (('full', '--find-max'), 'a test of its own'),
    (('stress', 'http://127.0.0.1:1', '--metric', 'p95'), '--metric has no meaning'),
    (('run',), 'run needs a plan file'),
    (('run', '/nowhere/plan.yml'), '/nowhere/plan.yml'),
    (('run', PLANS / 'baseline_100.yml', '--users', '3'), '--users has no meaning for a plan'),
    (('run', PLANS / 'baseline_100.yml', 'http://127.0.0.1:1/v1'), 'says its paths itself'),
    (('save',), 'save needs a name'),
    (('save', '../x', 'quick'), 'no name for runs'),
    (('save', 'x', 'compare', 'a', 'b'), 'nothing whose runs could be saved'),
    (('compare', 'a'), 'compare needs two'),
    (('compare', 'no-such-runs', 'b', ), 'there are no runs'),
    (('compare', 'a', 'b', '--fail-on-regression', 'x'), 'must be a percentage'),
    (('compare', 'a', 'b', '--metric', 'p59'), 'did you mean'),
    (('compare', 'a', 'b', '--users', '3'), '--users has no meaning for compare'),
]


def test_wrong_words_are_2_and_one_sentence():
    for words, part in WRONG:
        done = subprocess.run([WEIR, 'bench', *map(str, words)], capture_output=True, text=True, timeout=20, env={**ENV, 'XDG_STATE_HOME': '/nowhere'})
        assert done.returncode == 2 and part in done.stderr and done.stderr.count('\n') == 1, (words, done)


def test_help_has_every_scenario():
    out = Bench('--help').expect(0).out
    table = (ROOT / 'src' / 'cli' / 'bench_scenarios.def').read_text()
    names = re.findall(r'^(?:SCENARIO|VERB)\( *([a-z-]+),', table, re.M)
    assert len(names) >= 11 and all(re.search(rf'^  {name}\b', out, re.M) for name in names), names


def test_interrupted_between_levels_it_reports_what_there_is():
    with Mock('--ttft', '20ms') as m, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'r.json'
        p = subprocess.Popen([WEIR, 'bench', 'save', 'x', 'full', m.url, '--users', '20', '--scale', '0.03', '--json', file], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True, env={**ENV, 'XDG_STATE_HOME': folder})
        until('the third level has begun', lambda: m.stats()['active'] >= 10, 20)     # of 1, 2, 10, 20
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=20)
        assert [r['name'] for r in json.loads(file.read_text())['runs']] == ['full 1 user', 'full 2 users', 'full 10 users'], out
        assert 'interrupted, so nothing was saved' in err and not os.path.exists(Path(folder) / 'weir' / 'bench' / 'x.json'), err


if __name__ == '__main__':
    run(globals())

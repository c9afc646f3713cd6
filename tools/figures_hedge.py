"""figures_hedge.py: the figure of a second backend for a late first token. figures.py takes its rows and measures; see there."""
import os, random, re

import figures as f
from figures_flood import metrics

MEDIAN_MS, SIGMA = 50, 0.3                  # first tokens of both backends: lognormal
TAIL_SHARE, TAIL_MS, TAIL_SIGMA = 0.05, 1000, 0.3  # of one of them: so many are slow
RATE, SECONDS, WARM_S = 100, 15, 3
TRACE_LINES = 4999                          # a prime: the trace repeats after no round number of requests

FIGURES = [
    f.Figure('p99 of the first token with hedging, one of two backends slow for one call in twenty, against without', 'hedge', f.of('ratio', 'median'), 'x', most=0.5, quick_skips=True,
             beside=lambda r: f"{r['hedged_ms']['median']:.0f} ms, without {r['plain_ms']['median']:.0f} ms; {r['errors']} errors"),
    f.Figure('Calls that hedging adds', 'hedge', f.of('extra_percent'), '%', most=5, quick_skips=True,
             beside=lambda r: f"{r['hedges']} second calls for {r['requests']:,} requests, {r['won']} of them sooner"),
]


def write_trace(file, tail_share, seed):
    """A duration a line, for weir mock --ttft trace:FILE."""
    dice = random.Random(seed)
    with open(file, 'w') as out:
        for _ in range(TRACE_LINES):
            ms = dice.lognormvariate(0, TAIL_SIGMA) * TAIL_MS if dice.random() < tail_share else dice.lognormvariate(0, SIGMA) * MEDIAN_MS
            out.write(f'{round(ms * 1000)}us\n')
    return f'trace:{file}'


def counted(port):
    told = metrics(port)
    return {name: int(re.search(rf'^weir_{name}_total (\d+)', told, re.M).group(1)) for name in ('attempts', 'hedges', 'hedges_won')}


def measure_hedge(options, work):
    rounds, samples = 5, []
    backends = [f.start_mock(options, work, '--tokens', 5, '--model', 'figure', '--ttft', write_trace(os.path.join(work, f'ttft-{i}'), share, i)) for i, share in enumerate((0, TAIL_SHARE))]
    port = f.free_port()
    config = f.fill('hedge.yaml', f'{work}/hedge.yaml', WORK=work, LISTEN=port, STEADY=backends[0].port, TAILED=backends[1].port, KEY=f.KEY)
    with backends[0], backends[1], f.Server('weir', [options.weir, 'serve', '-c', config], port, work, f.serves_model):
        for i in range(rounds):
            for model in (['figure', 'hedged'] if i % 2 == 0 else ['hedged', 'figure']):
                before = counted(port)
                r = f.bench(options, work, f'http://127.0.0.1:{port}', '--model', model, '--key', f.KEY, '--stream', '--rate', RATE, '--arrivals', 'poisson', '--seed', i,
                            '--warmup', f'{WARM_S}s', '--duration', f'{SECONDS}s')
                more = {name: n - before[name] for name, n in counted(port).items()}
                samples.append({'round': i, 'model': model, **f.short_of(r), 'first_p50_ms': r['ttft']['p50_ms'], 'first_p99_ms': r['ttft']['p99_ms'], **more})
                f.say(f"  round {i + 1}, {model}: first token p50 {r['ttft']['p50_ms']:.0f} ms, p99 {r['ttft']['p99_ms']:.0f} ms, {more['hedges']} second calls of {more['attempts']}, {r['errors']} {r['invalid']}")
    plain, hedged = ([s for s in samples if s['model'] == model] for model in ('figure', 'hedged'))
    hedges, requests = sum(s['hedges'] for s in hedged), sum(s['attempts'] - s['hedges'] for s in hedged)
    results = {'plain_ms': f.spread([s['first_p99_ms'] for s in plain]), 'hedged_ms': f.spread([s['first_p99_ms'] for s in hedged]),
               'ratio': f.spread([h['first_p99_ms'] / p['first_p99_ms'] for p, h in zip(plain, hedged)]), 'extra_percent': round(100 * hedges / requests, 3),
               'hedges': hedges, 'requests': requests, 'won': sum(s['hedges_won'] for s in hedged), 'errors': sum(sum(s['errors'].values()) for s in samples)}
    return f.record('hedge', options, results, samples, rounds=rounds, seconds_a_round=SECONDS, configuration=['tests/speed/hedge.yaml'],
                    how=f'two mocks, first tokens lognormal({MEDIAN_MS} ms, {SIGMA}), of one of them {TAIL_SHARE:.0%} lognormal({TAIL_MS} ms, {TAIL_SIGMA}); {RATE} streams a second, Poisson arrivals; '
                        f'one model with hedging and one without in front of the same backends, by turns; one ratio a round')


MEASURES = {'hedge': measure_hedge}

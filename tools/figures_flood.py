"""figures_flood.py: figures of weir under more load than its backends can serve. figures.py takes its rows and measures; see there."""
import json, math, os, re, socket, statistics, subprocess, time

import figures as f

SLOTS, SERVICE_MS = 16, 50                          # a mock that serves 320 requests a second, never more
CAPACITY = SLOTS * 1000 // SERVICE_MS
PATIENCE = 'latency=2s'                             # an answer that comes later helps nobody
LEVELS = [0.25, 0.5, 0.8, 1, 1.5, 2, 5, 10]
TENANTS = [('crowd', 100), ('one', 1), ('two', 1), ('three', 1), ('four', 1)]


def goodput_beside(level):
    def words(r):
        at = r['levels'][level]
        return f"{at['good']['median']:.0f} good answers a second of {r['peak']:.0f}; p99 of what is answered {at['p99_ms']['median']:.0f} ms"
    return words


FIGURES = [
    *(f.Figure(f'CPU of a proxied call with all limits, classes, prices and breakers on, {c} connections, beside nginx', 'guarded', f.of(c, 'ratio', 'median'), 'x', most=1.4, quick_skips=True,
               beside=f.calls_beside(c)) for c in ('16', '256')),
    f.Figure('Failed calls in those runs', 'guarded', f.of('weir_errors'), '', most=0, quick_skips=True),
    *(f.Figure(f'Good answers a second at {n} times what the backends can serve, against the most at any load', 'flood', f.of('levels', str(n), 'kept'), 'x', least=0.95, quick_skips=True,
               beside=goodput_beside(str(n))) for n in (2, 5, 10)),
    f.Figure('A refusal in that flood: from the end of the head to its last byte, p99', 'flood', f.of('refusal_p99_ms'), 'ms', most=1, quick_skips=True,
             beside=lambda r: f"{r['refusals']:,} refusals, by weir's own histogram (upper edge of the bucket)"),
    f.Figure('p99 of class high beside ten times too much of class low, its floor covering its load, against alone', 'priority', f.of('ratio', 'median'), 'x', most=1.2, quick_skips=True,
             beside=lambda r: f"{r['beside_ms']['median']:.1f} ms, alone {r['alone_ms']['median']:.1f} ms; {r['errors']} errors of class high"),
    f.Figure('Jain\'s index on tokens, one tenant asking 100 times as much as each of the others', 'fairness', f.of('jain', 'median'), '', least=0.95, quick_skips=True,
             beside=lambda r: f"least of {r['rounds']} rounds {r['jain']['least']:.3f}"),
    *(f.Figure(f'A client leaves ({how}): until its backend knows, the longest of 20', 'gone', f.of(key, 'most'), 'ms', most=50, quick_skips=True,
               beside=lambda r, key=key: f"median {r[key]['median']:.1f} ms") for key, how in (('streaming', 'streaming'), ('plain', 'a plain answer'), ('queued', 'queued, where its backend is weir'))),
]


def start_flooded(options, work, mock, slots=SLOTS):
    port = f.free_port()
    config = f.fill('flood.yaml', f'{work}/flood.yaml', WORK=work, LISTEN=port, UPSTREAM=mock.port, KEY=f.KEY, SLOTS=slots)
    return f.Server('weir', [options.weir, 'serve', '-c', config], port, work, f.serves_model)


def start_pair(options, work):
    mock = f.start_mock(options, work, '--slots', SLOTS, '--ttft', f'{SERVICE_MS}ms', '--tokens', 20, '--model', 'figure')
    return mock, start_flooded(options, work, mock)


def metrics(port):
    return f.get(port, '/metrics', f.KEY + '-admin')[1].decode()


def histogram(port, name):
    """Counts by upper edge in seconds, cumulative as Prometheus has them."""
    return {float(edge): int(n) for edge, n in re.findall(name + r'_bucket\{le="([^"]+)"\} (\d+)', metrics(port))}


def quantile_ms(before, after, q):
    counts = {edge: after[edge] - before.get(edge, 0) for edge in sorted(after)}
    total = max(counts.values(), default=0)
    return next((1e3 * edge for edge, n in counts.items() if n >= q * total), None) if total else None, total


def measure_flood(options, work):
    rounds, seconds = 3, 6
    samples = []
    mock, weir = start_pair(options, work)
    with mock, weir:
        before = histogram(weir.port, 'weir_refusal_seconds')
        for i in range(rounds):
            for level in (LEVELS if i % 2 == 0 else LEVELS[::-1]):
                r = f.bench(options, work, f'http://127.0.0.1:{weir.port}', '--model', 'figure', '--key', f.KEY, '--rate', round(level * CAPACITY), '--arrivals', 'poisson', '--seed', i,
                            '--warmup', '1s', '--duration', f'{seconds}s', '--timeout', '10s', '--slo', PATIENCE)
                samples.append({'round': i, 'level': level, **f.short_of(r, 'good_rate', 'ok_rate')})
                f.say(f"  round {i + 1}, {level:5} x: {r['good_rate']:6.1f} good answers a second, p50 {r['p50_ms']:.0f} ms, p99 {r['p99_ms']:.0f} ms, {r['errors']} {r['invalid']}")
        p99, refusals = quantile_ms(before, histogram(weir.port, 'weir_refusal_seconds'), 0.99)
    levels = {str(x): {key: f.spread([s[name] for s in samples if s['level'] == x]) for key, name in (('good', 'good_rate'), ('p50_ms', 'p50_ms'), ('p99_ms', 'p99_ms'))} for x in LEVELS}
    peak = max(x['good']['median'] for x in levels.values())
    for x in levels.values():
        x['kept'] = round(x['good']['median'] / peak, 4)
    results = {'levels': levels, 'peak': peak, 'refusal_p99_ms': p99, 'refusals': refusals, 'invalid_runs': sum(bool(s['invalid']) for s in samples)}
    return f.record('flood', options, results, samples, rounds=rounds, seconds_a_round=seconds, configuration=['tests/speed/flood.yaml'],
                    how=f'weir in front of a mock with {SLOTS} slots of {SERVICE_MS} ms ({CAPACITY} requests a second); Poisson arrivals of one key by weir bench, which waits for no answer; '
                        f'good is an answer within two seconds; class normal waits one second at most')


def measure_priority(options, work):
    rounds, seconds = 5, 9
    alone, beside, errors, samples = [], [], 0, []
    mock, weir = start_pair(options, work)
    url = f'http://127.0.0.1:{weir.port}'
    high = ['--model', 'figure', '--key', f.KEY + '-high', '--rate', 40, '--arrivals', 'poisson', '--warmup', '1s', '--duration', f'{seconds}s']
    with mock, weir:
        for i in range(rounds):
            for name in (['alone', 'beside'] if i % 2 == 0 else ['beside', 'alone']):
                flood = None
                if name == 'beside':
                    flood = subprocess.Popen([options.weir, 'bench', url, '--model', 'figure', '--key', f.KEY + '-low', '--rate', str(10 * CAPACITY), '--arrivals', 'poisson',
                                                '--duration', f'{seconds + 3}s', '--timeout', '10s'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                    time.sleep(1.5)
                try:
                    r = f.bench(options, work, url, *high, '--seed', i)
                finally:
                    if flood:
                        flood.terminate()
                        flood.wait()
                (alone if name == 'alone' else beside).append(r['p99_ms'])
                errors += f.errors_of(r)
                samples.append({'round': i, 'run': name, **f.short_of(r)})
                f.say(f"  round {i + 1}, {name:6}: p50 {r['p50_ms']:.1f} ms, p99 {r['p99_ms']:.1f} ms, {r['errors']}")
    results = {'alone_ms': f.spread(alone), 'beside_ms': f.spread(beside), 'ratio': f.spread([b / a for a, b in zip(alone, beside)]), 'errors': errors}
    return f.record('priority', options, results, samples, rounds=rounds, seconds_a_round=seconds, configuration=['tests/speed/flood.yaml'],
                    how=f'40 requests a second of class high, two at once on average; its floor is 7 of {SLOTS} slots, which Erlang B says 1 in 300 finds taken; beside them {10 * CAPACITY} a second of class low; one ratio a round')


def measure_fairness(options, work):
    rounds, seconds = 3, 8
    keys = os.path.join(work, 'keys')
    with open(keys, 'w') as out:
        out.writelines(f'{f.KEY}-{name} {weight}\n' for name, weight in TENANTS)
    jains, samples = [], []
    mock, weir = start_pair(options, work)
    with mock, weir:
        for i in range(rounds):
            r = f.bench(options, work, 'fair', f'http://127.0.0.1:{weir.port}', '--model', 'figure', '--keys', keys, '--rate', 3 * CAPACITY, '--duration', f'{seconds}s', '--seed', i)
            runs = r['runs']
            jains.append(next(x['value'] for x in runs[0]['findings'] if x['name'] == 'jain'))
            samples += [{'round': i, 'tenant': run['name'], 'requests': run['requests'], 'ok': run['ok'], 'tokens': run['tokens']} for run in runs]
            f.say(f"  round {i + 1}: {jains[-1]:.4f}; " + ', '.join(f"{run['name']} {run['ok']} of {run['requests']}" for run in runs))
    return f.record('fairness', options, {'jain': f.spread(jains), 'rounds': rounds}, samples, rounds=rounds, seconds_a_round=seconds, configuration=['tests/speed/flood.yaml'],
                    how=f'weir bench fair: {3 * CAPACITY} requests a second, three times what the backends can serve; the index of what each got of its max-min fair share')


# ---- who leaves ----

def send(port, stream, tokens=400):
    s = socket.create_connection(('127.0.0.1', port), 5)
    body = json.dumps({'model': 'figure', 'stream': stream, 'max_tokens': tokens, 'messages': [{'role': 'user', 'content': 'leave'}]}).encode()
    s.sendall(f'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {f.KEY}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n'.encode() + body)
    return s


def until(read, wanted, seconds=10):
    end = time.monotonic() + seconds
    while not wanted(read()):
        if time.monotonic() > end:
            raise SystemExit(f'figures: gone: it never happens; now {read()}')
    return time.monotonic()


def measure_gone(options, work):
    times, samples = 20, []
    results = {}
    for how, words in (('streaming', ('--ttft', '10ms', '--itl', '50ms', '--tokens', 400)), ('plain', ('--ttft', '20s')), ('queued', ('--ttft', '20s'))):
        spans = []
        with f.start_mock(options, work, '--slots', SLOTS, '--model', 'figure', *words) as mock, start_flooded(options, work, mock, slots=1) as weir:
            stats = lambda: json.loads(f.get(mock.port, '/_mock/stats')[1])
            held = None
            if how == 'queued':
                held = send(weir.port, False)
                until(stats, lambda s: s['active'] == 1)
            for _ in range(times):
                if how == 'queued':
                    waiting = lambda: int(re.search(r'^weir_queue_waiting (\d+)', metrics(weir.port), re.M).group(1))
                    s = send(weir.port, False)
                    until(waiting, lambda n: n == 1)
                    began = time.monotonic()
                    s.close()
                    spans.append(1e3 * (until(waiting, lambda n: n == 0) - began))
                    continue
                s = send(weir.port, how == 'streaming')
                cancelled = stats()['cancelled']
                until(stats, lambda x: x['active'] == 1)
                if how == 'streaming':
                    s.recv(1)
                began = time.monotonic()
                s.close()
                spans.append(1e3 * (until(stats, lambda x: x['cancelled'] == cancelled + 1) - began))
            if held:
                held.close()
        results[how] = f.spread(spans)
        samples += [{'how': how, 'ms': round(x, 3)} for x in spans]
        f.say(f'  {how}: median {statistics.median(spans):.2f} ms, most {max(spans):.2f} ms')
    return f.record('gone', options, results, samples, configuration=['tests/speed/flood.yaml'],
                    how='a socket is closed; streaming and plain: until weir mock counts the request as cancelled; queued, behind one that is answered: until weir has nobody waiting; '
                        'asking every millisecond or so is part of the times')


# ---- a picture of it ----

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 300, 60, 580, 30, 250


def plot(raw):
    """Goodput and p99 over offered load, as docs/operate.md shows them."""
    levels = {float(k): v for k, v in raw['results']['levels'].items()}
    xs, peak = sorted(levels), raw['results']['peak']
    most_ms = max(v['p99_ms']['median'] for v in levels.values()) * 1.1
    x = lambda level: LEFT + (RIGHT - LEFT) * math.log(level / xs[0]) / math.log(xs[-1] / xs[0])
    y = lambda value, most: BOTTOM - (BOTTOM - TOP) * value / most
    line = lambda points, colour: f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}"/>' + ''.join(
        f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in points)
    word = lambda a, b, text, more='': f'<text x="{a:.1f}" y="{b:.1f}" {more}>{text}</text>'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12" fill="#333">', f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>']
    for share in (0, 0.25, 0.5, 0.75, 1):
        at = BOTTOM - (BOTTOM - TOP) * share
        parts += [f'<line x1="{LEFT}" x2="{RIGHT}" y1="{at}" y2="{at}" stroke="#ddd"/>', word(LEFT - 8, at + 4, f'{share * peak * 1.1:.0f}', 'text-anchor="end" fill="#0b6fa4"'),
                  word(RIGHT + 8, at + 4, f'{share * most_ms:.0f} ms', 'fill="#c2570c"')]
    parts += [word(x(level), BOTTOM + 18, f'{level:g}x', 'text-anchor="middle"') for level in xs]
    parts += [word((LEFT + RIGHT) / 2, HEIGHT - 8, 'offered load, in parts of what the backends can serve', 'text-anchor="middle"'), word(LEFT, TOP - 12, 'good answers a second', 'fill="#0b6fa4"'),
              word(RIGHT, TOP - 12, 'p99 of what is answered', 'text-anchor="end" fill="#c2570c"')]
    parts += [line([(x(level), y(levels[level]['good']['median'], peak * 1.1)) for level in xs], '#0b6fa4'), line([(x(level), y(levels[level]['p99_ms']['median'], most_ms)) for level in xs], '#c2570c'), '</svg>']
    return '\n'.join(parts) + '\n'


def write_pages():
    raw = f.load('flood')
    if raw:
        with open(os.path.join(f.RAW, 'flood.svg'), 'w') as out:
            out.write(plot(raw))


def measure_guarded(options, work):
    return f.measure_calls(options, work, 'guarded', 'guarded.yaml')


MEASURES = {'guarded': measure_guarded, 'flood': measure_flood, 'priority': measure_priority, 'fairness': measure_fairness, 'gone': measure_gone}

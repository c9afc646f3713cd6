"""figures_cache.py: figures of answers from memory. figures.py takes its rows and measures; see there."""
import argparse, json, os, random, re, signal, subprocess, threading, time

import figures as f
from figures_flood import metrics

DISTINCT, SPELLINGS = 1000, 4
KINDS = ('identical', 'shuffled')
BEFORE = 'e191767'                                  # the last commit without a cache
TRACES = os.path.join(os.environ.get('BENCH_DATA') or os.path.join(os.path.dirname(f.ROOT), 'shared', 'data'), 'mooncake')
OTHERS = ('lru', 'clock', 'sieve')


def hits_beside(kind, connections):
    def words(r):
        at = r[kind][connections]
        return f"weir {at['weir_us']['median']:.1f} µs (least {at['weir_us']['least']:.1f}), nginx {at['nginx_us']['median']:.1f} µs (least {at['nginx_us']['least']:.1f}); " \
               f"{at['hit_percent']:.2f} % hits, {at['lane_percent']:.0f} % of them by the short way"
    return words


FIGURES = [
    *(f.Figure(f'CPU of a hit, {words}, {c} connections, beside nginx returning the same bytes', 'hits', f.of(kind, c, 'ratio', 'median'), 'x', most=most, quick_skips=True, beside=hits_beside(kind, c))
      for kind, words, most in (('identical', 'the same 600 B over and over', 1.2), ('shuffled', f'{DISTINCT:,} questions of 0.6 to 20 KB, each in {SPELLINGS} spellings', 1.35)) for c in ('64', '1000')),
    f.Figure('1,000 equal questions at once, whole, streamed and mixed: calls of the backend', 'crowd', f.of('calls'), '', most=1, quick_skips=True,
             beside=lambda r: ', '.join(f"{name} {n}" for name, n in r['by_kind'].items()) + f"; {r['answered']:,} of {r['asked']:,} answered"),
    f.Figure('Answers from memory, 40 requests a prompt, as often as Zipf\'s law says', 'mix', f.of('hit_percent'), '%', least=95, quick_skips=True,
             beside=lambda r: f"{r['requests']:,} requests for {r['distinct']:,} prompts, {r['users']} users at once"),
    f.Figure('... as a share of what a cache without limits would have answered', 'mix', f.of('of_ideal'), '', least=0.99, quick_skips=True),
    f.Figure('Finding one of 10,000 answers, Zipf 0.9', 'lookup', f.of('zipf', 'one_ns'), 'ns', most=25, quick_skips=True,
             beside=lambda r: '; '.join(f"{name} {x['one_ns']:.1f}, with another thread {x['two_ns']:.1f}, which has a cache of its own {x['apart_ns']:.1f}" for name, x in r.items() if isinstance(x, dict))),
    f.Figure('... while another thread does the same, against one that does it to a cache of its own', 'lookup', f.of('zipf', 'ratio'), 'x', most=1.1, quick_skips=True),
    f.Figure('... with half of it on one key', 'lookup', f.of('half on one key', 'ratio'), 'x', most=1.1, quick_skips=True),
    f.Figure('Memory of an entry beside its bytes, identity included', 'lookup', f.of('overhead_bytes'), 'B', most=128, quick_skips=True),
    f.Figure('Hit rate against the best of LRU, CLOCK and SIEVE on the same: the farthest behind', 'policy', f.of('behind_points'), 'points', most=1, quick_skips=True,
             beside=lambda r: f"{r['where']}; Zipf 0.9: {r['zipf']['weir']:.1f} %, best other {r['zipf']['best']:.1f} %, ideal {r['zipf']['ideal']:.1f} %"),
    *(f.Figure(f'Redis is {how} under load: {what}', 'redis', f.of(how, key), '', most=most, quick_skips=True, beside=lambda r, how=how: f"{r[how]['requests']:,} requests of 16 connections")
      for how in ('stopped', 'killed') for what, key, most in (('failed requests', 'errors', 0), ('requests that waited for it in vain', 'late', 5))),
    f.Figure('Weir bound by 10 % of a core, ten times too much of what is not kept: known questions answered from memory', 'known', f.of('served_percent'), '%', least=95, quick_skips=True,
             beside=lambda r: f"{r['asked']} asked, {r['other']} of them answered otherwise; slowest {r['slowest_ms']:,.0f} ms, median {r['median_ms']:,.1f}; "
                              f"of the flood of {r['offered_per_s']:,} a second {r['flood_good_per_s']:,.0f} were good"),
    *(f.Figure(f'CPU of a miss that {what}, 16 connections, against weir without a cache in the same run', 'misses', f.of(kind, 'ratio', 'median'), 'x', most=1.08, quick_skips=True,
               beside=lambda r, kind=kind: f"now {r[kind]['now_us']['median']:.1f} µs (least {r[kind]['now_us']['least']:.1f}), "
                                           f"{BEFORE} {r[kind]['then_us']['median']:.1f} µs (least {r[kind]['then_us']['least']:.1f})")
      for kind, what in (('passed', 'is not kept (no temperature 0)'), ('kept', 'is kept, and another goes for it'))),
]


def questions(size_of):
    """Bodies that weir takes for DISTINCT questions, in SPELLINGS each, in a random but fixed order."""
    chance = random.Random(7)
    lines = []
    for i in range(DISTINCT):
        fields = {'model': 'figure', 'temperature': 0, 'max_tokens': 256, 'messages': [{'role': 'system', 'content': 'You answer briefly.'}, {'role': 'user', 'content': f'Question {i}. '}]}
        fields['messages'][1]['content'] += ('A weir holds a river in flood and lets through what the mill can take. ' * 300)[:size_of(chance) - 200]
        for k in range(SPELLINGS):
            names = list(fields)
            chance.shuffle(names)
            lines.append(json.dumps({n: fields[n] for n in names} | {'user': f'somebody-{k}'}, separators=(',', ':') if k % 2 else (', ', ': ')))
    chance.shuffle(lines)
    return lines


def wrk(proxy, connections, seconds, bodies, script='post_many.lua'):
    environ = dict(os.environ, FIGURE_BODY=bodies, FIGURE_KEY=f.KEY)
    before = proxy.cpu_ns()
    done = subprocess.run(['wrk', '-t1', f'-c{connections}', f'-d{seconds}s', '--timeout', '10s', '-s', os.path.join(f.SPEED, script), f'http://127.0.0.1:{proxy.port}/v1/chat/completions'],
                          env=environ, capture_output=True, text=True)
    spent = proxy.cpu_ns() - before
    lines = [line for line in done.stdout.splitlines() if line.startswith('{')]
    if done.returncode != 0 or not lines:
        raise SystemExit(f'figures: wrk failed:\n{done.stdout[-500:]}{done.stderr[-500:]}')
    sample = json.loads(lines[-1])
    return sample | {'cpu_us': round(spent / 1e3 / max(sample['requests'], 1), 3), 'per_s': round(sample['requests'] * 1e6 / sample['duration_us'])}


def counted(port, name):
    return int(re.search(rf'^weir_{name} (\d+)', metrics(port), re.M).group(1))


def measure_hits(options, work):
    rounds, seconds = 11, 2
    results, samples = {}, []
    sizes = {'identical': lambda _: f.BODY_BYTES, 'shuffled': lambda chance: int(600 * (20480 / 600) ** chance.random())}
    with f.start_upstream(work) as upstream, f.start_weir(options, work, upstream.port, 512) as weir:
        port = f.free_port()
        with f.Server('nginx', f.nginx_at(work, f.fill('hits.conf', f'{work}/hits.conf', WORK=work, LISTEN=port, ANSWER=f.answer_json())), port, work, f.listens) as nginx:
            proxies = {'weir': weir, 'nginx': nginx}
            for kind in KINDS:
                path, results[kind] = os.path.join(work, kind), {}
                lines = questions(sizes[kind])
                with open(path, 'w') as out:
                    out.write('\n'.join(lines[:1] if kind == 'identical' else lines) + '\n')
                for connections in (64, 1000):
                    for proxy in proxies.values():
                        wrk(proxy, connections, 2, path)         # asks the backend for each once, and warms
                    names = ('cache_hits_total', 'cache_misses_total', 'cache_lane_hits_total')
                    before, mine = {n: counted(weir.port, n) for n in names}, []
                    for i, name in f.interleaved(list(proxies), rounds):
                        mine.append({'kind': kind, 'connections': connections, 'round': i, 'proxy': name, **wrk(proxies[name], connections, seconds, path)})
                        f.say(f"  {kind}, {connections} connections, round {i + 1}, {name:5}: {mine[-1]['cpu_us']:6.2f} µs a hit, {mine[-1]['per_s']:6} a second, {mine[-1]['errors']} errors")
                    now = {n: counted(weir.port, n) - before[n] for n in names}
                    us = {name: [s['cpu_us'] for s in sorted(mine, key=lambda s: s['round']) if s['proxy'] == name] for name in proxies}
                    results[kind][str(connections)] = {
                        'weir_us': f.spread(us['weir']), 'nginx_us': f.spread(us['nginx']), 'ratio': f.spread([w / n for w, n in zip(us['weir'], us['nginx'])]),
                        'hit_percent': 100 * now['cache_hits_total'] / max(now['cache_hits_total'] + now['cache_misses_total'], 1),
                        'lane_percent': 100 * now['cache_lane_hits_total'] / max(now['cache_hits_total'], 1), 'errors': sum(s['errors'] for s in mine)}
                    samples += mine
    return f.record('hits', options, results, samples, rounds=rounds, seconds_a_round=seconds, peers={'nginx': f.version_of(['nginx', '-v'])},
                    configuration=['tests/speed/weir.yaml', 'tests/speed/hits.conf', 'tests/speed/post_many.lua'],
                    how='wrk with one thread; CPU is the run time of all of a server\'s threads over the answers; nginx returns the bytes that weir has from its backend, and reads the question; '
                        'both have their access log on; weir checks a key; one ratio a round, the two runs next to each other')


def measure_crowd(options, work):
    """A thousand connections ask one thing within a moment, of a backend that takes half a second."""
    count, by_kind, answered = 1000, {}, 0
    with f.start_mock(options, work, '--ttft', '500ms', '--itl', '10ms', '--tokens', 20, '--model', 'figure') as mock, f.start_weir(options, work, mock.port, 64) as weir:
        for kind in ('whole', 'streamed', 'mixed'):
            before = json.loads(f.get(mock.port, '/_mock/stats')[1])['requests']
            gate, good = threading.Barrier(count), []

            def ask(i):
                body = json.dumps({'model': 'figure', 'temperature': 0, 'stream': kind == 'streamed' or (kind == 'mixed' and i % 2 == 0), 'messages': [{'role': 'user', 'content': kind}]}).encode()
                connection = f.http.client.HTTPConnection('127.0.0.1', weir.port, timeout=60)
                connection.connect()
                gate.wait()
                connection.request('POST', '/v1/chat/completions', body, {'authorization': f'Bearer {f.KEY}', 'content-type': 'application/json'})
                answer = connection.getresponse()
                text = answer.read()
                connection.close()
                good.append(answer.status == 200 and (b'[DONE]' in text or b'"finish_reason":"' in text))
            threads = [threading.Thread(target=ask, args=(i,)) for i in range(count)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            by_kind[kind] = json.loads(f.get(mock.port, '/_mock/stats')[1])['requests'] - before
            answered += sum(good)
            f.say(f'  {kind}: {by_kind[kind]} calls for {count} questions, {sum(good)} answered')
    return f.record('crowd', options, {'calls': max(by_kind.values()), 'by_kind': by_kind, 'asked': 3 * count, 'answered': answered}, [], configuration=['tests/speed/weir.yaml'],
                    how=f'{count} connections ask one thing at once, of a mock that takes half a second; the same as streams, and half of each; calls as the mock counted them; both workers')


def measure_mix(options, work):
    requests, distinct, users = 20000, 500, 64
    with f.start_mock(options, work, '--ttft', '20ms', '--tokens', 10, '--model', 'figure') as mock, f.start_weir(options, work, mock.port, 64) as weir:
        r = f.bench(options, work, 'cache', f'http://127.0.0.1:{weir.port}', '--model', 'figure', '--key', f.KEY, '--requests', requests, '--distinct', distinct, '--users', users)
    found = {x['name']: x['value'] for run in r['runs'] for x in run['findings']}
    results = {'requests': requests, 'distinct': distinct, 'users': users, 'hit_percent': round(100 * found['ideal_share'] * found['of_ideal'], 3), 'of_ideal': round(found['of_ideal'], 5)}
    return f.record('mix', options, results, [], configuration=['tests/speed/weir.yaml'],
                    how=f'weir bench cache: {requests} requests, the r-th of {distinct} prompts in proportion to 1/r, {users} users; joined ones count as from memory, as their backend was not asked')


def measure_lookup(options, work):
    ran = f.run_small(work, 'tests/speed/cache.c')
    if ran is None:
        return None
    text, results = ran[0], {}
    for what, one, two, apart in re.findall(r'^find, (.+?): ([0-9.]+) ns; two threads at once: ([0-9.]+) ns each; two threads with a cache each: ([0-9.]+) ns', text, re.M):
        results['zipf' if what.lower().startswith('zipf') else what] = {'one_ns': float(one), 'two_ns': float(two), 'apart_ns': float(apart), 'ratio': round(float(two) / float(apart), 3)}
    results['overhead_bytes'] = float(re.search(r'beside an entry\'s bytes: ([0-9.]+)', text).group(1))
    return f.record('lookup', options, results, text.splitlines(), how='tests/speed/cache.c, the best of its rounds: time of the thread\'s processor, the identity at hand; '
                    'two threads that share nothing slow one another too, by what they have in common of the machine, so that is what sharing is held against; memory over 100,000 entries by mallinfo')


def measure_policy(options, work):
    traces = {'zipf': 'zipf:0.9,100000,2000000'}
    for name in ('conversation', 'synthetic'):
        if os.path.exists(path := os.path.join(TRACES, f'{name}_trace.jsonl')):
            traces[name] = path
    rows = []
    for name, trace in traces.items():
        told = subprocess.run([options.weir, 'cache', 'simulate', trace, '--json', *(['--entries', '10000'] if name == 'zipf' else [])], capture_output=True, text=True, check=True).stdout
        for x in json.loads(told)['sizes']:
            best = max(x[o] for o in OTHERS)
            rows.append({'trace': name, 'entries': x['entries'], 'weir': 100 * x['weir'], 'best': 100 * best, 'ideal': 100 * x['ideal'], 'behind': 100 * (best - x['weir'])})
            f.say(f"  {name}, {x['entries']} entries: {100 * x['weir']:.2f} %, best other {100 * best:.2f} %, ideal {100 * x['ideal']:.2f} %")
    worst = max(rows, key=lambda x: x['behind'])
    results = {'behind_points': round(worst['behind'], 2), 'where': f"{worst['trace']}, {worst['entries']:,} entries: {worst['weir']:.1f} %, best other {worst['best']:.1f} %", 'zipf': rows[0],
               'traces': list(traces)}
    return f.record('policy', options, results, rows, how='weir cache simulate: Zipf 0.9 with 100,000 keys and 10,000 entries; where they are at hand, the prefixes of Mooncake\'s traces at seven sizes')


def measure_misses(options, work):
    """Questions that nobody has asked: as most clients ask them, which are not kept; and at temperature 0, so that each is looked for and kept."""
    rounds, seconds = 15, 2
    samples, results, fields = [], {}, json.loads(f.request_json())
    then = argparse.Namespace(**{**vars(options), 'weir': f.binary_of(BEFORE)})
    for kind, more in (('passed', {}), ('kept', {'temperature': 0})):
        folders = {name: os.path.join(work, kind, name) for name in ('now', 'then')}
        for folder in folders.values():
            os.makedirs(folder)
        body, mine = os.path.join(work, kind, 'body.json'), []
        with open(body, 'w') as out:
            out.write(json.dumps(fields | more, separators=(',', ':')))
        with f.start_upstream(work) as upstream, f.start_weir(options, folders['now'], upstream.port, 512) as now, f.start_weir(then, folders['then'], upstream.port, 512) as before:
            both = {'now': now, 'then': before}
            for weir in both.values():
                wrk(weir, 16, 1, body, 'post_new.lua')
            for i, name in f.interleaved(['now', 'then'], rounds):
                mine.append({'kind': kind, 'round': i, 'proxy': name, **wrk(both[name], 16, seconds, body, 'post_new.lua')})
                f.say(f"  {kind}, round {i + 1}, {name:4}: {mine[-1]['cpu_us']:6.2f} µs a call, {mine[-1]['errors']} errors")
            misses, hits = counted(now.port, 'cache_misses_total'), counted(now.port, 'cache_hits_total')
        us = {name: [s['cpu_us'] for s in sorted(mine, key=lambda s: s['round']) if s['proxy'] == name] for name in both}
        results[kind] = {'now_us': f.spread(us['now']), 'then_us': f.spread(us['then']), 'ratio': f.spread([n / t for n, t in zip(us['now'], us['then'])]), 'misses': misses, 'hits': hits,
                         'errors': sum(s['errors'] for s in mine)}
        samples += mine
    return f.record('misses', options, results, samples, rounds=rounds, seconds_a_round=seconds, configuration=['tests/speed/weir.yaml', 'tests/speed/upstream.conf', 'tests/speed/post_new.lua'],
                    how=f'the binary of commit {BEFORE}, built from the repository\'s history, and this one beside each other, one ratio a round; each question is new; one that is kept takes the '
                        'place of another as soon as the cache is full, which it is after three seconds')


def measure_redis(options, work):
    """New questions all the time, each asked of Redis first; in the middle Redis stops, or is gone."""
    results, body = {}, os.path.join(work, 'body.json')
    with open(body, 'w') as out:
        out.write(json.dumps(json.loads(f.request_json()) | {'temperature': 0}, separators=(',', ':')))
    for how, number in (('stopped', signal.SIGSTOP), ('killed', signal.SIGKILL)):
        port = f.free_port()
        with f.Server('redis', ['redis-server', '--port', str(port), '--save', '', '--appendonly', 'no'], port, work, f.listens) as redis, f.start_upstream(work) as upstream:
            listen = f.free_port()
            config = f.fill('shared.yaml', f'{work}/shared.yaml', WORK=work, LISTEN=listen, UPSTREAM=upstream.port, KEY=f.KEY, SLOTS=512, REDIS=port)
            with f.Server('weir', [options.weir, 'serve', '-c', config], listen, work, f.serves_model) as weir:
                wrk(weir, 16, 2, body, 'post_new.lua')
                before = counted(weir.port, 'cache_shared_late_total')
                timer = threading.Timer(2, lambda: redis.process.send_signal(number))
                timer.start()
                sample = wrk(weir, 16, 4, body, 'post_new.lua')
                timer.join()
                results[how] = {'requests': sample['requests'], 'errors': sample['errors'], 'late': counted(weir.port, 'cache_shared_late_total') - before}
                f.say(f"  {how}: {results[how]['requests']:,} requests, {results[how]['errors']} errors, {results[how]['late']} late")
            if how == 'stopped':
                redis.process.send_signal(signal.SIGCONT)
    return f.record('redis', options, results, [], configuration=['tests/speed/shared.yaml', 'tests/speed/upstream.conf', 'tests/speed/post_new.lua'],
                    how='wrk with 16 connections asks weir what nobody has asked, so each request asks Redis and puts its answer there; in the middle of four seconds redis-server is stopped (SIGSTOP), or killed')


def measure_known(options, work):
    """As `bound`: conversations that are not kept, ten times what weir can take; beside them four clients ask again what they have asked before it began."""
    seconds, known, each = 20, 40, 0.1
    body, config, port = os.path.join(work, 'body.json'), os.path.join(work, 'weir.yaml'), f.free_port()
    with open(body, 'w') as out:
        json.dump({'model': 'figure', 'max_tokens': 5, 'messages': [{'role': 'user', 'content': 'The quick brown fox.'}] * 4000}, out)
    with f.start_mock(options, work, '--tokens', 5) as mock, f.tenth_of_a_core() as enter:
        if enter is None:
            f.say('  skipped: no cgroup with a quota of processor time can be made here')
            return None
        with open(config, 'w') as out:
            json.dump({'listen': f'127.0.0.1:{port}', 'store': 'off', 'log': {'access': 'off'}, 'backends': {'b': {'kind': 'mock', 'url': f'http://127.0.0.1:{mock.port}', 'concurrency': 2000}},
                       'models': {'figure': {'use': ['b/mock-1']}}}, out)
        with f.Server('weir', [options.weir, 'serve', '-c', config], port, work, lambda p: f.get(p, '/readyz')[0] == 200, before=enter):
            def flood(*load):
                return f.bench(options, work, f'http://127.0.0.1:{port}', '--body', body, *load, '--duration', f'{seconds}s', '--warmup', '1s', '--timeout', '2s', '--slo', 'latency=2s')
            peak = max(flood('--users', users)['good_rate'] for users in (4, 16, 64))
            texts = [json.dumps({'model': 'figure', 'temperature': 0, 'messages': [{'role': 'user', 'content': f'Question {i} of those who come again'}]}).encode() for i in range(known)]
            answers, over = [], threading.Event()

            def ask(text, connection):
                began = time.monotonic()
                connection.request('POST', '/v1/chat/completions', text, {'content-type': 'application/json'})
                answer = connection.getresponse()
                answer.read()
                return {'status': answer.status, 'cache': answer.headers.get('x-weir-cache'), 's': time.monotonic() - began}

            def come_again(i):
                connection = f.http.client.HTTPConnection('127.0.0.1', port, timeout=10)
                for k in range(i, 1 << 30, 4):
                    if over.wait(each):
                        return
                    try:
                        answers.append(ask(texts[k % known], connection))
                    except OSError as error:
                        answers.append({'status': 0, 'cache': str(error), 's': 10})
                        connection.close()
            first = f.http.client.HTTPConnection('127.0.0.1', port, timeout=10)
            for text in texts:
                ask(text, first)
            threads = [threading.Thread(target=come_again, args=(i,)) for i in range(4)]
            for t in threads:
                t.start()
            r = flood('--rate', round(10 * peak))
            over.set()
            for t in threads:
                t.join()
    waits = sorted(a['s'] for a in answers)
    served = [a for a in answers if a['status'] == 200 and a['cache'] == 'hit']
    results = {'asked': len(answers), 'other': len(answers) - len(served), 'served_percent': round(100 * len(served) / len(answers), 2), 'median_ms': 1e3 * waits[len(waits) // 2], 'slowest_ms': 1e3 * waits[-1],
               'offered_per_s': round(10 * peak), 'flood_good_per_s': r['good_rate'], 'invalid': r['invalid']}
    f.say(f'  {results}')
    return f.record('known', options, results, answers, how='weir alone in a cgroup with 10 ms of processor time in 100; an open loop offers ten times its peak of conversations of 4,000 messages that are not kept, '
                    'so that one generator can offer that much; '
                    f'four connections ask {known} short questions, which were asked before the flood began, a tenth of a second apart')


MEASURES = {'redis': measure_redis, 'hits': measure_hits, 'crowd': measure_crowd, 'mix': measure_mix, 'lookup': measure_lookup, 'policy': measure_policy, 'misses': measure_misses, 'known': measure_known}

// test_openai_node.mjs: the official Node SDK against weir: the same as test_openai_python.py in brief, as its HTTP client is another one.
//   node tests/clients/test_openai_node.mjs BUILD_WEIR [WORD...]     with words: the tests that have one of them in their name
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync, openSync, closeSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const WEIR = resolve(process.argv[2] ?? join(ROOT, 'build/weir'));
const WORDS = process.argv.slice(3);
const OpenAI = createRequire(join(ROOT, 'build/node/'))('openai').OpenAI;   // tools/clients.sh installs it there
const START_MS = 15000, STOP_MS = 15000, TEST_MS = 60000;
for (const name of Object.keys(process.env))
    if (/_proxy$/i.test(name) || name.startsWith('OPENAI_'))
        delete process.env[name];

// ---- processes ----

async function until(what, question, ms = 5000) {
    for (const end = Date.now() + ms; ;) {
        const answer = await question();
        if (answer)
            return answer;
        assert(Date.now() < end, `not within ${ms} ms: ${what}`);
        await new Promise((done) => setTimeout(done, 5));
    }
}

const running = new Set();

class Process {
    constructor(name, args) {
        this.name = name;
        this.folder = mkdtempSync(join(tmpdir(), `weir-node-${name}.`));
        const files = ['stdout', 'stderr'].map((file) => openSync(join(this.folder, file), 'w'));
        const env = { ...process.env, HOME: this.folder, XDG_RUNTIME_DIR: this.folder, XDG_STATE_HOME: this.folder };
        this.child = spawn(WEIR, args(this.folder), { stdio: ['ignore', ...files], env, cwd: this.folder });
        this.ended = new Promise((done) => this.child.on('exit', (code, signal) => { this.code = code ?? signal; done(this.code); }));
        files.forEach((file) => closeSync(file));
        running.add(this);
    }
    text(file) { return readFileSync(join(this.folder, file), 'utf8'); }
    async address(pattern) {
        this.url = (await until(`${this.name} tells its address`, () => {
            assert.equal(this.code, undefined, `${this.name} ended instead of starting: ${this.text('stderr')}`);
            return this.text('stdout').match(pattern);
        }, START_MS))[1];
        return this;
    }
    async stop() {
        this.child.kill('SIGTERM');
        const killer = setTimeout(() => this.child.kill('SIGKILL'), STOP_MS);
        const code = await this.ended;
        clearTimeout(killer);
        return code;
    }
    forget() {
        running.delete(this);
        rmSync(this.folder, { recursive: true, force: true });
    }
    async get(path) {
        return await (await fetch(this.url + path, { headers: { connection: 'close' } })).text();
    }
}

async function mock(...options) {
    const m = await new Process('mock', () => ['mock', '--listen', '127.0.0.1:0', ...options]).address(/(http:\/\/127\.0\.0\.1:\d+)/);
    m.stats = async () => JSON.parse(await m.get('/_mock/stats'));
    m.idle = () => until('the mock is idle', async () => { const s = await m.stats(); return s.active === 0 && s.queued === 0 && s; });
    m.script = async (script) => assert.equal((await fetch(m.url + '/_mock/script', { method: 'POST', body: JSON.stringify(script) })).status, 200);
    return m;
}

async function weir(mocks, more = {}) {
    const names = mocks.map((_, i) => `b${i}/mock-1`);
    const conf = {
        listen: '127.0.0.1:0',
        backends: Object.fromEntries(mocks.map((m, i) => [`b${i}`, { url: m.url, ...more.backend }])),
        models: { chat: { use: names.slice(0, 1), ...(names.length > 1 ? { fallback: names.slice(1) } : {}) } },
        timeouts: { drain: '1s', ...more.timeouts },
        ...more.conf,
    };
    const w = new Process('serve', (folder) => {
        writeFileSync(join(folder, 'weir.yaml'), JSON.stringify(conf, null, 1));
        return ['serve', '-c', join(folder, 'weir.yaml')];
    });
    await w.address(/serves (http:\/\/127\.0\.0\.1:\d+)\/v1/);
    await until('weir is ready', async () => (await fetch(w.url + '/readyz')).status === 200, START_MS);
    w.client = (options = {}) => new OpenAI({ baseURL: w.url + '/v1', apiKey: 'sk-nobody', maxRetries: 0, timeout: 20000, ...options });
    w.number = async (name) => {
        const line = (await w.get('/metrics')).split('\n').find((l) => l.startsWith(name + ' '));
        assert(line, `/metrics has no ${name}`);
        return Number(line.slice(name.length + 1));
    };
    return w;
}

// ---- the tests ----

const HELLO = { model: 'chat', messages: [{ role: 'user', content: 'Hello' }] };
const TOOLS = [{ type: 'function', function: { name: 'get_weather', parameters: { type: 'object', required: ['place', 'days'], properties: { place: { type: 'string' }, days: { type: 'integer' } } } } }];
const words = (text) => text.split(' ').length;

async function collect(stream) {
    const chunks = [];
    for await (const chunk of stream)
        chunks.push(chunk);
    return chunks;
}
const contents = (chunks) => chunks.flatMap((c) => c.choices).map((c) => c.delta.content).filter(Boolean);
const finishes = (chunks) => chunks.flatMap((c) => c.choices).map((c) => c.finish_reason).filter(Boolean);

const tests = {
    async chat() {
        const w = await weir([await mock('--tokens', '7')]);
        const { data, response, request_id } = await w.client().chat.completions.create(HELLO).withResponse();
        assert.equal(words(data.choices[0].message.content), 7);
        assert.equal(data.usage.completion_tokens, 7);
        assert.equal(request_id, response.headers.get('x-request-id'));
        assert.equal(data._request_id, request_id);
        assert.equal(response.headers.get('x-weir-backend'), 'b0');
    },

    async stream_in_order_and_piece_by_piece() {
        const m = await mock('--itl', '20ms'), w = await weir([m]);
        const moments = [], chunks = [];
        for await (const chunk of await w.client().chat.completions.create({ ...HELLO, stream: true })) {
            chunks.push(chunk);
            moments.push(performance.now());
        }
        assert.equal(contents(chunks).length, 20);
        assert.deepEqual(finishes(chunks), ['stop']);
        assert.equal(chunks.filter((c) => c.usage).length, 0);
        const between = moments.slice(1).map((t, i) => t - moments[i]).sort((a, b) => a - b);
        assert(between[between.length >> 1] > 10, `tokens made 20 ms apart came ${between} apart`);
    },

    async usage_in_stream_if_asked_for() {
        const w = await weir([await mock('--tokens', '5')]);
        const chunks = await collect(await w.client().chat.completions.create({ ...HELLO, stream: true, stream_options: { include_usage: true } }));
        assert.equal(chunks.at(-1).usage.completion_tokens, 5);
        assert.equal(chunks.at(-1).choices.length, 0);
    },

    async the_stream_helper() {
        const w = await weir([await mock('--tokens', '5')]);
        const runner = w.client().chat.completions.stream(HELLO);
        let pieces = 0;
        runner.on('content', (delta) => { pieces += delta !== ''; });
        assert.equal(words(await runner.finalContent()), 5);
        assert.equal(pieces, 5);
    },

    async tools() {
        const w = await weir([await mock('--itl', '1ms')]);
        const ask = { ...HELLO, tools: TOOLS, tool_choice: 'required' };
        const call = (await w.client().chat.completions.create(ask)).choices[0].message.tool_calls[0];
        assert.equal(call.function.name, 'get_weather');
        assert.equal(typeof JSON.parse(call.function.arguments).days, 'number');
        const chunks = await collect(await w.client().chat.completions.create({ ...ask, stream: true }));
        const calls = chunks.flatMap((c) => c.choices).flatMap((c) => c.delta.tool_calls ?? []);
        assert.equal(calls.map((c) => c.function.name ?? '').join(''), 'get_weather');
        assert.deepEqual(Object.keys(JSON.parse(calls.map((c) => c.function.arguments ?? '').join(''))), ['place', 'days']);
        assert.deepEqual(finishes(chunks), ['tool_calls']);
    },

    async completions_embeddings_models() {
        const w = await weir([await mock('--tokens', '4')]), c = w.client();
        assert.equal(words((await c.completions.create({ model: 'chat', prompt: 'Once' })).choices[0].text), 4);
        const text = (await collect(await c.completions.create({ model: 'chat', prompt: 'Once', stream: true }))).map((x) => x.choices[0].text).join('');
        assert.equal(words(text), 4);
        const floats = (await c.embeddings.create({ model: 'chat', input: ['river', 'bridge'], encoding_format: 'float' })).data;
        const decoded = (await c.embeddings.create({ model: 'chat', input: 'river' })).data[0].embedding;      // base64 on the wire
        assert.equal(decoded.length, 384);
        assert(decoded.every((x, i) => Math.abs(x - floats[0].embedding[i]) < 1e-6) && floats[1].index === 1);
        const coded = (await c.embeddings.create({ model: 'chat', input: 'river', encoding_format: 'base64' })).data[0].embedding;
        assert.equal(Buffer.from(coded, 'base64').length, 384 * 4);
        const names = (await collect(c.models.list())).map((m) => m.id);
        assert(names.includes('chat'), names);
        assert.equal((await c.models.retrieve('chat')).id, 'chat');
    },

    async unicode() {
        const m = await mock('--tokens', '100', '--fault', 'splitutf8'), w = await weir([m]);
        const ask = { model: 'chat', messages: [{ role: 'user', content: 'naïve 水 🌊 👩‍🔬 \u2028 "quoted" \\' }] };
        const streamed = contents(await collect(await w.client().chat.completions.create({ ...ask, stream: true }))).join('');
        assert(!streamed.includes('\ufffd') && /\p{Emoji_Presentation}/u.test(streamed) && words(streamed) === 100);
    },

    async errors_are_the_sdks_classes() {
        const keys = { user: { key: 'sk-user-0123456789', models: ['chat'] } };
        const m = await mock(), w = await weir([m], { conf: { keys } });
        const fails = async (kind, status, code, body = {}, apiKey = 'sk-user-0123456789') => {
            const e = await w.client({ apiKey }).chat.completions.create({ ...HELLO, ...body }).then(() => assert.fail('it succeeded'), (error) => error);
            assert(e instanceof kind, `${e.constructor.name}: ${e.message}`);
            assert.deepEqual([e.status, e.code], [status, code]);
            assert.equal(e.requestID, e.error.request_id);
            assert(e.requestID && e.message && e.type);
        };
        await fails(OpenAI.BadRequestError, 400, 'invalid_field', { temperature: 'hot' });
        await fails(OpenAI.AuthenticationError, 401, 'invalid_api_key', {}, 'sk-wrong');
        await fails(OpenAI.PermissionDeniedError, 403, 'forbidden', { model: 'other' });
        await fails(OpenAI.BadRequestError, 400, 'invalid_field', { messages: [], stream: true });
        assert.equal((await m.stats()).requests, 0);
        await m.script({ faults: ['status=500'] });
        await fails(OpenAI.InternalServerError, 502, 'upstream_failed');
        await m.script({ faults: ['hang'] });
        const e = await w.client({ apiKey: 'sk-user-0123456789' }).chat.completions.create(HELLO, { headers: { 'x-weir-timeout-ms': '100' } }).catch((error) => error);
        assert.deepEqual([e.status, e.code], [504, 'deadline_exceeded']);
        await m.script({ faults: [] });
        assert((await w.client({ apiKey: 'sk-user-0123456789' }).chat.completions.create(HELLO)).choices);
        const near = await weir([m]);
        const none = await near.client().chat.completions.create({ ...HELLO, model: 'chta' }).catch((error) => error);
        assert(none instanceof OpenAI.NotFoundError && none.code === 'model_not_found' && none.param === 'model' && none.message.includes('"chat"'));
    },

    async retries_as_it_is_told() {
        const m = await mock('--fault', 'status=429,retry-after=1'), w = await weir([m]);
        const seen = [];
        const watched = async (url, init) => {
            const answer = await fetch(url, init);
            seen.push([answer.status, performance.now(), answer.headers]);
            if (seen.length === 1)
                await m.script({ faults: [] });
            return answer;
        };
        assert((await w.client({ maxRetries: 2, fetch: watched }).chat.completions.create(HELLO)).choices);
        assert.deepEqual(seen.map((s) => s[0]), [502, 200]);
        assert.equal(seen[0][2].get('retry-after-ms'), '1000');
        assert.equal(seen[0][2].get('x-should-retry'), 'true');
        assert(seen[1][1] - seen[0][1] > 950, 'it came back too early');
        seen.length = 0;
        await w.client({ maxRetries: 2, fetch: watched }).chat.completions.create({ ...HELLO, model: 'none' }).catch(() => {});
        assert.deepEqual(seen.map((s) => s[0]), [404]);
    },

    // hostile 77, hostile 78, complaint 1, complaint 2: with a healthy backend behind it and alone
    async a_cut_stream_is_an_error() {
        const a = await mock(), b = await mock();
        const faults = { cut: 'connection_reset', rst: 'connection_reset', stall: 'timeout', badchunk: 'bad_upstream_answer', errorevent: 'upstream_failed' };
        for (const [fault, code] of Object.entries(faults)) {
            for (const backends of [[a, b], [a]]) {
                await a.script({ faults: [fault], itl: '1ms' });
                const w = await weir(backends, { timeouts: { between_tokens: '200ms' } });    // a new one knows nothing of the fault before
                const chunks = [];
                const e = await (async () => {
                    for await (const chunk of await w.client().chat.completions.create({ ...HELLO, stream: true }))
                        chunks.push(chunk);
                })().then(() => assert.fail(`${fault} ended clean`), (error) => error);
                assert(e instanceof OpenAI.APIError && e.code === code && e.error.request_id && e.message.includes('b0: '), `${fault}: ${e}`);
                assert(contents(chunks).length > 0 && finishes(chunks).length === 0, fault);
            }
            const whole = await weir([a, b], { timeouts: { first_token: '300ms', between_tokens: '200ms' } });   // a plain answer is never broken
            assert.equal(words((await whole.client().chat.completions.create(HELLO)).choices[0].message.content), 20, fault);
        }
        assert.deepEqual([(await a.stats()).requests, (await b.stats()).requests], [15, 5]);
    },

    // hostile 78, complaint 4, complaint 12
    async failover_before_the_first_token() {
        const a = await mock(), b = await mock('--tokens', '6');
        const faults = ['hang', 'hang-headers', 'cut=first', 'rst=first', 'stall=first', 'errorevent=first', 'garbage', 'html', 'hugeheader', 'status=500', 'status=429,retry-after=2'];
        for (const fault of faults) {
            await a.script({ faults: [fault] });
            const w = await weir([a, b], { timeouts: { first_token: '200ms' } });
            assert.equal(contents(await collect(await w.client().chat.completions.create({ ...HELLO, stream: true }))).length, 6, fault);
            const alone = await weir([a], { timeouts: { first_token: '200ms' } });
            for (const stream of [true, false]) {
                const e = await alone.client().chat.completions.create({ ...HELLO, stream }).then(() => assert.fail(`${fault} ended clean`), (error) => error);
                const hangs = fault.startsWith('hang') || fault === 'stall=first';
                assert(e instanceof OpenAI.InternalServerError && e.requestID && e.message.includes('b0: '), `${fault}: ${e}`);
                assert.deepEqual([e.status, e.code], hangs ? [504, 'timeout'] : [502, 'upstream_failed'], fault);
            }
        }
        assert.equal((await b.stats()).requests, faults.length);
    },

    // hostile 77, hostile 78: what looks odd and is whole
    async faults_that_do_no_harm() {
        const a = await mock('--itl', '0ms');
        for (const fault of ['drip', 'splitutf8', 'bigline', 'nodone', 'echo-id']) {
            await a.script({ faults: [fault], tokens: 4 });
            const chunks = await collect(await (await weir([a])).client().chat.completions.create({ ...HELLO, stream: true }));
            assert.equal(contents(chunks).length, 4, fault);
            assert.deepEqual(finishes(chunks), ['stop'], fault);
        }
    },

    async a_time_out_and_an_abort_cancel_the_backend() {
        const m = await mock('--fault', 'hang'), w = await weir([m]);
        const took = [];
        for (let n = 0; n < 5; n++) {
            const c = w.client(n % 2 ? { timeout: 100 } : {});
            const stop = new AbortController();
            if (n % 2 === 0)
                setTimeout(() => stop.abort(), 100);
            const e = await c.chat.completions.create({ ...HELLO, stream: n > 2 }, { signal: stop.signal }).catch((error) => error);
            const left = performance.now();
            assert(n % 2 ? e instanceof OpenAI.APIConnectionTimeoutError : e instanceof OpenAI.APIUserAbortError, e.constructor.name);
            const stats = await m.idle();
            assert.equal(stats.cancelled, n + 1);
            took.push(performance.now() - stats.last_cancelled_ms_ago - left);
        }
        took.sort((a, b) => a - b);
        assert(took[2] < 50, `${took}`);
    },

    async leaving_a_stream_cancels_the_backend() {
        const m = await mock('--itl', '10ms', '--tokens', '100000'), w = await weir([m]);
        for await (const chunk of await w.client().chat.completions.create({ ...HELLO, stream: true }))
            if (chunk.choices[0].delta.content)
                break;
        assert.equal((await m.idle()).cancelled, 1);
    },

    async fifty_streams_each_get_their_own() {
        const m = await mock('--fault', 'echo-id', '--itl', '3ms'), w = await weir([m], { conf: { workers: 2 } }), c = w.client();
        const ids = await Promise.all(Array.from({ length: 50 }, async () => {
            const { data, request_id } = await c.chat.completions.create({ ...HELLO, stream: true }).withResponse();
            const text = contents(await collect(data)).join('').split(' ');
            assert(text.length === 20 && text.every((word) => word.startsWith(request_id + ':')), `${request_id}: ${text}`);
            return request_id;
        }));
        assert.equal(new Set(ids).size, 50);
    },

    async a_hundred_calls_on_one_connection() {
        const m = await mock('--tokens', '3'), w = await weir([m], { conf: { workers: 1 } });
        const before = await w.number('weir_connections_accepted_total');
        const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
        const call = (n) => new Promise((done, fail) => {
            const text = JSON.stringify({ ...HELLO, stream: n % 2 === 0 });
            const rq = http.request(w.url + '/v1/chat/completions', { agent, method: 'POST', headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) } }, (answer) => {
                let body = '';
                answer.on('data', (some) => { body += some; }).on('end', () => done([answer.statusCode, body]));
            });
            rq.on('error', fail).end(text);
        });
        for (let n = 0; n < 100; n++) {
            const [status, body] = await call(n);
            assert.equal(status, 200);
            assert(n % 2 ? JSON.parse(body).choices : body.endsWith('data: [DONE]\n\n'));
        }
        agent.destroy();
        assert(await w.number('weir_connections_accepted_total') - before <= 2, 'one, and perhaps one of this look');
    },

    async a_megabyte_of_prompt() {
        const w = await weir([await mock('--tokens', '2')]);
        const answer = await w.client().chat.completions.create({ model: 'chat', messages: [{ role: 'user', content: 'bridge '.repeat(150000) }] });
        assert.equal(answer.usage.prompt_tokens, 150000);
    },
};

// ---- the runner ----

let passed = 0, failed = 0;
for (const [name, test] of Object.entries(tests)) {
    if (WORDS.length && !WORDS.some((word) => name.includes(word)))
        continue;
    const began = Date.now();
    let overdue, problem = null;
    try {
        await Promise.race([test(), new Promise((_, fail) => { overdue = setTimeout(() => fail(new Error(`longer than ${TEST_MS} ms`)), TEST_MS); })]);
    } catch (error) {
        problem = error;
    }
    clearTimeout(overdue);
    for (const process of [...running].reverse()) {     // weir before its backends
        const code = await process.stop();
        if (code !== 0)
            problem ??= new Error(`${process.name} answered TERM with ${code}`);
    }
    if (problem) {
        console.log(problem.stack ?? problem);
        for (const process of running)
            console.log(`--- ${process.name} wrote, at last:\n${(process.text('stdout') + process.text('stderr')).split('\n').slice(-25).join('\n')}`);
    }
    for (const process of running)
        process.forget();
    console.log(`${problem ? 'FAILED' : 'ok'}  ${name}  ${Date.now() - began} ms`);
    problem ? failed++ : passed++;
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed || !passed ? 1 : 0);

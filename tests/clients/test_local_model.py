"""test_local_model.py: the real local model behind weir, with the official SDK: `weir serve` with no URL starts it.

What a model says is its own affair: these tests look at the shape of answers, never at their words.
"""
import asyncio
import math
import re
import time

import openai
from openai import AsyncOpenAI, OpenAI

import rig
from rig import Weir, raises, until

CHAT, VECTORS = 'smollm2', 'all-minilm-l6-v2'
HELLO = [{'role': 'user', 'content': 'Tell me about rivers.'}]
WAIT_S = 120    # an answer takes well below a second, and up to a hundred times that while others use the processors
rig.TEST_S = 150


class Local(Weir):
    """A server with its local models up. They need a second or two of both cores, so the tests here share one."""
    is_shared, shared = True, None

    def __init__(self, *arguments):
        super().__init__(None, *arguments)
        self.client = OpenAI(base_url=self.url + '/v1', api_key='any', max_retries=0, timeout=WAIT_S)
        for model in (CHAT, VECTORS):
            until(f'{model} is up', lambda: f'message="{model} answers on port' in self.err.read_text(), WAIT_S, every=0.05)


def children(weir):
    """The process ids of its model servers, from the log."""
    return {m.group(1): int(m.group(2)) for line in weir.lines() if (m := re.search(r'message="(\S+) started on port \d+ \(pid (\d+)', line))}


def is_alive(pid):
    try:
        with open(f'/proc/{pid}/stat') as f:
            return f.read().rpartition(')')[2].split()[0] != 'Z'
    except OSError:
        return False


def check(answer, most):
    choice, = answer.choices
    assert answer.object == 'chat.completion' and answer.id and answer.created > 1_600_000_000
    assert choice.message.role == 'assistant' and choice.message.content and choice.finish_reason in ('stop', 'length')
    assert 0 < answer.usage.completion_tokens <= most and answer.usage.prompt_tokens > 5


def check_stream(chunks, most, usage):
    content = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    finishes = [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason]
    assert 0 < len(content) <= most and len(finishes) == 1 and finishes[0] in ('stop', 'length'), chunks
    assert len({c.id for c in chunks}) == 1
    used = [c.usage for c in chunks if c.usage and not c.choices]
    assert len(used) == usage, [c.usage for c in chunks]
    return content


def with_models(test):
    """One start of the models for all tests of this file."""
    def run():
        if Local.shared not in rig.Process.running:
            Local.shared = Local()
        test(Local.shared)
    run.__name__ = test.__name__
    return run


@with_models
def test_it_lists_its_models(w):
    assert {m.id for m in w.client.models.list()} == {CHAT, VECTORS}
    assert w.client.models.retrieve(VECTORS).id == VECTORS
    assert len(w.out.read_text().splitlines()) <= 6


@with_models
def test_plain(w):
    raw = w.client.chat.completions.with_raw_response.create(model=CHAT, messages=HELLO, max_tokens=12, temperature=0)
    check(raw.parse(), 12)
    assert raw.headers['x-request-id'] and raw.headers['x-weir-attempts'] == '1'


@with_models
def test_stream(w):
    chunks = list(w.client.chat.completions.create(model=CHAT, messages=HELLO, max_tokens=12, stream=True))
    check_stream(chunks, 13, usage=0)
    chunks = list(w.client.chat.completions.create(model=CHAT, messages=HELLO, max_tokens=12, stream=True, stream_options={'include_usage': True}))
    check_stream(chunks, 13, usage=1)


@with_models
def test_stream_comes_piece_by_piece(w):
    """The first piece is there before the last is made. In shares of the whole, as machines differ."""
    began = time.monotonic()
    moments = [time.monotonic() - began for c in w.client.chat.completions.create(model=CHAT, messages=HELLO, max_tokens=30, temperature=0, stream=True)
               if c.choices and c.choices[0].delta.content]
    assert len(moments) > 10 and moments[len(moments) // 2] < 0.9 * moments[-1], moments


@with_models
def test_greedy_answers_repeat(w):
    """temperature 0: the same request, the same answer; streamed too."""
    def say(**more):
        return w.client.chat.completions.create(model=CHAT, messages=HELLO, max_tokens=8, temperature=0, **more)
    plain = say().choices[0].message.content
    assert plain == say().choices[0].message.content == ''.join(check_stream(list(say(stream=True)), 9, usage=0))


@with_models
def test_completions(w):
    answer = w.client.completions.create(model=CHAT, prompt='The river', max_tokens=6)
    assert answer.choices[0].text and answer.usage.completion_tokens <= 6


@with_models
def test_unicode(w):
    answer = w.client.chat.completions.create(model=CHAT, messages=[{'role': 'user', 'content': 'Ünïcödé 水 🌊 \u2028 "quotes" \\'}], max_tokens=6)
    check(answer, 6)


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


@with_models
def test_embeddings(w):
    texts = ['How do I reset my password?', 'I forgot my password, how can I change it?', 'The river runs under the bridge.']
    vectors = [d.embedding for d in w.client.embeddings.create(model=VECTORS, input=texts, encoding_format='float').data]
    assert all(len(v) == 384 and abs(sum(x * x for x in v) - 1) < 1e-2 for v in vectors)
    assert cosine(vectors[0], vectors[1]) > cosine(vectors[0], vectors[2]) + 0.2, 'what means the same is near'
    coded = w.client.embeddings.create(model=VECTORS, input=texts[0]).data[0].embedding     # the SDK asks for base64
    assert cosine(coded, vectors[0]) > 0.999


@with_models
def test_two_clients_at_once(w):
    async def both():
        async with AsyncOpenAI(base_url=w.url + '/v1', api_key='any', max_retries=0, timeout=WAIT_S) as c:
            async def stream():
                raw = await c.chat.completions.with_raw_response.create(model=CHAT, messages=HELLO, max_tokens=12, stream=True)
                began = time.monotonic()
                chunks = [x async for x in raw.parse()]
                check_stream(chunks, 13, usage=0)
                return raw.headers['x-request-id'], began, time.monotonic()

            async def vector():
                return len((await c.embeddings.create(model=VECTORS, input='river', encoding_format='float')).data[0].embedding)
            return await asyncio.gather(stream(), stream(), vector())
    (id_a, began_a, end_a), (id_b, began_b, end_b), dimensions = asyncio.run(both())
    assert id_a != id_b and dimensions == 384
    assert began_a < end_b and began_b < end_a, 'they ran one after the other'


@with_models
def test_more_clients_than_slots(w):
    """They wait their turn; all of them are served."""
    async def many():
        async with AsyncOpenAI(base_url=w.url + '/v1', api_key='any', max_retries=0, timeout=WAIT_S) as c:
            return await asyncio.gather(*[c.chat.completions.create(model=CHAT, messages=HELLO, max_tokens=4) for _ in range(10)])
    answers = asyncio.run(many())
    for answer in answers:
        check(answer, 4)
    assert len({answer.id for answer in answers}) == 10


@with_models
def test_errors(w):
    with raises(openai.NotFoundError) as e:
        w.client.chat.completions.create(model='smollm', messages=HELLO)
    assert CHAT in str(e.error), 'a near name is told'
    with raises(openai.BadRequestError):
        w.client.chat.completions.create(model=CHAT, messages=HELLO, max_tokens='many')
    with raises(openai.APIStatusError) as e:    # llama.cpp's own no: longer than its context
        w.client.chat.completions.create(model=CHAT, messages=[{'role': 'user', 'content': 'river ' * 60000}], max_tokens=4)
    assert e.error.status_code in (400, 413) and e.error.request_id, e.error
    check(w.client.chat.completions.create(model=CHAT, messages=HELLO, max_tokens=4), 4)


@with_models
def test_who_leaves_frees_the_model(w):
    """llama-swap #43: the client goes, the model computes on. Here the next one finds it free: four leave, the fifth is served."""
    for _ in range(4):
        with w.client.chat.completions.create(model=CHAT, messages=HELLO, max_tokens=2000, stream=True) as stream:
            assert next(iter(stream)).choices
    until('no request is open', lambda: w.number('weir_requests_open') == 1)
    check(w.client.chat.completions.create(model=CHAT, messages=HELLO, max_tokens=4), 4)


@with_models
def test_the_models_end_with_weir(w):
    pids = children(w)
    assert set(pids) == {CHAT, VECTORS} and all(is_alive(pid) for pid in pids.values())
    w.stop()
    until('both have ended', lambda: not any(is_alive(pid) for pid in pids.values()))


rig.run(globals())

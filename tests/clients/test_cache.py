#!/usr/bin/env python3
"""test_cache.py: answers that were given before, as the user of the official Python SDK and an operator see them: what is a hit and says the same, what is asked anew,
and what is never kept. Backends count what they are asked (complaints 30 to 32, 34; hostile 48, 51, 53 to 56)."""
import array
import base64
import collections
import concurrent.futures
import http.client
import itertools
import json
import subprocess
import threading
import zlib

import openai
from openai import OpenAI

import rig
from rig import BACKEND_KEY, Mock, Scribe, Weir, merged, one_model, until

HELLO = [{'role': 'user', 'content': 'Hello'}]
WEATHER = [{'type': 'function', 'function': {
    'name': 'get_weather', 'parameters': {'type': 'object', 'required': ['place', 'days'], 'properties': {
        'place': {'type': 'string'}, 'days': {'type': 'integer'}}}}}]
OPS = {'authorization': 'Bearer sk-operator-0123456789'}
KEYS = {'keys': {
    'ops': {'key': 'sk-operator-0123456789', 'role': 'admin', 'tenant': 'operators'},
    'ann': {'key': 'sk-ann-0123456789', 'tenant': 'acme'},
    'bob': {'key': 'sk-bob-0123456789', 'tenant': 'acme'},
    'eve': {'key': 'sk-eve-0123456789', 'tenant': 'other'},
    'sam': {'key': 'sk-sam-0123456789'},    # a tenant of her own, as these two
    'tom': {'key': 'sk-tom-0123456789'}}}


def conf(*backends, when=None, **more):
    """One worker: an answer is kept in the turn that sent its end, so the next request finds it. With two, one could come between."""
    cache = {'cache': {'exact': {'when': when}}} if when else {}
    return merged(merged(one_model(*backends), {'workers': 1, **cache}), more)


def client(w, key='sk-nobody'):
    """One for each key, for as long as the weir runs."""
    clients = w.__dict__.setdefault('sdk', {})
    if key not in clients:
        clients[key] = OpenAI(base_url=w.url + '/v1', api_key=key, max_retries=0, timeout=20)
    return clients[key]


class Answer(collections.namedtuple('Answer', 'cache why id pieces usage raw text reasoning refusal logprobs calls finish')):
    """What came of a call: x-weir-cache and x-weir-cache-why, and what was said, whichever way it travelled."""

    @property
    def meaning(self):
        return self[-6:]


def heard_whole(raw):
    answer = raw.parse()
    choice, = answer.choices
    message = choice.message
    calls = [(c.id, c.type, c.function.name, c.function.arguments) for c in message.tool_calls or []]
    logprobs = [t.token for t in choice.logprobs.content or []] if choice.logprobs else []
    return Answer(raw.headers.get('x-weir-cache'), raw.headers.get('x-weir-cache-why'), answer.id, 1, answer.usage and answer.usage.model_dump(exclude_none=True),
                  raw.content, message.content or '', (message.model_extra or {}).get('reasoning_content') or '', message.refusal or '', logprobs, calls,
                  choice.finish_reason)


def heard_stream(raw):
    logprobs, calls, finish, usage, ids, roles, pieces = [], {}, None, None, set(), [], 0
    parts = {'content': '', 'reasoning_content': '', 'refusal': ''}
    assert raw.headers['content-type'].startswith('text/event-stream')
    for chunk in raw.parse():
        ids.add(chunk.id)
        assert usage is None, 'usage comes last'
        usage = chunk.usage and chunk.usage.model_dump(exclude_none=True)
        for choice in chunk.choices:
            delta = choice.delta
            fields = {**(delta.model_extra or {}), 'content': delta.content, 'refusal': delta.refusal}
            for name in parts:
                parts[name] += fields.get(name) or ''
            roles += [delta.role] if delta.role else []
            pieces += any(fields.get(name) for name in parts) or bool(delta.tool_calls)
            logprobs += [t.token for t in choice.logprobs.content or []] if choice.logprobs else []
            for c in delta.tool_calls or []:
                call = calls.setdefault(c.index, ['', '', '', ''])
                for i, part in enumerate((c.id, c.type, c.function and c.function.name, c.function and c.function.arguments)):
                    call[i] += part or ''
            finish = choice.finish_reason or finish
    assert len(ids) == 1 and roles[:1] == ['assistant'], (ids, roles)
    return Answer(raw.headers.get('x-weir-cache'), raw.headers.get('x-weir-cache-why'), ids.pop(), pieces, usage, None, parts['content'],
                  parts['reasoning_content'], parts['refusal'], logprobs, [tuple(calls[i]) for i in sorted(calls)], finish)


def ask(w, text='Hello', key='sk-nobody', stream=False, wish=None, tags=None, headers=None, **body):
    """One call by the SDK, at temperature 0 unless body says otherwise. wish: x-weir-cache. A value of ... leaves its field out."""
    headers = {**({'x-weir-cache': wish} if wish else {}), **({'x-weir-cache-tags': tags} if tags else {}), **(headers or {})}
    body = {'model': 'chat', 'messages': [{'role': 'user', 'content': text}], 'temperature': 0, **body}
    body = {name: value for name, value in body.items() if value is not ...}
    if stream:
        body['stream'] = True
    raw = client(w, key).chat.completions.with_raw_response.create(extra_headers=headers, **body)
    return heard_stream(raw) if stream else heard_whole(raw)


def results(*answers):
    return [a.cache for a in answers]


def post(w, body, headers=None):
    """A body of these very bytes: status, x-weir-cache, answer."""
    status, heads, answer = rig.ask(w.url, 'POST', '/v1/chat/completions', body, {'content-type': 'application/json', **(headers or {})})
    return status, heads.get('x-weir-cache'), answer


def drop(w, query, headers=OPS):
    status, _, body = rig.ask(w.url, 'DELETE', f'/api/v1/cache?{query}', headers=headers)
    return json.loads(body)['dropped'] if status == 200 else status


def stats(w, headers=OPS):
    status, _, body = w.get('/api/v1/cache/stats', headers=headers)
    assert status == 200, body
    return json.loads(body)


# ---- hits ----

def test_the_same_question_is_asked_once():
    with Mock('--tokens', '9') as m, Weir(conf(m)) as w:
        first, *others = [ask(w) for _ in range(4)]
        assert results(first, *others) == ['miss', 'hit', 'hit', 'hit']
        assert all(a.raw == first.raw for a in others) and len(first.text.split(' ')) == 9
        assert ask(w, 'Something else').cache == 'miss'
        assert m.stats()['requests'] == 2


def test_completions():
    with Mock('--tokens', '9') as m, Weir(conf(m)) as w:
        def complete(**more):
            return client(w).completions.with_raw_response.create(model='chat', prompt='Once', temperature=0, **more)
        one, two = complete(), complete()
        assert (one.headers['x-weir-cache'], two.headers['x-weir-cache']) == ('miss', 'hit') and one.content == two.content
        streamed = complete(stream=True)
        assert streamed.headers['x-weir-cache'] == 'hit'
        assert ''.join(c.choices[0].text for c in streamed.parse()) == one.parse().choices[0].text
        assert m.stats()['requests'] == 1


def test_hits_need_no_backend():
    with Mock('--tokens', '9') as m, Weir(conf(m)) as w:
        first = ask(w)
        m.stop()
        again = ask(w)
        assert again.cache == 'hit' and again.raw == first.raw
        with rig.raises(openai.APIStatusError):
            ask(w, 'Something else')


def test_hits_leave_the_others_their_stories():
    """A thousand answers from memory, and what was asked before them can still be explained, as the last of them can."""
    question, ann = json.dumps({'model': 'chat', 'temperature': 0, 'messages': HELLO}), {'authorization': 'Bearer sk-ann-0123456789'}
    with Mock() as m, Weir(conf(m, **KEYS)) as w:
        connection = http.client.HTTPConnection(*w.url.removeprefix('http://').split(':'), timeout=20)

        def ask_once():
            connection.request('POST', '/v1/chat/completions', question, ann)
            answer = connection.getresponse()
            answer.read()
            return answer.headers
        first = ask_once()
        others = [ask_once() for _ in range(1100)]
        connection.close()
        assert first['x-weir-cache'] == 'miss' and {h['x-weir-cache'] for h in others} == {'hit'}
        for head in (first, others[-1]):
            story = subprocess.run([rig.WEIR, 'explain', head['x-request-id'], '--json', '--socket', next(w.folder.glob('weir/*.sock'))], capture_output=True, text=True, timeout=20)
            assert story.returncode == 0 and json.loads(story.stdout)['cache'] == head['x-weir-cache'], story.stdout + story.stderr


def test_all_workers_know_it():
    with Mock() as m, Weir(conf(m, workers=2)) as w, concurrent.futures.ThreadPoolExecutor(8) as pool:
        body = json.dumps({'model': 'chat', 'messages': HELLO, 'temperature': 0})
        assert post(w, body)[:2] == (200, 'miss')
        until('it is kept', lambda: post(w, body)[1] == 'hit')
        answers = list(pool.map(lambda _: post(w, body), range(60)))     # a connection each
        assert {a[:2] for a in answers} == {(200, 'hit')} and len({a[2] for a in answers}) == 1
        assert m.stats()['requests'] <= 2


def test_identical_calls_at_once_ask_once():
    """complaint 35: streamed and plain, on both workers, while the first is under way."""
    with Mock('--ttft', '400ms', '--itl', '5ms', '--tokens', '40') as m, Weir(conf(m, workers=2)) as w, concurrent.futures.ThreadPoolExecutor(30) as pool:
        client(w)
        answers = list(pool.map(lambda i: ask(w, stream=i % 2 == 0), range(30)))
        assert len({repr(a.meaning) for a in answers}) == 1 and len({a.id for a in answers}) == 1
        assert results(*answers).count('miss') == 1 and set(results(*answers)) <= {'miss', 'join', 'hit'}, results(*answers)
        assert m.stats()['requests'] == 1


def test_tenants_do_not_join():
    """hostile 61"""
    with Mock('--ttft', '400ms') as m, Weir(conf(m, workers=2, **KEYS)) as w, concurrent.futures.ThreadPoolExecutor(16) as pool:
        keys = ['sk-ann-0123456789', 'sk-eve-0123456789']
        for key in keys:
            client(w, key)
        answers = list(pool.map(lambda i: ask(w, key=keys[i % 2]), range(16)))
        assert [len({a.id for a in answers[i::2]}) for i in (0, 1)] == [1, 1] and answers[0].id != answers[1].id
        assert m.stats()['requests'] == 2


def test_who_came_first_may_leave():
    """hostile 61: the others have heard its beginning, and hear the end."""
    with Mock('--itl', '20ms', '--tokens', '60') as m, Weir(conf(m, workers=2)) as w, concurrent.futures.ThreadPoolExecutor(6) as pool:
        def stream():
            return client(w).chat.completions.create(model='chat', messages=HELLO, temperature=0, stream=True)
        first, here = stream(), threading.Barrier(7, timeout=20)
        assert next(iter(first)).choices

        def follow():
            pieces = []
            for chunk in stream():
                pieces += [c.delta.content for c in chunk.choices if c.delta.content]
                if len(pieces) == 1:
                    here.wait()
            return ''.join(pieces)
        followers = [pool.submit(follow) for _ in range(6)]
        here.wait()
        first.close()
        said = {f.result() for f in followers}
        assert len(said) == 1 and len(said.pop().split(' ')) == 60
        stats = m.idle()
        assert (stats['requests'], stats['cancelled'], stats['completed']) == (1, 0, 1), stats


# ---- streamed and plain ----

def test_either_way_says_the_same():
    """complaint 30, complaint 34: asked as a stream it is streamed, asked plainly it is plain, whichever way it was first asked."""
    with Mock('--tokens', '20') as m, Weir(conf(m)) as w:
        for number, (first, then) in enumerate(itertools.product((False, True), repeat=2), 1):
            one = ask(w, f'number {number}', stream=first)
            two = ask(w, f'number {number}', stream=then)
            three = ask(w, f'number {number}', stream=then)
            assert results(one, two, three) == ['miss', 'hit', 'hit'], (first, then)
            assert one.meaning == two.meaning == three.meaning and one.finish == 'stop' and len(one.text.split(' ')) == 20
            assert one.id == two.id == three.id
            assert not then or two.pieces > 1, 'a stream comes in pieces'
            assert m.stats()['requests'] == number


def test_usage_goes_to_whom_asked_for_it():
    with Mock('--tokens', '20') as m, Weir(conf(m)) as w:
        wanting = {'stream_options': {'include_usage': True}}
        for number, first in enumerate(({}, {'stream': True}, {'stream': True, **wanting}), 1):
            text = f'number {number}'
            ask(w, text, **first)
            plain, streamed, asked = ask(w, text), ask(w, text, stream=True), ask(w, text, stream=True, **wanting)
            assert results(plain, streamed, asked) == ['hit'] * 3
            assert streamed.usage is None and asked.usage == plain.usage, (streamed.usage, asked.usage, plain.usage)
            assert plain.usage['completion_tokens'] == 20 and plain.usage['total_tokens'] == plain.usage['prompt_tokens'] + 20
            assert m.stats()['requests'] == number


def test_the_sdk_accepts_a_stream_that_was_a_body():
    """The SDK's own accumulator checks the shape of every event."""
    with Mock('--tokens', '9') as m, Weir(conf(m)) as w:
        plain = ask(w)
        with client(w).chat.completions.stream(model='chat', messages=HELLO, temperature=0) as stream:
            events = list(stream)
            answer = stream.get_final_completion()
        assert answer.choices[0].message.content == plain.text and answer.choices[0].finish_reason == 'stop'
        assert len([e for e in events if e.type == 'content.delta' and e.delta]) > 1
        assert m.stats()['requests'] == 1


def test_a_streams_bytes_end_as_they_should():
    with Mock('--tokens', '9') as m, Weir(conf(m)) as w:
        body = json.dumps({'model': 'chat', 'messages': HELLO, 'temperature': 0, 'stream': True})
        (_, miss, live), (_, hit, kept) = post(w, body), post(w, body)
        assert (miss, hit) == ('miss', 'hit')
        assert kept.endswith(b'\n\ndata: [DONE]\n\n') and kept.count(b'[DONE]') == 1 and b'"usage":{' not in kept
        assert [json.loads(e[6:]) for e in kept.split(b'\n\n')[:-2]] == [json.loads(e[6:]) for e in live.split(b'\n\n')[:-2] if e.startswith(b'data:')]
        assert m.stats()['requests'] == 1


def test_tool_calls_and_several_choices():
    with Mock('--tokens', '12') as m, Weir(conf(m, when='always')) as w:
        for number, (first, then) in enumerate(itertools.product((False, True), repeat=2), 1):
            one, two = [ask(w, f'number {number}', stream=s, tools=WEATHER, tool_choice='required') for s in (first, then)]
            assert results(one, two) == ['miss', 'hit'] and one.meaning == two.meaning and one.finish == 'tool_calls', (one, two)
            (call_id, kind, name, arguments), = two.calls
            assert call_id and kind == 'function' and name == 'get_weather' and set(json.loads(arguments)) == {'place', 'days'}
        plain = client(w).chat.completions.create(model='chat', messages=HELLO, n=3)
        said = ['', '', '']
        for chunk in client(w).chat.completions.create(model='chat', messages=HELLO, n=3, stream=True):
            for choice in chunk.choices:
                said[choice.index] += choice.delta.content or ''
        assert said == [c.message.content for c in plain.choices] and len(set(said)) == 3
        assert m.stats()['requests'] == 5


RICH = {'content': 'It is 21 degrees – naïve 水.', 'reasoning_content': 'They want to know\nthe "weather".', 'refusal': None}
RICH_CALLS = [{'id': 'call_1', 'type': 'function', 'function': {'name': 'look', 'arguments': '{"at": "the \\"sky\\""}'}},
              {'id': 'call_2', 'type': 'function', 'function': {'name': 'wait', 'arguments': '{}'}}]
RICH_LOGPROBS = [{'token': t, 'logprob': -0.5, 'bytes': None, 'top_logprobs': []} for t in ('It', ' is')]
RICH_USAGE = {'prompt_tokens': 7, 'completion_tokens': 11, 'total_tokens': 18, 'prompt_tokens_details': {'cached_tokens': 3}}


def rich(body):
    """All that a model may say at once, whole or streamed, by what was asked."""
    front = {'id': 'rich-1', 'created': 1700000000, 'model': 'rich', 'system_fingerprint': 'fp_1'}
    if not body.get('stream'):
        message = {'role': 'assistant', **RICH, 'tool_calls': RICH_CALLS}
        choice = {'index': 0, 'message': message, 'logprobs': {'content': RICH_LOGPROBS, 'refusal': None}, 'finish_reason': 'tool_calls'}
        return 200, 'application/json', json.dumps({**front, 'object': 'chat.completion', 'choices': [choice], 'usage': RICH_USAGE}).encode()
    deltas = [{'role': 'assistant', 'content': ''}]
    deltas += [{name: text[i:i + 5]} for name, text in (('reasoning_content', RICH['reasoning_content']), ('content', RICH['content'])) for i in range(0, len(text), 5)]
    for i, call in enumerate(RICH_CALLS):
        deltas.append({'tool_calls': [{'index': i, **call, 'function': {**call['function'], 'arguments': ''}}]})
        deltas += [{'tool_calls': [{'index': i, 'function': {'arguments': c}}]} for c in call['function']['arguments']]
    choices = [{'index': 0, 'delta': delta, 'logprobs': None, 'finish_reason': None} for delta in deltas]
    choices[9]['logprobs'] = {'content': RICH_LOGPROBS, 'refusal': None}
    choices.append({'index': 0, 'delta': {}, 'logprobs': None, 'finish_reason': 'tool_calls'})
    events = [{**front, 'object': 'chat.completion.chunk', 'choices': [choice]} for choice in choices]
    if (body.get('stream_options') or {}).get('include_usage'):
        events.append({**front, 'object': 'chat.completion.chunk', 'choices': [], 'usage': RICH_USAGE})
    return 200, 'text/event-stream', ''.join(f'data: {json.dumps(e)}\n\n' for e in events).encode() + b'data: [DONE]\n\n'


def test_reasoning_calls_and_probabilities_come_through():
    """complaint 30: reasoning was lost on a hit."""
    with Scribe(rich) as s, Weir(conf(s)) as w:
        for number, (first, then) in enumerate(itertools.product((False, True), repeat=2), 1):
            one, two = [ask(w, f'number {number}', stream=x, **({'stream_options': {'include_usage': True}} if x else {})) for x in (first, then)]
            assert results(one, two) == ['miss', 'hit'] and one.meaning == two.meaning and one.usage == two.usage == RICH_USAGE, (one, two)
            assert (two.text, two.reasoning, two.id) == (RICH['content'], RICH['reasoning_content'], 'rich-1')
            assert two.calls == [(c['id'], c['type'], c['function']['name'], c['function']['arguments']) for c in RICH_CALLS]
            assert two.logprobs == ['It', ' is'] and two.finish == 'tool_calls'
            assert len(s.asked) == number


# ---- what is the same question ----

def test_spelling_does_not_count():
    """complaint 31, hostile 56: order, blanks, escapes, spelled numbers, null and defaults."""
    same = [
        '{"model":"chat","messages":[{"role":"user","content":"Hello 水"}],"temperature":0,"max_tokens":9,"seed":7}',
        '{"seed":7,"max_tokens":9,"temperature":0,"messages":[{"role":"user","content":"Hello 水"}],"model":"chat"}',
        ' {\n\t"messages" : [ { "content" : "Hello 水" , "role" : "user" } ] ,\r\n "model":"chat", "seed":7,"temperature":0, "max_tokens":9 } ',
        '{"model":"ch\\u0061t","messages":[{"rol\\u0065":"user","content":"\\u0048ello \\u6c34"}],"temperature":0,"max_tokens":9,"seed":7}',
        '{"model":"chat","messages":[{"role":"user","content":"Hello 水"}],"temperature":0.0,"max_tokens":9,"seed":7}',
        '{"model":"chat","messages":[{"role":"user","content":"Hello 水"}],"temperature":0e5,"max_tokens":9,"seed":7}',
        '{"model":"chat","messages":[{"role":"user","content":"Hello 水"}],"temperature":-0.0,"max_tokens":9,"seed":7}',
        '{"model":"chat","messages":[{"role":"user","content":"Hello 水"}],"temperature":0,"max_tokens":9,"seed":7,"stop":null,"top_p":null,"tools":null}',
        '{"model":"chat","messages":[{"role":"user","content":"Hello 水"}],"temperature":0,"max_tokens":9,"seed":7,"n":1,"stream":false}',
    ]
    with Mock() as m, Weir(conf(m)) as w:
        answers = [post(w, body.encode()) for body in same]
        assert [a[1] for a in answers] == ['miss'] + ['hit'] * (len(same) - 1), [(b, a[1]) for a, b in zip(answers, same)]
        assert len({a[2] for a in answers}) == 1 and m.stats()['requests'] == 1


def test_whatever_may_change_an_answer_counts():
    """hostile 56: each differs from the first, and from all others, in something that a backend could heed; fields nobody here knows among it."""
    base = {'model': 'chat', 'messages': HELLO, 'temperature': 0}
    others = [
        {'messages': [{'role': 'user', 'content': 'hello'}]}, {'messages': [{'role': 'user', 'content': 'Hello '}]},
        {'messages': [{'role': 'system', 'content': 'Hello'}]},
        {'messages': [{'role': 'user', 'content': 'caf\u00e9'}]}, {'messages': [{'role': 'user', 'content': 'cafe\u0301'}]},      # NFC and NFD are other tokens
        {'messages': HELLO * 2}, {'messages': [{'role': 'user', 'content': [{'type': 'text', 'text': 'Hello'}]}]}, {'messages': [{**HELLO[0], 'name': 'x'}]},
        {'max_tokens': 9}, {'max_completion_tokens': 9}, {'seed': 1}, {'seed': 2}, {'top_p': 0.5}, {'stop': ['x']}, {'stop': ['x', 'y']}, {'stop': ['y', 'x']},
        {'response_format': {'type': 'json_object'}}, {'logprobs': True}, {'n': 2}, {'presence_penalty': 1}, {'very_new_field': 1}, {'very_new_field': '1'},
        {'very_new_field': True}, {'very_new_field': {'deep': [1]}}, {'very_new_field': {'deep': [2]}}, {'seed': 9007199254740992}, {'seed': 9007199254740993},
    ]
    with Mock() as m, Weir(conf(m)) as w:
        bodies = [json.dumps({**base, **other}) for other in [{}, *others]]
        assert [post(w, body)[:2] for body in bodies] == [(200, 'miss')] * len(bodies)
        assert [post(w, body)[:2] for body in bodies] == [(200, 'hit')] * len(bodies)
        assert m.stats()['requests'] == len(bodies)


def test_who_asks_and_how_it_travels_does_not_count():
    with Mock() as m, Weir(conf(m)) as w:
        assert ask(w, user='ann', metadata={'a': '1'}).cache == 'miss'
        for more in ({}, {'user': 'bob'}, {'metadata': {'b': '2'}}, {'safety_identifier': 'x'}, {'prompt_cache_key': 'y'}, {'headers': {'x-weir-priority': 'low'}},
                     {'headers': {'x-weir-timeout-ms': '5000'}}, {'headers': {'x-request-id': 'mine'}}, {'stream': True, 'stream_options': {'include_usage': True}}):
            assert ask(w, **more).cache == 'hit', more
        assert m.stats()['requests'] == 1


def test_a_field_named_twice_is_no_key():
    """hostile 56: whom to believe depends on the reader."""
    with Mock() as m, Weir(conf(m)) as w:
        status, _, _ = post(w, '{"model":"chat","messages":[{"role":"user","content":"a"}],"temperature":0,"temperature":1}')
        assert status == 400 and m.stats()['requests'] == 0


def test_a_models_defaults_are_part_of_the_question():
    more = {'models': {'cold': {'use': ['b0/mock-1'], 'defaults': {'temperature': 0, 'max_tokens': 5}}, 'warm': {'use': ['b0/mock-1'], 'defaults': {'temperature': 0.7}}}}
    with Mock('--tokens', '9') as m, Weir(conf(m, **more)) as w:
        asked = [ask(w, model='cold', temperature=...), ask(w, model='cold', temperature=0, max_tokens=5), ask(w, model='cold', temperature=0, max_tokens=6)]
        assert results(*asked) == ['miss', 'hit', 'miss']
        warm = ask(w, model='warm', temperature=...)
        assert (warm.cache, warm.why) == ('bypass', 'temperature')
        assert ask(w, model='warm').cache == 'miss', 'another model, another answer'


# ---- what is not looked up ----

def test_chance_and_tools_are_not_kept():
    with Mock() as m, Weir(conf(m)) as w:
        cases = (({'temperature': 0.7}, 'temperature'), ({'temperature': ...}, 'temperature'), ({'temperature': None}, 'temperature'), ({'tools': WEATHER}, 'tools'))
        for number, (more, why) in enumerate(cases):
            for stream in (False, True):
                for _ in range(2):
                    answer = ask(w, f'number {number}', stream=stream, **more)
                    assert (answer.cache, answer.why) == ('bypass', why), more
        assert m.stats()['requests'] == 16
        assert (ask(w).why, ask(w).why) == (None, None), 'only a bypass says why'


def test_always_and_never():
    models = {'always': {'use': ['b0/mock-1'], 'cache': {'when': 'always'}}, 'never': {'use': ['b0/mock-1'], 'cache': {'when': 'never'}}}
    with Mock() as m, Weir(conf(m, models=models)) as w:
        assert results(*[ask(w, model='always', temperature=0.7, tools=WEATHER) for _ in range(2)]) == ['miss', 'hit']
        for answer in [ask(w, model='never') for _ in range(2)]:
            assert (answer.cache, answer.why) == ('bypass', 'never')
        assert m.stats()['requests'] == 3
    with Mock() as m, Weir(conf(m, cache={'exact': {'enabled': False}})) as w:
        assert 'hit' not in results(*[ask(w) for _ in range(3)]) and m.stats()['requests'] == 3


def test_no_cache_asks_and_keeps():
    with Mock() as m, Weir(conf(m)) as w:
        for number, stream in enumerate((False, True), 1):
            text = f'number {number}'
            old, other, new = ask(w, text, stream=stream), ask(w, text, stream=not stream), ask(w, text, stream=stream, wish='No-Cache')
            assert results(old, other, new) == ['miss', 'hit', 'miss'] and old.id == other.id != new.id
            assert ask(w, text, stream=stream).id == new.id, 'the newer answer has taken its place'
            assert ask(w, text, stream=not stream).id == new.id, 'in the other form, too'
            assert m.stats()['requests'] == 2 * number


def test_no_store_neither_looks_nor_keeps():
    """hostile 55"""
    with Mock() as m, Weir(conf(m)) as w:
        for answer in (ask(w, wish='no-store'), ask(w, wish='no-store', stream=True)):
            assert (answer.cache, answer.why) == ('bypass', 'no-store')
        first = ask(w)
        assert first.cache == 'miss', 'nothing was kept'
        assert ask(w, wish='no-store').id != first.id and ask(w).id == first.id
        assert m.stats()['requests'] == 4


def test_only_asks_nobody():
    with Mock() as m, Weir(conf(m)) as w:
        body = {'model': 'chat', 'messages': HELLO, 'temperature': 0}
        for stream in (False, True):
            status, headers, answer = w.post('/v1/chat/completions', {**body, 'stream': stream}, {'x-weir-cache': 'only'})
            assert status == 504 and headers['x-should-retry'] == 'false' and json.loads(answer)['error']['message'], (status, headers, answer)
        with rig.raises(openai.InternalServerError) as e:
            OpenAI(base_url=w.url + '/v1', api_key='x', max_retries=3).chat.completions.create(**body, extra_headers={'x-weir-cache': 'only'})
        assert e.error.status_code == 504 and m.stats()['requests'] == 0
        first = ask(w)
        assert (ask(w, wish='only').raw, ask(w, wish='only', stream=True).meaning) == (first.raw, first.meaning)
        assert w.post('/v1/chat/completions', {**body, 'temperature': 1}, {'x-weir-cache': 'only'})[0] == 504
        assert m.stats()['requests'] == 1
        status, _, answer = w.post('/v1/chat/completions', body, {'x-weir-cache': 'sometimes'})
        assert status == 400 and b'no-store' in answer


# ---- whose it is ----

def test_tenants_never_share():
    """hostile 48, hostile 51, hostile 53: neither answers nor the time that a hit takes; keys of one tenant share."""
    with Mock() as m, Weir(conf(m, **KEYS)) as w:
        ann, bob, eve, sam, tom = asked = [ask(w, key=f'sk-{name}-0123456789') for name in ('ann', 'bob', 'eve', 'sam', 'tom')]
        assert results(*asked) == ['miss', 'hit', 'miss', 'miss', 'miss'] and m.stats()['requests'] == 4
        assert ann.raw == bob.raw and len({a.id for a in asked}) == 4
        again = [ask(w, key=f'sk-{name}-0123456789', stream=True) for name in ('tom', 'sam', 'eve', 'bob', 'ann')]
        assert [a.id for a in again] == [a.id for a in reversed(asked)] and m.stats()['requests'] == 4


def test_no_name_gets_into_another_tenant():
    """hostile 48, complaint 32: whatever the client calls itself, its key decides."""
    with Mock() as m, Weir(conf(m, **KEYS)) as w:
        ask(w, key='sk-ann-0123456789', text='secret')
        forged = [{'headers': {'x-weir-tenant': 'acme'}}, {'headers': {'x-tenant': 'acme'}}, {'user': 'acme'}, {'extra_body': {'tenant': 'acme'}},
                  {'extra_body': {'cache_key': 'acme', 'cache': {'namespace': 'acme'}}}, {'prompt_cache_key': 'acme'}, {'tags': 'acme'}]
        seen = [ask(w, key='sk-eve-0123456789', text='secret', **more).cache for more in forged]
        assert seen[0] == 'miss' and m.stats()['requests'] == 1 + seen.count('miss')
        body = {'model': 'chat', 'messages': [{'role': 'user', 'content': 'secret'}], 'temperature': 0}
        status, _, _ = w.post('/v1/chat/completions', body, {'authorization': 'Bearer sk-tom-0123456789', 'x-weir-cache': 'only'})
        assert status == 504, 'nor does anybody learn that there is an answer'


# ---- what is never kept ----

SPOILED = ['status=400', 'status=429', 'status=500', 'html', 'garbage', 'cut', 'cut=first', 'rst', 'rst=first', 'badchunk', 'errorevent', 'errorevent=first',
           'stall', 'hang']
SPOILED_BODIES = ['wronglength', 'wronglength=short']   # a stream is whole when it says so
IMPATIENT = {'timeouts': {'first_token': '500ms', 'between_tokens': '500ms'}}
ONCE = {'retries': {'attempts': 1}}


def spoiled(fault, stream):
    """hostile 55, complaint 34: the next one who asks gets an answer of his own, and that is kept."""
    with Mock('--tokens', '8', '--fault', fault) as m, Weir(conf(m, **ONCE, **(IMPATIENT if fault in ('stall', 'hang') else {}))) as w:
        with rig.raises(openai.OpenAIError):
            ask(w, stream=stream)
        m.script(faults=[])
        before = m.stats()['requests']
        body = {'model': 'chat', 'messages': HELLO, 'temperature': 0, 'stream': stream}
        _, headers, answer = until(f'weir asks again after {fault}', lambda: (a := w.post('/v1/chat/completions', body))[0] == 200 and a)
        assert headers['x-weir-cache'] == 'miss' and m.stats()['requests'] == before + 1, fault
        assert (b'[DONE]' if stream else b'"finish_reason":"stop"') in answer
        again = ask(w, stream=not stream)
        assert again.cache == 'hit' and len(again.text.split(' ')) == 8, fault


def test_spoiled_bodies_are_never_kept():
    for fault in SPOILED + SPOILED_BODIES:
        spoiled(fault, stream=False)


def test_spoiled_streams_are_never_kept():
    for fault in SPOILED:
        spoiled(fault, stream=True)


def test_a_stream_that_its_client_left_is_not_kept():
    """hostile 55"""
    with Mock('--tokens', '50', '--itl', '10ms') as m, Weir(conf(m)) as w:
        stream = client(w).chat.completions.create(model='chat', messages=HELLO, temperature=0, stream=True)
        assert next(iter(stream)).choices
        stream.close()
        m.idle()
        m.script(itl='0ms')
        again = ask(w)
        assert again.cache == 'miss' and len(again.text.split(' ')) == 50
        assert ask(w, stream=True).meaning == again.meaning and m.stats()['requests'] == 2


def test_who_is_failed_over_gets_what_is_kept():
    with Mock('--fault', 'status=500') as bad, Mock('--tokens', '8') as good, Weir(conf(bad, good)) as w:
        one, two = ask(w), ask(w)
        assert results(one, two) == ['miss', 'hit'] and one.raw == two.raw and good.stats()['requests'] == 1


def test_a_body_longer_than_the_buffer_is_kept():
    with Mock('--tokens', '4000') as m, Weir(conf(m, stream={'buffer': '4KiB'})) as w:
        one, two = ask(w), ask(w)
        assert results(one, two) == ['miss', 'hit'] and one.raw == two.raw and len(two.text.split(' ')) == 4000
        assert ask(w, stream=True).meaning == one.meaning and m.stats()['requests'] == 1


def test_an_answer_of_megabytes_is_passed_on_and_not_kept():
    with Mock('--tokens', '8', '--fault', 'bigline') as m, Weir(conf(m)) as w:
        for stream in (False, True, False, True):
            answer = ask(w, stream=stream)
            assert answer.cache != 'hit' and len(answer.text) > 10 << 20
        assert m.stats()['requests'] == 4
        m.script(faults=[])
        assert results(ask(w), ask(w)) == ['miss', 'hit'], 'its size was no property of the question'


# ---- for how long, and until who says so ----

def test_answers_have_their_time():
    """chat's is over after a second; its neighbour's, asked as often, is not."""
    with Mock() as m, Weir(conf(m, cache={'exact': {'ttl': '1s'}}, models={'long': {'use': ['b0/mock-1'], 'cache': {'ttl': '1h'}}})) as w:
        first, long = ask(w), ask(w, model='long')
        assert results(first, long) == ['miss', 'miss']
        seen = []

        def asked_again():
            seen.append(ask(w))
            assert ask(w, model='long').raw == long.raw
            return seen[-1].cache == 'miss'
        until('its time is over', asked_again, 20, 0.05)
        assert all(a.raw == first.raw for a in seen[:-1]) and seen[-1].id != first.id
        assert m.stats()['requests'] == 3


def test_a_use_does_not_prolong_it():
    with Mock() as m, Weir(conf(m, cache={'exact': {'ttl': '500ms'}})) as w:
        ids = {ask(w).id}
        until('it was asked anew three times', lambda: ids.add(ask(w).id) or len(ids) == 4, 20, 0.01)
        assert m.stats()['requests'] == 4


def test_dropping_by_tag_model_and_tenant():
    models = {name: {'use': ['b0/mock-1']} for name in ('chat-big', 'draw')}
    with Mock() as m, Weir(conf(m, models=models, **KEYS)) as w:
        def all_of_them():
            return [ask(w, 'one', 'sk-ann-0123456789', tags='red,blue'), ask(w, 'two', 'sk-ann-0123456789', tags='blue'), ask(w, 'three', 'sk-ann-0123456789'),
                    ask(w, 'four', 'sk-ann-0123456789', model='chat-big'), ask(w, 'five', 'sk-eve-0123456789', model='draw', tags='redder')]
        assert results(*all_of_them()) == ['miss'] * 5 and stats(w)['layers']['exact']['entries'] == 5

        def dropping(query, count, *numbers):
            assert drop(w, query) == count, query
            assert [i for i, cache in enumerate(results(*all_of_them()), 1) if cache == 'miss'] == list(numbers), query
        dropping('tag=red', 1, 1)
        dropping('tag=red*', 2, 1, 5)
        dropping('tag=blue', 2, 1, 2)
        dropping('model=chat', 3, 1, 2, 3)
        dropping('model=chat*', 4, 1, 2, 3, 4)
        dropping('tenant=other', 1, 5)
        dropping('model=chat*&tag=blue', 2, 1, 2)
        dropping('match=model:chat*,tag:red', 1, 1)
        dropping('tag=green', 0)
        dropping('match=*', 5, 1, 2, 3, 4, 5)


def test_dropping_is_for_operators():
    ann = {'authorization': 'Bearer sk-ann-0123456789'}
    with Mock() as m, Weir(conf(m, **KEYS)) as w:
        ask(w, key='sk-ann-0123456789', tags='red')
        assert (drop(w, 'tag=red', ann), drop(w, 'match=*', {}), w.get('/api/v1/cache/stats', headers=ann)[0], w.get('/api/v1/cache/stats')[0]) == (403, 401, 403, 401)
        assert (drop(w, ''), drop(w, 'tags=red'), drop(w, 'tag='), drop(w, 'match=')) == (400, 400, 400, 400)
        assert ask(w, key='sk-ann-0123456789').cache == 'hit' and m.stats()['requests'] == 1


def test_a_reload_keeps_them():
    with Mock() as m, Weir(conf(m)) as w:
        first = ask(w)
        file = w.conf_folder / 'weir.yaml'
        said = json.loads(file.read_text())
        for entries in (50000, 40000):
            file.write_text(json.dumps({**said, 'cache': {'exact': {'entries': entries}}}))
            w.child.send_signal(rig.signal.SIGHUP)
            until('it has reloaded', lambda: stats(w, {})['layers']['exact']['entries_max'] == entries)
            assert ask(w).raw == first.raw
        assert m.stats()['requests'] == 1


# ---- what it saves ----

def test_statistics():
    with Mock('--tokens', '20') as m, Weir(conf(m, models={'chat': {'price': {'in': 0, 'out': 1000}}}, **KEYS)) as w:
        ann = {'key': 'sk-ann-0123456789'}
        for more in ({}, {}, {'stream': True}, {'temperature': 1}, {'tools': WEATHER}, {'tools': WEATHER}, {'wish': 'no-store'}, {'text': 'B'}):
            ask(w, **ann, **more)
        s = stats(w)
        assert (s['hits'], s['misses']) == (2, 2), s
        assert {name: n for name, n in s['bypasses'].items() if n} == {'temperature': 1, 'tools': 2, 'no-store': 1}, s
        assert s['saved']['tokens'] == 42 and abs(s['saved']['usd'] - 0.04) < 1e-6 and s['saved']['seconds'] >= 0, s
        exact = s['layers']['exact']
        assert exact['entries'] >= 2 and 0 < exact['bytes'] < exact['bytes_max'] and exact['evictions'] == 0 and exact['oldest_seconds'] >= 0, exact
        assert m.stats()['requests'] == 6


def test_hits_are_requests_but_no_tokens():
    """rpm counts them; of tpm and of a budget they use nothing."""
    limited = {'keys': {'ann': {'key': 'sk-ann-0123456789', 'rpm': 6, 'tpm': 100, 'budget': {'usd': 0.08, 'per': '1d'}}, 'ops': KEYS['keys']['ops']},
               'models': {'chat': {'price': {'in': 0, 'out': 1000}}}}
    with Mock('--tokens', '40') as m, Weir(conf(m, **limited)) as w:
        def asked(text):
            return ask(w, text, 'sk-ann-0123456789', max_tokens=40)
        assert results(*[asked('one') for _ in range(4)]) == ['miss', 'hit', 'hit', 'hit']
        assert asked('two').cache == 'miss', 'there are tokens and money for a second answer'
        assert asked('one').cache == 'hit'
        with rig.raises(openai.RateLimitError) as e:
            asked('one')
        assert 'request' in str(e.error) and m.stats()['requests'] == 2
        assert w.number('weir_tokens_total{type="completion"}', OPS) == 80


def test_many_answers_stay_within_their_memory():
    """hostile 54: what comes in pushes out what nobody asks for, and never more than there is room for."""
    with Mock('--tokens', '100') as m, Weir(conf(m, cache={'exact': {'memory': '64KiB'}})) as w:
        kept = ask(w, 'asked again and again')
        for number in range(150):
            post(w, json.dumps({'model': 'chat', 'messages': [{'role': 'user', 'content': f'number {number}'}], 'temperature': 0}))
            if number % 5 == 0:
                assert ask(w, 'asked again and again').raw == kept.raw, number
        exact = stats(w, {})['layers']['exact']
        assert exact['evictions'] > 50 and exact['bytes'] <= 65536 and exact['entries'] > 10, exact


def test_one_tenants_flood_pushes_out_nobody_elses():
    """hostile 54"""
    with Mock('--tokens', '100') as m, Weir(conf(m, cache={'exact': {'memory': '64KiB'}}, **KEYS)) as w:
        texts = [f'of ann, number {i}' for i in range(8)]
        for text in texts:
            ask(w, text, 'sk-ann-0123456789')
        for number in range(200):
            post(w, json.dumps({'model': 'chat', 'messages': [{'role': 'user', 'content': f'flood {number}'}], 'temperature': 0}),
                 {'authorization': 'Bearer sk-eve-0123456789'})
        assert results(*[ask(w, text, 'sk-ann-0123456789') for text in texts]) == ['hit'] * 8


# ---- embeddings ----

def vector(text, body):
    """Of two numbers that the text decides, spelled as nobody else would."""
    sum32 = zlib.crc32(json.dumps([text, body.get('dimensions')]).encode()) % 1000
    if body.get('encoding_format') == 'base64':
        return '"' + base64.b64encode(array.array('f', [0.5, sum32]).tobytes()).decode() + '"'
    return f'[5.0e-1, {sum32}.000]'


def embed(body, spoil=lambda data: data):
    """The last input's embedding comes first; a client goes by index. spoil: does something to the items."""
    inputs = body['input'] if isinstance(body['input'], list) else [body['input']]
    items = spoil([{'index': i, 'of': text} for i, text in enumerate(inputs)])
    data = ','.join(f'{{"object":"embedding","embedding":{vector(item["of"], body)}{item.get("more", "")}'
                    + (f',"index":{item["index"]}}}' if 'index' in item else '}') for item in reversed(items))
    usage = f'{{"prompt_tokens":{len(inputs)},"total_tokens":{len(inputs)}}}'
    return 200, 'application/json', f'{{"object":"list","model":"mock-1","data":[{data}],"usage":{usage}}}'.encode()


def embeddings(w, inputs, **more):
    """x-weir-cache, and the answer, whose vectors are those of the inputs by their index."""
    body = {'model': 'chat', 'input': inputs, 'encoding_format': 'float', **more}
    raw = client(w).embeddings.with_raw_response.create(**body)
    answer = raw.parse()
    items = sorted(answer.data, key=lambda d: d.index)
    assert [d.index for d in items] == list(range(len(inputs)))
    for text, item in zip(inputs, items):
        expected = json.loads(vector(text, body))
        assert item.embedding == expected, (text, item.embedding, expected)
    assert answer.usage.total_tokens >= 0 and answer.object == 'list' and answer.model
    return raw.headers['x-weir-cache'], raw.content


def test_what_is_more_than_a_vector_is_told_as_it_came():
    """and so asked for each time: an answer from memory has vectors alone"""
    with Scribe(lambda body: embed(body, lambda data: [item | {'more': ',"sparse_embedding":{"7":0.5}'} for item in data])) as s, Weir(conf(s)) as w:
        for _ in range(2):
            cache, raw = embeddings(w, ['a', 'b'])
            assert cache == 'miss' and raw.count(b'"sparse_embedding":{"7":0.5}') == 2
        assert len(s.asked) == 2


def test_embeddings_are_kept_by_the_item():
    """Of a batch of which two of three are known the backend is asked for one."""
    with Scribe(embed) as s, Weir(conf(s)) as w:
        def asked():
            said, s.asked[:] = [b['input'] for b in s.asked], []
            return said
        assert embeddings(w, ['a', 'b'])[0] == 'miss' and asked() == [['a', 'b']]
        cache, raw = embeddings(w, ['b', 'c', 'a'])
        assert cache == 'miss' and asked() == [['c']]
        assert raw.count(b'5.0e-1') == 3, 'no number is spelled anew'
        assert [embeddings(w, x)[0] for x in (['c', 'a', 'b'], ['a'], ['b', 'b', 'b'])] == ['hit'] * 3 and asked() == []
        assert embeddings(w, ['é\n"', 'a', 'd', 'b', 'ü'])[0] == 'miss' and asked() == [['é\n"', 'd', 'ü']]
        assert embeddings(w, [[1, 2], [3]])[0] == 'miss' and asked() == [[[1, 2], [3]]]
        assert embeddings(w, [[3], [2, 1], [1, 2]])[0] == 'miss' and asked() == [[[2, 1]]]


def test_other_embeddings_of_the_same_text():
    with Scribe(embed) as s, Weir(conf(s, models={'other': {'use': ['b0/mock-2']}})) as w:
        texts = ['a', 'b']
        for more in ({}, {'dimensions': 2}, {'dimensions': 3}, {'encoding_format': 'base64'}, {'model': 'other'}):
            before = len(s.asked)
            assert [embeddings(w, texts, **more)[0] for _ in range(2)] == ['miss', 'hit'], more
            assert [b['input'] for b in s.asked[before:]] == [texts]
        before = len(s.asked)
        assert embeddings(w, ['b', 'c'], dimensions=3, user='someone')[0] == 'miss'
        body, = s.asked[before:]
        assert body['input'] == ['c'] and body['dimensions'] == 3 and body['user'] == 'someone' and body['model'] == 'mock-1', 'all else is asked as it was'


def test_a_text_alone():
    with Mock() as m, Weir(conf(m)) as w:
        one, two = [client(w).embeddings.with_raw_response.create(model='chat', input='river') for _ in range(2)]
        assert (one.headers['x-weir-cache'], two.headers['x-weir-cache']) == ('miss', 'hit') and m.stats()['requests'] == 1
        assert one.parse().data[0].embedding == two.parse().data[0].embedding


def test_a_large_batch_of_which_half_is_known():
    texts = [f'text {i}' for i in range(400)]
    with Mock('--embedding-dim', '256') as m, Weir(conf(m)) as w:
        def vectors(inputs):
            answer = client(w).embeddings.create(model='chat', input=inputs)
            assert [d.index for d in answer.data] == list(range(len(inputs)))
            return [d.embedding for d in answer.data]
        half, whole = vectors(texts[::2]), vectors(texts)
        assert whole[::2] == half and len({tuple(v[:4]) for v in whole}) == 400
        assert vectors(texts[::-1]) == whole[::-1] and m.stats()['requests'] == 2


def test_spoiled_embeddings_are_never_kept():
    """hostile 55: of an answer that does not say which vector is whose none is kept, and none is told in a batch of which others were known."""
    spoils = {
        'lacks one': lambda data: data[:-1],
        'has one twice': lambda data: [*data[:-1], {**data[-1], 'index': 0}],
        'has one too many': lambda data: [*data, {'index': len(data), 'of': 'nobody'}],
        'one of another index': lambda data: [*data[:-1], {**data[-1], 'index': 99}],
        'one of none': lambda data: [*data[:-1], {'of': data[-1]['of']}]}
    answers = {name: (lambda body, spoil=spoil: embed(body, spoil)) for name, spoil in spoils.items()}
    answers['is an error'] = lambda body: (200, 'application/json', b'{"error":{"message":"no","type":"x","code":null}}')
    answers['is an error of 500'] = lambda body: (500, 'application/json', b'{"error":{"message":"no","type":"x","code":null}}')
    answers['is no JSON'] = lambda body: (200, 'application/json', embed(body)[2][:-1])
    for name, answer in answers.items():
        with Scribe(embed) as s, Weir(conf(s, **ONCE)) as w:
            embeddings(w, ['known'])
            s.answer = answer
            status, _, body = w.post('/v1/embeddings', {'model': 'chat', 'input': ['x', 'known', 'y'], 'encoding_format': 'float'})
            assert status >= 500 and b'error' in body, (name, status, body)
            s.answer = embed
            s.asked.clear()
            until('weir asks it again', lambda: w.post('/v1/embeddings', {'model': 'chat', 'input': ['x', 'known', 'y'], 'encoding_format': 'float'})[0] == 200)
            assert {tuple(b['input']) for b in s.asked} == {('x', 'y')}, (name, s.asked)
            assert embeddings(w, ['y', 'known', 'x'])[0] == 'hit'


def test_a_batch_of_too_many_is_passed_on():
    with Mock('--embedding-dim', '8') as m, Weir(conf(m)) as w:
        for _ in range(2):
            raw = client(w).embeddings.with_raw_response.create(model='chat', input=[f'text {i}' for i in range(2100)])
            assert (raw.headers['x-weir-cache'], raw.headers['x-weir-cache-why']) == ('bypass', 'too-large') and len(raw.parse().data) == 2100
        assert m.stats()['requests'] == 2


def test_embeddings_of_tenants():
    """hostile 48, hostile 51"""
    with Scribe(embed) as s, Weir(conf(s, **KEYS)) as w:
        for name in ('ann', 'bob', 'eve'):
            client(w, f'sk-{name}-0123456789').embeddings.create(model='chat', input=['a', 'b'])
        assert len(s.asked) == 2


rig.run(globals())

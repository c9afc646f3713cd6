"""probes.py: every row of table.py against weir: whole, byte by byte, cut at seeded points, behind a right request and before one; each with its twin."""
import datetime
import email.utils
import json
import sys
import threading
from dataclasses import replace

import wire
from house import HERE
from table import ROWS, WHOLE

SEEDS = 2
FOLLOW = b'GET /v1/models/follows HTTP/1.1\r\nHost: weir\r\n\r\n'      # its answer says the name, so it can only be its own


def docs_rows(path):
    """The rows of a .def file: (line, macro, arguments)."""
    sys.path.insert(0, str(HERE.parents[1] / 'tools'))
    import docs
    return docs.rows(path)


def error_codes():
    """{status: codes} of what weir may answer by itself."""
    codes = {}
    for _, _, (_, status, _, code, *_) in docs_rows('src/base/errors.def'):
        codes.setdefault(int(status), set()).add(code)
    return codes


class Judge:
    """What every answer must have, whatever the question was."""

    def __init__(self):
        self.ids, self.codes, self.lock = set(), error_codes(), threading.Lock()

    def answer(self, a, is_head):
        if a.status < 200:
            assert a.headers == {}, f'a 100 with headers: {a.headers}'
            return
        assert wire.DATE.fullmatch(a.headers['date']), a.headers['date']
        age = datetime.datetime.now(datetime.timezone.utc) - email.utils.parsedate_to_datetime(a.headers['date'])
        assert abs(age.total_seconds()) < 60, a.headers['date']
        with self.lock:
            id = a.headers['x-request-id']
            assert id not in self.ids, f'{id} was another request\'s'
            self.ids.add(id)
        if a.status in (204, 304) or is_head:
            assert a.body == b''
        elif a.status >= 400:
            self.error(a, id)
        elif a.headers['content-type'] == 'application/json':
            words = json.loads(a.body)['choices'][0]['message']['content'].split(' ')
            assert len(words) == 3 and all(word.startswith(id + ':') for word in words), f'the answer to {id} is {words}'
        else:
            assert a.body == b'ok\n', a.body

    def error(self, a, id):
        assert a.headers['content-type'] == 'application/json', a.headers
        body = json.loads(a.body)
        assert set(body) == {'error'} and set(body['error']) == {'message', 'type', 'param', 'code', 'request_id'}, body
        assert body['error']['request_id'] == id and body['error']['message'], body
        assert body['error']['code'] in self.codes[a.status], body


def is_chat(a):
    return a.status == 200 and a.headers.get('content-type') == 'application/json'


def talk(line, pieces, ending, finals):
    """Writes the pieces, each after an answer to the one before (pieces: (bytes already cut, answers that must have come)); reads to the end, or so many finals."""
    for parts, answers in pieces:
        while len(line.answers) < answers and line.read_one():
            pass
        line.send(parts)
    if ending == 'closed':
        line.read_to_end()
    while ending == 'open' and sum(a.status >= 200 for a in line.answers) < finals:
        assert line.read_one(), f'closed after {line.statuses()}'


def follow(line, judge):
    """The connection serves on: the next request gets its own answer, so nothing stood between."""
    line.send([FOLLOW])
    assert line.read_one() and line.answers[-1].status == 404 and b'\\"follows\\"' in line.answers[-1].body, 'the next request got another answer'
    judge.answer(line.answers[-1], is_head=False)
    assert line.rest == b'', f'more came: {line.rest[:200]!r}'


def exchange(port, judge, row, name, cut, before='', behind=''):
    """One connection. Returns how many calls of the backend it was worth; raises AssertionError when an answer is not as the row says."""
    *want, ending = row.gets.removeprefix('late ').split(' ')
    first = 1 if before else 0              # of the row's own answers
    want = [200] * first + [int(s) for s in want] + [200] * (bool(behind) and ending == 'open')
    sent = [before + row.send[0], *row.send[1:]]
    sent[-1] += behind
    pieces = [(cut(text.encode('latin-1'), f'{name} {i}'), i + first if i else 0) for i, text in enumerate(sent)]
    line = wire.Line(port, heads={first} if row.send[0].startswith('HEAD ') else ())
    try:
        talk(line, pieces, ending, sum(s >= 200 for s in want))
        assert [s for s in line.statuses() if s != 100 or not row.interim] == want and line.statuses().count(100) <= 1, f'got {line.statuses()}'
        answers = [a for a in line.answers if a.status >= 200]
        for i, a in enumerate(answers):
            judge.answer(a, is_head=i in line.heads)
            is_last = ending == 'closed' and i == len(answers) - 1
            assert (a.headers.get('connection') == 'close') == is_last, f'answer {i} says connection: {a.headers.get("connection")}'
        for header, value in row.headers.items():
            assert answers[first].headers.get(header) == value, f'{header}: {answers[first].headers.get(header)}'
        if ending == 'open':
            follow(line, judge)
        return sum(is_chat(a) for a in answers)
    finally:
        line.close()


def twin_of(row):
    """The row of the twin."""
    old, new, *gets = row.twin
    assert old in row.send[0], f'{row.id}: the twin replaces what is not there'
    return replace(row, send=[row.send[0].replace(old, new, 1), *row.send[1:]], gets=gets[0] if gets else '200 open', twin=None, headers={}, interim=False)


def ways(row):
    """(name, how to cut, what stands before, what stands behind)"""
    yield 'whole', wire.whole, '', ''
    yield 'byte by byte', wire.bytewise, '', ''
    for seed in range(SEEDS):
        yield f'cut, seed {seed}', wire.cut, '', ''
    yield 'behind a right one', wire.whole, WHOLE, ''
    yield 'before a right one', wire.whole, '', WHOLE


def cases():
    """(sentence, row) of every row and of every twin."""
    for row in ROWS:
        yield row.id, row
        if row.twin:
            yield f'{row.id}, its twin', twin_of(row)


def is_late(row):
    return row.gets.startswith('late')


def run_case(house, judge, name, row):
    """Every way. Returns what was wrong, as sentences."""
    wrong = []
    for way, cut, before, behind in ways(row):
        calls = house.calls()
        try:
            worth = exchange(house.port, judge, row, f'{name} {way}', cut, before, behind)
            assert house.calls() - calls == worth, f'{house.calls() - calls} calls reached the backend, not {worth}'
        except (AssertionError, OSError, KeyError, ValueError) as error:
            wrong.append(f'{way}: {error!r}; asked {row.gets}')
    return wrong


def run_late(port, judge, name, row):
    """Only a time-out ends it: once, whole."""
    try:
        exchange(port, judge, row, name, wire.whole)
        return []
    except (AssertionError, OSError, KeyError, ValueError) as error:
        return [f'{error!r}; asked {row.gets}']

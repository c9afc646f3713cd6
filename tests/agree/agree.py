#!/usr/bin/env python3
"""agree.py READER [--node NODE] [--count N] [--seed N] [--show MUTATION]: weir, h11 and Node's http read the same generated requests and answers; where they disagree, exceptions.toml
has a row that says why, or it is a failure. A row that no case uses is a failure too. READER is the program that reads as weir does (reads.c).

What is compared: which messages are whole, each one's body (length and hash), and whether the next one is refused. A disagreement is
  laxer     weir takes what the other refuses
  stricter  weir refuses what the other takes
  waits     one of them wants more bytes where the other has made up its mind
  differs   both took a message and have other bodies: never excused
"""
import argparse
import collections
import os
import struct
import subprocess
import sys
import tomllib

import h11

import generate

HERE = os.path.dirname(os.path.abspath(__file__))
PEERS = ('h11', 'node')


def fnv(bytes_, value=2166136261):
    for b in bytes_:
        value = ((value ^ b) * 16777619) & 0xffffffff
    return value


def message_h11(connection):
    """One message: its body, or the state that ends the reading."""
    body = bytearray()
    begun = False
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            return None, 'cut' if begun or connection.trailing_data[0].lstrip(b'\r\n') else 'end'
        if isinstance(event, h11.Request):
            begun = True
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return body, None
        else:
            return None, 'end'


def read_h11(wire):
    connection = h11.Connection(our_role=h11.SERVER, max_incomplete_event_size=65536)
    messages, state = [], None
    try:
        connection.receive_data(wire)
        while state is None:
            body, state = message_h11(connection)
            if body is None:
                break
            messages.append('%d:%x' % (len(body), fnv(body)))
            connection.send(h11.Response(status_code=404, headers=[]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is h11.MUST_CLOSE:
                state = 'closed'
            else:
                connection.start_next_cycle()
    except h11.RemoteProtocolError:
        state = 'refuse'
    return ' '.join([state] + messages)


def answer_h11(wire):
    connection = h11.Connection(our_role=h11.CLIENT, max_incomplete_event_size=65536)
    connection.send(h11.Request(method='GET', target='/', headers=[('host', 'w')]))
    connection.send(h11.EndOfMessage())
    body, ended = bytearray(), False
    try:
        if wire:  # nothing would mean the end
            connection.receive_data(wire)
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA and not ended:
                connection.receive_data(b'')
                ended = True
            elif isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                return 'refuse'  # it would be another protocol's from here
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return 'closed %d:%x' % (len(body), fnv(body))
            elif not isinstance(event, (h11.InformationalResponse, h11.Response)):
                return 'cut'
    except h11.RemoteProtocolError:
        return 'cut' if ended else 'refuse'


def read_all(command, wires):
    packed = b''.join(struct.pack('<I', len(w)) + w for w in wires)
    answer = subprocess.run(command, input=packed, stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()
    if len(answer) != len(wires):
        sys.exit(f'{command[0]}: {len(answer)} answers to {len(wires)} cases')
    return answer


def compare(ours, theirs):
    """None, or the kind of disagreement."""
    our_state, *a = ours.split()
    their_state, *b = theirs.split()
    for x, y in zip(a, b):
        if x != y:
            return 'differs'
    if len(a) > len(b):
        return {'refuse': 'laxer', 'closed': None}.get(their_state, 'waits')
    if len(a) < len(b):
        return {'refuse': 'stricter', 'closed': None}.get(our_state, 'waits')
    if our_state == their_state or 'closed' in (our_state, their_state):
        return None
    if 'refuse' not in (our_state, their_state):
        return 'waits'
    if {our_state, their_state} == {'refuse', 'cut'} or {our_state, their_state} == {'refuse', 'end'}:
        return 'waits' if their_state == 'refuse' else 'stricter'
    return 'waits'


class Exceptions:
    def __init__(self, path):
        with open(path, 'rb') as f:
            self.rows = tomllib.load(f)['exception']
        for row in self.rows:
            row['used'], row['seen'] = 0, set()
            row['mutations'] = set(row['mutations'])
            row['of'] = row.get('of', ['requests'])
            if not row['reason'] or row['kind'] not in ('laxer', 'stricter', 'waits') or row['peer'] not in PEERS:
                sys.exit(f'exceptions.toml: a row without sense: {row}')

    def excuse(self, what, peer, kind, names):
        for row in self.rows:
            if what in row['of'] and row['peer'] == peer and row['kind'] == kind and row['mutations'] & set(names):
                row['used'] += 1
                row['seen'] |= {(what, name) for name in row['mutations'] & set(names)}
                return True
        return False

    def unused(self):
        for row in self.rows:
            for what, name in sorted({(w, m) for w in row['of'] for m in row['mutations']} - row['seen']):
                yield f"exceptions.toml: {what} {row['peer']} {row['kind']} {name}: no case needs it"


def compare_all(what, o, exceptions):
    """All cases of one kind; returns how many classes of them are wrong."""
    cases = generate.cases(o.seed, o.count, {'requests': generate.Request, 'answers': generate.Answer}[what])
    wires = [wire for _, wire in cases]
    ours = read_all([o.reader, what], wires)
    in_python = read_h11 if what == 'requests' else answer_h11
    theirs = {'h11': [in_python(w) for w in wires], 'node': read_all([o.node, os.path.join(HERE, 'reads.mjs'), what], wires)}
    found = collections.defaultdict(list)
    agreed = 0
    for i, (names, wire) in enumerate(cases):
        for peer in PEERS:
            kind = compare(ours[i], theirs[peer][i])
            agreed += kind is None
            told = f'{wire[:300]!r}\n    weir: {ours[i]}\n    {peer}: {theirs[peer][i]}'
            if kind is not None and (kind == 'differs' or not exceptions.excuse(what, peer, kind, names)):
                found[peer, kind, tuple(names)].append('  ' + told)
            if o.show in names:
                print(f'{peer} {kind} {names} {told}')
    for (peer, kind, names), examples in sorted(found.items(), key=lambda item: -len(item[1])):
        print(f'{what}: weir and {peer}: {kind}: {" ".join(names)}: {len(examples)} cases, such as\n' + examples[0])
    print(f'{what}: {len(cases)}, {sum(l.startswith("refuse") for l in ours)} of them refused, {sum(l.startswith("cut") for l in ours)} cut; '
          f'{agreed} of {2 * len(cases)} comparisons agree')
    return len(found)


def main():
    p = argparse.ArgumentParser()
    p.add_argument('reader')
    p.add_argument('--node', default='node')
    p.add_argument('--count', type=int, default=12000)
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--show', default='')
    o = p.parse_args()
    exceptions = Exceptions(os.path.join(HERE, 'exceptions.toml'))
    wrong = [compare_all(what, o, exceptions) for what in ('requests', 'answers')]
    unused = list(exceptions.unused()) if (o.count, o.seed) == (p.get_default('count'), p.get_default('seed')) else []
    for line in unused:
        print(line)
    print(f'{sum(r["used"] for r in exceptions.rows)} differ as {len(exceptions.rows)} exceptions say')
    failed = sum(w > 0 for w in wrong) + bool(unused)
    print(f'{3 - failed} passed, {failed} failed')
    sys.exit(failed != 0)


if __name__ == '__main__':
    main()

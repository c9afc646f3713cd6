#!/usr/bin/env python3
"""agree.py READER [--node NODE] [--count N] [--seed N] [--show MUTATION]: weir, h11 and Node's http read the same generated requests; where they disagree, exceptions.toml
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
            row['used'] = 0
            row['mutations'] = set(row['mutations'])
            if not row['reason'] or row['kind'] not in ('laxer', 'stricter', 'waits') or row['peer'] not in PEERS:
                sys.exit(f'exceptions.toml: a row without sense: {row}')

    def excuse(self, peer, kind, names):
        for row in self.rows:
            if row['peer'] == peer and row['kind'] == kind and row['mutations'] & set(names):
                row['used'] += 1
                row.setdefault('seen', set()).update(row['mutations'] & set(names))
                return True
        return False

    def unused(self):
        for row in self.rows:
            for name in sorted(row['mutations'] - row.get('seen', set())):
                yield f"exceptions.toml: {row['peer']} {row['kind']} {name}: no case needs it"


def main():
    p = argparse.ArgumentParser()
    p.add_argument('reader')
    p.add_argument('--node', default='node')
    p.add_argument('--count', type=int, default=12000)
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--show', default='')
    o = p.parse_args()
    cases = generate.cases(o.seed, o.count)
    wires = [wire for _, wire in cases]
    ours = read_all([o.reader], wires)
    theirs = {'h11': [read_h11(w) for w in wires], 'node': read_all([o.node, os.path.join(HERE, 'reads.mjs')], wires)}
    exceptions = Exceptions(os.path.join(HERE, 'exceptions.toml'))
    found = collections.defaultdict(list)
    agreed = 0
    for i, (names, wire) in enumerate(cases):
        for peer in PEERS:
            kind = compare(ours[i], theirs[peer][i])
            agreed += kind is None
            if kind is not None and (kind == 'differs' or not exceptions.excuse(peer, kind, names)):
                found[peer, kind, tuple(names)].append(f'  {wire[:300]!r}\n    weir: {ours[i]}\n    {peer}: {theirs[peer][i]}')
            if o.show in names:
                print(f'{peer} {kind} {names} {wire[:200]!r}\n    weir: {ours[i]}\n    {peer}: {theirs[peer][i]}')
    wrong = 0
    for (peer, kind, names), examples in sorted(found.items(), key=lambda item: -len(item[1])):
        wrong += 1
        print(f'weir and {peer}: {kind}: {" ".join(names)}: {len(examples)} cases, such as\n' + examples[0])
    for line in exceptions.unused():
        wrong += 1
        print(line)
    whole = sum(line.startswith(('end', 'closed')) for line in ours)
    print(f'{len(cases)} requests, {whole} of them whole to weir, {sum(l.startswith("refuse") for l in ours)} refused; '
          f'{agreed} of {2 * len(cases)} comparisons agree, {sum(r["used"] for r in exceptions.rows)} differ as {len(exceptions.rows)} exceptions say')
    print(f'{int(wrong == 0)} passed, {wrong} failed')
    sys.exit(wrong != 0)


if __name__ == '__main__':
    main()

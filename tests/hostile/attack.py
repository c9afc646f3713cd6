"""attack.py: the hostile classes without end, as processes of their own, for figures of what the canary feels: hostile.py WEIR --attack CLASS PORT.

An attack says "on" when it is under way, and goes on until its input ends.
"""
import re
import select
import socket
import sys

import probes
import routes
import slow
import wire
from house import ask, until
from table import WHOLE

CONNECTIONS = 1000
IDLE = 4000
CONTROL = 'right requests'
LONG_S = 600            # longer than any measurement


def goes_on(wait_s=0):
    return not select.select([sys.stdin], [], [], wait_s)[0]


def say_on():
    print('on', flush=True)


def framing(port):
    """Every row of the table, one after another, on one connection each, as fast as they are answered."""
    judge, cases = probes.Judge(), [(name, row) for name, row in probes.cases() if not probes.is_late(row)]
    say_on()
    while True:
        for i, (name, row) in enumerate(cases):
            if not goes_on():
                return
            probes.exchange(port, judge, row, name, wire.bytewise if i % 2 else wire.whole)


def control(port):
    """Nothing hostile: right requests on one connection, as fast as they are answered. What the canary feels of this is the machine's share, not weir's fault."""
    line = wire.Line(port)
    say_on()
    while goes_on():
        line.send([WHOLE.encode()])
        assert line.read_one() and line.answers.pop().status == 200


def urls(port):
    """Every route in every spelling, without a key."""
    say_on()
    while True:
        for route in routes.routes():
            for _, target, host, _ in routes.spellings(route.path):
                if not goes_on():
                    return
                routes.ask(port, route.method, target, body=route.body, host=host)


def growing(port):
    """Heads, chunks and bodies that grow until they are refused."""
    say_on()
    while True:
        for _, before, piece, _ in slow.GROWING:
            if not goes_on():
                return
            slow.grow(port, before, piece)


def idle(port):
    """Connections that never ask; those that are closed are opened again."""
    opened = [socket.create_connection(('127.0.0.1', port)) for _ in range(IDLE)]
    say_on()
    while goes_on(0.1):
        for s in closed_of(opened):
            opened.remove(s)
            s.close()
            opened.append(socket.create_connection(('127.0.0.1', port)))


def closed_of(opened):
    poll = select.poll()
    by_fd = {s.fileno(): s for s in opened}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    return [by_fd[fd] for fd, _ in poll.poll(0)]


def tool(mode):
    def run(port):
        child = slow.slowhttptest(port, mode, LONG_S, CONNECTIONS)
        until('its connections are open', lambda: int(re.search(rb'(?m)^weir_connections_open (\d+)', ask(f'http://127.0.0.1:{port}', 'GET', '/metrics')[2]).group(1)) > CONNECTIONS / 2)
        say_on()
        while goes_on(0.1):
            if child.poll() is not None:    # weir has closed them all
                child = slow.slowhttptest(port, mode, LONG_S, CONNECTIONS)
        child.kill()
        child.wait()
    return run


ATTACKS = {CONTROL: control, 'framing': framing, 'urls': urls, 'growing': growing, 'idle connections': idle, 'slow headers': tool('-H'), 'slow body': tool('-B'), 'slow read': tool('-X')}

"""test_many_streams.py: as many idle streams as descriptors allow, up to ten thousand: each costs weir some KiB, none of them costs the others anything."""
import contextlib
import json
import re
import resource
import socket
import struct

import rig
from rig import Mock, Weir, one_model, until

STREAMS_MAX = 10_000
SPARE = 600                 # descriptors for all that is no stream
STREAM_KIB = 48             # of weir's memory, one idle stream: two stacks, two connections, a request, a flight


def server(w, field):
    pid = int(open(f'/proc/{w.child.pid}/task/{w.child.pid}/children').read().split()[0])
    return int(re.search(rf'^{field}:\s+(\d+)', open(f'/proc/{pid}/status').read(), re.M).group(1))


def test_ten_thousand_idle_streams():
    """hostile 79: each has its first token and then silence. All are open at once, a stranger is served among them, and when they leave, all is given back."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(STREAMS_MAX, (hard - SPARE) // 2)       # weir has two connections a stream
    timeouts = {'between_tokens': '1h', 'first_token': '1h', 'total': '2h'}
    body = json.dumps({'model': 'chat', 'stream': True, 'messages': [{'role': 'user', 'content': 'Hello'}]}).encode()
    ask = b'POST /v1/chat/completions HTTP/1.1\r\nhost: w\r\ncontent-length: %d\r\n\r\n' % len(body) + body
    with Mock('--itl', '1h') as m, Weir(one_model(m, workers=2, backends={'b0': {'concurrency': 20000}}, timeouts=timeouts)) as w, contextlib.ExitStack() as ends:
        host, port = w.url.removeprefix('http://').split(':')
        before = server(w, 'VmRSS')
        sockets = []
        for n in range(count):
            s = ends.enter_context(socket.create_connection((host, int(port)), 20))
            s.sendall(ask)
            sockets.append(s)
        for s in sockets:
            got = b''
            while b'"content":"' not in got:
                some = s.recv(4096)
                assert some, f'a stream ended: {got}'
                got += some
        assert w.number('weir_streams_open') == count and m.stats()['active'] == count
        each = (server(w, 'VmRSS') - before) / count
        print(f'{count} streams, {each:.1f} KiB each', flush=True)
        assert each < STREAM_KIB, f'{each:.1f} KiB a stream'
        m.script(itl='0ms', tokens=3)
        assert w.post('/v1/chat/completions', {'model': 'chat', 'messages': [{'role': 'user', 'content': 'Hello'}]})[0] == 200
        for s in sockets:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            s.close()
        until('all are forgotten', lambda: w.number('weir_streams_open') == 0, 20)
        assert m.idle(20)['cancelled'] == count
        assert w.number('weir_clients_left_total{during="streaming"}') == count
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


rig.run(globals())

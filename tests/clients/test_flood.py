"""test_flood.py: more than a model can serve, from outside: who waits costs little, who is too many is told so at once, and what weir takes from a model's throughput."""
import contextlib
import json
import re
import resource
import socket
import struct
import subprocess

import rig
from rig import Mock, Weir, one_model, until

WAITING = 10_000
MORE = 27_000               # asked on top, and refused
WAITING_KIB = 32            # of weir's memory, one that waits: a stack, a connection, a request
CHAT = {'model': 'chat', 'messages': [{'role': 'user', 'content': 'Hello'}]}


def server(w, field):
    pid = int(open(f'/proc/{w.child.pid}/task/{w.child.pid}/children').read().split()[0])
    return int(re.search(rf'^{field}:\s+(\d+)', open(f'/proc/{pid}/status').read(), re.M).group(1))


def read_answer(stream):
    """(status, its head) of the next answer, which has a length."""
    head = b''
    while not head.endswith(b'\r\n\r\n'):
        line = stream.readline()
        assert line, f'the connection ended: {head}'
        head += line
    stream.read(int(re.search(rb'content-length: (\d+)', head).group(1)))
    return int(head[9:12]), head


def test_37000_requests_at_once_are_no_end():
    """complaint 24, complaint 22: ten thousand wait, each for some KiB; of 27,000 more each is refused at once and told when to come back, and on the same
    connection; who waits leaves without a trace, and the next one is served."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(WAITING, (hard - 600) // 2)
    body = json.dumps(CHAT).encode()
    ask = b'POST /v1/chat/completions HTTP/1.1\r\nhost: w\r\ncontent-length: %d\r\n\r\n' % len(body) + body
    hours = {'first_token': '2h', 'total': '2h'}
    with Mock('--ttft', '1h') as m, Weir(one_model(m, workers=2, limits={'queue': count}, classes={'normal': {'wait': '2h'}}, backends={'b0': {'concurrency': 1}}, timeouts=hours)) as w:
        host, port = w.url.removeprefix('http://').split(':')
        with contextlib.ExitStack() as ends:
            def connect():
                s = ends.enter_context(socket.create_connection((host, int(port)), 20))
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                return s
            connect().sendall(ask)
            until('the only slot is taken', lambda: m.stats()['active'] == 1)
            before = server(w, 'VmRSS')
            for _ in range(count):
                connect().sendall(ask)
            until('all wait', lambda: w.number('weir_queue_waiting') == count, 20)
            each = (server(w, 'VmRSS') - before) / count
            print(f'    {count} wait, {each:.1f} KiB each', flush=True)
            assert each < WAITING_KIB, f'{each:.1f} KiB'
            s = connect()
            answers = ends.enter_context(s.makefile('rb'))
            for _ in range(MORE // 100):
                s.sendall(ask * 100)
                for _ in range(100):
                    status, head = read_answer(answers)
                    assert status == 503 and b'\r\nretry-after: ' in head and b'\r\nretry-after-ms: ' in head, head
            assert (server(w, 'VmRSS') - before) / count < WAITING_KIB
            assert w.number('weir_queue_waiting') == count and m.stats()['requests'] == 1
        until('all are forgotten', lambda: w.number('weir_queue_waiting') == 0 and m.stats()['active'] == 0, 20)
        m.script(ttft='0ms')
        assert w.post('/v1/chat/completions', CHAT)[0] == 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def rate(url, file):
    done = subprocess.run([str(rig.WEIR), 'bench', url, '--users', '16', '--duration', '3s', '--warmup', '500ms', '--json', str(file)], capture_output=True, text=True, timeout=60)
    result = json.loads(file.read_text())
    assert result['ok'] == result['requests'] > 0, done.stdout + done.stderr
    return result['rate']


def test_a_model_is_as_fast_behind_weir():
    """complaint 28: what a model of 8 slots serves to 16 users directly, where they wait in its own queue, it serves through weir, where they wait in weir's."""
    with Mock('--ttft', '40ms', '--tokens', '4', '--slots', '8') as m, Weir(one_model(m, backends={'b0': {'concurrency': 8}})) as w:
        file = w.folder / 'result.json'
        ratios = []
        for _ in range(3):
            direct = rate(m.url, file)
            ratios.append(rate(w.url, file) / direct)
        print(f'    {sorted(ratios)[1]:.3f} of the direct rate')
        assert max(ratios) >= 0.95, ratios


rig.run(globals())

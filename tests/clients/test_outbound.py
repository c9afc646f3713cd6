#!/usr/bin/env python3
"""Names and proxies on the way to backends: weir against a real name server that misbehaves on order, and real proxies.
python3 tests/clients/test_outbound.py BUILD_WEIR [WORD...]"""
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from peers import NameServer, Proxy, NXDOMAIN, REFUSED, SERVFAIL
from rig import Mock, Weir, merged, run, until

ASK = {'model': 'chat', 'messages': [{'role': 'user', 'content': 'Hello'}], 'max_tokens': 3}


def port_of(mock):
    return int(mock.url.rsplit(':', 1)[1])


def named(server, url, **more):
    """One model in front of one backend, whose name this server knows."""
    return merged({'dns': {'servers': server.address}, 'backends': {'b0': {'url': url}}, 'models': {'chat': {'use': ['b0/mock-1']}},
                   'timeouts': {'drain': '1s'}, 'log': {'level': 'debug'}}, more)


def answers(weir):
    status, _, body = weir.post('/v1/chat/completions', ASK)
    return status == 200 or (status, body)


def eventually_answers(weir):
    until('weir knows the address', lambda: answers(weir) is True)


def said(weir, *words):
    return any(all(word in line for word in words) for line in weir.lines())


def test_a_name_with_several_addresses():
    with NameServer() as names, Mock() as mock:
        names.names['gpu.test'] = {'a': ['127.0.0.3', '127.0.0.1', '127.0.0.2'], 'ttl': 60}
        with Weir(named(names, f'http://gpu.test:{port_of(mock)}')) as weir:
            eventually_answers(weir)
            for _ in range(5):
                assert answers(weir) is True
            assert names.asked.count('gpu.test') == 2, names.asked  # A and AAAA, once: its TTL is not over


def test_an_address_family_without_anybody():
    with NameServer() as names, Mock() as mock:
        names.names['gpu.test'] = {'aaaa': ['::1'], 'a': ['127.0.0.1'], 'ttl': 60}
        with Weir(named(names, f'http://gpu.test:{port_of(mock)}')) as weir:
            eventually_answers(weir)


def test_every_kind_of_good_answer():
    """By TCP where UDP is too small, through an alias, past a forged answer that comes first."""  # hostile 45
    with NameServer() as names, Mock() as mock:
        good = {'a': ['127.0.0.1'], 'ttl': 60}
        names.names.update({'tcp.test': {**good, 'how': 'tcp'}, 'alias.test': {**good, 'cname': 'real.test'}, 'forged.test': {**good, 'how': 'forged'}})
        for name in list(names.names):
            with Weir(named(names, f'http://{name}:{port_of(mock)}')) as weir:
                eventually_answers(weir)
                assert not any(NameServer.FORGED in line for line in weir.lines())
        assert names.by_tcp >= 1


def test_every_kind_of_bad_answer():
    """Each is told with its reason, at once a request fails with it, and a backend whose name is known is not disturbed."""
    bad = {'none.test': {'rcode': NXDOMAIN}, 'servfail.test': {'rcode': SERVFAIL}, 'refused.test': {'rcode': REFUSED}, 'empty.test': {}, 'silent.test': {'how': 'silent'},
           'garbage.test': {'how': 'garbage'}, 'id.test': {'how': 'wrong id', 'a': ['127.0.0.1']}, 'loop.test': {'how': 'loop'}, 'zero.test': {'a': ['0.0.0.0', '224.0.0.1']}}
    with NameServer() as names, Mock() as mock:
        names.names.update(bad)
        conf = {'dns': {'servers': names.address}, 'timeouts': {'drain': '1s'},
                'backends': {name: {'url': f'http://{name}:{port_of(mock)}'} for name in bad} | {'good': {'url': mock.url}},
                'models': {name: {'use': [f'{name}/mock-1']} for name in bad} | {'chat': {'use': ['good/mock-1']}}}
        with Weir(conf) as weir:
            for name in bad:
                until(f'{name} was told', lambda: said(weir, f'{name} does not resolve: '), 15)
                status, _, body = weir.post('/v1/chat/completions', {**ASK, 'model': name})
                assert status == 502 and f'the name {name} does not resolve: ' in json.loads(body)['error']['message'], body
                assert answers(weir) is True
            assert said(weir, 'none.test', 'not found') and said(weir, 'zero.test', 'no address that one could connect to')


def test_dead_name_servers_cost_requests_nothing():
    """While names wait for an answer that never comes, requests are served and reloads are taken: no worker and no job thread waits with them."""
    with NameServer() as names, Mock() as mock:
        silent = {f's{i}': {'url': f'http://s{i}.test:1'} for i in range(20)}
        names.names.update({f's{i}.test': {'how': 'silent'} for i in range(20)})
        conf = {'dns': {'servers': names.address}, 'backends': {**silent, 'b0': {'url': mock.url}}, 'models': {'chat': {'use': ['b0/mock-1']}}, 'timeouts': {'drain': '1s'}}
        with Weir(conf) as weir:
            until('all names are asked for', lambda: len(set(names.asked)) == 20)
            for _ in range(30):
                assert answers(weir) is True
            weir.child.send_signal(signal.SIGHUP)
            until('the reload is taken', lambda: said(weir, 'configuration was applied'))
            assert not said(weir, 'does not resolve'), 'the questions were answered before the test was over'


def test_known_addresses_outlive_their_name():
    """A name that changes is followed when its TTL is over; one that stops resolving keeps its last address."""
    with NameServer() as names, Mock() as old:
        with Mock('--listen', f'127.0.0.2:{port_of(old)}') as new:
            names.names['gpu.test'] = {'a': ['127.0.0.1'], 'ttl': 1}
            with Weir(named(names, f'http://gpu.test:{port_of(old)}')) as weir:
                eventually_answers(weir)
                names.names['gpu.test'] = {'a': ['127.0.0.2'], 'ttl': 1}
                until('requests go to the new address', lambda: answers(weir) is True and new.stats()['requests'] > 1, 15)
                names.names['gpu.test'] = {'rcode': NXDOMAIN}
                until('it was told', lambda: said(weir, 'gpu.test does not resolve', 'its last addresses are kept'), 15)
                assert answers(weir) is True
                names.names['gpu.test'] = {'a': ['127.0.0.2']}
                until('it is told', lambda: said(weir, 'gpu.test resolves again'), 15)


def test_numbers_and_localhost_ask_nobody():
    with NameServer() as names, Mock() as mock:
        conf = named(names, mock.url, backends={'local': {'url': f'http://localhost:{port_of(mock)}'}}, models={'chat': {'use': ['local/mock-1']}})
        with Weir(conf) as weir:
            eventually_answers(weir)
        assert not [name for name in names.asked if name != 'localhost'] and 'localhost' not in names.asked, names.asked


def test_status_tells_addresses():
    with NameServer() as names, Mock() as mock:
        names.names['gpu.test'] = {'a': ['127.0.0.1', '127.0.0.2'], 'ttl': 60}
        with Weir(named(names, f'http://gpu.test:{port_of(mock)}', backends={'lost': {'url': 'http://lost.test'}})) as weir:
            until('the name is known to be unknown', lambda: said(weir, 'lost.test does not resolve'))
            eventually_answers(weir)
            out = subprocess.run([weir.child.args[0], 'status', '--json', '--socket', next(weir.folder.rglob('*.sock'))], capture_output=True, text=True, timeout=20)
            assert out.returncode == 0, out.stderr
            backends = {b['name']: b for b in json.loads(out.stdout)['fleet']['backends']}
            assert sorted(backends['b0']['addresses']) == [f'127.0.0.1:{port_of(mock)}', f'127.0.0.2:{port_of(mock)}']
            assert backends['lost']['addresses'] == [] and 'not found' in backends['lost']['name_error']


# ---- proxies ----

def test_a_proxy_of_the_configuration():
    """CONNECT with credentials; the proxy sees the backend's name, and its key only as bytes of a way it has opened."""  # hostile 38
    with Mock() as mock, Proxy(('127.0.0.1', port_of(mock)), user='user:p@ss') as proxy:
        conf = {'backends': {'b0': {'url': 'http://nobody.invalid:8000', 'key': 'sk-CANARY', 'proxy': f'http://user:p%40ss@{proxy.address}'}},
                'models': {'chat': {'use': ['b0/mock-1']}}, 'timeouts': {'drain': '1s'}, 'log': {'level': 'debug'}}
        with Weir(conf) as weir:
            assert answers(weir) is True
            assert proxy.heads and all(head.startswith(b'CONNECT nobody.invalid:8000 HTTP/1.1\r\n') and b'CANARY' not in head for head in proxy.heads), proxy.heads
            assert not said(weir, 'p@ss') and not said(weir, 'p%40ss') and not said(weir, 'CANARY')


def test_a_proxy_that_does_not_know_us():
    with Mock() as mock, Proxy(('127.0.0.1', port_of(mock)), user='user:right') as proxy:
        conf = {'backends': {'b0': {'url': 'http://gpu.test:8000', 'key': 'sk-CANARY', 'proxy': f'http://user:wr0ng@{proxy.address}'}},
                'models': {'chat': {'use': ['b0/mock-1']}}, 'timeouts': {'drain': '1s'}, 'log': {'level': 'debug'}}
        with Weir(conf) as weir:
            status, _, body = weir.post('/v1/chat/completions', ASK)
            assert status == 502 and b'answered 407' in body and proxy.address.encode() in body and b'wr0ng' not in body, body
            assert not said(weir, 'wr0ng') and not said(weir, 'CANARY')
            assert mock.stats()['requests'] == 0


def test_a_proxy_of_the_environment():
    with Mock() as mock, Proxy(('127.0.0.1', port_of(mock))) as proxy:
        conf = {'backends': {'b0': {'url': 'http://gpu.test:8000'}, 'b1': {'url': mock.url}, 'b2': {'url': 'http://b2.inside.test:1'}},
                'models': {'chat': {'use': ['b0/mock-1']}, 'near': {'use': ['b1/mock-1']}, 'inside': {'use': ['b2/x']}}, 'timeouts': {'drain': '1s'}}
        os.environ.update(http_proxy=f'http://{proxy.address}', HTTP_PROXY='http://127.0.0.1:1', no_proxy='.inside.test')
        try:
            weir = Weir(conf)
        finally:
            for name in ('http_proxy', 'HTTP_PROXY', 'no_proxy'):
                del os.environ[name]
        with weir:
            assert answers(weir) is True
            assert weir.post('/v1/chat/completions', {**ASK, 'model': 'near'})[0] == 200
            assert weir.post('/v1/chat/completions', {**ASK, 'model': 'inside'})[0] == 502
            assert {head.split()[1] for head in proxy.heads} == {b'gpu.test:8000'}, proxy.heads


def test_tinyproxy():
    """A proxy that others wrote."""
    program = shutil.which('tinyproxy') or '/usr/bin/tinyproxy'
    folder = Path(tempfile.mkdtemp(prefix='weir-tinyproxy.'))
    with socket.create_server(('127.0.0.1', 0)) as probe:
        port = probe.getsockname()[1]
    (folder / 'conf').write_text(f'Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 60\nMaxClients 20\nBasicAuth user secret\nLogLevel Connect\nLogFile "{folder}/log"\n')
    child = subprocess.Popen([program, '-d', '-c', str(folder / 'conf')], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        def listens():
            with socket.socket() as sock:
                return sock.connect_ex(('127.0.0.1', port)) == 0
        until('tinyproxy listens', listens, 15)
        with Mock() as mock:
            conf = {'backends': {'b0': {'url': mock.url, 'proxy': f'http://user:secret@127.0.0.1:{port}'}, 'b1': {'url': mock.url, 'proxy': f'http://user:other@127.0.0.1:{port}'}},
                    'models': {'chat': {'use': ['b0/mock-1']}, 'locked': {'use': ['b1/mock-1']}}, 'timeouts': {'drain': '1s'}}
            with Weir(conf) as weir:
                assert answers(weir) is True
                assert f'CONNECT 127.0.0.1:{port_of(mock)}' in (folder / 'log').read_text()
                status, _, body = weir.post('/v1/chat/completions', {**ASK, 'model': 'locked'})
                assert status == 502 and b'its proxy 127.0.0.1' in body, body
                streamed = weir.post('/v1/chat/completions', {**ASK, 'stream': True})[2]
                assert streamed.rstrip().endswith(b'data: [DONE]'), streamed
    finally:
        child.terminate()
        child.wait()
        shutil.rmtree(folder, ignore_errors=True)


run(globals())

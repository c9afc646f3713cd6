"""test_tls.py: https towards clients and towards backends, as the official SDK, curl, OpenSSL's own handshakes and sslyze see it."""
import contextlib
import datetime
import ipaddress
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import warnings
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from openai import DefaultHttpxClient, OpenAI

import rig
from peers import Proxy
from rig import Mock, Weir, merged, one_model, until

warnings.simplefilter('ignore')        # of old protocols, which are tried here to be refused
CHAT = {'model': 'chat', 'messages': [{'role': 'user', 'content': 'Hello'}]}
DAY = datetime.timedelta(days=1)


# ---- certificates ----

class Issued:
    """A certificate and its key, as files and for issuing others."""

    def __init__(self, folder, name, names=(), issuer=None, days=(-1, 90)):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.timezone.utc)
        by = issuer or self
        builder = (x509.CertificateBuilder().subject_name(self.name).issuer_name(by.name).public_key(self.key.public_key())
                   .serial_number(x509.random_serial_number()).not_valid_before(now + days[0] * DAY).not_valid_after(now + days[1] * DAY))
        if names:
            alternatives = [x509.IPAddress(ipaddress.ip_address(n)) if n[0].isdigit() else x509.DNSName(n) for n in names]
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), False)
        else:
            builder = builder.add_extension(x509.BasicConstraints(True, None), True)
            builder = builder.add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False)
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key()), False)
        self.certificate = builder.sign(by.key, hashes.SHA256())
        self.crt, self.pem = folder / f'{name}.crt', folder / f'{name}.key'
        self.crt.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        self.pem.write_bytes(self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))

    def served(self, client_ca=None):
        return {'cert': str(self.crt), 'key': str(self.pem), **({'client_ca': str(client_ca.crt)} if client_ca else {})}


LOCAL = ('localhost', '127.0.0.1')
FOLDER = Path(tempfile.mkdtemp(prefix='weir-tls.'))
CA, STRANGER = Issued(FOLDER, 'ca'), Issued(FOLDER, 'stranger-ca')
SERVER, OTHER = Issued(FOLDER, 'server', LOCAL, CA), Issued(FOLDER, 'other', LOCAL, CA)
CLIENT = Issued(FOLDER, 'client', ('client.test',), CA)


def trusting(ca=CA, certificate=None):
    """The client's side."""
    context = ssl.create_default_context(cafile=ca.crt)
    if certificate:
        context.load_cert_chain(certificate.crt, certificate.pem)
    return context


def https_weir(conf, certificate=SERVER, client_ca=None, tls=None):
    return Weir(merged({'tls': certificate.served(client_ca)}, conf), tls=tls or trusting())


def port_of(weir):
    return int(weir.url.rsplit(':', 1)[1])


def connect(weir, context=None, **more):
    """A TLS connection, its handshake done."""
    return (context or trusting()).wrap_socket(socket.create_connection(('127.0.0.1', port_of(weir)), timeout=10), server_hostname='localhost', **more)


def raw(weir, data):
    """Sends these bytes without TLS and returns all that comes back."""
    with socket.create_connection(('127.0.0.1', port_of(weir)), timeout=10) as s:
        s.sendall(data)
        got = b''
        with contextlib.suppress(ConnectionResetError):
            while some := s.recv(65536):
                got += some
        return got


class Front:
    """Stands before a mock and speaks TLS with a certificate; remembers what it was shown."""

    def __init__(self, mock, certificate, client_ca=None):
        self.mock_port = int(mock.url.rsplit(':', 1)[1])
        self.names, self.clients, self.resumed, self.failed = [], [], 0, []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate.crt, certificate.pem)
        self.context.set_alpn_protocols(['http/1.1'])
        self.context.sni_callback = lambda _, name, __: self.names.append(name)
        if client_ca:
            self.context.load_verify_locations(client_ca.crt)
            self.context.verify_mode = ssl.CERT_REQUIRED
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()

    def url(self, host='127.0.0.1'):
        return f'https://{host}:{self.port}'

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self.listener.accept()[0],), daemon=True).start()

    def _serve(self, plain):
        try:
            near = self.context.wrap_socket(plain, server_side=True)
        except (ssl.SSLError, OSError) as error:
            self.failed.append(str(error))
            plain.close()
            return
        self.resumed += near.session_reused
        if near.getpeercert():
            self.clients.append(dict(pair[0] for pair in near.getpeercert()['subject'])['commonName'])
        far = socket.create_connection(('127.0.0.1', self.mock_port))
        threading.Thread(target=self._pass, args=(far, near), daemon=True).start()
        self._pass(near, far)

    @staticmethod
    def _pass(source, to):
        with contextlib.suppress(OSError):
            while some := source.recv(65536):
                to.sendall(some)
        with contextlib.suppress(OSError):
            to.shutdown(socket.SHUT_RDWR)
        to.close()


def before(front, host='127.0.0.1', name='b0', ca=CA, **more):
    """The configuration of one backend behind a front."""
    return {'backends': {name: {'url': front.url(host), **({'ca': str(ca.crt)} if ca else {}), **more}}, 'models': {'chat': {'use': [f'{name}/mock-1']}}, 'timeouts': {'drain': '1s'}}


# ---- clients ----

def test_the_sdk_over_https():
    with Mock('--tokens', '4') as m, https_weir(one_model(m)) as w:
        client = OpenAI(base_url=w.url + '/v1', api_key='x', max_retries=0, timeout=20, http_client=DefaultHttpxClient(verify=trusting()))
        answer = client.chat.completions.create(**CHAT)
        assert len(answer.choices[0].message.content.split(' ')) == 4
        chunks = list(client.chat.completions.create(stream=True, **CHAT))
        assert chunks[-1].choices[0].finish_reason == 'stop'
        assert [model.id for model in client.models.list()] == ['chat', 'mock-1']


def test_curl_and_the_printed_line():
    with Mock() as m, https_weir(one_model(m)) as w:
        line = until('the line', lambda: w.said(r'(?m)^ +try +(curl .*)$')).group(1)
        assert f' {w.url}/v1/' in line and w.url.startswith('https://'), line
        done = subprocess.run(['sh', '-c', line + f' -sS --max-time 20 --cacert {CA.crt}'], capture_output=True, timeout=30)
        assert json.loads(done.stdout)['choices'], done
        done = subprocess.run(['curl', '-sS', '--max-time', '20', '--cacert', STRANGER.crt, w.url + '/health'], capture_output=True, timeout=30)
        assert done.returncode == 60, done      # the peer's certificate cannot be authenticated


def test_long_answers_and_bodies():
    body = json.dumps({**CHAT, 'messages': [{'role': 'user', 'content': 'x' * 3_000_000}]})
    with Mock('--tokens', '200000') as m, https_weir(one_model(m)) as w:
        status, _, answer = rig.ask(w.url, 'POST', '/v1/chat/completions', body, {'content-type': 'application/json'}, w.tls)
        assert status == 200 and json.loads(answer)['usage']['completion_tokens'] == 200000


def test_plain_http_is_told_so():
    with Mock() as m, https_weir(one_model(m)) as w:
        for request in (b'GET /health HTTP/1.1\r\nhost: x\r\n\r\n', b'delete / HTTP/1.1\r\n\r\n', b'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n' + b'x' * 100000):
            answer = raw(w, request)
            assert answer.startswith(b'HTTP/1.1 400 ') and b'https://' in answer and b'connection: close' in answer, answer
        assert w.get('/health')[0] == 200
        assert w.number('weir_tls_handshakes_failed_total') == 3


def test_client_certificates():
    with Mock() as m, https_weir(one_model(m), client_ca=CA, tls=trusting(certificate=CLIENT)) as w:
        assert w.post('/v1/chat/completions', CHAT)[0] == 200
        stranger = Issued(FOLDER, 'stranger', ('client.test',), STRANGER)
        expired = Issued(FOLDER, 'late', ('client.test',), CA, (-20, -1))
        for certificate in (None, stranger, expired):
            try:
                with connect(w, trusting(certificate=certificate)) as s:
                    s.sendall(b'GET /health HTTP/1.1\r\nhost: x\r\n\r\n')
                    assert s.recv(100) == b'never'
            except (ssl.SSLError, ConnectionError):
                pass
        assert w.number('weir_tls_handshakes_failed_total') == 3
        assert 'every client with a certificate' in w.out.read_text()


def test_a_public_address_with_client_certificates_needs_no_key():
    """hostile 35: served, and not open: who has no certificate gets no handshake. A reload that asks for none is refused."""
    with Mock() as m, https_weir(one_model(m, listen='0.0.0.0:0'), client_ca=CA, tls=trusting(certificate=CLIENT)) as w:
        file = w.conf_folder / 'weir.yaml'
        conf = json.loads(file.read_text())
        del conf['tls']['client_ca']
        for _ in range(2):
            with connect(w, trusting(certificate=CLIENT)) as s:
                s.sendall(b'GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n')
                assert s.recv(100).startswith(b'HTTP/1.1 200')
            try:
                with connect(w) as s:
                    s.sendall(b'GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n')
                    assert s.recv(100) == b'never'
            except (ssl.SSLError, ConnectionError):
                pass
            file.write_text(json.dumps(conf))
            w.child.send_signal(signal.SIGHUP)
            until('the reload is refused', lambda: any('reload_refused' in line and 'needs at least one key, or tls.client_ca' in line for line in w.lines()))


def test_protocols():
    with Mock() as m, https_weir(one_model(m)) as w:
        for offered, chosen in ((['h2'], None), (['h2', 'http/1.1'], 'http/1.1'), ([], '')):
            context = trusting()
            if offered:
                context.set_alpn_protocols(offered)
            try:
                with connect(w, context) as s:
                    assert (s.selected_alpn_protocol() or '') == chosen
            except ssl.SSLError as error:
                assert chosen is None and 'NO_APPLICATION_PROTOCOL' in str(error).upper().replace(' ', '_'), error
        for version, served in ((ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_1, False)):
            context = trusting()
            context.set_ciphers('ALL:@SECLEVEL=0')
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = version
            try:
                with connect(w, context):
                    assert served
            except (ssl.SSLError, ConnectionError):
                assert not served


def test_handshakes_that_do_not_end():
    """Half a hello, garbage, silence: each ends, at once or with timeouts.header, while others are served."""
    hello = b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'
    with Mock() as m, https_weir(one_model(m, timeouts={'header': '300ms'}, log={'level': 'debug'})) as w:
        for data in (hello, hello + os.urandom(100), b'\x16\x03\x01\x00\x05\xff\xff\xff\xff\xff', b'\x80\x2e\x01\x00\x02', bytes(range(256)) * 100, b''):
            began = time.monotonic()
            answer = raw(w, data)
            assert len(answer) < 100 and time.monotonic() - began < 5, (data[:20], answer)
            assert w.get('/health')[0] == 200
        for _ in range(50):
            raw(w, b'\x16\x03\x01\x00\x05\xff\xff\xff\xff\xff')
        assert w.number('weir_tls_handshakes_failed_total') == 55       # silence is not counted: it did not begin
        told = [line for line in w.lines() if ' debug tls ' in line]
        assert 1 <= len(told) <= 10, told


def test_a_session_is_resumed():
    with Mock() as m, https_weir(one_model(m)) as w:
        context = trusting()
        with connect(w, context) as s:
            s.sendall(b'GET /health HTTP/1.1\r\nhost: x\r\n\r\n')
            assert s.recv(4096).startswith(b'HTTP/1.1 200')
            session = s.session
        with connect(w, context, session=session) as s:
            assert s.session_reused


def test_a_new_certificate_without_a_restart():
    with Mock() as m, https_weir(one_model(m)) as w:
        file = w.conf_folder / 'weir.yaml'
        conf = json.loads(file.read_text())

        def serial():
            with connect(w) as s:
                return int(s.getpeercert()['serialNumber'], 16)

        with connect(w) as kept:
            assert serial() == SERVER.certificate.serial_number
            for bad in ({'cert': str(OTHER.crt)}, {'key': '/none'}, {'cert': str(FOLDER)}):
                file.write_text(json.dumps(merged(conf, {'tls': bad})))
                refused = sum('reload_refused' in line for line in w.lines())
                w.child.send_signal(signal.SIGHUP)
                until('the reload is refused', lambda: sum('reload_refused' in line for line in w.lines()) > refused)
                assert serial() == SERVER.certificate.serial_number
            file.write_text(json.dumps(merged(conf, {'tls': OTHER.served()})))
            w.child.send_signal(signal.SIGHUP)
            until('the new certificate', lambda: serial() == OTHER.certificate.serial_number)
            kept.sendall(b'GET /health HTTP/1.1\r\nhost: x\r\n\r\n')
            assert kept.recv(4096).startswith(b'HTTP/1.1 200')


def test_the_profile_of_sslyze():
    """Mozilla's intermediate profile, judged by sslyze; and all of it that this certificate can have is there."""
    from sslyze import CertificateInfoExtraArgument, ScanCommandsExtraArguments, Scanner, ServerNetworkLocation, ServerScanRequest
    from sslyze.mozilla_tls_profile.tls_config_checker import (MozillaTlsConfiguration, SCAN_COMMANDS_NEEDED_BY_MOZILLA_CHECKER, TlsConfigurationEnum,
                                                               check_server_against_tls_configuration)
    with Mock() as m, https_weir(one_model(m)) as w:
        scanner = Scanner()
        where = ServerNetworkLocation(hostname='localhost', ip_address='127.0.0.1', port=port_of(w))
        trust = ScanCommandsExtraArguments(certificate_info=CertificateInfoExtraArgument(custom_ca_file=CA.crt))
        scanner.queue_scans([ServerScanRequest(server_location=where, scan_commands=SCAN_COMMANDS_NEEDED_BY_MOZILLA_CHECKER, scan_commands_extra_arguments=trust)])
        result = next(scanner.get_results())
        check_server_against_tls_configuration(result, MozillaTlsConfiguration.get(TlsConfigurationEnum.MOZILLA_INTERMEDIATE))
        found = result.scan_result
        assert len(found.tls_1_2_cipher_suites.result.accepted_cipher_suites) == 3      # the ECDSA half of six
        assert len(found.tls_1_3_cipher_suites.result.accepted_cipher_suites) == 3
        assert not found.session_renegotiation.result.is_vulnerable_to_client_renegotiation_dos
        assert w.get('/health')[0] == 200


# ---- backends ----

def test_a_backend_over_https():
    """By name and by number; SNI for the name only."""
    with Mock('--tokens', '3') as m, Front(m, SERVER) as front:
        for host, name in (('localhost', 'localhost'), ('127.0.0.1', None)):
            front.names.clear()
            with Weir(before(front, host)) as w:
                assert w.post('/v1/chat/completions', CHAT)[0] == 200
                assert set(front.names) == {name}
                status, _, body = w.post('/v1/chat/completions', {**CHAT, 'stream': True})
                assert status == 200 and body.endswith(b'data: [DONE]\n\n')


def test_backends_that_cannot_prove_themselves():
    """Each is left alone with its reason in the 502, and a good one beside it is asked instead."""
    rows = {
        'expired': (Issued(FOLDER, 'expired', LOCAL, CA, (-20, -1)), CA, 'its certificate has expired'),
        'early': (Issued(FOLDER, 'early', LOCAL, CA, (1, 20)), CA, 'its certificate is not valid yet'),
        'wrong': (Issued(FOLDER, 'wrong', ('elsewhere.test',), CA), CA, 'its certificate is for another'),
        'self': (Issued(FOLDER, 'self', LOCAL), CA, 'its certificate is self-signed and not trusted'),
        'stranger': (Issued(FOLDER, 'strange', LOCAL, STRANGER), CA, 'its certificate comes from an authority that is not trusted'),
        'system': (SERVER, None, 'its certificate comes from an authority that is not trusted'),
    }
    with Mock() as m, contextlib.ExitStack() as stack:
        conf = {'backends': {'good': {'url': m.url}}, 'models': {}, 'timeouts': {'drain': '1s'}}
        for name, (certificate, ca, _) in rows.items():
            front = stack.enter_context(Front(m, certificate))
            conf['backends'][name] = before(front, name=name, ca=ca)['backends'][name]
            conf['models'][name] = {'use': [f'{name}/mock-1']}
            conf['models'][name + '-or-good'] = {'use': [f'{name}/mock-1'], 'fallback': ['good/mock-1']}
        conf['backends']['plain'] = {'url': m.url.replace('http://', 'https://'), 'ca': str(CA.crt)}
        conf['models']['plain'] = {'use': ['plain/mock-1']}
        with Weir(conf) as w:
            for name, (_, _, why) in {**rows, 'plain': (None, None, 'it does not speak TLS there')}.items():
                status, _, body = w.post('/v1/chat/completions', {**CHAT, 'model': name})
                assert status == 502 and why in json.loads(body)['error']['message'], body
                until(f'the log says why about {name}', lambda: any(f'backend {name}: {why}' in line for line in w.lines()))
            asked = m.stats()['requests']
            for name in rows:
                assert w.post('/v1/chat/completions', {**CHAT, 'model': name + '-or-good'})[0] == 200
            assert m.stats()['requests'] == asked + len(rows)
            missing = until('the first lines', lambda: w.said(r'(?m)^ +missing +(.*)$')).group(1)
            assert 'its certificate has expired' in missing, missing


def test_a_backend_that_asks_for_our_certificate():
    with Mock() as m, Front(m, SERVER, client_ca=CA) as front:
        with Weir(before(front, client_cert=str(CLIENT.crt), client_key=str(CLIENT.pem))) as w:
            assert w.post('/v1/chat/completions', CHAT)[0] == 200
            assert set(front.clients) == {'client'}
        with Weir(before(front)) as w:
            assert w.post('/v1/chat/completions', CHAT)[0] == 502


def test_a_session_with_a_backend_is_resumed():
    with Mock() as m, Front(m, SERVER) as front, Weir(before(front), '--set', 'workers=1') as w:
        for _ in range(3):
            assert w.post('/v1/chat/completions', CHAT)[0] == 200
            m.script(faults=['status=500'])         # an answer that closes nothing …
            m.script(faults=['rst:1'])              # … and one that does: the next needs a connection of its own
            w.post('/v1/chat/completions', CHAT)
            m.script(faults=[])
            until('the backend is asked again', lambda: w.post('/v1/chat/completions', CHAT)[0] == 200)
        assert front.resumed >= 1, front.resumed


def test_a_backend_behind_a_proxy():
    """TLS goes through the tunnel to the name of the URL: the proxy sees where to, and neither key nor question."""  # hostile 38
    for certificate, status in ((Issued(FOLDER, 'far', ('gpu.test',), CA), 200), (SERVER, 502)):
        with Mock() as m, Front(m, certificate) as front, Proxy(('127.0.0.1', front.port)) as proxy:
            conf = {'backends': {'b0': {'url': 'https://gpu.test:8443', 'ca': str(CA.crt), 'key': 'sk-CANARY-behind', 'proxy': f'http://{proxy.address}'}},
                    'models': {'chat': {'use': ['b0/mock-1']}}, 'timeouts': {'drain': '1s'}}
            with Weir(conf) as w:
                got, _, body = w.post('/v1/chat/completions', CHAT)
                assert got == status and (got == 200 or b'its certificate is for another' in body), body
                assert set(front.names) == {'gpu.test'} and {head.split()[1] for head in proxy.heads} == {b'gpu.test:8443'}, (front.names, proxy.heads)
                assert all(b'CANARY' not in head for head in proxy.heads)


def test_https_on_the_command_line():
    """The system's store is what SSL_CERT_FILE says."""
    with Mock() as m, Front(m, SERVER) as front:
        os.environ['SSL_CERT_FILE'] = str(CA.crt)
        try:
            with Weir(None, front.url('localhost')) as w:
                until('the model is found', lambda: b'mock-1' in w.get('/v1/models')[2])
                assert w.post('/v1/chat/completions', {**CHAT, 'model': 'mock-1'})[0] == 200
        finally:
            del os.environ['SSL_CERT_FILE']


try:
    rig.run(globals())
finally:
    shutil.rmtree(FOLDER, ignore_errors=True)

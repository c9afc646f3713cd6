"""peers.py: what stands between weir and its backends, played badly on order: a name server (UDP and TCP) and a proxy that knows CONNECT."""
import base64
import select
import socket
import struct
import threading

A, CNAME, AAAA = 1, 5, 28
NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5


def _name(text):
    return b''.join(bytes([len(label)]) + label.encode() for label in text.split('.')) + b'\0'


def _question(query):
    """Its name, type, and the bytes of the whole question."""
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    return '.'.join(labels).lower(), struct.unpack('>H', query[at + 1:at + 3])[0], query[12:at + 5]


def _record(name, kind, ttl, data):
    return _name(name) + struct.pack('>HHIH', kind, 1, ttl, len(data)) + data


class NameServer:
    """s.names[NAME] = dict(a=[...], aaaa=[...], cname=..., ttl=..., rcode=..., how=...); what is not there does not exist.
    how: 'silent', 'garbage', 'wrong id' (and nothing else), 'forged' (a wrong id with FORGED first), 'tcp' (truncated by UDP), 'loop' (two CNAMEs)."""
    FORGED = '127.0.0.66'

    def __init__(self):
        self.names, self.asked, self.by_tcp = {}, [], 0
        while True:
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.udp.bind(('127.0.0.1', 0))
            self.tcp = socket.socket()
            self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                self.tcp.bind(self.udp.getsockname())
                break
            except OSError:
                self.udp.close()
                self.tcp.close()
        self.tcp.listen()
        self.address = '127.0.0.1:%d' % self.udp.getsockname()[1]
        self.ending = False
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ending = True
        self.thread.join()
        self.udp.close()
        self.tcp.close()

    def _serve(self):
        while not self.ending:
            for sock in select.select([self.udp, self.tcp], [], [], 0.05)[0]:
                if sock is self.udp:
                    query, peer = self.udp.recvfrom(4096)
                    for answer in self._answers(query, False):
                        self.udp.sendto(answer, peer)
                else:
                    self._serve_tcp(self.tcp.accept()[0])

    def _serve_tcp(self, sock):
        with sock:
            sock.settimeout(2)
            query = sock.recv(4096)
            while len(query) < 2 or len(query) < 2 + struct.unpack('>H', query[:2])[0]:
                query += sock.recv(4096)
            self.by_tcp += 1
            for answer in self._answers(query[2:], True):
                sock.sendall(struct.pack('>H', len(answer)) + answer)

    def _answers(self, query, is_tcp):
        name, kind, question = _question(query)
        self.asked.append(name)
        says = self.names.get(name, {'rcode': NXDOMAIN})
        how, ttl, own = says.get('how'), says.get('ttl', 0), struct.unpack('>H', query[:2])[0]

        def message(number, records, flags=0x8180):
            return struct.pack('>HHHHHH', number, flags | says.get('rcode', NOERROR), 1, len(records), 0, 0) + question + b''.join(records)
        records, at = [], name
        if 'cname' in says:
            records.append(_record(name, CNAME, ttl, _name(says['cname'])))
            at = says['cname']
        if how == 'loop':
            records = [_record(name, CNAME, ttl, _name('x.' + name)), _record('x.' + name, CNAME, ttl, _name(name))]
        family, list_ = (socket.AF_INET, says.get('a', [])) if kind == A else (socket.AF_INET6, says.get('aaaa', []))
        records += [_record(at, kind, ttl, socket.inet_pton(family, address)) for address in list_]
        if how == 'silent':
            return []
        if how == 'garbage':
            return [b'\xff' * 40, query[:7]]
        if how == 'wrong id':
            return [message(own ^ 1, records)]
        if how == 'forged':
            return [message(own ^ 1, [_record(name, A, ttl, socket.inet_aton(self.FORGED))]), message(own, records)]
        if how == 'tcp' and not is_tcp:
            return [message(own, [], 0x8380)]
        return [message(own, records)]


class Proxy:
    """Answers CONNECT by connecting to `to`, whatever was asked for. heads: every request's head, as bytes."""

    def __init__(self, to, user=None):
        self.to, self.heads = to, []
        self.want = user and b'proxy-authorization: Basic ' + base64.b64encode(user.encode())
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.address = '127.0.0.1:%d' % self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _serve(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client):
        with client:
            head = b''
            while b'\r\n\r\n' not in head:
                more = client.recv(4096)
                if not more:
                    return
                head += more
            self.heads.append(head)
            if self.want and self.want not in head:
                client.sendall(b'HTTP/1.1 407 who are you\r\nproxy-authenticate: Basic realm="x"\r\ncontent-length: 0\r\n\r\n')
                return
            with socket.create_connection(self.to) as server:
                client.sendall(b'HTTP/1.1 200 go on\r\n\r\n')
                ends = {client: server, server: client}
                while True:
                    for sock in select.select(list(ends), [], [])[0]:
                        data = sock.recv(65536)
                        if not data:
                            return
                        ends[sock].sendall(data)

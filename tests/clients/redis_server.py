"""A real redis-server for tests, which may be killed, stopped and started again on its port."""
import shutil
import socket
import subprocess
import tempfile

from rig import until


class Redis:
    """A redis-server on a port of its own, which it keeps when it is started again."""

    def __init__(self, *options):
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            self.port = s.getsockname()[1]
        self.options, self.folder = options, tempfile.mkdtemp(prefix='weir-redis.')
        self.start()

    def start(self):
        self.child = subprocess.Popen(['redis-server', '--port', str(self.port), '--bind', '127.0.0.1', '--save', '', '--dir', self.folder, *self.options],
                                      stdout=subprocess.DEVNULL)
        until('Redis answers', lambda: self.ask('PING') in (b'+PONG', b'-NOAUTH Authentication required.'), 15)

    def ask(self, *words):
        """One inline command: the first line of its answer; b'' where nobody answers."""
        try:
            with socket.create_connection(('127.0.0.1', self.port), timeout=5) as s:
                s.sendall(' '.join(words).encode() + b'\r\n')
                return s.makefile('rb').readline().strip()
        except OSError:
            return b''

    def kill(self):
        self.child.kill()
        self.child.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

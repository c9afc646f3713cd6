"""house.py: weir with a backend for the probes, one for the canary, and the canary itself. Used by everything in this folder."""
import http.client
import json
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'clients'))
from rig import Mock, Weir, ask, merged, until     # noqa: E402, F401

CANARY_STOPS_S = 30


class Canary:
    """Runs beside whatever happens; during(began, ended) is how long its questions took meanwhile."""

    def __init__(self, port, key):
        words = [sys.executable, str(HERE / 'canary.py'), str(port), *([key] if key else [])]
        self.child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.seen = None

    def alone(self):
        """Waits until it has asked often enough, while nobody else does, to know what is usual here."""
        line = self.child.stdout.readline()
        assert line == b'alone\n', f'the canary said {line}'

    def stop(self):
        if self.seen is None:
            out, _ = self.child.communicate(timeout=CANARY_STOPS_S)
            self.seen = json.loads(out)
        return self.seen

    def during(self, began, ended):
        """Questions that were under way for a part of this time, so that one that took all of it is not forgotten."""
        return sorted(seconds for when, seconds in self.stop()['samples'] if when <= ended and when + seconds >= began)


class House:
    """with House(timeouts={…}) as h: h.port, h.weir, h.calls(), h.canary."""

    def __init__(self, canary_key=None, canary=True, **conf):
        self.conf, self.canary_key, self.has_canary = conf, canary_key, canary

    def __enter__(self):
        options = ('--tokens', '3', '--fault', 'echo-id')
        self.mocks = Mock(*options), Mock(*options)
        self.weir = Weir(merged({
            'backends': {'probed': {'url': self.mocks[0].url}, 'other': {'url': self.mocks[1].url}},
            'models': {'chat': {'use': ['probed/mock-1']}, 'canary': {'use': ['other/mock-1']}},
            'timeouts': {'drain': '1s'},
        }, self.conf))
        self.port = int(self.weir.url.rsplit(':', 1)[1])
        self.board = http.client.HTTPConnection('127.0.0.1', int(self.mocks[0].url.rsplit(':', 1)[1]), timeout=20)
        self.canary = Canary(self.port, self.canary_key) if self.has_canary else None
        return self

    def __exit__(self, kind, *_):
        if self.canary:
            self.canary.stop()
        self.board.close()
        for process in (self.weir, *self.mocks):
            process.stop(quietly=kind is not None)

    def calls(self):
        """How many requests have reached the probes' backend."""
        self.board.request('GET', '/_mock/stats')
        return json.loads(self.board.getresponse().read())['requests']

    def memory(self):
        """Bytes that weir's processes hold in memory, all together."""
        total, pids = 0, [self.weir.child.pid]
        while pids:
            pid = pids.pop()
            try:
                pids += [int(p) for p in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]
                total += int(next(line for line in Path(f'/proc/{pid}/status').read_text().splitlines() if line.startswith('VmRSS:')).split()[1]) * 1024
            except (FileNotFoundError, StopIteration):
                pass    # it has ended meanwhile
        return total


def timed(what):
    """(result, began, ended) of what(), by the clock that the canary's samples carry."""
    began = time.monotonic()
    result = what()
    return result, began, time.monotonic()

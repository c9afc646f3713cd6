"""test_upgrade.py: reload, watched files, upgrade in place and drain, under load with open streams: what strangers and operators see."""
import http.client
import json
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import rig
from rig import WEIR, Mock, Weir, merged, one_model, until

CHAT = {'model': 'chat', 'messages': [{'role': 'user', 'content': 'hi'}]}
REPLY_S = 20


class Client(threading.Thread):
    """Asks one question after another on a kept connection, as an SDK does, until told to stop. Each must be answered, whole: nothing is tried again."""

    def __init__(self, url, stream=False):
        super().__init__(daemon=True)
        self.host = url.removeprefix('http://')
        self.stream, self.stopping = stream, False
        self.served = 0
        self.failed = []
        self.start()

    def ask(self, connection):
        connection.request('POST', '/v1/chat/completions', json.dumps({**CHAT, 'stream': self.stream}), {'content-type': 'application/json'})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, (answer.status, body)
        assert not self.stream or body.endswith(b'data: [DONE]\n\n'), body[-200:]

    def run(self):
        connection = http.client.HTTPConnection(self.host, timeout=REPLY_S)
        while not self.stopping:
            try:
                self.ask(connection)
                self.served += 1
            except Exception as error:      # whatever it was, a request was lost
                self.failed.append(repr(error))
                connection.close()
        connection.close()

    def end(self):
        self.stopping = True
        self.join(REPLY_S)
        assert not self.is_alive(), 'a client hangs'
        assert not self.failed, self.failed[:3]
        return self.served


class Own(Weir):
    """A weir whose program can be replaced: a copy in a folder of its own."""

    def __init__(self, conf, *arguments, **more):
        self.program = Path(rig.tempfile.mkdtemp(prefix='weir-program.')) / 'weir'
        shutil.copy(WEIR, self.program)
        before, rig.WEIR = rig.WEIR, self.program
        try:
            super().__init__(conf, *arguments, **more)
        finally:
            rig.WEIR = before

    def replace(self, make):
        """make(path) writes the new program; it takes the old one's place in one move, as package managers do."""
        new = self.program.with_name('new')
        make(new)
        os.replace(new, self.program)

    def count(self, event):
        return sum(f' {event} ' in line or f'"{event}"' in line for line in self.lines())

    def servers(self):
        children = Path(f'/proc/{self.child.pid}/task/{self.child.pid}/children').read_text().split()
        return [int(p) for p in children if Path(f'/proc/{p}/comm').read_text().strip() == 'weir']

    def upgrade(self):
        done, refused = self.count('upgraded'), self.count('upgrade_refused')
        self.child.send_signal(signal.SIGUSR2)
        until('the upgrade is done', lambda: self.count('upgraded') > done or self.count('upgrade_refused') > refused, 20)
        assert self.count('upgrade_refused') == refused, self.lines()[-5:]

    def refused(self):
        refused = self.count('upgrade_refused')
        self.child.send_signal(signal.SIGUSR2)
        until('the upgrade is refused', lambda: self.count('upgrade_refused') > refused, 20)
        return [line for line in self.lines() if 'upgrade_refused' in line][-1]

    def forget(self):
        super().forget()
        shutil.rmtree(self.program.parent, ignore_errors=True)


def conf_of(mock, **more):
    return merged(one_model(mock, timeouts={'drain': '10s', 'upgrade': '30s'}, log={'access': 'off'}), more)


def test_upgrades_and_reloads_lose_nothing():
    """complaint 40, hostile 93: 20 reloads and 3 upgrades, while clients ask on kept connections and streams are open: every request is answered, whole."""
    with Mock('--ttft', '5ms', '--itl', '20ms', '--tokens', '30') as slow, Mock('--tokens', '3') as quick:
        conf = one_model(slow, quick, timeouts={'drain': '10s'}, log={'access': 'off'})
        conf['models'] = {'chat': {'use': ['b1/mock-1']}, 'slow': {'use': ['b0/mock-1']}}
        with Own(conf) as w:
            file = w.conf_folder / 'weir.yaml'
            pid, first = w.child.pid, w.servers()
            clients = [Client(w.url) for _ in range(6)] + [Client(w.url, stream=True) for _ in range(2)]
            for n in range(20):
                text = json.loads(file.read_text())
                text['limits'] = {'queue': 100 + n}
                file.write_text(json.dumps(text))
                said = w.count('reloaded')
                w.child.send_signal(signal.SIGHUP)
                until('the reload is applied', lambda: w.count('reloaded') > said)
                if n % 7 == 3:
                    w.replace(lambda path: shutil.copy(WEIR, path))
                    w.upgrade()
            served = [c.end() for c in clients]
            assert min(served) > 0 and w.child.pid == pid and w.child.poll() is None, served
            until('the servers before have finished', lambda: len(w.servers()) == 1, 20)
            assert w.servers() != first and w.get('/readyz')[0] == 200
            assert w.number('weir_requests_total{outcome="failed"}') == 0


def test_streams_go_on_in_the_old_server():
    """A stream that is open when the program is replaced is finished by the server that began it; the next request is answered by the new one."""
    with Mock('--itl', '100ms', '--tokens', '20') as m, Own(conf_of(m)) as w:
        stream = Client(w.url, stream=True)
        until('the stream is open', lambda: m.stats()['active'] == 1)
        old = w.servers()
        w.upgrade()
        assert set(old) < set(w.servers()), (old, w.servers())
        assert w.get('/v1/models')[0] == 200
        assert stream.end() >= 1 and m.idle()['cancelled'] == 0
        until('the old server has finished', lambda: w.count('retired') == 1, 20)


def test_bad_program_changes_nothing():
    """A program that does not start, is none, or is a weir that knows nothing of upgrades: all stays as it is, and the log says why."""
    def script(text):
        def make(path):
            path.write_text(text)
            path.chmod(0o755)
        return make
    with Mock() as m, Own(conf_of(m)) as w:
        server = w.servers()
        w.replace(script('#!/bin/sh\necho "weir: no command \\"$1\\"" >&2\nexit 2\n'))
        assert 'no command' in w.refused()
        w.replace(script('no program\n'))
        assert 'Exec format error' in w.refused()
        w.program.unlink()
        assert 'No such file' in w.refused()
        assert w.servers() == server and w.post('/v1/chat/completions', CHAT)[0] == 200
        shutil.copy(WEIR, w.program)
        w.upgrade()
        assert w.post('/v1/chat/completions', CHAT)[0] == 200


def test_bad_configuration_stops_an_upgrade():
    """hostile 93: the new program reads the configuration first; a mistake is said with its place, and everything stays."""
    with Mock() as m, Own(conf_of(m)) as w:
        server, file = w.servers(), w.conf_folder / 'weir.yaml'
        good = file.read_text()
        file.write_text(good.replace('"models"', '"modles"'))
        said = w.refused()
        assert 'weir.yaml:' in said and 'models' in said, said
        file.write_text(json.dumps({**json.loads(good), 'listen': '127.0.0.1:1'}))
        assert 'listen changes only with a restart' in w.refused()
        assert w.servers() == server and w.post('/v1/chat/completions', CHAT)[0] == 200
        file.write_text(json.dumps({**json.loads(good), 'workers': 3}))       # a new process may have as many as it likes
        w.upgrade()
        assert json.loads(w.get('/health')[2])['status'] == 'ok' and w.post('/v1/chat/completions', CHAT)[0] == 200


def test_secrets_survive_an_upgrade():
    """Keys from the environment and from --set are in no environment and no command line after an upgrade either, and still let clients in."""
    with Mock() as m:
        conf = conf_of(m, keys={'one': {'key': '${TEAM_KEY}'}})
        with Own(conf, '--set', 'keys.two.key=sk-second-secret-0123', env={'TEAM_KEY': 'sk-first-secret-0123'}) as w:
            w.keys += ['sk-first-secret-0123', 'sk-second-secret-0123']
            for _ in range(2):
                w.upgrade()
                for key in ('sk-first-secret-0123', 'sk-second-secret-0123'):
                    assert w.post('/v1/chat/completions', CHAT, {'x-api-key': key})[0] == 200
                assert w.post('/v1/chat/completions', CHAT, {'x-api-key': 'sk-third'})[0] == 401
                for pid in [w.child.pid, *w.servers()]:
                    for name in ('environ', 'cmdline'):
                        assert b'secret-0123' not in Path(f'/proc/{pid}/{name}').read_bytes(), (pid, name)


def test_ends_while_the_old_server_streams():
    """TERM after an upgrade: both servers finish what they have begun, then weir ends with 0."""
    with Mock('--itl', '50ms', '--tokens', '20') as m, Own(conf_of(m)) as w:
        stream = Client(w.url, stream=True)
        until('the stream is open', lambda: m.stats()['active'] == 1)
        w.upgrade()
        stream.stopping = True
        w.child.send_signal(signal.SIGTERM)
        assert w.child.wait(20) == 0
        assert stream.end() == 1 and m.idle()['cancelled'] == 0


def test_second_term_ends_the_old_server_too():
    with Mock('--itl', '1s', '--tokens', '100') as m, Own(conf_of(m)) as w:
        stream = Client(w.url, stream=True)
        until('the stream is open', lambda: m.stats()['active'] == 1)
        w.upgrade()
        stream.stopping = True
        w.child.send_signal(signal.SIGTERM)
        until('it stops', lambda: w.count('stopping') == 1)
        w.child.send_signal(signal.SIGTERM)
        assert w.child.wait(20) == 0
        stream.join(REPLY_S)
        assert stream.failed, 'the stream should have been cut'
        assert m.idle()['cancelled'] == 1


def test_models_stay():
    """hostile 94: a model server is the same process after an upgrade; killed, it is started again by the keeper that has taken it over."""
    with rig.tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / 'llama-server'
        program.write_text('#!/bin/sh\nexec sleep 1000\n')
        program.chmod(0o755)
        (Path(folder) / 'smollm2.gguf').touch()
        with Own({'backends': {'local': {'kind': 'llama'}}, 'timeouts': {'drain': '1s'}}, env={'WEIR_LOCAL': folder}) as w:
            def models():
                children = Path(f'/proc/{w.child.pid}/task/{w.child.pid}/children').read_text().split()
                return [int(p) for p in children if Path(f'/proc/{p}/comm').read_text().strip() == 'sleep']
            before = until('the model is started', models)
            w.upgrade()
            assert models() == before
            os.kill(before[0], signal.SIGKILL)
            until('another one is started', lambda: models() and models() != before)
            assert any('was killed by signal 9' in line and 'the next one starts in 50 ms' in line for line in w.lines())
        assert not Path(f'/proc/{before[0]}').exists()


# ---- reload ----

def reload(w):
    """`weir reload` for this weir: exit code, what it printed."""
    done = subprocess.run([WEIR, 'reload', '-c', w.conf_folder / 'weir.yaml', '--socket', next((w.folder / 'weir').glob('*.sock'))], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_reload_tells_what_changed():
    """complaint 40: `weir reload` and the log say what changed; of secrets only that they did; nothing if nothing did."""
    with Mock() as m, Weir(conf_of(m, keys={'a': {'key': 'sk-first-secret-0123'}})) as w:
        file = w.conf_folder / 'weir.yaml'
        text = json.loads(file.read_text())
        assert reload(w) == (0, 'The configuration was applied; nothing changed.\n')
        text['limits'] = {'queue': 2048}
        text['backends']['gpu2'] = text['backends']['b0']
        text['keys'] = {'a': {'key': 'sk-second-secret-0123', 'rpm': 600, 'models': ['chat']}, 'b': {'key': 'sk-third-secret-0123'}}
        text['models']['chat']['use'] = ['b0/mock-1', 'gpu2/mock-1']
        file.write_text(json.dumps(text))
        code, said = reload(w)
        assert code == 0 and said.splitlines() == [
            'The configuration was applied.', '  limits.queue 1024 -> 2048', '  keys.a.key changed', '  keys.a.models none -> [chat]', '  keys.a.rpm none -> 600', '  keys.b added',
            '  backends.gpu2 added', '  models.chat.use [b0/mock-1] -> [b0/mock-1, gpu2/mock-1]'], said
        assert any('limits.queue 1024 -> 2048' in line for line in w.lines())
        w.keys += ['sk-second-secret-0123', 'sk-third-secret-0123']
        del text['backends']['gpu2'], text['models']['chat']
        text['models'] = {f'm{n}': {'use': ['b0/mock-1']} for n in range(30)}
        file.write_text(json.dumps(text))
        said = reload(w)[1].splitlines()
        assert len(said) == 22 and said[-1] == '  and 12 more', said


def test_bad_file_is_refused_with_its_place():
    """hostile 93: FILE:LINE:COLUMN reaches whoever asked, with exit code 1; the old configuration serves on."""
    with Mock() as m, Weir(conf_of(m)) as w:
        file = w.conf_folder / 'weir.yaml'
        good = file.read_text()
        for bad, place in ((good.replace('"backends"', '"backend"', 1), 'did you mean "backends"'), ('models: [', 'not YAML'), (good.replace('mock-1', ''), 'backend/model')):
            file.write_text(bad)
            code, said = reload(w)
            assert code == 1 and f'{file}:' in said and place in said, said
            assert w.post('/v1/chat/completions', CHAT)[0] == 200
        file.unlink()
        assert reload(w)[0] == 1 and w.post('/v1/chat/completions', CHAT)[0] == 200


def mount(folder, number, files):
    """Files as Kubernetes mounts a ConfigMap: links through ..data to a folder that each version has for itself; ..data turns in one move."""
    version = folder / f'..version_{number}'
    version.mkdir()
    for name, content in files.items():
        (version / name).write_text(content)
    (folder / '..new').symlink_to(version.name)
    os.replace(folder / '..new', folder / '..data')
    for name in files:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path('..data') / name)


def test_watched_files():
    """reload: watch: a ConfigMap that turns, an include that changes, and an editor's rename are taken without a signal; a bad one is said once and changes nothing."""
    with Mock() as m, rig.tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        conf = {'listen': '127.0.0.1:0', 'reload': 'watch', **conf_of(m, keys={'a': {'key': '${file:%s}' % (folder / 'secret')}})}

        def files(secret, **more):
            return {'weir.yaml': json.dumps({**conf, **more}), 'secret': secret}
        mount(folder, 1, files('sk-first-secret-0123'))
        with Weir(None, '-c', folder / 'weir.yaml') as w:
            def status(key):
                return w.post('/v1/chat/completions', CHAT, {'x-api-key': key})[0]

            def told(word):
                return sum(word in line for line in w.lines())
            assert status('sk-first-secret-0123') == 200
            mount(folder, 2, files('sk-second-secret-0123'))
            until('the new secret is taken', lambda: status('sk-second-secret-0123') == 200, 20)
            assert status('sk-first-secret-0123') == 401 and told('keys.a.key changed') == 1
            mount(folder, 3, files('sk-second-secret-0123', limits={'queue': 'many'}))
            until('the bad one is refused', lambda: told('reload_refused') == 1, 20)
            assert status('sk-second-secret-0123') == 200
            mount(folder, 4, files('sk-second-secret-0123', limits={'queue': 7}))
            until('the good one is taken', lambda: told('limits.queue 1024 -> 7') == 1, 20)
            assert told('reload_refused') == 1
            (folder / 'written').write_text(json.dumps({**conf, 'reload': 'signal', 'limits': {'queue': 8}}))
            os.replace(folder / 'written', folder / 'weir.yaml')
            until("the editor's file is taken", lambda: told('limits.queue 7 -> 8') == 1 and told('reload watch -> signal') == 1, 20)


rig.run(globals())

"""test_store.py: keys made by weir key: at once on every worker, on the disk when they are said to be, and no reason for weir to stop when their file is not good."""
import http.client
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
from pathlib import Path

import rig
from rig import Mock, Weir, one_model, until

CHAT = {'model': 'chat', 'messages': [{'role': 'user', 'content': 'Hello'}], 'max_tokens': 4}
CONFIGURED = 'sk-configured-0123456789'
KILLS = int(os.environ.get('STORE_KILLS', '100'))
FLIPS = 40


def bearer(key):
    return {'authorization': f'Bearer {key}'}


def command(folder, *words):
    env = {**os.environ, 'HOME': str(folder), 'XDG_RUNTIME_DIR': str(folder), 'XDG_STATE_HOME': str(folder)}
    return subprocess.run([str(rig.WEIR), *map(str, words)], capture_output=True, text=True, timeout=20, env=env)


def key(w, *words):
    """weir key … about the weir w."""
    return command(w.folder, 'key', words[0], '--socket', socket_of(w), *words[1:])


def socket_of(w):
    return w.folder / 'weir' / (w.url.rsplit(':', 1)[1] + '.sock')


def made(w, *words):
    done = key(w, 'new', *words)
    assert done.returncode == 0 and re.fullmatch(r'wk-[0-9A-Za-z]{32}\n', done.stdout), done
    return done.stdout.strip()


def statuses(w, headers, times=1):
    return {w.get('/v1/models', headers=headers)[0] for _ in range(times)}


def status(w):
    return json.loads(command(w.folder, 'status', '--json', '--socket', socket_of(w)).stdout)['store']


def closed(mock, **more):
    """A configuration with a key of its own."""
    return one_model(mock, keys={'configured': {'key': CONFIGURED}}, **more)


class Disk:
    """A folder for a store that outlives a weir."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix='weir-disk.'))
        os.chmod(self.folder, 0o755)
        self.path = self.folder / 'state' / 'weir.db'

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)

    def rows(self, query):
        with sqlite3.connect(self.path, timeout=5) as other:
            return other.execute(query).fetchall()


# ---- a key's life ----

def test_a_key_holds_at_once_on_every_worker_until_it_is_revoked():
    with Mock() as m, Weir(one_model(m, workers=2)) as w:
        assert statuses(w, {}) == {200}, 'loopback without keys is open'
        done = key(w, 'new', 'alice', '--tenant', 'acme')
        alice = done.stdout.strip()
        assert 'from now on this weir asks everybody for a key' in done.stderr, done.stderr
        assert statuses(w, {}, 20) == {401} and statuses(w, bearer(alice), 20) == {200} and statuses(w, {'x-api-key': alice}) == {200}
        assert w.post('/v1/chat/completions', CHAT, bearer(alice))[0] == 200
        bob = made(w, 'bob')
        assert 'from now on' not in key(w, 'new', 'carol').stderr.splitlines()[-1]
        assert 'revoked' in key(w, 'revoke', 'alice').stdout
        assert statuses(w, bearer(alice), 20) == {401} and statuses(w, bearer(bob), 20) == {200}
        key(w, 'revoke', 'carol')
        assert 'nobody is let in until you make one' in key(w, 'revoke', 'bob').stderr
        assert statuses(w, {}, 20) == {401}, 'what asked for keys once goes on asking'
        assert not [line for line in w.lines() if alice in line or bob in line]


def test_what_a_key_may_holds():
    with Mock() as m, Weir(one_model(m)) as w:
        user, admin = made(w, 'user', '--models', 'other, another'), made(w, 'admin', '--role', 'admin')
        assert w.post('/v1/chat/completions', CHAT, bearer(user))[0] == 403
        assert w.post('/v1/chat/completions', CHAT, bearer(admin))[0] == 200
        assert w.get('/metrics', headers=bearer(user))[0] == 403 and w.get('/metrics', headers=bearer(admin))[0] == 200
        made(w, 'all', '--priority', 'low', '--priority-max', 'high', '--rpm', '600', '--tpm', '1000', '--concurrency', '5', '--budget', '2.5', '--per', '2d')
        listed = json.loads(key(w, 'list', '--json').stdout)['keys']
        assert [k['name'] for k in listed] == ['admin', 'all', 'user'] and listed[2]['models'] == ['other', 'another'], listed
        assert {name: listed[1][name] for name in ('priority', 'priority_max', 'rpm', 'tpm', 'concurrency', 'budget')} == {
            'priority': 'low', 'priority_max': 'high', 'rpm': 600, 'tpm': 1000, 'concurrency': 5, 'budget': {'usd': 2.5, 'per': '2d'}}
        assert key(w, 'revoke', listed[1]['fingerprint']).returncode == 0 and len(json.loads(key(w, 'list', '--json').stdout)['keys']) == 2


def test_names_clash_and_wrong_words_are_told():
    with Mock() as m, Weir(closed(m)) as w:
        made(w, 'alice')
        for words, code, said in (
                (('new', 'alice'), 1, 'there is a key "alice" already'),
                (('new', 'configured'), 1, 'The configuration has a key "configured"'),
                (('revoke', 'configured'), 1, 'take it out there'),
                (('revoke', 'alise'), 1, 'has no key "alise"'),
                (('new', 'x', '--rpm', 'many'), 2, 'keys.x.rpm must be a whole number'),
                (('new', 'x', '--role', 'amin'), 2, 'did you mean "admin"?'),
                (('new', 'x', '--per', '1d'), 2, 'there is none'),
                (('new', 'x', '--tenant', '${HOME}'), 2, 'may not have ${'),
                (('new', 'a b'), 2, ''),
                (('new',), 2, '')):
            done = key(w, *words)
            assert done.returncode == code and said in done.stderr and done.stdout == '', (words, done)
        done = command(w.folder, 'key', 'revok', 'x')
        assert done.returncode == 2 and 'did you mean revoke' in done.stderr, done
        assert len(json.loads(key(w, 'list', '--json').stdout)['keys']) == 1


def test_where_no_weir_runs_the_file_is_changed():
    with Disk() as disk, Mock() as m:
        conf = disk.folder / 'weir.yaml'
        conf.write_text(json.dumps({'admin': {'socket': str(disk.folder / 'nobody.sock')}, **one_model(m)}))  # or a weir of this user in /run/weir would be asked
        done = command(disk.folder, 'key', 'new', 'alice', '-c', conf)
        alice, path = done.stdout.strip(), disk.folder / 'weir' / 'weir.db'
        assert done.returncode == 0 and f'kept in  {path}, as no weir of this user is running' in done.stderr, done.stderr
        assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
        with Weir(one_model(m), env={'XDG_STATE_HOME': str(disk.folder)}) as w:
            assert statuses(w, {}) == {401} and statuses(w, bearer(alice)) == {200}
        assert command(disk.folder, 'key', 'revoke', 'alice', '-c', conf).returncode == 0
        with Weir(one_model(m), env={'STATE_DIRECTORY': str(disk.folder / 'weir') + ':/nowhere'}) as w:
            assert statuses(w, bearer(alice)) == {401}
        conf.write_text(json.dumps({'store': 'off', **one_model(m)}))
        done = command(disk.folder, 'key', 'new', 'bob', '-c', conf)
        assert done.returncode == 1 and 'store is off' in done.stderr, done


def test_two_weirs_on_one_file_know_each_others_keys():
    with Disk() as disk, Mock() as m, Weir(closed(m, store=str(disk.path))) as a, Weir(closed(m, store=str(disk.path))) as b:
        alice = made(a, 'alice')
        until('the other one has read it', lambda: statuses(b, bearer(alice)) == {200})
        assert key(b, 'revoke', 'alice').returncode == 0
        until('and that it was revoked', lambda: statuses(a, bearer(alice)) == {401})


def test_nothing_to_keep_leaves_no_file_and_off_keeps_nothing():
    with Mock() as m:
        with Weir(one_model(m)) as w:
            w.post('/v1/chat/completions', CHAT)
            assert status(w)['state'] == 'none' and not list(w.folder.rglob('*.db*'))
        with Weir(closed(m, store='off', tenants={'acme': {'budget': {'usd': 1}}}, models={'chat': {'price': {'in': 1}}})) as w:
            assert [line for line in w.lines() if 'budgets begin anew at every start' in line]
            done = key(w, 'new', 'alice')
            assert done.returncode == 1 and 'its store is off' in done.stderr, done
            assert status(w) == {'state': 'off'} and not list(w.folder.rglob('*.db*'))


def test_another_store_needs_a_restart():
    with Disk() as disk, Mock() as m, Weir(closed(m, store=str(disk.path))) as w:
        file = w.conf_folder / 'weir.yaml'
        conf = json.loads(file.read_text())
        file.write_text(json.dumps({**conf, 'store': str(disk.path) + '2'}))
        done = command(w.folder, 'reload', '--socket', socket_of(w))
        assert done.returncode == 1 and 'store changes only with a restart' in done.stderr, done
        file.write_text(json.dumps({**conf, 'store': 'postgres://db/weir'}))
        assert 'postgres is not served by this version' in command(w.folder, 'check', '-c', file).stderr


# ---- killed ----

class Admin(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__('localhost', timeout=20)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(self.path)


def keep_making(path, number, known):
    """Makes keys one after another until the server is gone; known[name] once it was said that one is kept."""
    with_it = Admin(path)
    try:
        while True:
            number += 1000
            name = f'k{number}'
            with_it.request('POST', '/keys/new', json.dumps({'keys': {name: {'key_sha256': f'{number:064x}'}}}))
            answer = with_it.getresponse()
            answer.read()
            if answer.status == 200:
                known.add(name)
    except (OSError, http.client.HTTPException):
        return


def kill_all(w):
    server = w.server_pid()
    os.kill(w.child.pid, signal.SIGKILL)
    os.kill(server, signal.SIGKILL)
    w.child.wait()
    w.forget()


def killed_once(disk, conf, chance, round_number, known):
    w = Weir(conf)
    kept = {name for name, in disk.rows('SELECT name FROM keys')} if disk.path.exists() else set()
    assert known <= kept, f'round {round_number}: {len(known - kept)} keys that were acknowledged are gone'
    threads = [threading.Thread(target=keep_making, args=(socket_of(w), round_number * 1000000 + i, known)) for i in range(4)]
    for thread in threads:
        thread.start()
    before = len(known)
    until('some are made', lambda: len(known) >= before + chance.randrange(20))
    kill_all(w)
    for thread in threads:
        thread.join()


def test_a_key_that_was_acknowledged_survives_kill_9():
    """The server and its keeper die at a random moment, again and again, with four clients making keys."""
    chance, known = random.Random(6), set()
    with Disk() as disk, Mock() as m:
        conf = closed(m, store=str(disk.path))
        for i in range(KILLS):
            killed_once(disk, conf, chance, i, known)
        with Weir(conf) as w:
            assert known <= {k['name'] for k in json.loads(key(w, 'list', '--json').stdout)['keys']}
        assert disk.rows('PRAGMA integrity_check') == [('ok',)] and len(known) > KILLS


# ---- complaint 38: a file that is not good ----

def goes_on(w):
    """What clients see is as ever."""
    assert w.post('/v1/chat/completions', CHAT, bearer(CONFIGURED))[0] == 200 and w.get('/readyz')[0] == 200
    assert statuses(w, {}) <= {401} and statuses(w, bearer('wk-nobody')) <= {401, 503}


def fails(w, said):
    done = key(w, 'new', 'late')
    assert done.returncode == 1 and said in done.stderr and done.stdout == '', done
    assert said in command(w.folder, 'status', '--socket', socket_of(w)).stdout
    goes_on(w)
    warned = [line for line in w.lines() if ' warn ' in line and 'store' in line]
    assert len(warned) == 1, warned


def test_a_locked_file():
    """complaint 38"""
    with Disk() as disk, Mock() as m, Weir(closed(m, store=str(disk.path))) as w:
        alice = made(w, 'alice')
        other = sqlite3.connect(disk.path, isolation_level=None)
        other.execute('BEGIN IMMEDIATE')
        fails(w, 'is locked by another process')
        assert statuses(w, bearer(alice)) == {200}
        other.execute('ROLLBACK')
        until('it works again', lambda: status(w)['state'] == 'open')
        assert statuses(w, bearer(made(w, 'late'))) == {200}


def test_a_full_disk():
    """complaint 38: RLIMIT_FSIZE stands for the disk's end."""
    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (120 << 10, 120 << 10))
    with Disk() as disk, Mock() as m, Weir(closed(m, store=str(disk.path)), before=limited) as w:
        alice = made(w, 'alice')
        names = [f'k{i}' for i in range(60)]
        refused = until('the disk is full', lambda: key(w, 'new', names.pop()).returncode != 0, 20)
        assert refused and status(w)['state'] == 'failed', status(w)
        goes_on(w)
        assert statuses(w, bearer(alice)) == {200}


def test_a_file_that_was_taken_away():
    """complaint 38"""
    with Disk() as disk, Mock() as m, Weir(closed(m, store=str(disk.path))) as w:
        alice = made(w, 'alice')
        away = disk.folder / 'away'
        disk.path.parent.rename(away)
        until('it is noticed', lambda: status(w)['state'] == 'failed')
        fails(w, 'is gone')
        assert statuses(w, bearer(alice)) == {200} and not disk.path.exists()
        away.rename(disk.path.parent)
        until('it is back', lambda: status(w)['state'] == 'open')
        assert statuses(w, bearer(made(w, 'late'))) == {200} and statuses(w, bearer(alice)) == {200}


def test_a_file_that_can_only_be_read():
    """complaint 38: as nobody, where we are root."""
    with Disk() as disk, Mock() as m:
        conf = closed(m, store=str(disk.path))
        with Weir(conf) as w:
            alice = made(w, 'alice')
        os.chmod(disk.path, 0o444)
        os.chmod(disk.path.parent, 0o555)
        file = disk.folder / 'weir.yaml'
        file.write_text(json.dumps(conf))
        with Weir(None, '-c', file, before=lambda: os.getuid() == 0 and become_nobody()) as w:
            assert status(w)['state'] == 'read_only' and statuses(w, bearer(alice)) == {200}
            done = key(w, 'new', 'late')
            assert done.returncode == 1 and 'can only be read' in done.stderr, done
            goes_on(w)
        os.chmod(disk.path.parent, 0o755)


def become_nobody():
    """In the child, before it becomes weir: it keeps its folder."""
    os.chown('.', 65534, 65534)
    os.setgid(65534)
    os.setuid(65534)


def damaged_copies(disk):
    """The file with one byte changed, or its end cut off; what it is called; the bytes."""
    whole, chance = disk.path.read_bytes(), random.Random(7)
    for i in range(FLIPS):
        at = chance.randrange(len(whole)) if i % 2 else chance.randrange(200)
        yield f'byte {at}', whole[:at] + bytes([whole[at] ^ (1 << chance.randrange(8))]) + whole[at + 1:]
    for length in (0, 1, 100, 4096, len(whole) // 2, len(whole) - 1):
        yield f'cut at {length}', whole[:length]


def test_a_damaged_file():
    """complaint 38: whatever stands in it, clients with a configured key go on, nobody gets in without a key, and nothing ends."""
    with Disk() as disk, Mock() as m:
        with Weir(closed(m, store=str(disk.path))) as w:
            alice = made(w, 'alice')
        saw = set()
        for what, content in damaged_copies(disk):
            for end in ('-wal', '-shm'):
                Path(str(disk.path) + end).unlink(missing_ok=True)
            disk.path.write_bytes(content)
            with Weir(closed(m, store=str(disk.path))) as w:
                saw |= {(state := status(w)['state'])}
                goes_on(w)
                assert statuses(w, bearer(alice)) <= {200, 401, 503}, what
                assert state == 'failed' or key(w, 'list').returncode == 0, what
        assert saw == {'open', 'failed'}, saw


def test_a_damaged_file_opens_no_door():
    """Without a configured key nobody is let in: the file may have had some."""
    with Disk() as disk, Mock() as m:
        conf = one_model(m, store=str(disk.path))
        with Weir(conf) as w:
            alice = made(w, 'alice')
        whole = disk.path.read_bytes()
        disk.path.write_bytes(b'?' * 100 + whole[100:])
        with Weir(conf) as w:
            assert w.get('/readyz')[0] == 200
            assert statuses(w, {}) == {503} and statuses(w, bearer(alice)) == {503}
            disk.path.write_bytes(whole)
            until('the backup is read', lambda: statuses(w, bearer(alice)) == {200}, 10)
            assert statuses(w, {}) == {401}


if __name__ == '__main__':
    rig.run(globals())

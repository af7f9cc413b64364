#!/usr/bin/env python3
"""Replays the Dockerfile without a container engine: each stage is a debootstrap folder, each RUN a
chroot. Then the image is used as `docker run` would: its entrypoint starts as its user, its health
check must pass, a point goes in and comes out, SIGTERM must end it with status 0.

    replay_dockerfile.py [--keep] [--cache FOLDER]          root, debootstrap; some minutes at first

Prints `ok <name>` / `FAIL <name>: why` / `skip <name>: reason` lines.
"""
import argparse
import http.client
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), '..', '..'))
MIRROR = 'http://deb.debian.org/debian'
PORT = 6399


def instructions(path):
    """Yields (instruction, text) with continuation lines joined and comments dropped."""
    text = ''
    for line in open(path):
        if line.lstrip().startswith('#') or not (line.strip() or text):
            continue
        text += line.rstrip('\n')
        if text.endswith('\\'):
            text = text[:-1] + ' '
            continue
        name, _, rest = text.strip().partition(' ')
        yield name.upper(), rest.strip()
        text = ''


class Stage:
    """One FROM: a root folder and what the instructions said about it so far."""

    def __init__(self, folder, suite):
        self.folder, self.suite = folder, suite
        self.environment = {'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
                            'HOME': '/root'}
        self.workdir, self.user = '/', '0'
        self.entrypoint, self.command, self.health = [], [], None
        # What every container engine provides: /proc, and descriptors below /dev.
        subprocess.run(['mount', '-t', 'proc', 'proc', os.path.join(folder, 'proc')], check=True)
        if not os.path.lexists(os.path.join(folder, 'dev', 'fd')):
            os.symlink('/proc/self/fd', os.path.join(folder, 'dev', 'fd'))

    def close(self):
        subprocess.run(['umount', os.path.join(self.folder, 'proc')], check=False)

    def path(self, inside):
        return os.path.join(self.folder, os.path.normpath(os.path.join(self.workdir, inside)).lstrip('/'))

    def chroot(self, command, **options):
        """Runs a list of words inside the stage as the stage's user."""
        words = ['chroot', f'--userspec={self.user}', self.folder, '/usr/bin/env', '-i', '-C', self.workdir,
                 *(f'{k}={v}' for k, v in self.environment.items()), *command]
        return subprocess.Popen(words, **options)

    def run(self, shell_text):
        process = self.chroot(['/bin/sh', '-ec', shell_text])
        if process.wait() != 0:
            raise RuntimeError(f'RUN {shell_text[:80]}: status {process.returncode}')


def base_folder(cache, suite):
    """A pristine Debian of the suite, made once and kept."""
    folder = os.path.join(cache, suite)
    if not os.path.exists(os.path.join(folder, 'etc', 'debian_version')):
        shutil.rmtree(folder, ignore_errors=True)
        print(f'# debootstrap {suite} (once)', flush=True)
        subprocess.run(['debootstrap', '--variant=minbase', suite, folder, MIRROR], check=True,
                       stdout=subprocess.DEVNULL)
    return folder


def replay(dockerfile, work, cache, stages):
    """Runs every instruction; returns the last stage. Fills in stages, which the caller closes."""
    stage = None
    for name, text in instructions(dockerfile):
        print(f'# {name} {text[:100]}', flush=True)
        if name == 'FROM':
            match = re.fullmatch(r'debian:(\w+)(?:-slim)?(?:\s+AS\s+(\w+))?', text, re.I)
            if not match:
                raise RuntimeError(f'FROM {text}: only debian:<suite>[-slim] can be replayed')
            folder = os.path.join(work, match[2] or 'image')
            subprocess.run(['cp', '-a', base_folder(cache, match[1]), folder], check=True)
            shutil.copy('/etc/resolv.conf', os.path.join(folder, 'etc', 'resolv.conf'))
            stage = stages[match[2] or 'image'] = Stage(folder, match[1])
        elif name == 'RUN':
            stage.run(text)
        elif name in ('ENV', 'ARG'):
            for word in shlex.split(text):
                key, _, value = word.partition('=')
                stage.environment.setdefault(key, value) if name == 'ARG' else stage.environment.update({key: value})
        elif name == 'WORKDIR':
            stage.workdir = text
            os.makedirs(stage.path('.'), exist_ok=True)
        elif name == 'COPY':
            copy(stages, stage, shlex.split(text))
        elif name == 'USER':
            stage.user = text
        elif name == 'ENTRYPOINT':
            stage.entrypoint = json.loads(text)
        elif name == 'CMD':
            stage.command = json.loads(text)
        elif name == 'HEALTHCHECK':
            stage.health = json.loads(text[text.index('['):])
        elif name not in ('EXPOSE', 'VOLUME', 'LABEL', 'STOPSIGNAL'):
            raise RuntimeError(f'{name}: unknown instruction')
    return stage


def copy(stages, stage, words):
    options = dict(w[2:].split('=', 1) for w in words if w.startswith('--'))
    *sources, target = [w for w in words if not w.startswith('--')]
    target_path = stage.path(target)
    os.makedirs(target_path if target.endswith('/') or len(sources) > 1 else os.path.dirname(target_path),
                exist_ok=True)
    for source in sources:
        if 'from' in options:
            full = stages[options['from']].path(source)
            subprocess.run(['cp', '-a', full, target_path], check=True)
        elif source == '.':
            subprocess.run(f'git -C {ROOT} archive HEAD | tar -x -C {target_path}', shell=True, check=True)
        else:
            full = os.path.join(ROOT, source)
            subprocess.run(['cp', '-a', full + ('/.' if os.path.isdir(full) else ''), target_path], check=True)
        if 'chown' in options:
            subprocess.run(['chown', '-R', options['chown'], target_path], check=True)


def request(method, path, body=None):
    connection = http.client.HTTPConnection('127.0.0.1', PORT, timeout=5)
    connection.request(method, path, json.dumps(body) if body is not None else None)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read() or b'null')


def use(image):
    """What `docker run` does, and a user after it. Yields (name, passed, why)."""
    image.environment['NIGH__SERVICE__HTTP_PORT'] = str(PORT)
    server = image.chroot(image.entrypoint + image.command)
    try:
        healthy = False
        for _ in range(50):
            check = image.chroot(image.health)
            healthy = check.wait() == 0
            if healthy:
                break
            time.sleep(0.2)
        yield 'the health check of the image passes', healthy, f'status {check.returncode}'
        created = request('PUT', '/collections/c', {'vectors': {'size': 2, 'distance': 'Dot'}})
        request('PUT', '/collections/c/points?wait=true', {'points': [{'id': 1, 'vector': [1, 2]}]})
        status, answer = request('POST', '/collections/c/points/query', {'query': [1, 1]})
        found = status == 200 and answer['result']['points'][0]['id'] == 1
        yield 'the image stores and finds a point', found, f'{created} {status} {answer}'
    finally:
        server.send_signal(signal.SIGTERM)
        status = server.wait(timeout=15)
    yield 'SIGTERM ends the image with status 0', status == 0, f'status {status}'
    refused = image.chroot(image.health).wait()
    yield 'the health check fails when nothing listens', refused == 1, f'status {refused}'


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--keep', action='store_true', help='leave the folders for a look')
    parser.add_argument('--cache', default=os.path.join(ROOT, '.cache', 'container'))
    arguments = parser.parse_args()
    if os.geteuid() != 0 or not shutil.which('debootstrap'):
        print('skip the Dockerfile is replayed: needs root and debootstrap')
        return 0
    os.makedirs(arguments.cache, exist_ok=True)
    work = tempfile.mkdtemp(prefix='nigh-image-')
    failed, stages = 0, {}
    try:
        image = replay(os.path.join(ROOT, 'Dockerfile'), work, arguments.cache, stages)
        print('ok every instruction of the Dockerfile runs')
        for name, passed, why in use(image):
            print(f'ok {name}' if passed else f'FAIL {name}: {why}', flush=True)
            failed += not passed
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        print(f'FAIL the Dockerfile is replayed: {error}')
        failed += 1
    finally:
        for stage in stages.values():
            stage.close()
        if arguments.keep:
            print(f'# kept {work}')
        else:
            shutil.rmtree(work, ignore_errors=True)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())

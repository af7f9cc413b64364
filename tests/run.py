#!/usr/bin/env python3
"""Runs every test and counts: the last line is `N passed, N failed`.

    tests/run.py [--build DIR] [--patience N] [--only WORD]... [--skip WORD]... [--list]

C tests are the programs DIR/tests/<layer>/test_*; libcheck's summary is counted check by check.
Other tests are tests/<folder>/test_*.{py,mjs,sh}; each prints `ok NAME`, `FAIL NAME: why` or
`skip NAME: reason`, and runs as a process of its own in a session of its own, so that a time limit
ends all that it started. A comment among a program's first lines says what it wants:

    nigh-test: environment=venv-newest server=yes seconds=120 needs=root,strace stage=torture

environment: of support/environments.py. server: the runner starts one and passes NIGH_URL.
needs: root, or programs that must be found; without them the program is skipped, loudly.
seconds: how long it may run, times --patience, which is for builds that are slow by their nature.
stage=torture: runs under `make torture` (NIGH_TORTURE=1) only.
"""

import argparse
import concurrent.futures
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(HERE, "support"))

import environments  # noqa: E402
from server import Server  # noqa: E402

LAYERS = ["index", "storage", "api", "server"]
FOLDERS = ["kernels", "http", "clients", "recall", "differential", "crash", "faults"]
SECONDS_DEFAULT = 120
C_SECONDS_MAX = 300
SUMMARY = re.compile(r"^\d+%: Checks: (\d+), Failures: (\d+), Errors: (\d+)$", re.M)
WANTS = re.compile(r"nigh-test:([^\"\n]*)")
INTERPRETERS = {".py": None, ".mjs": ["node"], ".sh": ["bash"]}


class Outcome:
    def __init__(self):
        self.passed = 0
        self.failures = []
        self.skips = []

    def add(self, other):
        self.passed += other.passed
        self.failures += other.failures
        self.skips += other.skips


def say(text=""):
    print(text, flush=True)


running = set()  # programs, each the head of a session
servers = set()  # that the runner started for a program


def start(command, **more):
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                               cwd=ROOT, start_new_session=True, **more)
    running.add(process)
    return process


def members(session):
    """Processes of a session: libcheck gives each test a group of its own, so groups do not tell."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
                if int(stat.read().rpartition(")")[2].split()[3]) == session:
                    yield int(pid)
        except OSError:
            pass  # it ended meanwhile


def end_session(process):
    running.discard(process)
    for pid in members(process.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def end_all(number, _frame):
    """Who stops the runner stops what it started, though that lies in sessions of its own."""
    for process in list(running):
        end_session(process)
    for server in list(servers):
        server.close()
    os._exit(128 + number)


# ---- C programs -----------------------------------------------------------------------------


def c_programs(build):
    found = []
    for layer in LAYERS:
        folder = os.path.join(ROOT, "tests", layer)
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            if name.startswith("test_") and name.endswith(".c"):
                found.append((f"{layer}/{name[:-2]}", os.path.join(build, "tests", layer, name[:-2])))
    return found


def run_c(name, program, patience):
    outcome, seconds_max = Outcome(), C_SECONDS_MAX * patience
    if not os.path.exists(program):
        outcome.failures.append(f"{name}: was not built")
        return outcome, ""
    process = start([program], env={"CK_TIMEOUT_MULTIPLIER": str(patience), **os.environ})
    try:
        output, _ = process.communicate(timeout=seconds_max)
    except subprocess.TimeoutExpired:
        end_session(process)
        output, _ = process.communicate()
        outcome.failures.append(f"{name}: ran longer than {seconds_max:.0f} s")
        return outcome, output
    end_session(process)
    counts = [tuple(map(int, match)) for match in SUMMARY.findall(output)]
    failed = sum(failures + errors for _, failures, errors in counts)
    outcome.passed = sum(checks for checks, _, _ in counts) - failed
    # libcheck prints one line a failed check: file:line:F:case:test:loop: why
    lines = [line for line in output.splitlines() if re.match(r"\S+:\d+:[FE]:", line)]
    outcome.failures += [f"{name}: {line}" for line in lines[:failed]]
    outcome.failures += [f"{name}: a check failed"] * (failed - len(lines[:failed]))
    if not counts:
        outcome.failures.append(f"{name}: no summary, exit status {process.returncode}")
    elif process.returncode != 0 and failed == 0:
        # The checks held, but a sanitizer or the exit did not.
        outcome.failures.append(f"{name}: exit status {process.returncode}")
    elif not outcome.passed and not outcome.failures:
        outcome.skips.append(f"{name}: has no checks in this build (the file says why)")
    return outcome, output


# ---- Programs in Python, JavaScript, shell --------------------------------------------------


def scripts():
    found = []
    for folder in FOLDERS:
        path = os.path.join(HERE, folder)
        for name in sorted(os.listdir(path)) if os.path.isdir(path) else []:
            if name.startswith("test_") and os.path.splitext(name)[1] in INTERPRETERS:
                found.append((f"{folder}/{name}", os.path.join(path, name)))
    return found


def wants_of(path):
    with open(path, encoding="utf-8") as source:
        head = source.read(2000)
    match = WANTS.search(head)
    return dict(word.split("=", 1) for word in match.group(1).split() if "=" in word) if match else {}


def missing_need(wants):
    for need in filter(None, wants.get("needs", "").split(",")):
        if need == "root" and os.geteuid() != 0:
            return "needs root"
        if need != "root" and shutil.which(need) is None:
            return f"needs the program {need}"
    return None


def command_of(path, wants):
    environment = wants.get("environment")
    folder = environments.prepare(environment) if environment else None
    extension = os.path.splitext(path)[1]
    if extension == ".py":
        return [os.path.join(folder, "bin", "python3") if folder else sys.executable, path], {}
    # Modules are resolved from where the importing file lies, so the folder is passed instead.
    return INTERPRETERS[extension] + [path], {"NIGH_NPM": os.path.join(folder, "node_modules")} if folder else {}


def run_script(name, path, variables, patience):
    outcome = Outcome()
    wants = wants_of(path)
    if wants.get("stage") == "torture" and os.environ.get("NIGH_TORTURE") != "1":
        return outcome
    missing = missing_need(wants)
    if missing:
        outcome.skips.append(f"{name}: {missing}")
        return outcome
    server = None
    try:
        command, more = command_of(path, wants)
        more["PYTHONPATH"] = os.path.join(HERE, "support")
        if wants.get("server") == "yes":
            server = Server()
            servers.add(server)
            more.update({"NIGH_URL": server.url, "NIGH_PORT": str(server.port)})
        seconds = patience * float(wants.get("seconds", SECONDS_DEFAULT))
        run_lines(name, command, {**variables, **more}, seconds, outcome)
        if server is not None and not server.is_running():
            outcome.failures.append(f"{name}: the server died: {server.log_tail(600)}")
    except (OSError, RuntimeError) as error:
        outcome.failures.append(f"{name}: {error}")
    finally:
        if server is not None:
            servers.discard(server)
            try:
                server.close()
            except RuntimeError as error:
                outcome.failures.append(f"{name}: {error}")
    return outcome


def run_lines(name, command, variables, seconds, outcome):
    """Follows a program's lines until it ends or its time is over. Torture runs get no limit that
    the program does not keep itself."""
    if os.environ.get("NIGH_TORTURE") == "1":
        seconds *= 100
    process = start(command, env=variables)
    timed_out = []
    timer = threading.Timer(seconds, lambda: (timed_out.append(True), end_session(process)))
    timer.start()
    counted, other = 0, []
    for text in process.stdout:
        text = text.rstrip("\n")
        word, _, rest = text.partition(" ")
        if word == "ok" and rest:
            outcome.passed += 1
            counted += 1
        elif word == "FAIL" and rest:
            outcome.failures.append(f"{name}: {rest}")
            counted += 1
            say(f"    {text}")
        elif word == "skip" and rest:
            outcome.skips.append(f"{name}: {rest}")
            counted += 1
        else:
            other.append(text)
            if text.startswith("# "):
                say(f"    {text}")
    process.wait()
    timer.cancel()
    end_session(process)
    tail = " | ".join(other[-12:])
    if timed_out:
        outcome.failures.append(f"{name}: ran longer than {seconds:.0f} s; last lines: {tail}")
    elif process.returncode != 0 and not any(f.startswith(name + ":") for f in outcome.failures):
        outcome.failures.append(f"{name}: exit status {process.returncode}; last lines: {tail}")
    elif counted == 0:
        outcome.failures.append(f"{name}: printed no result; last lines: {tail}")


# ---- All of it ------------------------------------------------------------------------------


def selected(items, arguments):
    def is_wanted(name):
        return (not arguments.only or any(word in name for word in arguments.only)) and not any(
            word in name for word in arguments.skip)
    return [item for item in items if is_wanted(item[0])]


def progress(number, of, name, outcome, seconds):
    state = "FAILED" if outcome.failures else "ok" if outcome.passed else "skipped"
    say(f"[{number:>3}/{of}] {name:<44} {state:<8} {outcome.passed:>5} passed {seconds:7.1f} s")
    for failure in outcome.failures[:20]:
        say(f"    {failure}")


def main():
    parser = argparse.ArgumentParser(description="Runs nigh's tests.")
    parser.add_argument("--build", default=os.path.join(ROOT, "build"), help="folder of the built programs")
    parser.add_argument("--only", action="append", default=[], help="part of a test program's name")
    parser.add_argument("--skip", action="append", default=[], help="part of a test program's name")
    parser.add_argument("--patience", type=float, default=1.0, help="all time limits are so many times longer")
    parser.add_argument("--list", action="store_true", help="print the names of the test programs")
    arguments = parser.parse_args()

    signal.signal(signal.SIGINT, end_all)
    signal.signal(signal.SIGTERM, end_all)
    build = os.path.abspath(arguments.build)
    programs = selected(c_programs(build), arguments)
    wanted = selected(scripts(), arguments)
    if arguments.list:
        for name, _ in programs + wanted:
            say(name)
        return 0

    total, started, number = Outcome(), time.monotonic(), 0
    of = len(programs) + len(wanted)

    def timed(function, *parameters):
        begin = time.monotonic()
        return function(*parameters), time.monotonic() - begin

    # C tests use one core each; the others start servers and measure, so they run one by one.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        names = {pool.submit(timed, run_c, name, path, arguments.patience): name for name, path in programs}
        for future in concurrent.futures.as_completed(names):
            (outcome, output), seconds = future.result()
            number += 1
            progress(number, of, names[future], outcome, seconds)
            if outcome.failures:
                for text in output.splitlines()[-25:]:
                    say(f"    > {text}")
            total.add(outcome)
    variables = {**os.environ, "NIGH_BINARY": os.environ.get("NIGH_BINARY", os.path.join(build, "nigh")),
                 "NIGH_BUILD": build, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    os.environ.setdefault("NIGH_BINARY", variables["NIGH_BINARY"])
    for name, path in wanted:
        outcome, seconds = timed(run_script, name, path, variables, arguments.patience)
        number += 1
        progress(number, of, name, outcome, seconds)
        total.add(outcome)

    if total.skips:
        say("\nSkipped, so not proven by this run:")
        for text in total.skips:
            say(f"    {text}")
    if total.failures:
        say("\nFailed:")
        for text in total.failures:
            say(f"    {text}")
    say(f"\nin {time.monotonic() - started:.0f} s")
    if total.passed == 0 and not total.failures:
        total.failures.append("nothing ran")
    say(f"{total.passed} passed, {len(total.failures)} failed")
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main())

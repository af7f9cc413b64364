#!/usr/bin/env python3
"""nigh-test: seconds=240

Many connections at a time: 2,000 idle ones (10,000 under make torture) held by another process,
300 slow senders, and more than the process may open. Good clients must not notice.
"""

import os
import resource
import select
import socket
import subprocess
import sys
import time

from report import Skipped, check, equal, finish, test
from server import Server

IS_TORTURE = os.environ.get("NIGH_TORTURE") == "1"
IDLE = 10000 if IS_TORTURE else 2000
IDLE_SECONDS = 600 if IS_TORTURE else 3
KIB_A_CONNECTION_MAX = 16
FRESH_MIB_MAX = 12
SLOW = 300
HEAD_TIMEOUT_S = 3
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def is_instrumented():
    """Sanitizers have their own idea of memory and speed."""
    return any(mode in os.environ.get("NIGH_BINARY", "") for mode in ("-asan", "-tsan"))


def hold(host, port, count):
    """Run as a process of its own: opens connections, uses each once, says so, holds them until its
    input ends, and uses each once more."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    clients = []
    for _ in range(count):
        client = socket.create_connection((host, port), timeout=30)
        client.sendall(REQUEST)
        clients.append(client)
    for client in clients:
        assert b" 200 OK" in client.recv(4096)
    print("held", flush=True)
    sys.stdin.read()
    for client in clients:
        client.sendall(REQUEST)
        assert b" 200 OK" in client.recv(4096)
    print("used again", flush=True)


def holder(server, count):
    return subprocess.Popen([sys.executable, os.path.abspath(__file__), "hold", server.host, str(server.port), str(count)],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def latencies(server, count):
    """Sorted seconds of so many requests on one connection."""
    seconds = []
    for _ in range(count):
        begin = time.monotonic()
        equal(server.raw("GET", "/collections")[0], 200, "the status of a good client")
        seconds.append(time.monotonic() - begin)
    return sorted(seconds)


def metric(server, name):
    text = server.raw("GET", "/metrics")[2].decode()
    for line in text.splitlines():
        if line.startswith(name + " "):
            return float(line.rsplit(" ", 1)[1])
    raise KeyError(name)


@test
def a_fresh_server_is_small():
    with Server() as server:
        mib = server.resident_bytes() / 2**20
        print(f"# a fresh server takes {mib:.1f} MiB")
        check(is_instrumented() or mib < FRESH_MIB_MAX, f"{mib:.1f} MiB")


@test
def idle_connections_cost_little_and_live_on():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < IDLE + 300:
        raise Skipped(f"only {hard} files may be open")
    with Server(["--max-connections", str(IDLE + 10), "--keep-alive-s", "3600"]) as server:
        quiet = latencies(server, 500)
        before = server.resident_bytes()
        other = holder(server, IDLE)
        equal(other.stdout.readline(), "held\n", "what the other process says")
        equal(int(metric(server, "nigh_connections")), IDLE + 1, "open connections")
        time.sleep(IDLE_SECONDS)
        kib = (server.resident_bytes() - before) / 1024 / IDLE
        busy = latencies(server, 500)
        print(f"# {IDLE} idle connections take {kib:.2f} KiB each; p99 of others {quiet[494] * 1e3:.2f} ms before, "
              f"{busy[494] * 1e3:.2f} ms beside them")
        check(is_instrumented() or kib <= KIB_A_CONNECTION_MAX, f"{kib:.2f} KiB a connection")
        idle_cpu = server.cpu_seconds()
        time.sleep(1)
        idle_cpu = server.cpu_seconds() - idle_cpu
        check(idle_cpu < 0.2, f"{idle_cpu:.2f} s of CPU in a second of idleness")
        other.stdin.close()
        equal(other.stdout.readline(), "used again\n", "what the other process says")
        equal(other.wait(), 0, "its exit status")


@test
def slow_senders_hold_up_nobody_and_are_cut_off():
    with Server(["--head-timeout-s", str(HEAD_TIMEOUT_S)]) as server:
        quiet = latencies(server, 300)
        begin = time.monotonic()
        slow = [socket.create_connection((server.host, server.port)) for _ in range(SLOW)]
        for client in slow:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        waiting, answers, worst = dict((c.fileno(), c) for c in slow), 0, []
        while waiting and time.monotonic() - begin < HEAD_TIMEOUT_S + 8:
            for client in list(waiting.values()):
                try:
                    client.send(b"a")
                except OSError:
                    pass
            worst += latencies(server, 20)
            for ready in select.select(list(waiting), [], [], 0.1)[0]:
                data = waiting.pop(ready).recv(4096)
                answers += data.startswith(b"HTTP/1.1 408 ")
        seconds = time.monotonic() - begin
        equal(len(waiting), 0, "slow senders that were never answered")
        equal(answers, SLOW, "slow senders that were told why")
        check(seconds < HEAD_TIMEOUT_S + 8, f"{seconds:.1f} s")
        worst.sort()
        print(f"# p99 of others {quiet[-4] * 1e3:.2f} ms before, {worst[int(len(worst) * .99)] * 1e3:.2f} ms beside "
              f"{SLOW} slow senders")
        for client in slow:
            client.close()


@test
def a_server_out_of_descriptors_recovers_and_does_not_spin():
    few_files = [sys.executable, "-c", "import os, resource, sys\n"
                 "resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96))\n"
                 "os.execv(sys.argv[1], sys.argv[1:])"]
    with Server(["--max-connections", "10000"], wrapper=few_files, start=False) as server:
        server.start()
        clients = []
        for _ in range(300):
            client = socket.socket()
            client.settimeout(5)
            client.connect((server.host, server.port))
            clients.append(client)
        time.sleep(0.5)
        used = server.cpu_seconds()
        time.sleep(2)
        used = server.cpu_seconds() - used
        check(used < 0.4, f"{used:.2f} s of CPU in 2 s of waiting")
        for client in clients:
            client.close()
        begin = time.monotonic()
        while True:
            try:
                server.disconnect()
                if server.raw("GET", "/healthz", timeout=2)[0] == 200:
                    break
            except OSError:
                pass
            check(time.monotonic() - begin < 10, "no answer after the others left")
            time.sleep(0.05)
        seconds = time.monotonic() - begin
        print(f"# recovered {seconds:.2f} s after the others left")
        check(seconds < 2, f"recovered after {seconds:.1f} s")


if __name__ == "__main__":
    if sys.argv[1:2] == ["hold"]:
        hold(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        finish()

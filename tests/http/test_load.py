#!/usr/bin/env python3
"""nigh-test: seconds=180

A busy server: large bodies in, large answers out, many clients, more than the queue takes. The loop
is never blocked longer than 5 ms (release builds), health answers all the time, and what is refused
is refused at once.
"""

import http.client
import json
import os
import threading
import time

from report import Skipped, check, equal, finish, test
from server import Server

LOOP_SECONDS_MAX = 0.005
SECONDS = 5
DIMENSION = 384


def is_instrumented():
    return any(mode in os.environ.get("NIGH_BINARY", "") for mode in ("-asan", "-tsan", "-coverage"))


def metric(server, name):
    for line in server.raw("GET", "/metrics")[2].decode().splitlines():
        if line.startswith(name + " "):
            return float(line.rsplit(" ", 1)[1])
    raise KeyError(name)


def becomes_zero(server, name):
    """A worker that sends its answer itself does not tell the loop, which finds out at a tick or two."""
    deadline = time.monotonic() + 2
    while metric(server, name) != 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    return metric(server, name) == 0


def upsert_body(first, count):
    vector = [round(0.001 * ((i * 37 + first) % 997), 4) for i in range(DIMENSION)]
    return json.dumps({"points": [{"id": first + i, "vector": vector, "payload": {"text": "x" * 500}}
                                  for i in range(count)]})


class Clients:
    """Threads that do something until stopped; their failures are kept."""

    def __init__(self):
        self.threads, self.failures, self.is_over = [], [], threading.Event()

    def add(self, function, *arguments):
        def repeat():
            try:
                while not self.is_over.is_set():
                    function(*arguments)
            except Exception as error:  # the test says so
                self.failures.append(f"{type(error).__name__}: {error}")
        thread = threading.Thread(target=repeat)
        self.threads.append(thread)
        thread.start()

    def stop(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join()
        equal(self.failures, [], "failures of clients")


def post(connection, method, path, body, allowed=(200,)):
    connection.request(method, path, body)
    response = connection.getresponse()
    data = response.read()
    check(response.status in allowed, f"{method} {path}: {response.status} {data[:200]!r}")
    return response.status, data


@test
def large_bodies_and_answers_do_not_block_the_loop():
    with Server() as server:
        server.call("PUT", "/collections/a", {"vectors": {"size": DIMENSION, "distance": "Dot"}})
        body = upsert_body(0, 3000)
        server.call("PUT", "/collections/a/points?wait=true", body)
        clients = Clients()
        worst_health = []

        def health(connection):
            begin = time.monotonic()
            post(connection, "GET", "/healthz", None)
            worst_health.append(time.monotonic() - begin)
            time.sleep(0.01)

        def connect():
            return http.client.HTTPConnection(server.host, server.port, timeout=60)

        for _ in range(3):
            clients.add(post, connect(), "PUT", "/collections/a/points?wait=true", body)
            clients.add(post, connect(), "POST", "/collections/a/points/scroll",
                        '{"limit": 3000, "with_vector": true}')
        for _ in range(4):
            clients.add(post, connect(), "POST", "/collections/a/points/query",
                        json.dumps({"query": [0.1] * DIMENSION, "limit": 10}))
        clients.add(post, connect(), "POST", "/nowhere", "x" * 500000, (404,))
        clients.add(health, connect())
        time.sleep(SECONDS)
        clients.stop()
        longest, wall = metric(server, "nigh_loop_callback_seconds_max"), metric(server, "nigh_loop_callback_wall_seconds_max")
        print(f"# bodies of {len(body) / 1e6:.1f} MB: longest callback of the loop {longest * 1e3:.2f} ms "
              f"({wall * 1e3:.2f} ms with the waits for a core); slowest /healthz {max(worst_health) * 1e3:.1f} ms")
        check(is_instrumented() or longest <= LOOP_SECONDS_MAX, f"the loop was blocked for {longest * 1e3:.1f} ms")
        check(becomes_zero(server, "nigh_body_bytes"), "memory of bodies is still counted when no request is underway")


@test
def what_the_queue_does_not_take_is_refused_at_once():
    with Server(["--max-queue", "2", "--max-workers", "1"]) as server:
        server.call("PUT", "/collections/a", {"vectors": {"size": DIMENSION, "distance": "Dot"}})
        server.call("PUT", "/collections/a/points?wait=true", upsert_body(0, 2000))
        clients, statuses, refused_seconds = Clients(), [], []

        def scroll(connection):
            begin = time.monotonic()
            status, data = post(connection, "POST", "/collections/a/points/scroll",
                                '{"limit": 2000, "with_vector": true}', (200, 503))
            statuses.append(status)
            if status == 503:
                refused_seconds.append(time.monotonic() - begin)
                check(b'"error":"Service unavailable: ' in data, data[:200])
                time.sleep(0.01)

        for _ in range(12):
            clients.add(scroll, http.client.HTTPConnection(server.host, server.port, timeout=60))
        health = 0
        begin = time.monotonic()
        while time.monotonic() - begin < 3:
            equal(server.raw("GET", "/healthz")[0], 200, "the status of /healthz")
            health += 1
        clients.stop()
        if 503 not in statuses:
            raise Skipped("the queue never filled on this machine")
        refused_seconds.sort()
        middle = refused_seconds[len(refused_seconds) // 2]
        print(f"# {statuses.count(200)} answered, {statuses.count(503)} refused, half of them within {middle * 1e3:.1f} ms; "
              f"{health} health checks")
        check(200 in statuses, "nothing was answered")
        check(is_instrumented() or middle < 0.05, f"half of the refusals took {middle * 1e3:.0f} ms and more")
        equal(server.call("POST", "/collections/a/points/count", {"exact": True})["count"], 2000, "the count afterwards")


finish()

#!/usr/bin/env python3
# nigh-test: seconds=180 needs=prlimit
"""Too much at once: too many requests, too many and too slow clients, too little memory, too few
descriptors. Whoever behaves is served; the others get a clear no; nothing acknowledged is lost.

    test_overload.py [--only WORD] [--seed N]
"""

import argparse
import json
import math
import os
import random
import resource
import selectors
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import report  # noqa: E402
from torture import Client, Lost, Victim  # noqa: E402
from writers import World  # noqa: E402

SLOW_SENDERS = 300
HEAD_SECONDS_MAX = 10.0   # what a server grants a head, from its first byte
DEADLINE_SLACK = 3.0
LEFT_SECONDS = 3          # that all searches would take whose clients leave, ...
LEAVING_MAX = 500         # ... which are so many at most
DRIP_SHARE = 0.02         # of the slow senders, that send a byte in one round of a few milliseconds
STOP_SECONDS_MAX = 10.0
SEED = 1


def load_points(client, name, count, size=64):
    client.must("PUT", f"/collections/{name}", {"vectors": {"size": size, "distance": "Dot"}})
    rng = random.Random(name)
    for first in range(0, count, 1000):
        points = [{"id": n, "vector": [rng.randint(-128, 127) / 64 for _ in range(size)], "payload": {"n": n}}
                  for n in range(first, first + 1000)]
        client.must("PUT", f"/collections/{name}/points?wait=true", {"points": points})


def http_request(method, path, body):
    data = json.dumps(body).encode()
    return (f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n\r\n").encode() + data


def many_requests(port, request, count, seconds):
    """Sends one request on each of many connections at once; (status, head, seconds) of each."""
    selector = selectors.DefaultSelector()
    received, results = {}, []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port), timeout=10)
        received[connection] = b""
    begin = time.monotonic()
    for connection in received:
        connection.sendall(request)
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ)
    while received and time.monotonic() - begin < seconds:
        for key, _ in selector.select(0.5):
            connection = key.fileobj
            try:
                data = connection.recv(65536)
            except ConnectionError:
                data = b""
            received[connection] += data
            head, separator, body = received[connection].partition(b"\r\n\r\n")
            length = int(next((line.split(b":")[1] for line in head.lower().split(b"\r\n")
                               if line.startswith(b"content-length:")), b"0"))
            if not data or (separator and len(body) >= length):
                status = int(head.split(b" ")[1]) if separator else 0
                results.append((status, head.decode(), time.monotonic() - begin))
                selector.unregister(connection)
                connection.close()
                del received[connection]
    for connection in received:
        connection.close()
        results.append((-1, "", seconds))
    return results


def a_full_queue_says_503():
    with Victim() as server:
        client = server.client()
        load_points(client, "main", 10000)
        searches = [{"query": [1.0] * 64, "limit": 1, "params": {"exact": True}}] * 4
        request = http_request("POST", "/collections/main/points/query/batch", {"searches": searches})
        results = many_requests(server.port, request, 2500, 60)
        statuses = [status for status, _, _ in results]
        report.check(set(statuses) <= {200, 503}, f"statuses {sorted(set(statuses))}")
        refused = [(head, seconds) for status, head, seconds in results if status == 503]
        report.check(refused, "2,500 requests at once overflow no queue")
        report.check(statuses.count(200) >= 500, f"only {statuses.count(200)} of 2500 are answered")
        for head, _ in refused:
            report.check("retry-after:" in head.lower(), f"503 without Retry-After: {head}")
        last_ok = max(seconds for status, _, seconds in results if status == 200)
        last_no = max(seconds for _, seconds in refused)
        report.check(last_no < max(2.0, last_ok), f"a refusal took {last_no:.1f} s")
        print(f"# {statuses.count(200)} answered in {last_ok:.1f} s, {len(refused)} refused in {last_no:.2f} s", flush=True)
        report.equal(client.must("POST", "/collections/main/points/count", {})["count"], 10000, "points afterwards")


def slow_senders_disturb_nobody():
    """Half send their head byte by byte, half their body."""
    with Victim() as server:
        client = server.client()
        load_points(client, "main", 2000)
        query = {"query": [1.0] * 64, "limit": 3}

        def latencies(count):
            times = []
            for _ in range(count):
                begin = time.monotonic()
                client.must("POST", "/collections/main/points/query", query)
                times.append(time.monotonic() - begin)
            return sorted(times)

        quiet = latencies(200)
        request = http_request("POST", "/collections/main/points/query", query)
        head_bytes = request.index(b"\r\n\r\n") + 4
        slow = []
        for n in range(SLOW_SENDERS):
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
            sent = 20 if n % 2 else head_bytes + 5
            connection.sendall(request[:sent])
            connection.setblocking(False)
            slow.append([connection, sent, n % 2 == 1, None])
        begin = time.monotonic()
        loaded = []
        memory = server.resident_private_bytes()
        while time.monotonic() - begin < HEAD_SECONDS_MAX + DEADLINE_SLACK:
            for sender in slow:
                drip(sender, request, begin)
            loaded += latencies(20)
        loaded.sort()
        grown = server.resident_private_bytes() - memory
        report.check(loaded[len(loaded) * 99 // 100] < max(0.05, 5 * quiet[len(quiet) * 99 // 100]),
                     f"p99 {loaded[len(loaded) * 99 // 100] * 1000:.1f} ms under slow senders, {quiet[len(quiet) * 99 // 100] * 1000:.1f} ms before")
        report.check(grown < 64 * 1024 * 1024, f"memory grew by {grown}")
        open_heads = sum(1 for sender in slow if sender[2] and sender[3] is None)
        report.equal(open_heads, 0, f"heads that took longer than {HEAD_SECONDS_MAX} s and are still waited for")
        for connection, _, _, _ in slow:
            connection.close()
        server.expect_alive("slow senders")


def drip(sender, request, begin):
    """One byte more, if the server still listens; notes when it stopped."""
    connection, sent, is_head, ended = sender
    if ended is not None:
        return
    try:
        data = connection.recv(4096)
        sender[3] = time.monotonic() - begin
        if data:
            report.check(b" 408 " in data.split(b"\r\n")[0], f"a slow sender is answered {data[:100]}")
        return
    except BlockingIOError:
        pass
    except OSError:
        sender[3] = time.monotonic() - begin
        return
    if sent < len(request) - 1 and random.random() < DRIP_SHARE:
        try:
            connection.send(request[sent:sent + 1])
            sender[1] += 1
        except OSError:
            sender[3] = time.monotonic() - begin


def a_search_ends_when_its_client_leaves():
    with Victim() as server:
        client = server.client()
        load_points(client, "main", 60000)
        server.wait_green("main")  # else the builders' CPU would be taken for the searches'
        searches = [{"query": [1.0] * 64, "limit": 10, "params": {"exact": True}}] * 1000
        request = http_request("POST", "/collections/main/points/query/batch", {"searches": searches})
        begin = time.monotonic()
        answer = client.call("POST", "/collections/main/points/query/batch", {"searches": searches})
        whole = time.monotonic() - begin
        report.equal(answer.status, 200, "status of the long search")
        leaving = math.ceil(LEFT_SECONDS * os.cpu_count() / whole)
        report.check(leaving <= LEAVING_MAX, f"the search takes {whole:.3f} s: too short to be left")
        connections = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(leaving)]
        for connection in connections:
            connection.sendall(request)
        time.sleep(0.1)
        for connection in connections:
            connection.close()
        time.sleep(1.6)  # one second is given to clients that only closed their sending side
        before = server.cpu_seconds()
        time.sleep(1.0)
        used = server.cpu_seconds() - before
        report.check(used < 0.6, f"{used:.2f} s of CPU in the second after all clients left; {leaving} searches of {whole:.1f} s were running")
        report.equal(client.must("POST", "/collections/main/points/count", {})["count"], 60000, "points afterwards")


def a_graceful_stop_loses_nothing():
    world = World(SEED)
    with Victim() as server:
        world.create_shared(server.client())
        for _ in range(3):
            told = {}

            def end():
                world.is_failing = True  # writes that come too late are refused, or not heard
                begin = time.monotonic()
                told["status"] = server.stop()
                told["seconds"] = time.monotonic() - begin
            world.write(server, 0.7, end)
            report.equal(told["status"], 0, "exit status after SIGTERM")
            report.check(told["seconds"] < STOP_SECONDS_MAX, f"the stop took {told['seconds']:.1f} s")
            server.start()
            world.check(server.client())


def little_memory_refuses_but_serves():
    """RLIMIT_DATA: allocations fail for real, at any place, under eight clients with large requests."""
    def create(server):
        client = server.client()
        client.must("PUT", "/collections/main", {"vectors": {"size": 256, "distance": "Dot"}})
        client.must("PUT", "/collections/main/points?wait=true", {"points": [{"id": 0, "vector": [1.0] * 256, "payload": {"n": -1}}]})
        return client

    with Victim() as server:
        create(server)  # an index maps room for tens of thousands of rows at a time, and the limit counts it
        baseline = server.status_kib("VmData") * 1024
    limit = baseline + 32 * 1024 * 1024
    with Victim(wrapper=["prlimit", f"--data={limit}:{limit}"]) as server:
        client = create(server)
        acknowledged, refused, failures = {}, [], []

        def write(number):
            own = Client(server.port, timeout=60)
            rng = random.Random(number)
            for turn in range(6):
                ids = [1 + number * 100000 + turn * 1000 + n for n in range(700)]
                vector = [rng.randint(-99, 99) / 64 for _ in range(256)]
                body = {"points": [{"id": id, "vector": vector, "payload": {"n": turn, "text": "x" * 4000}} for id in ids]}
                try:
                    answer = own.call("PUT", "/collections/main/points?wait=true", body)
                except Lost as lost:
                    refused.append(str(lost))
                    continue
                if answer.status == 200:
                    acknowledged.update({id: turn for id in ids})
                elif answer.status in (413, 500, 503, 507) and answer.error:
                    refused.append(answer.status)
                else:
                    failures.append(f"a write is answered {answer}")

        threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            try:  # reads go on, or are refused for want of memory
                answer = client.call("POST", "/collections/main/points", {"ids": [0], "with_payload": True})
                report.check(answer.status in (500, 503, 507) or answer.result == [{"id": 0, "payload": {"n": -1}}], f"read: {answer}")
            except Lost:
                server.expect_alive("a read with little memory")
            time.sleep(0.05)
        server.expect_alive("large writes with little memory")
        report.check(not failures, failures[:1])
        report.check(refused, "no request met the limit")
        print(f"# {len(acknowledged)} points acknowledged, {len(refused)} requests refused", flush=True)
        answer = client.call("PUT", "/collections/main/points?wait=true", {"points": [{"id": 10**9, "vector": [1.0] * 256}]})
        report.equal(answer.status, 200, f"a small write afterwards ({answer}), status")
        del server.wrapper[:]
        client.close()
        server.kill()
        server.start()
        points = {}
        offset = None
        while True:
            body = {"limit": 2000, "with_payload": ["n"]}
            if offset is not None:
                body["offset"] = offset
            page = client.must("POST", "/collections/main/points/scroll", body)
            points.update({point["id"]: point["payload"].get("n") for point in page["points"]})
            offset = page["next_page_offset"]
            if offset is None:
                break
        lost = [id for id, turn in acknowledged.items() if points.get(id) != turn]
        report.check(not lost, f"{len(lost)} acknowledged points are lost")


def few_descriptors_degrade_only():
    with Victim(wrapper=["prlimit", "--nofile=64:64"]) as server:
        client = server.client()
        load_points(client, "main", 1000)
        crowd = []
        for _ in range(300):
            try:
                connection = socket.create_connection(("127.0.0.1", server.port), timeout=1)
                connection.setblocking(False)
                crowd.append(connection)
            except OSError:
                pass
        time.sleep(0.5)
        before = server.cpu_seconds()
        time.sleep(1.0)
        used = server.cpu_seconds() - before
        server.expect_alive("300 connections on 64 descriptors")
        report.check(used < 0.3, f"{used:.2f} s of CPU in a second in which nothing happens: the server spins")
        for connection in crowd:
            connection.close()
        begin = time.monotonic()
        while True:
            fresh = server.client(timeout=2.0)
            try:
                answer = fresh.call("POST", "/collections/main/points/count", {})
                if answer.status != 503:  # while those of the crowd are still being closed
                    report.equal(answer.result["count"], 1000, "points")
                    break
            except Lost:
                pass
            fresh.close()
            report.check(time.monotonic() - begin < 2.0, "no answer 2 s after the crowd left")
            time.sleep(0.05)
        fresh.must("PUT", "/collections/second", {"vectors": {"size": 4, "distance": "Dot"}})
        fresh.must("PUT", "/collections/main/points?wait=true", {"points": [{"id": 5000, "vector": [1.0] * 64}]})
        made = 0
        while made < 40:  # each takes descriptors: at some point no more may be made, but nothing breaks
            answer = fresh.call("PUT", f"/collections/more-{made}", {"vectors": {"size": 4, "distance": "Dot"}})
            if answer.status != 200:
                report.check(answer.status >= 500 and answer.error, f"creating collection {made} is answered {answer}")
                break
            made += 1
        report.equal(server.client().must("POST", "/collections/main/points/count", {})["count"], 1001, "points in the end")
        listed = server.client().must("GET", "/collections")["collections"]
        report.equal(len(listed), 2 + made, "collections")


def main():
    global SEED
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    SEED = arguments.seed
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20000), hard))
    for check in (a_full_queue_says_503, slow_senders_disturb_nobody, a_search_ends_when_its_client_leaves,
                  a_graceful_stop_loses_nothing, little_memory_refuses_but_serves, few_descriptors_degrade_only):
        if arguments.only in check.__name__:
            report.run(check.__name__.replace("_", " "), check)
    report.finish()


if __name__ == "__main__":
    main()

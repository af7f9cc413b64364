#!/usr/bin/env python3
"""Speed of the server over HTTP: prints a table, asserts nothing.

    server_bench.py --build build --size short|middle|full [--data FOLDER] [--only WORD]

CPU is that of the server's threads, from /proc, because the machines that this runs on are shared
and wall time lies. Every figure says how it was taken; docs/BENCHMARKS.md explains them.
"""

import argparse
import base64
import http.client
import json
import os
import socket
import sys
import threading
import time

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))

from fixture import DIMENSION, Fixture  # noqa: E402
from server import Client, Server  # noqa: E402
from server_load import cpu_by_thread, cpu_difference, load, settle, tell, write_bodies  # noqa: E402

SIZES = {  # points of the upsert test, queries, idle connections, seconds of streaming
    "short": {"points": 20_000, "queries": 2_000, "idle": 500, "stream": 5},
    "middle": {"points": 100_000, "queries": 5_000, "idle": 2_000, "stream": 15},
    "full": {"points": 300_000, "queries": 20_000, "idle": 10_000, "stream": 60},
}
figures = []


def show(what, value, must=""):
    figures.append({"what": what, "value": value, "must": must})
    print(f"{what:<78} {value:>22}  {must}", flush=True)


class Bench:
    def __init__(self, arguments):
        self.size = SIZES[arguments.size]
        self.loader = os.path.join(arguments.build, "bench", "http_load")
        self.data = Fixture(arguments.data)

    def load(self, server, **options):
        return load(self.loader, server, **options)

    # ---- The rows --------------------------------------------------------------------------

    def idle(self):
        with Server() as server:
            time.sleep(0.5)
            fresh = server.resident_bytes()
            show("idle: memory of the fresh server, MiB", f"{fresh / 2**20:.1f}", "< 12")
            sockets = []
            for _ in range(self.size["idle"]):
                connection = socket.create_connection((server.host, server.port))
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
                connection.recv(4096)
                sockets.append(connection)
            grown = server.resident_bytes() - fresh
            show(f"idle: memory a keep-alive connection, KiB ({len(sockets)} of them)", f"{grown / len(sockets) / 1024:.1f}", "<= 16")
            for connection in sockets:
                connection.close()

    def overhead(self):
        with Server() as server:
            server.call("PUT", "/collections/one", {"vectors": {"size": 768, "distance": "Dot"}})
            self.load(server, mode="upsert", collection="one", dimension=768, batch=1, connections=1, requests=1)
            self.load(server, mode="search", collection="one", dimension=768, connections=1, requests=500)
            before = cpu_by_thread(server.pid)
            count = self.size["queries"] * 4
            answer = self.load(server, mode="search", collection="one", dimension=768, connections=4, requests=count)
            show("a 768-d query over keep-alive in a collection of one point, CPU us", f"{answer['server_cpu_us']:.1f}", "<= 40 beyond the search")
            print(f"    {answer['rate']:.0f} a second, p99 {answer['p99_ms']} ms; by thread: {tell(cpu_difference(before, cpu_by_thread(server.pid), count))}")

    def upserts(self):
        with Server() as server:
            server.call("PUT", "/collections/bench", {"vectors": {"size": 768, "distance": "Cosine"}})
            before = cpu_by_thread(server.pid)
            points = self.size["points"]
            started = time.monotonic()
            answer = self.load(server, mode="upsert", collection="bench", dimension=768, batch=100, connections=8, requests=points // 100)
            show(f"acknowledged upserts of 768-d f32 JSON, 100 a request, 8 clients, points/s ({points})", f"{answer['points_rate']:.0f}", ">= 15,000")
            print(f"    p50 {answer['p50_ms']} p99 {answer['p99_ms']} max {answer['max_ms']} ms")
            print(f"    CPU us a point, by thread: {tell(cpu_difference(before, cpu_by_thread(server.pid), points))}; the client {answer['client_cpu_us'] / 100:.1f}")
            server.wait_green("bench", 3600)
            show("    the same until all of them are in the graph, s", f"{time.monotonic() - started:.1f}")
            show("    CPU until then, s", f"{server.cpu_seconds():.1f}")
            self.start_to_answer(server, points)

    def start_to_answer(self, server, points):
        query = np.random.default_rng(1).uniform(-0.5, 0.5, 768).astype("<f4")
        body = {"query": base64.b64encode(query.tobytes()).decode(), "limit": 10}
        expected = server.call("POST", "/collections/bench/points/query", {**body, "params": {"exact": True}})["points"]
        server.stop()
        started = time.monotonic()
        server.launch()
        while True:
            try:
                found = server.call("POST", "/collections/bench/points/query", body)["points"]
                break
            except (OSError, http.client.HTTPException, AssertionError) as error:
                if time.monotonic() - started > 60:
                    raise RuntimeError("no answer after a restart") from error
                server.disconnect()
                time.sleep(0.002)
        seconds = time.monotonic() - started
        same = len({hit["id"] for hit in found} & {hit["id"] for hit in expected})
        show(f"start to the first answer at {points} x 768, s ({same} of 10 right)", f"{seconds:.3f}", "< 0.5 at 100k")

    def real_set(self):
        data = self.data
        queries = [json.dumps({"query": data.query_numbers(n), "limit": 10}).encode() for n in range(len(data.query_rows))]
        uploads = []
        for begin in range(0, len(data.rows), 500):
            points = [{**data.point(row), "vector": data.numbers(row)} for row in range(begin, min(begin + 500, len(data.rows)))]
            uploads.append(json.dumps({"points": points}, ensure_ascii=False).encode())
        with Server() as server:
            server.call("PUT", "/collections/real", {"vectors": {"size": DIMENSION, "distance": "Cosine"}, "hnsw_config": {"full_scan_threshold": 10}})
            file = write_bodies(uploads)
            before = cpu_by_thread(server.pid)
            started = time.monotonic()
            answer = self.load(server, mode="file", method="PUT", path="/collections/real/points?wait=true", bodies=file, connections=4, requests=len(uploads))
            acknowledged = time.monotonic() - started
            server.wait_green("real", 3600)
            linked = time.monotonic() - started
            show(f"{len(data.rows)} x {DIMENSION} with payload over HTTP: all acknowledged, s", f"{acknowledged:.2f}")
            show("    all rows linked in the graph, s", f"{linked:.2f}", "<= 15 at 58,716")
            print(f"    CPU {server.cpu_seconds():.1f} s; us a row by thread: {tell(cpu_difference(before, cpu_by_thread(server.pid), len(data.rows)))}; p99 {answer['p99_ms']} ms a request")
            os.unlink(file)
            settle(server)
            show("    the same until builders have nothing left to do, s", f"{time.monotonic() - started:.2f}")
            self.real_queries(server, queries)
            self.under_stream(server, queries)

    def recall(self, server, params):
        hits = 0
        for begin in range(0, len(self.data.query_rows), 100):
            part = range(begin, min(begin + 100, len(self.data.query_rows)))
            answers = server.call("POST", "/collections/real/points/query/batch",
                                  {"searches": [{"query": self.data.query_text(n), "limit": 10, "params": params} for n in part]})
            for n, answer in zip(part, answers):
                hits += len({point["id"] for point in answer["points"]} & {self.data.rows[row]["id"] for row in self.data.truth[n][:10]})
        return hits / 10 / len(self.data.query_rows)

    def real_queries(self, server, queries):
        show("    recall@10 at default parameters", f"{self.recall(server, {}):.4f}", ">= 0.97")
        for ef in (16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256, 320, 384, 512):
            recall = self.recall(server, {"hnsw_ef": ef})
            if recall >= 0.99 or ef == 512:
                break
        for name, params in ((f"recall {recall:.4f} (hnsw_ef {ef})", {"hnsw_ef": ef}), ("default parameters", {}), ("exact", {"exact": True})):
            file = write_bodies([query[:-1] + b', "params": ' + json.dumps(params).encode() + b"}" for query in queries])
            before = cpu_by_thread(server.pid)
            count = self.size["queries"]
            answer = self.load(server, mode="file", path="/collections/real/points/query", bodies=file, connections=2, requests=count)
            show(f"    a query over HTTP at {name}, k = 10, CPU us", f"{answer['server_cpu_us']:.1f}", "<= 150 at recall 0.99" if "recall" in name else "")
            print(f"        {answer['rate']:.0f} a second on 2 connections, p50 {answer['p50_ms']} p99 {answer['p99_ms']} ms; by thread: {tell(cpu_difference(before, cpu_by_thread(server.pid), count))}")
            os.unlink(file)
        self.exact_batches(server, queries)

    def exact_batches(self, server, queries):
        """Queries of a batch that are scanned for share their scans."""
        searches = [query[:-1] + b', "params": {"exact": true}}' for query in queries]
        for together in (16, 64):
            batches = [searches[at:at + together] for at in range(0, len(searches) - together + 1, together)]
            file = write_bodies([b'{"searches": [' + b",".join(batch) + b"]}" for batch in batches])
            answer = self.load(server, mode="file", path="/collections/real/points/query/batch", bodies=file, connections=2,
                               requests=self.size["queries"] // together)
            show(f"    an exact query of a batch of {together}, CPU us", f"{answer['server_cpu_us'] / together:.1f}")
            os.unlink(file)

    def under_stream(self, server, queries):
        """p99 of searches, quiet and while 5,000 points a second come in on one other connection."""
        file = write_bodies(queries)
        quiet = self.load(server, mode="file", path="/collections/real/points/query", bodies=file, connections=1, requests=self.size["queries"])
        ended, sent, late = threading.Event(), [0], [0.0]
        batches = [json.dumps({"points": [{"id": 10_000_000 + batch * 100 + n, "vector": self.data.text((batch * 100 + n) % len(self.data.rows))} for n in range(100)]}).encode()
                   for batch in range(50)]
        writer = Client(server.host, server.port)

        def stream():
            started = time.monotonic()
            while not ended.is_set():
                due = started + sent[0] / 5000
                late[0] = max(late[0], time.monotonic() - due)
                time.sleep(max(0.0, due - time.monotonic()))
                # Ids are fresh in every round, so that each point is a new one to link.
                body = batches[sent[0] // 100 % 50].replace(b'"id": 1', b'"id": %d' % (1 + sent[0] // 5000), 100)
                writer.call("PUT", "/collections/real/points?wait=true", body)
                sent[0] += 100

        thread = threading.Thread(target=stream)
        thread.start()
        began, loads = time.monotonic(), []
        while time.monotonic() - began < self.size["stream"]:
            loads.append(self.load(server, mode="file", path="/collections/real/points/query", bodies=file, connections=1, requests=1000))
        ended.set()
        thread.join()
        writer.disconnect()
        os.unlink(file)
        p99 = sorted(load["p99_ms"] for load in loads)[len(loads) // 2]
        rate = sent[0] / (time.monotonic() - began)
        show(f"searches while {rate:.0f} points/s stream in: p99 against quiet, ms", f"{p99:.2f} / {quiet['p99_ms']:.2f} = {p99 / quiet['p99_ms']:.1f}x", "<= 3x")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--size", choices=SIZES, default="middle")
    parser.add_argument("--data", default=os.environ.get("NIGH_DATA"))
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    os.environ["NIGH_BINARY"] = os.path.join(os.path.abspath(arguments.build), "nigh")
    bench = Bench(arguments)
    for row in ("idle", "overhead", "upserts", "real_set"):
        if arguments.only in row:
            getattr(bench, row)()
    with open(os.path.join(arguments.build, "bench", "server.json"), "w") as file:
        json.dump(figures, file, indent=1)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Queries over HTTP: what they cost beyond the search, and how soon an upsert is in the graph.

    http_bench.py --build build --size short|middle|full [--data FOLDER] [--only ten,packages,hard]

Prints tables, asserts nothing, and writes lines of the kinds "http" and "http-fresh" into
bench/results/latest.jsonl. docs/BENCHMARKS.md explains the columns. Everything that is compared
takes turns, five rounds of it, and medians count.
"""
import argparse
import base64
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import threading
import time

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.append(os.path.join(ROOT, "tests", "support"))

import report  # noqa: E402  (of bench/: its folder stands first)
from server import Client, Server, free_port  # noqa: E402
from server_load import (cpu_by_thread, cpu_difference, load, settle, stage_difference, stages_of,  # noqa: E402
                         write_bodies)
from sets import SetMissing, exact_nearest, open_set  # noqa: E402

ROUNDS = 5
CONNECTIONS = (1, 8)
PAYLOAD = {"text": "x" * 480, "n": 1}  # about 500 bytes of JSON
QUERY = "/collections/{collection_name}/points/query"
STREAM_RATE, STREAM_BATCH = 5000, 100  # points a second, points a request
PROBE_EVERY_S = 0.004


@dataclasses.dataclass(frozen=True)
class Scale:
    hard: str        # the set of 768 dimensions
    requests: int    # of a load
    stream_s: float  # how long points stream in


SCALES = {
    "short": Scale("hard-768-20k", 2500, 6),
    "middle": Scale("hard-768-100k", 6000, 20),
    "full": Scale("hard-768-300k", 20_000, 60),
}


def base64_of(vector):
    return json.dumps(base64.b64encode(np.ascontiguousarray(vector, "<f4").tobytes()).decode())


def digits9_of(vector):
    return "[" + ",".join("%.9g" % value for value in vector) + "]"


def digits17_of(vector):
    return json.dumps([float(value) for value in vector])


# name: (the text of a vector, what else is asked). 9 digits name an f32; 17 are what most clients
# send, since their languages know doubles only.
FORMS = {
    "json, 9 digits": (digits9_of, ""),
    "json, 17 digits": (digits17_of, ""),
    "base64": (base64_of, ""),
    "json, 9 digits, payload": (digits9_of, ', "with_payload": true'),
    "base64, payload": (base64_of, ', "with_payload": true'),
}


class Bare:
    """bench/http_bare.c, which answers as many bytes as nigh does."""

    def __init__(self, program, answer_bytes):
        self.port = free_port()
        self.process = subprocess.Popen([program, str(self.port), str(answer_bytes)])
        self.pid = self.process.pid
        client = Client("127.0.0.1", self.port)
        while True:
            try:
                client.raw("GET", "/")
                break
            except OSError:
                time.sleep(0.01)
        client.disconnect()

    def end(self):
        self.process.kill()
        self.process.wait()


class Collection:
    """A set in a server of its own: rows with a payload of 500 bytes, all in the graph. is_tiny: what
    counts is all but the search, so every form is asked, and a server that does nothing beside."""

    def __init__(self, bench, name, rows, queries, metric, truth, is_tiny=False):
        self.bench, self.name, self.rows, self.is_tiny = bench, name, rows, is_tiny
        self.forms = list(FORMS) if is_tiny else ["json, 9 digits", "base64", "json, 9 digits, payload"]
        self.queries, self.metric, self.truth = queries, metric, truth
        self.path = f"/collections/{name}/points"
        self.dimension = rows.shape[1]

    def __enter__(self):
        self.server = Server()
        distance = "Cosine" if self.metric == "dot" else "Euclid"
        # At 10 KB the graph is searched wherever there is one.
        self.server.call("PUT", f"/collections/{self.name}", {
            "vectors": {"size": self.dimension, "distance": distance}, "hnsw_config": {"full_scan_threshold": 10}})
        for begin in range(0, len(self.rows), 20_000):
            self.upload(begin, min(begin + 20_000, len(self.rows)))
        self.server.wait_green(self.name, 3600)
        settle(self.server)
        return self

    def __exit__(self, *_):
        self.server.close()

    def upload(self, begin, end):
        payload = json.dumps(PAYLOAD)
        points = [f'{{"id":{row},"vector":{base64_of(self.rows[row])},"payload":{payload}}}' for row in range(begin, end)]
        file = write_bodies(("{\"points\":[" + ",".join(points[at:at + 250]) + "]}").encode()
                            for at in range(0, len(points), 250))
        load(self.bench.loader, self.server, mode="file", method="PUT", path=self.path + "?wait=true", bodies=file,
             connections=4, requests=(len(points) + 249) // 250)
        os.unlink(file)

    def recall(self):
        hits = 0
        for begin in range(0, len(self.queries), 100):
            searches = [{"query": json.loads(base64_of(query)), "limit": 10} for query in self.queries[begin:begin + 100]]
            answers = self.server.call("POST", self.path + "/query/batch", {"searches": searches})
            for number, answer in enumerate(answers, begin):
                hits += len({point["id"] for point in answer["points"]} & {int(row) for row in self.truth[number][:10]})
        return hits / 10 / len(self.queries)

    def bodies(self, form):
        text_of, more = FORMS[form]
        return [f'{{"query": {text_of(query)}, "limit": 10{more}}}'.encode() for query in self.queries]


class Bench:
    def __init__(self, options):
        self.scale = SCALES[options.size]
        self.loader = os.path.join(options.build, "bench", "http_load")
        self.bare = os.path.join(options.build, "bench", "http_bare")
        self.lines = []

    # ---- Queries ---------------------------------------------------------------------------------

    def ask(self, server, file, path, connections):
        """One load: what it took, in microseconds of CPU a query."""
        is_nigh = isinstance(server, Server)
        before, stages = cpu_by_thread(server.pid), stages_of(server, "POST", QUERY) if is_nigh else {}
        answer = load(self.loader, server, mode="file", path=path, bodies=file, connections=connections,
                      requests=self.scale.requests)
        cpu = cpu_difference(before, cpu_by_thread(server.pid), self.scale.requests)
        found = {"qps": answer["rate"], "p50_ms": answer["p50_ms"], "p95_ms": answer["p95_ms"], "p99_ms": answer["p99_ms"],
                 "cpu_us": sum(cpu.values())}
        if is_nigh:
            found |= {"loop_us": cpu.get("nigh", 0), "worker_us": cpu.get("worker", 0),
                      **stage_difference(stages, stages_of(server, "POST", QUERY))}
        return found

    def race(self, collection):
        """{(form, connections): medians}"""
        bodies = {form: collection.bodies(form) for form in collection.forms}
        files = {form: write_bodies(bodies[form]) for form in bodies}
        path = collection.path + "/query"
        cells = {(form, connections): [] for form in bodies for connections in CONNECTIONS}
        bares = {form: Bare(self.bare, len(collection.server.raw("POST", path, bodies[form][0])[2]))
                 for form in bodies if collection.is_tiny}
        for round_number in range(ROUNDS + 1):  # the first warms the caches
            for (form, connections), rounds in cells.items():
                found = self.ask(collection.server, files[form], path, connections)
                if bares:
                    found["bare_us"] = self.ask(bares[form], files[form], path, connections)["cpu_us"]
                found["beyond_us"] = found["cpu_us"] - found["search"]
                if round_number > 0:
                    rounds.append(found)
        for bare in bares.values():
            bare.end()
        for file in files.values():
            os.unlink(file)
        return {cell: {part: statistics.median(one[part] for one in rounds) for part in rounds[0]}
                for cell, rounds in cells.items()}

    def queries(self, collection):
        recall = collection.recall()
        lines = [{"kind": "http", **self.about(collection), "query": form, "connections": connections, "k": 10, "recall": recall,
                  **{part: round(value, 3) for part, value in found.items()}}
                 for (form, connections), found in self.race(collection).items()]
        self.lines += lines
        print("\n" + report.http_title(lines) + "\n\n" + report.aligned(report.http_rows(lines)), flush=True)

    @staticmethod
    def about(collection):
        return {"set": collection.name, "n": len(collection.rows), "dim": collection.dimension, "engine": "nigh",
                "date": time.strftime("%Y-%m-%d %H:%M")}

    # ---- From an upsert to the graph ---------------------------------------------------------------

    def fresh(self, collection):
        stream = Stream(collection, self.scale.stream_s)
        before = cpu_by_thread(collection.server.pid)
        found = stream.run()
        settle(collection.server)  # what was not linked in time counts, too
        cpu = cpu_difference(before, cpu_by_thread(collection.server.pid), stream.requests * STREAM_BATCH)
        found |= {"builder_us": cpu.get("builder", 0), "cpu_us": sum(cpu.values())}
        line = {"kind": "http-fresh", **self.about(collection), **{part: round(value, 4) for part, value in found.items()}}
        self.lines.append(line)
        print("\n" + report.fresh_text(line), flush=True)


class Stream:
    """Points that come in at a fixed rate on one connection, each near a row of the set, and a search
    on another that looks for the last one of a request until the graph has it."""

    def __init__(self, collection, seconds):
        self.collection, self.seconds = collection, seconds
        self.requests = int(seconds * STREAM_RATE / STREAM_BATCH)
        self.first_id = 100_000_000
        random = np.random.default_rng(7)
        count = self.requests * STREAM_BATCH
        near = np.array(collection.rows[random.integers(0, len(collection.rows), count)])
        noise = random.standard_normal(near.shape, dtype=np.float32)
        noise *= 0.5 * np.linalg.norm(near, axis=1, keepdims=True) / np.linalg.norm(noise, axis=1, keepdims=True)
        self.vectors = near + noise
        self.sent = []      # (when it was sent, the id and the vector to look for); writer's
        self.took = []      # seconds of each upsert
        self.found = []     # seconds from sending to finding
        self.waiting = [0]  # what the collection said
        self.lost = 0
        self.has_ended = threading.Event()

    def body(self, number):
        begin = number * STREAM_BATCH
        points = [f'{{"id":{self.first_id + row},"vector":{base64_of(self.vectors[row])}}}' for row in range(begin, begin + STREAM_BATCH)]
        return ("{\"points\":[" + ",".join(points) + "]}").encode()

    def write(self, bodies, started):
        server = self.collection.server
        client = Client(server.host, server.port)
        for number, body in enumerate(bodies):
            time.sleep(max(0.0, started + number * STREAM_BATCH / STREAM_RATE - time.monotonic()))
            begun = time.monotonic()
            client.call("PUT", self.collection.path + "?wait=true", body)
            self.took.append(time.monotonic() - begun)
            last = (number + 1) * STREAM_BATCH - 1
            self.sent.append((begun, self.first_id + last, last))
        client.disconnect()
        self.has_ended.set()

    def look(self):
        """Looks for the newest acknowledged request until it is found, then for the next newest."""
        server = self.collection.server
        client = Client(server.host, server.port)
        seen = 0
        while not self.has_ended.is_set():
            if len(self.sent) == seen:
                time.sleep(PROBE_EVERY_S)
                continue
            seen = len(self.sent)
            begun, wanted, row = self.sent[-1]
            body = f'{{"query": {base64_of(self.vectors[row])}, "limit": 3, "params": {{"indexed_only": true}}}}'.encode()
            while not any(hit["id"] == wanted for hit in client.call("POST", self.collection.path + "/query", body)["points"]):
                if time.monotonic() - begun > 30:
                    self.lost += 1
                    break
                time.sleep(PROBE_EVERY_S)
            else:
                self.found.append(time.monotonic() - begun)
            self.waiting.append(self.queue(client))
        client.disconnect()

    def queue(self, client):
        info = client.call("GET", f"/collections/{self.collection.name}")
        return sum(one.get("waiting", 0) for one in info.get("vector_indexes", {}).values())

    def run(self):
        bodies = [self.body(number) for number in range(self.requests)]
        started = time.monotonic()
        writer = threading.Thread(target=self.write, args=(bodies, started))
        looker = threading.Thread(target=self.look)
        writer.start()
        looker.start()
        writer.join()
        rate = self.requests * STREAM_BATCH / (time.monotonic() - started)
        looker.join()
        at = lambda values, share: sorted(values)[int(share * (len(values) - 1))] if values else float("nan")  # noqa: E731
        return {"rate": rate, "p50_s": at(self.found, 0.5), "p99_s": at(self.found, 0.99), "max_s": at(self.found, 1),
                "probes": len(self.found) + self.lost, "lost": self.lost, "upsert_p99_s": at(self.took, 0.99),
                "waiting_max": max(self.waiting)}


def ten_rows():
    """As many rows as a query finds: what is left is what a query costs beside its search."""
    random = np.random.default_rng(1)
    rows, queries = (random.standard_normal((count, 768)).astype(np.float32) for count in (10, 200))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    return rows, queries, exact_nearest(rows, queries, "dot")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--size", choices=SCALES, default="middle")
    parser.add_argument("--data", default=os.environ.get("NIGH_DATA"))
    parser.add_argument("--only", default="ten,packages,hard")
    options = parser.parse_args()
    os.environ["NIGH_BINARY"] = os.path.join(os.path.abspath(options.build), "nigh")
    bench = Bench(options)
    for name in options.only.split(","):
        if name == "ten":
            rows, queries, truth = ten_rows()
            with Collection(bench, "ten", rows, queries, "dot", truth, is_tiny=True) as collection:
                bench.queries(collection)
            continue
        try:
            found = open_set(bench.scale.hard if name == "hard" else name, options.data)
        except SetMissing as missing:
            print(f"{name} is left out: {missing}")
            continue
        with Collection(bench, found.name, found.rows, found.queries, found.metric, found.truth) as collection:
            bench.queries(collection)
            bench.fresh(collection)
    report.merge(bench.lines)


if __name__ == "__main__":
    main()

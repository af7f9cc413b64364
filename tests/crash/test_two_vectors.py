#!/usr/bin/env python3
# nigh-test: seconds=240
"""Points with both, one or none of two vectors, changed at random between kills and clean stops.

    test_two_vectors.py [--cycles N] [--seed N]

What a graph file knows of a slot may be of a life that had other vectors. After each start exact and
graph searches by both vectors are compared with a model; after each clean stop `nigh verify` must
find nothing.
"""

import argparse
import math
import os
import random
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import report  # noqa: E402
from server import binary  # noqa: E402
from torture import Victim  # noqa: E402

DIMENSION = 8
IDS = 3000
BATCH_MAX = 700
NAMES = ("a", "b")
LIMIT = 10
QUERIES = 4
RECALL_MIN = 0.9
SCORE_ERROR_MAX = 1e-4
KILLED_SHARE = 0.65


class World:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.points = {}  # id -> {name: vector}

    def create(self, client):
        vectors = {name: {"size": DIMENSION, "distance": "Euclid"} for name in NAMES}
        client.must("PUT", "/collections/c", {"vectors": vectors, "hnsw_config": {"full_scan_threshold": 10}})
        self.upsert(client, list(range(IDS)), ("a", "b"))

    def vector(self):
        return [self.rng.randrange(-128, 128) / 64 for _ in range(DIMENSION)]

    def vectors(self, names):
        return {name: self.vector() for name in names}

    def some(self, ids):
        """A run of neighbours or a scattered choice: slots of a block come back when many are free."""
        ids = sorted(ids)
        count = min(len(ids), self.rng.randrange(1, BATCH_MAX))
        if self.rng.random() < 0.5:
            first = self.rng.randrange(len(ids) - count + 1)
            return ids[first:first + count]
        return self.rng.sample(ids, count)

    def upsert(self, client, ids, names):
        points = [{"id": id, "vector": self.vectors(names)} for id in ids]
        client.must("PUT", "/collections/c/points?wait=true", {"points": points})
        self.points.update((point["id"], point["vector"]) for point in points)

    def update(self, client, ids, names):
        points = [{"id": id, "vector": self.vectors(names)} for id in ids]
        client.must("PUT", "/collections/c/points/vectors?wait=true", {"points": points})
        for point in points:
            self.points[point["id"]] = {**self.points[point["id"]], **point["vector"]}

    def delete_vectors(self, client, ids, names):
        client.must("POST", "/collections/c/points/vectors/delete?wait=true", {"points": ids, "vector": list(names)})
        for id in ids:
            self.points[id] = {name: value for name, value in self.points[id].items() if name not in names}

    def delete(self, client, ids):
        client.must("POST", "/collections/c/points/delete?wait=true", {"points": ids})
        for id in ids:
            del self.points[id]

    def change(self, client):
        kind = self.rng.choice(("upsert", "upsert", "upsert", "update", "delete_vectors", "delete"))
        names = self.rng.choice(((), ("a",), ("b",), ("a", "b")))
        if kind == "upsert" or len(self.points) < IDS // 2:
            self.upsert(client, self.some(range(IDS)), names)
        elif kind == "delete":
            self.delete(client, self.some(self.points))
        elif names:
            (self.update if kind == "update" else self.delete_vectors)(client, self.some(self.points), names)

    def nearest(self, name, query):
        scores = [(math.dist(vectors[name], query), id) for id, vectors in self.points.items() if name in vectors]
        return sorted(scores)

    def search(self, client, name, query, limit, **params):
        answer = client.must("POST", "/collections/c/points/query",
                             {"query": query, "using": name, "limit": limit, "params": params})
        return [(hit["score"], hit["id"]) for hit in answer["points"]]

    def expect_scores(self, name, query, hits):
        for score, id in hits:
            report.check(name in self.points.get(id, ()), f"{id} has no vector {name}")
            expected = math.dist(self.points[id][name], query)
            report.check(abs(score - expected) < SCORE_ERROR_MAX, f"{name} of {id}: score {score}, expected {expected}")
        report.equal(len({id for _, id in hits}), len(hits), "different ids")

    def check(self, client):
        report.equal(client.must("POST", "/collections/c/points/count", {"exact": True})["count"], len(self.points),
                     "count")
        for name in NAMES:
            found = wanted = 0
            for at in range(QUERIES):
                query = self.vector()
                expected = self.nearest(name, query)
                limit = IDS if at == 0 else LIMIT
                exact = self.search(client, name, query, limit, exact=True)
                self.expect_scores(name, query, exact)
                report.equal(len(exact), min(limit, len(expected)), f"number of points found by {name}")
                report.check(all(abs(hit[0] - nearest[0]) < SCORE_ERROR_MAX for hit, nearest in zip(exact, expected)),
                             f"the exact search by {name} left out a nearer point")
                graph = self.search(client, name, query, LIMIT, hnsw_ef=200)
                self.expect_scores(name, query, graph)
                found += len({id for _, id in graph} & {id for _, id in expected[:LIMIT]})
                wanted += min(LIMIT, len(expected))
            report.check(found >= RECALL_MIN * wanted, f"{found} of {wanted} nearest found by the graph of {name}")


def verify(folder):
    run = subprocess.run([binary(), "verify", "--storage-path", folder], capture_output=True, text=True, check=False)
    report.equal(run.returncode, 0, f"status of nigh verify ({run.stdout} {run.stderr})")


def cycles(arguments):
    world = World(arguments.seed)
    with Victim() as server:
        world.create(server.client())
        for cycle in range(1, arguments.cycles + 1):
            try:
                client = server.client()
                for _ in range(world.rng.randrange(1, 9)):
                    world.change(client)
                    time.sleep(world.rng.choice((0, 0, 0.15)))  # for repairs, and slots to come back
                client.close()
                if world.rng.random() < KILLED_SHARE:
                    server.kill()
                else:
                    report.equal(server.stop(), 0, "exit status after SIGTERM")
                    verify(server.folder)
                server.start()
                client = server.client()
                world.check(client)
                client.close()
            except AssertionError as error:
                raise AssertionError(f"cycle {cycle} of seed {arguments.seed}: {error}") from error
        server.stop()
        verify(server.folder)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cycles", type=int, default=400 if os.environ.get("NIGH_TORTURE") else 40)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    report.run(f"searches by either vector are right after {arguments.cycles} kills and stops", cycles, arguments)
    report.finish()


if __name__ == "__main__":
    main()

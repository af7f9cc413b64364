#!/usr/bin/env python3
# nigh-test: seconds=240 needs=cc
"""Every allocation of a session of 60 requests fails once; the server answers an error and goes on.

    test_allocations.py [--all] [--samples N] [--seed N]

A counting run tells how many allocations each request makes, wherever in the process. Then one
server, with support/preload_malloc.c in it, is told again and again to fail one of them. After each:
the process lives, the request is answered with an error or the connection is closed, what is stored
is as before the request or as after it (after an answer of 200: as after it), and the same request
then succeeds. Half of the failures hit a request on a fresh connection, and with --all every
allocation is also failed together with all that follow.
"""

import argparse
import collections
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import model  # noqa: E402
import report  # noqa: E402
from preload import FOREVER, Allocations  # noqa: E402
from torture import Lost, Victim  # noqa: E402

SEED = 5
POINTS = 60
ANSWER_SECONDS_MAX = 10
MEMORY_RETURNS_SECONDS = 0.2


class Read:
    """A request that changes nothing."""

    def __init__(self, method, url, body=None):
        self.method, self.address, self.document = method, url, body

    def url(self, collection, wait):
        return self.address

    def body(self):
        return self.document

    def apply(self, state):
        return state


def read_requests(rng):
    here = "/collections/main"
    vector = model.vector_of(SEED, "query", 1)
    tag = {"must": [{"key": "tag", "match": {"value": "red"}}]}
    mixed = {"should": [{"key": "num", "range": {"lt": 500}}, {"key": "text", "match": {"any": ["a", "b"]}}],
             "must_not": [{"is_empty": {"key": "when"}}, {"has_id": [1, 2, 3]}],
             "min_should": {"conditions": [{"key": "flag", "match": {"value": True}}, tag], "min_count": 1}}
    return [
        Read("GET", "/"), Read("GET", "/collections"), Read("GET", here), Read("GET", here + "/exists"),
        Read("GET", "/collections/none"), Read("GET", here + "/points/3"), Read("GET", "/nowhere"),
        Read("GET", "/telemetry"), Read("GET", "/metrics"),
        Read("POST", here + "/points", {"ids": [1, 2, "no such"], "with_payload": True, "with_vector": True}),
        Read("POST", here + "/points/scroll", {"limit": 20, "with_vector": True}),
        Read("POST", here + "/points/scroll", {"limit": 20, "filter": tag, "with_payload": ["num", "tag"]}),
        Read("POST", here + "/points/count", {"exact": True}),
        Read("POST", here + "/points/count", {"filter": tag}),
        Read("POST", here + "/points/count", {"filter": mixed}),
        Read("POST", here + "/points/query", {"query": vector, "limit": 5}),
        Read("POST", here + "/points/query", {"query": vector, "limit": 5, "params": {"exact": True}}),
        Read("POST", here + "/points/query", {"query": vector, "filter": tag, "with_payload": True}),
        Read("POST", here + "/points/query", {"query": vector, "filter": mixed, "with_vector": True}),
        Read("POST", here + "/points/query", {"query": 1, "limit": 3, "offset": 2}),
        Read("POST", here + "/points/query/batch", {"searches": [{"query": vector}, {"query": 2, "filter": tag}]}),
        Read("POST", here + "/points/search", {"vector": vector, "limit": 4}),
        Read("POST", here + "/points/query", {"query": [1, 2, 3]}),
        Read("POST", here + "/points/query", {"query": "wrong", "limit": "wrong"}),
    ]


class WriteKinds:
    """Makes the writes of the session; each kind is made anew for the state it meets."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.version = 0

    def points(self, count):
        self.version += 1
        ids = [model.point_id(0, n) for n in self.rng.sample(range(POINTS), count)]
        return [(id, model.vector_of(SEED, id, self.version), model.payload_of(SEED, id, self.version, 0))
                for id in ids]

    def make(self, kind, state):
        present = self.rng.sample(sorted(state, key=model.id_order), 3) if state and len(state) > 3 else []
        self.version += 1
        if kind == "upsert":
            return model.Upsert(self.points(1))
        if kind == "upsert 30":
            return model.Upsert(self.points(30))
        if kind == "delete":
            return model.Delete(present)
        if kind == "delete by filter":
            return model.DeleteByFilter(0, self.rng.choice(model.TAGS))
        if kind == "set payload":
            return model.SetPayload(present, {"extra": self.version, "tag": self.rng.choice(model.TAGS)})
        if kind == "set payload by filter":
            return model.SetPayloadByFilter(0, self.rng.choice(model.TAGS), {"num": self.version})
        if kind == "overwrite payload":
            return model.OverwritePayload(present, model.payload_of(SEED, present[0], self.version, 0))
        if kind == "update vectors":
            return model.UpdateVectors([(id, model.vector_of(SEED, id, self.version)) for id in present])
        if kind == "batch":
            points = self.points(4)
            return model.Batch([model.Upsert(points), model.SetPayload([points[0][0]], {"extra": 1}),
                                model.Delete(present[:1])])
        if kind == "create collection":
            return model.CreateCollection("Dot")
        if kind == "drop collection":
            return model.DropCollection()
        raise AssertionError(kind)


WRITES = ["upsert", "upsert 30", "delete", "set payload", "upsert 30", "overwrite payload", "update vectors", "batch",
          "set payload by filter", "upsert 30", "delete by filter", "upsert 30"]
# On a collection of their own, in this order: the state is None at first.
LIFE = ["create collection", "upsert 30", "set payload", "drop collection"]
INDEXES = [("tag", "keyword"), ("num", "integer")]


class Session:
    """60 requests, each of which may be sent with a failure armed."""

    def __init__(self, server, preload, seed):
        self.server, self.preload = server, preload
        self.kinds = WriteKinds(seed)
        self.main = model.Share("main", 0, "Dot", {})
        self.life = model.Share("life", 0, "Dot", None)
        self.client = server.client(timeout=ANSWER_SECONDS_MAX)
        self.fresh = server.client(timeout=ANSWER_SECONDS_MAX, keep_alive=False)
        reads = read_requests(random.Random(seed))
        self.plan = []  # (name, share or None, kind or Read)
        for turn, kind in enumerate(WRITES):
            self.plan += [("read", None, read) for read in reads[2 * turn:2 * turn + 2]]
            self.plan.append((kind, self.main, kind))
        self.plan += [(kind, self.life, kind) for kind in LIFE]
        for field, kind in INDEXES:
            path = "/collections/main/index"
            self.plan.append(("drop index", None, Read("DELETE", f"{path}/{field}?wait=true")))
            self.plan += [("read", None, read) for read in reads[10:18]]
            self.plan.append(("create index", None, Read(
                "PUT", path + "?wait=true", {"field_name": field, "field_schema": kind})))

    def prepare(self):
        client = self.server.client()
        create = model.CreateCollection("Dot")
        client.must(create.method, create.url("main", True), create.body())
        first = model.Upsert([(model.point_id(0, n), model.vector_of(SEED, n, 0), model.payload_of(SEED, n, 0, 0))
                              for n in range(POINTS)])
        client.must(first.method, first.url("main", True), first.body())
        self.main.completed(first)
        for field, kind in INDEXES:
            client.must("PUT", "/collections/main/index?wait=true", {"field_name": field, "field_schema": kind})

    def operation(self, step):
        """The request of a step, after what it needs has been put in place."""
        _, share, kind = self.plan[step]
        if share is None:
            return kind
        if kind == "create collection":
            self.put_in_place(share, model.DropCollection())
        elif share.base is None:
            self.put_in_place(share, model.CreateCollection("Dot"))
        if kind not in LIFE[::3] and len(share.base) < 10:
            self.put_in_place(share, model.Upsert(self.kinds.points(30)))
        return self.kinds.make(kind, share.base)

    def put_in_place(self, share, operation):
        answer = self.send(self.client, operation, share)
        report.check(answer.status == 200, f"without a failure: {answer}")
        share.completed(operation)

    def send(self, client, operation, share):
        return client.call(operation.method, operation.url(share.collection if share else "", True), operation.body())

    def clean(self, step, operation):
        """The request without a failure; it has to succeed."""
        share = self.plan[step][1]
        answer = self.send(self.client, operation, share)
        is_wrong_on_purpose = isinstance(operation, Read) and answer.status in (400, 404)
        report.check(answer.status == 200 or is_wrong_on_purpose, f"without a failure: {answer}")
        if share:
            share.completed(operation)
        return answer

    def count(self):
        """How many allocations each step makes, in the larger of two rounds."""
        counts = []
        for _ in range(2):
            row = []
            for step in range(len(self.plan)):
                operation = self.operation(step)
                self.preload.count_from_now()
                self.clean(step, operation)
                row.append(self.preload.counted())
            counts.append(row)
        return [max(pair) for pair in zip(*counts)]

    def fail(self, step, call, count, is_fresh):
        """Sends a step with its call-th allocation failing; whether one failed."""
        operation = self.operation(step)
        share = self.plan[step][1]
        answer = None
        client = self.fresh if is_fresh else self.client
        self.preload.arm(call, count)
        # A server without any memory may leave a new connection waiting; when memory returns it has to
        # be served.
        returns = threading.Timer(MEMORY_RETURNS_SECONDS, self.preload.disarm)
        returns.start()
        try:
            answer = self.send(client, operation, share)
        except Lost as lost:
            report.check("timed out" not in str(lost), f"no answer: {lost}")
            if self.server.is_running():
                time.sleep(0.002)  # a process that dies closes its sockets first
        finally:
            returns.cancel()
            returns.join()
            failed = self.preload.disarm()
        self.server.expect_alive("a failed allocation")
        if share:
            if answer is None:
                share.accepted(operation)  # may have happened or not
            elif answer.status == 200:
                share.completed(operation)
            share.settle(self.observe(share))
        if answer is not None and answer.status >= 400:
            report.check(answer.error or answer.status in (401, 404), f"an error without a text: {answer}")
        again = self.clean(step, self.operation(step) if share else operation)
        if answer is not None and not share and answer.status == 200 and again.json and is_comparable(operation):
            report.check(strip(answer.json) == strip(again.json),
                         f"a failed allocation changed an answer: {answer} instead of {again}")
        return failed > 0

    def observe(self, share):
        if not self.client.must("GET", f"/collections/{share.collection}/exists")["exists"]:
            return None
        return model.scroll_all(self.client, share.collection)


def is_comparable(operation):
    """Telemetry and operation numbers differ from call to call."""
    return operation.method in ("GET", "POST") and operation.address not in ("/telemetry", "/metrics", "/collections/main")


def strip(document):
    return {key: value for key, value in document.items() if key != "time"}


def sample(counts, arguments):
    """(step, call, how many fail) to try."""
    single = [(step, call, 1) for step, count in enumerate(counts) for call in range(1, count + 1)]
    if arguments.all:
        return single + [(step, call, FOREVER) for step, call, _ in single]
    rng = random.Random(arguments.seed)
    return rng.sample(single, min(arguments.samples, len(single)))


def run_all(arguments):
    preload = Allocations()
    failures, hit, crashes = collections.OrderedDict(), 0, 0
    server = Victim(preload=preload)
    try:
        session = Session(server, preload, arguments.seed)
        session.prepare()
        maps = preload.maps(server.pid)
        counts = session.count()
        print(f"# {len(counts)} requests make {sum(counts)} allocations", flush=True)
        report.check(len(counts) >= 60, f"the session has {len(counts)} requests")
        tries = sample(counts, arguments)
        for number, (step, call, count) in enumerate(tries):
            try:
                hit += session.fail(step, call, count, number % 2 == 0)
            except (AssertionError, Lost) as error:
                name = session.plan[step][0]
                where = preload.frames(maps)
                key = (" < ".join(where[1:6]), str(error)[:40])
                failures.setdefault(key, f"{name}, allocation {call} of {counts[step]}: {error}; at {' < '.join(where)}")
                preload.disarm()
                if not server.is_running():
                    crashes += 1
                    server.start()
                    maps = preload.maps(server.pid)
                    session.client.close()
                for share in (session.main, session.life):
                    share.base, share.pending = session.observe(share), []
            if number % 1000 == 999:
                print(f"# {number + 1} of {len(tries)} tried, {hit} failed, {crashes} crashes", flush=True)
        print(f"# {hit} of {len(tries)} tries failed an allocation", flush=True)
        for key, told in failures.items():
            print(f"# {told}", flush=True)
        report.check(hit >= len(tries) * 3 // 4, f"only {hit} of {len(tries)} tries failed an allocation")
        report.check(not failures, f"{len(failures)} kinds of failure, {crashes} crashes; first: "
                                   f"{next(iter(failures.values()), '')}")
        session.client.close()
        report.equal(server.stop(), 0, "exit status after SIGTERM")
    finally:
        server.close()
        preload.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--all", action="store_true", default=bool(os.environ.get("NIGH_TORTURE")))
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    what = "every allocation" if arguments.all else f"{arguments.samples} allocations"
    report.run(f"{what} of a session of 60 requests may fail", run_all, arguments)
    report.finish()


if __name__ == "__main__":
    main()

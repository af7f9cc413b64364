#!/usr/bin/env python3
# nigh-test: seconds=180
"""What a write promised is seen by every read that begins after its answer, and never by halves.

    test_visibility.py [--seconds S] [--seed N]

Read-your-writes through every way to read; batches under readers; a point that is updated in a loop
is found exactly once in every answer; and what users of other servers met at the edges: huge limits,
equal vectors, far points, ids beyond 2^53, min_should with many conditions.
"""

import argparse
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import model  # noqa: E402
import report  # noqa: E402
from torture import Client, Victim  # noqa: E402

U64_MAX = 2**64 - 1
EDGE_IDS = [0, 1, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, U64_MAX - 1, U64_MAX]
MEMORY_GROWTH_MAX = 64 * 1024 * 1024
MIN_SHOULD_SECONDS_MAX = 2.0
SERVER = None
SECONDS = 3.0
SEED = 1


def make(name, distance="Dot", size=model.DIMENSION, threshold=10):
    client = SERVER.client()
    client.must("PUT", f"/collections/{name}", {
        "vectors": {"size": size, "distance": distance}, "hnsw_config": {"full_scan_threshold": threshold}})
    return client


def upsert(client, name, points):
    operation = model.Upsert(points)
    return client.must(operation.method, operation.url(name, True), operation.body())


def run_threads(functions, seconds):
    """Runs all until the time is over; the first failure is raised."""
    over = threading.Event()
    failures = []

    def run(function):
        try:
            while not over.is_set() and not failures:
                function()
        except Exception as error:  # raised below, by the main thread
            failures.append(error)

    threads = [threading.Thread(target=run, args=(function,), daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not failures:
        time.sleep(0.01)
    over.set()
    for thread in threads:
        thread.join()
    SERVER.expect_alive("the load")
    if failures:
        raise failures[0]


# ---- Read your writes -------------------------------------------------------------------------------


def check_visible(client, name, id, vector, payload, marker):
    """One point, through every way to read; marker: a payload value that it alone has."""
    here = f"/collections/{name}"
    only = {"must": [{"key": "marker", "match": {"value": marker}}]}
    expected = {"id": id, "vector": vector, "payload": payload}
    got = client.must("POST", here + "/points", {"ids": [id], "with_payload": True, "with_vector": True})
    report.equal(got, [expected], "retrieve")
    got = client.must("POST", here + "/points/scroll", {"filter": only, "with_vector": True})["points"]
    report.equal(got, [expected], "scroll")
    report.equal(client.must("POST", here + "/points/count", {"filter": only})["count"], 1, "count")
    norm = sum(x * x for x in vector)
    for params in ({"exact": True}, {}):
        for condition in (None, only):
            body = {"query": vector, "limit": 3, "params": params}
            if condition:
                body["filter"] = condition
            hits = client.must("POST", here + "/points/query", body)["points"]
            own = [hit["score"] for hit in hits if hit["id"] == id]
            report.equal(own, [0] if name.endswith("Euclid") else [norm],
                         f"scores of the point itself, {params}, filter {bool(condition)}, hits {hits}")


def read_your_writes():
    names = []
    for distance in ("Euclid",):
        for is_indexed in (False, True):
            name = f"own-writes-{is_indexed}-{distance}"
            client = make(name, distance)
            if is_indexed:
                client.must("PUT", f"/collections/{name}/index?wait=true",
                            {"field_name": "marker", "field_schema": "integer"})
            names.append(name)
    checks = [0]

    def writer_of(number):
        rng = random.Random(repr((SEED, number)))
        client = Client(SERVER.port)
        state = {"version": 0}

        def step():
            name = rng.choice(names)
            state["version"] += 1
            marker = state["version"] * 100 + number
            id = model.point_id(number, rng.randrange(50))
            vector = model.vector_of("visible", id, marker)
            payload = {"marker": marker}
            upsert(client, name, [(id, vector, payload)])
            check_visible(client, name, id, vector, payload, marker)
            client.must("POST", f"/collections/{name}/points/payload?wait=true",
                        {"points": [id], "payload": {"marker": -marker, "more": [1, None]}})
            check_visible(client, name, id, vector, {"marker": -marker, "more": [1, None]}, -marker)
            if rng.random() < 0.3:
                client.must("POST", f"/collections/{name}/points/delete?wait=true", {"points": [id]})
                report.equal(client.must("POST", f"/collections/{name}/points", {"ids": [id]}), [], "a deleted point")
                for params in ({"exact": True}, {}):
                    hits = client.must("POST", f"/collections/{name}/points/query",
                                       {"query": vector, "limit": 3, "params": params})["points"]
                    report.check(id not in [hit["id"] for hit in hits], f"a deleted point is found: {hits}")
            checks[0] += 14
        return step

    run_threads([writer_of(number) for number in range(6)], SECONDS)
    print(f"# {checks[0]} reads of own writes", flush=True)


# ---- All or nothing ---------------------------------------------------------------------------------


def batches_are_seen_whole():
    """Every batch gives all its points one version; a reader must never see two."""
    name, size = "whole", 200
    client = make(name)
    ids = [model.point_id(0, n) for n in range(size)]

    def batch(version):
        return [(id, model.vector_of("whole", id, version), {"version": version}) for id in ids]

    upsert(client, name, batch(0))
    client.must("PUT", f"/collections/{name}/index?wait=true", {"field_name": "version", "field_schema": "integer"})
    version, reads = [0], [0]  # the last version that was acknowledged

    def write():
        upsert(client, name, batch(version[0] + 1))
        version[0] += 1

    def reader_of(kind):
        reader = Client(SERVER.port)
        query = model.vector_of("whole", "query", 0)

        def step():
            reads[0] += 1
            here = f"/collections/{name}/points"
            low = version[0]
            if kind == "scroll":
                points = reader.must("POST", here + "/scroll", {"limit": size + 1, "with_payload": True})["points"]
            elif kind == "retrieve":
                points = reader.must("POST", here, {"ids": ids, "with_payload": True})
            elif kind == "count":
                now = version[0]
                counts = {reader.must("POST", here + "/count", {"filter": {"must": [
                    {"key": "version", "match": {"value": now}}]}})["count"]}
                report.check(counts <= {0, size}, f"{counts} points of one version are counted")
                return
            else:
                points = reader.must("POST", here + "/query", {
                    "query": query, "limit": size + 1, "with_payload": True, "params": {"exact": kind == "exact"}})["points"]
            seen = {point["payload"]["version"] for point in points}
            report.equal(len(points), size, f"points seen by {kind}")
            report.check(len(seen) == 1, f"{kind} sees versions {sorted(seen)} at once")
            report.check(min(seen) >= low, f"{kind} sees version {min(seen)} after {low} was acknowledged")
        return step

    kinds = ["scroll", "retrieve", "count", "exact", "graph"]
    run_threads([write] + [reader_of(kind) for kind in kinds], SECONDS)
    print(f"# {version[0]} batches under {reads[0]} reads", flush=True)


def one_id_is_found_exactly_once():
    name = "loop"
    client = make(name, "Euclid")
    upsert(client, name, [(n, model.vector_of("loop", n, 0), {"n": n}) for n in range(1000, 3000)])
    target = 7
    updates, searches = [0], [0]
    near = [0.0] * model.DIMENSION

    def write():
        updates[0] += 1
        vector = list(near)
        vector[updates[0] % model.DIMENSION] = 1 / model.UNIT
        upsert(client, name, [(target, vector, {"n": updates[0]})])

    def searcher_of(is_exact):
        searcher = Client(SERVER.port)

        def step():
            hits = searcher.must("POST", f"/collections/{name}/points/query", {
                "query": near, "limit": 10, "params": {"exact": is_exact}})["points"]
            found = [hit["id"] for hit in hits]
            report.check(found.count(target) == 1 and found[0] == target,
                         f"the point that is updated is found {found.count(target)} times: {hits}")
            report.equal(len(set(found)), 10, f"ids in {found}")
            searches[0] += 1
        return step

    write()
    run_threads([write] + [searcher_of(n % 2 == 0) for n in range(8)], SECONDS)
    print(f"# {updates[0]} updates under {searches[0]} searches", flush=True)


# ---- Edges ------------------------------------------------------------------------------------------


def huge_limits_reserve_nothing():
    name = "limits"
    client = make(name)
    upsert(client, name, [(n, model.vector_of("limits", n, 0), {"n": n}) for n in range(50)])
    query = model.vector_of("limits", "query", 0)
    before = SERVER.resident_private_bytes()
    here = f"/collections/{name}/points"
    for is_exact in (True, False):
        for limit, offset, count in ((U64_MAX, 0, 50), (U64_MAX, 10, 40), (10, U64_MAX, 0), (U64_MAX, U64_MAX, 0),
                                     (2**63, 2**63, 0), (1, 49, 1), (2, 49, 1), (10, 50, 0), (2**32, 2**32 - 1, 0),
                                     (2**32 + 5, 0, 50)):
            hits = client.must("POST", here + "/query", {
                "query": query, "limit": limit, "offset": offset, "params": {"exact": is_exact}})["points"]
            report.equal(len(hits), count, f"hits for limit {limit}, offset {offset}, exact {is_exact}")
    report.equal(len(client.must("POST", here + "/scroll", {"limit": U64_MAX})["points"]), 50, "points of a scroll")
    for limit in (2**64, -1, 1.5, "5"):
        answer = client.call("POST", here + "/query", {"query": query, "limit": limit})
        report.check(answer.status in (400, 422) and answer.error, f"limit {limit!r} is answered {answer}")
    grown = SERVER.resident_private_bytes() - before
    report.check(grown < MEMORY_GROWTH_MAX, f"memory grew by {grown} bytes")


def equal_vectors_hide_nothing():
    """Hundreds of equal vectors, among which a graph is easily cut in two."""
    name = "equal"
    client = make(name, "Euclid")
    same = [0.5] * model.DIMENSION
    upsert(client, name, [(n, same, {"group": "same"}) for n in range(600)])
    other = {n: model.vector_of("equal", n, 0) for n in range(1000, 1200)}
    upsert(client, name, [(n, vector, {"group": "other"}) for n, vector in other.items()])
    upsert(client, name, [(n, same, {"group": "same"}) for n in range(600, 800)])
    SERVER.wait_green(name)
    here = f"/collections/{name}/points/query"
    for is_exact in (True, False):
        params = {"exact": is_exact}
        hits = client.must("POST", here, {"query": same, "limit": 1000, "params": params})["points"]
        report.equal(sorted(hit["id"] for hit in hits), sorted([*range(800), *other]), f"ids found, exact {is_exact}")
        hits = client.must("POST", here, {"query": same, "limit": 20, "params": params})["points"]
        ids = [hit["id"] for hit in hits]
        report.check(ids == sorted(ids) and len(ids) == 20, f"equal scores are ordered by id, exact {is_exact}: {ids}")
        report.check(ids == list(range(20)) or not is_exact, f"the first ids of equal scores: {ids}")
    found = sum(client.must("POST", here, {"query": vector, "limit": 1})["points"][0]["id"] == n
                for n, vector in other.items())
    report.check(found >= 198, f"{found} of 200 other points are found by their own vector")


def a_far_point_is_found():
    name = "far"
    client = make(name, "Euclid")
    rng = random.Random(SEED)
    upsert(client, name, [(n, [rng.gauss(0, 1) for _ in range(model.DIMENSION)], {"n": n}) for n in range(2000)])
    far = {5000: [1e6] * model.DIMENSION, 5001: [-1e6] * model.DIMENSION, 5002: [1e15] + [0.0] * (model.DIMENSION - 1)}
    upsert(client, name, [(n, vector, None) for n, vector in far.items()])
    SERVER.wait_green(name)
    for n, vector in far.items():
        for is_exact in (True, False):
            hits = client.must("POST", f"/collections/{name}/points/query",
                               {"query": vector, "limit": 1, "params": {"exact": is_exact}})["points"]
            report.equal([hit["id"] for hit in hits], [n], f"nearest to the far point, exact {is_exact}")


def ids_are_exact_everywhere():
    name = "edge-ids"
    client = make(name, "Euclid")
    vectors = {id: model.vector_of("edge", id, 0) for id in EDGE_IDS}
    upsert(client, name, [(id, vector, {"big": id}) for id, vector in vectors.items()])
    here = f"/collections/{name}/points"
    for id, vector in vectors.items():
        expected = {"id": id, "payload": {"big": id}, "vector": vector}
        report.equal(client.must("GET", f"{here}/{id}"), expected, "GET point")
        report.equal(client.must("POST", here, {"ids": [id], "with_payload": True, "with_vector": True}), [expected], "retrieve")
        only = {"must": [{"has_id": [id]}]}
        report.equal(client.must("POST", here + "/count", {"filter": only})["count"], 1, f"has_id {id}")
        for match in ({"key": "big", "match": {"value": id}}, {"key": "big", "match": {"any": [id]}}):
            if id < 2**63:  # matched as i64
                report.equal([p["id"] for p in client.must("POST", here + "/scroll", {"filter": {"must": [match]}})["points"]],
                             [id], f"match of {id}")
        report.equal([p["id"] for p in client.must("POST", here + "/scroll", {"offset": id, "limit": 1})["points"]], [id], "scroll offset")
        for is_exact in (True, False):
            hits = client.must("POST", here + "/query", {"query": vector, "limit": 1, "params": {"exact": is_exact}})["points"]
            report.equal(hits[0]["id"], id, "query")
            hits = client.must("POST", here + "/query", {"query": id, "limit": 20, "params": {"exact": is_exact}})["points"]
            report.equal(sorted(hit["id"] for hit in hits), [other for other in EDGE_IDS if other != id], "query by id")
        client.must("POST", here + "/payload?wait=true", {"points": [id], "payload": {"set": id}})
        report.equal(client.must("GET", f"{here}/{id}")["payload"], {"big": id, "set": id}, "payload set by id")
    for id in EDGE_IDS:
        client.must("POST", here + "/delete?wait=true", {"points": [id]})
        report.equal(client.call("GET", f"{here}/{id}").status, 404, f"GET of the deleted {id}")
    report.equal(client.must("POST", here + "/count", {})["count"], 0, "points in the end")
    for wrong in (2**64, -1, 1.5, True, None, [], ""):
        answer = client.call("PUT", here + "?wait=true", {"points": [{"id": wrong, "vector": vectors[0]}]})
        report.check(answer.status in (400, 422) and answer.error, f"id {wrong!r} is answered {answer}")


def min_should_does_not_try_combinations():
    name = "min-should"
    client = make(name)
    upsert(client, name, [(n, model.vector_of("min", n, 0), {"n": n}) for n in range(1000)])
    conditions = [{"key": "n", "range": {"lt": bound}} for bound in range(40)]
    for is_indexed in (False, True):
        if is_indexed:
            client.must("PUT", f"/collections/{name}/index?wait=true", {"field_name": "n", "field_schema": "integer"})
        for least in (1, 20, 39, 40, 41, U64_MAX):
            begin = time.monotonic()
            count = client.must("POST", f"/collections/{name}/points/count", {
                "filter": {"min_should": {"conditions": conditions, "min_count": least}}})["count"]
            expected = sum(sum(n < bound for bound in range(40)) >= least for n in range(1000))
            report.equal(count, expected, f"count for min_count {least}, indexed {is_indexed}")
            took = time.monotonic() - begin
            report.check(took < MIN_SHOULD_SECONDS_MAX, f"{took:.1f} s for min_count {least}, indexed {is_indexed}")


def a_misspelt_filter_deletes_nothing():
    name = "misspelt"
    client = make(name)
    upsert(client, name, [(n, model.vector_of("mis", n, 0), {"n": n}) for n in range(10)])
    here = f"/collections/{name}/points/delete?wait=true"
    for body in ({"filter": {"musst": [{"key": "n", "match": {"value": 1}}]}}, {"filtr": {}}, {},
                 {"filter": {"must": [{"key": "n", "mach": {"value": 1}}]}},
                 {"filter": {"must": [{"key": "n", "match": {"valeu": 1}}]}},
                 {"filter": {"must": [{"key": "n", "range": {"less": 1}}]}},
                 {"filter": {"must": [{"has_ids": [1]}]}}, {"points": []}, {"point": [1]}, {"ids": [1]}):
        answer = client.call("POST", here, body)
        report.check(answer.status in (400, 422) and answer.error, f"{body} is answered {answer}")
        report.equal(client.must("POST", f"/collections/{name}/points/count", {})["count"], 10, f"points after {body}")


def pages_are_full_while_points_match():
    """A filter that few points pass, with most others deleted, still fills its page."""
    name = "pages"
    client = make(name, "Euclid")
    upsert(client, name, [(n, model.vector_of("pages", n, 0), {"rare": n % 50 == 0, "n": n}) for n in range(3000)])
    client.must("POST", f"/collections/{name}/points/delete?wait=true", {"points": list(range(0, 3000, 3))})
    live = [n for n in range(3000) if n % 3]
    rare = [n for n in live if n % 50 == 0]
    condition = {"must": [{"key": "rare", "match": {"value": True}}]}
    for is_indexed in (False, True):
        if is_indexed:
            client.must("PUT", f"/collections/{name}/index?wait=true", {"field_name": "rare", "field_schema": "bool"})
        for is_exact in (True, False):
            for turn in range(10):
                hits = client.must("POST", f"/collections/{name}/points/query", {
                    "query": model.vector_of("pages", "query", turn), "limit": len(rare), "filter": condition,
                    "params": {"exact": is_exact}})["points"]
                report.equal(sorted(hit["id"] for hit in hits), rare, f"filtered hits, exact {is_exact}, indexed {is_indexed}")
        page = client.must("POST", f"/collections/{name}/points/scroll", {"limit": len(rare), "filter": condition})
        report.equal([point["id"] for point in page["points"]], rare, "a filtered page")
    hits = client.must("POST", f"/collections/{name}/points/query",
                       {"query": model.vector_of("pages", "query", 0), "limit": 5000})["points"]
    report.equal(sorted(hit["id"] for hit in hits), live, "all live points by the graph")


def a_deleted_collection_leaves_no_work():
    """Slots that wait to be linked when their collection goes must not keep the builders busy. On a
    server of its own: elsewhere the builders may still have honest work."""
    with Victim() as server:
        client = server.client()
        for turn in range(3):
            name = f"gone{turn}"
            client.must("PUT", f"/collections/{name}", {
                "vectors": {"size": model.DIMENSION, "distance": "Dot"}, "hnsw_config": {"full_scan_threshold": 10}})
            upsert(client, name, [(n, model.vector_of("gone", n, turn), {}) for n in range(3000)])
            client.must("DELETE", f"/collections/{name}")
        time.sleep(0.5)
        before = server.cpu_seconds()
        time.sleep(1.0)
        spent = server.cpu_seconds() - before
    report.check(spent < 0.3, f"an idle server took {spent:.2f} s of CPU in one second")


def main():
    global SERVER, SECONDS, SEED
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=120.0 if os.environ.get("NIGH_TORTURE") else 4.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    SECONDS, SEED = arguments.seconds, arguments.seed
    with Victim() as SERVER:
        for check in (read_your_writes, batches_are_seen_whole, one_id_is_found_exactly_once,
                      huge_limits_reserve_nothing, equal_vectors_hide_nothing, a_far_point_is_found,
                      ids_are_exact_everywhere, min_should_does_not_try_combinations,
                      a_deleted_collection_leaves_no_work, a_misspelt_filter_deletes_nothing, pages_are_full_while_points_match):
            if arguments.only in check.__name__:
                report.run(check.__name__.replace("_", " "), check)
                if not SERVER.is_running():
                    SERVER.start()
    report.finish()


if __name__ == "__main__":
    main()

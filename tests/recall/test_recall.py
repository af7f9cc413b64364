#!/usr/bin/env python3
"""Recall through the server: what a query finds against what exact arithmetic in numpy finds.

    nigh-test: environment=venv-newest seconds=400

On the fixture of tests/data, and on a full set of the same form where NIGH_DATA names its folder.
The graph is made to answer by a full_scan_threshold that no set stays under.
"""

import base64
import json
import os
import sys
import threading

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import report  # noqa: E402
from fixture import DIMENSION, Fixture  # noqa: E402
from report import check, equal  # noqa: E402
from server import Client, Server  # noqa: E402

K = 10
RECALL_MIN = 0.97
CELL_RECALL_MIN = 0.95
BATCH = 500
SEED = 11
SHARES = [1.0, 0.5, 0.2, 0.1, 0.04, 0.01, 0.003, 0.001]
CELL_QUERIES = 40
GRAPH_ALWAYS = {"full_scan_threshold": 10}


def encode(vector):
    return base64.b64encode(np.ascontiguousarray(vector, "<f4").tobytes()).decode()


def scores_of(distance, queries, rows):
    """Larger is better, float64."""
    queries, rows = queries.astype(np.float64), rows.astype(np.float64)
    if distance == "Cosine":
        return (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ (rows / np.linalg.norm(rows, axis=1, keepdims=True)).T
    if distance == "Dot":
        return queries @ rows.T
    if distance == "Euclid":
        return 2 * queries @ rows.T - (rows**2).sum(axis=1)
    return np.stack([-np.abs(rows - query).sum(axis=1) for query in queries])


class Set:
    """Rows and queries as arrays. For all but cosine the rows have lengths of 0.7 to 1.4, so that the
    four distances have four different answers."""

    def __init__(self, folder):
        data = Fixture(folder)
        self.name = data.name
        self.rows = np.frombuffer(data.vectors, "<f4").reshape(-1, DIMENSION)
        self.queries = np.frombuffer(data.queries, "<f4").reshape(-1, DIMENSION)[:200]
        self.ids = np.array([row["id"] for row in data.rows])
        self.random = np.random.default_rng(SEED)
        self.lengths = self.random.uniform(0.7, 1.4, (len(self.rows), 1)).astype(np.float32)

    def rows_for(self, distance):
        return self.rows if distance == "Cosine" else self.rows * self.lengths


def nearest(scores, allowed, k=K):
    """Row numbers of the k best allowed rows of each query."""
    scores = np.where(allowed, scores, -np.inf)
    k = min(k, int(np.count_nonzero(allowed)))
    best = np.argpartition(-scores, min(k, scores.shape[1] - 1), axis=1)[:, :k] if k < scores.shape[1] else np.argsort(-scores, axis=1)
    return best


def create(server, name, distance, **more):
    server.call("PUT", f"/collections/{name}", {"vectors": {"size": DIMENSION, "distance": distance, **more}})


def upsert(server, name, ids, rows, payloads=None):
    for begin in range(0, len(rows), BATCH):
        part = range(begin, min(begin + BATCH, len(rows)))
        server.call("PUT", f"/collections/{name}/points?wait=true", {"points": [
            {"id": int(ids[n]), "vector": encode(rows[n]), **({"payload": payloads[n]} if payloads else {})} for n in part]})


def ask(server, name, queries, filter=None, params=None):
    """Lists of ids, one a query, in requests of many queries."""
    found = []
    for begin in range(0, len(queries), 100):
        searches = [{"query": encode(query), "limit": K, **({"filter": filter} if filter else {}), **({"params": params} if params else {})}
                    for query in queries[begin:begin + 100]]
        answers = server.call("POST", f"/collections/{name}/points/query/batch", {"searches": searches})
        found += [[point["id"] for point in answer["points"]] for answer in answers]
    return found


def recall_of(found, truth_rows, ids):
    hits = sum(len(set(answer) & {int(ids[row]) for row in rows}) for answer, rows in zip(found, truth_rows))
    wanted = sum(len(rows) for rows in truth_rows)
    return hits / wanted if wanted else 1.0  # a filter that nothing passes has nothing to find


def judge(name, recall, least):
    print(f"# {name}: recall {recall:.4f}", flush=True)
    check(recall >= least, f"recall@{K} is {recall:.4f}, less than {least}")


# ---- The tests, each on a set ---------------------------------------------------------------


def each_distance(server, data, distance):
    rows, name = data.rows_for(distance), f"{distance}"
    create(server, name, distance, hnsw_config=GRAPH_ALWAYS)
    upsert(server, name, data.ids, rows)
    info = server.wait_green(name)
    equal(info["points_count"], len(rows), "points_count")
    queries = data.queries if distance != "Manhattan" else data.queries[:100]
    truth = nearest(scores_of(distance, queries, rows), np.ones(len(rows), bool))
    judge(f"{data.name} {distance}", recall_of(ask(server, name, queries), truth, data.ids), RECALL_MIN)
    exact = ask(server, name, queries, params={"exact": True})
    judge(f"{data.name} {distance} exact", recall_of(exact, truth, data.ids), 0.9995)
    if distance != "Cosine":
        server.call("DELETE", f"/collections/{name}")


def while_inserting(server, data):
    create(server, "growing", "Cosine", hnsw_config=GRAPH_ALWAYS)
    order = data.random.permutation(len(data.rows))[:20000]
    scores = scores_of("Cosine", data.queries, data.rows)
    steps, recalls, unseen = 10, [], 0
    for step in range(steps):
        part = order[step * len(order) // steps:(step + 1) * len(order) // steps]
        upsert(server, "growing", data.ids[part], data.rows[part])
        allowed = np.zeros(len(data.rows), bool)
        allowed[order[:(step + 1) * len(order) // steps]] = True
        recalls.append(recall_of(ask(server, "growing", data.queries[:50]), nearest(scores[:50], allowed), data.ids))
        newest = part[-20:]
        unseen += sum(int(data.ids[row]) not in answer for row, answer in zip(newest, ask(server, "growing", data.rows[newest])))
    server.call("DELETE", "/collections/growing")
    equal(unseen, 0, "acknowledged points that the next query did not find")
    judge(f"{data.name} while inserting", float(np.mean(recalls)), RECALL_MIN)


def while_others_insert(server, data):
    """Queries race with a writer; what was there before it began must stay found."""
    half = len(data.rows) // 2
    create(server, "race", "Cosine", hnsw_config=GRAPH_ALWAYS)
    upsert(server, "race", data.ids[:half], data.rows[:half])
    server.wait_green("race")
    failures, ended = [], threading.Event()

    def write():
        try:
            writer = Client(server.host, server.port)
            upsert(writer, "race", data.ids[half:], data.rows[half:])
            writer.disconnect()
        except Exception as error:
            failures.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=write)
    thread.start()
    lost = rounds = 0
    while not ended.is_set() or rounds == 0:
        answers = ask(server, "race", data.rows[:100])
        lost += sum(int(data.ids[row]) not in answer for row, answer in enumerate(answers))
        rounds += 1
    thread.join()
    server.call("DELETE", "/collections/race")
    check(not failures, failures)
    check(lost <= 0.01 * 100 * rounds, f"{lost} of {100 * rounds} queries for a stored vector missed it while others were inserted")


def after_deletes_and_restart(server, data):
    gone = np.zeros(len(data.rows), bool)
    gone[data.random.permutation(len(data.rows))[:len(data.rows) // 5]] = True
    server.call("POST", "/collections/Cosine/points/delete?wait=true", {"points": [int(id) for id in data.ids[gone]]})
    truth = nearest(scores_of("Cosine", data.queries, data.rows), ~gone)
    found = ask(server, "Cosine", data.queries)
    dead = {int(id) for id in data.ids[gone]}
    check(not any(id in dead for answer in found for id in answer), "a deleted point was found")
    judge(f"{data.name} after 20 % deletes", recall_of(found, truth, data.ids), RECALL_MIN)
    exact = ask(server, "Cosine", data.queries, params={"exact": True})
    server.restart()
    again = ask(server, "Cosine", data.queries, params={"exact": True})
    check(again == exact, "exact answers differ after a restart")
    judge(f"{data.name} after a restart", recall_of(ask(server, "Cosine", data.queries), truth, data.ids), RECALL_MIN)
    server.kill()
    server.start()
    judge(f"{data.name} after kill -9", recall_of(ask(server, "Cosine", data.queries), truth, data.ids), RECALL_MIN)


def grid_payloads(data, axis_rank):
    count = len(data.rows)
    uniform, second = data.random.permutation(count) / count, data.random.permutation(count) / count

    def names(value):
        # in_0.1 holds for a tenth of the rows, and so on; out_... for the others.
        return [("in_" if value < share else "out_") + str(share) for share in SHARES]

    def roots(value):
        return ["in_" + str(share) for share in SHARES if value < share**0.5]

    return [{"u": float(uniform[n]), "a": float(axis_rank[n]), "ku": names(uniform[n]), "ka": names(axis_rank[n]),
             "r1": roots(uniform[n]), "r2": roots(second[n]), "s": float(second[n])} for n in range(count)]


def match(key, value):
    return {"key": key, "match": {"value": value}}


def cells(payloads):
    """(name, filter, which rows pass, which end of the axis the queries come from)"""
    for share in SHARES:
        for end, field, key in (("any", "u", "ku"), ("top", "a", "ka"), ("bottom", "a", "ka")):
            passing = np.array([payload[field] < share for payload in payloads])
            yield f"{share} {end} keyword", {"must": [match(key, f"in_{share}")]}, passing, end
            yield f"{share} {end} range", {"must": [{"key": field, "range": {"lt": share}}]}, passing, end
            yield f"{share} {end} not", {"must_not": [match(key, f"out_{share}")]}, passing, end
        both = np.array([f"in_{share}" in payload["r1"] and f"in_{share}" in payload["r2"] for payload in payloads])
        yield f"{share} any and", {"must": [match("r1", f"in_{share}"), match("r2", f"in_{share}")]}, both, "any"


def filter_grid(server, data):
    """Each cell: a share of rows passes, unrelated to the query, near it, or far from it."""
    axis = data.rows.astype(np.float64) @ data.rows[data.random.integers(len(data.rows))].astype(np.float64)
    axis_rank = np.empty(len(axis))
    axis_rank[np.argsort(-axis)] = np.arange(len(axis)) / len(axis)
    payloads = grid_payloads(data, axis_rank)
    create(server, "grid", "Cosine", hnsw_config=GRAPH_ALWAYS)
    for field, kind in (("u", "float"), ("a", "float"), ("ku", "keyword"), ("ka", "keyword"), ("r1", "keyword"), ("r2", "keyword")):
        server.call("PUT", "/collections/grid/index?wait=true", {"field_name": field, "field_schema": kind})
    upsert(server, "grid", data.ids, data.rows, payloads)
    server.wait_green("grid")
    axis_queries = np.argsort(-axis)
    ends = {"any": data.queries[:CELL_QUERIES], "top": data.rows[axis_queries[:CELL_QUERIES]], "bottom": data.rows[axis_queries[-CELL_QUERIES:]]}
    all_scores = {end: scores_of("Cosine", queries, data.rows) for end, queries in ends.items()}
    worst, short, number = [], [], 0
    for name, filter, passing, end in cells(payloads):
        truth = nearest(all_scores[end], passing)
        found = ask(server, "grid", ends[end], filter)
        number += 1
        allowed = {int(id) for id in data.ids[passing]}
        if any(id not in allowed for answer in found for id in answer):
            short.append(f"{name}: a row that the filter excludes")
        if any(len(answer) != min(K, len(allowed)) for answer in found):
            short.append(f"{name}: {min(map(len, found))} answers instead of {min(K, len(allowed))}")
        worst.append((recall_of(found, truth, data.ids), name))
    worst.sort()
    print(f"# {data.name} filter grid, {number} cells, worst: {[(round(r, 4), n) for r, n in worst[:3]]}", flush=True)
    check(not short, "; ".join(short[:5]))
    check(worst[0][0] >= CELL_RECALL_MIN, f"cells under {CELL_RECALL_MIN}: {[cell for cell in worst if cell[0] < CELL_RECALL_MIN][:8]}")
    # The same filter on a field without index must give the same answers.
    for share in (0.5, 0.04, 0.003):
        passing = np.array([payload["s"] < share for payload in payloads])
        found = ask(server, "grid", ends["any"], {"must": [{"key": "s", "range": {"lt": share}}]})
        judge(f"{data.name} without index, share {share}", recall_of(found, nearest(all_scores["any"], passing), data.ids), CELL_RECALL_MIN)
    server.call("DELETE", "/collections/grid")


def each_instruction_set(data):
    with open("/proc/cpuinfo") as cpuinfo:
        flags = next((line for line in cpuinfo if line.startswith("flags")), "").split()
    answers = {}
    for isa, flag in (("scalar", None), ("avx2", "avx2"), ("avx512", "avx512_vnni")):
        if flag and flag not in flags:
            report.skip(f"recall_with_{isa}", "this processor does not have it")
            continue
        with Server(environment={"NIGH__INDEX__ISA": isa}) as server:
            create(server, "isa", "Cosine", hnsw_config=GRAPH_ALWAYS)
            upsert(server, "isa", data.ids[:10000], data.rows[:10000])
            server.wait_green("isa")
            truth = nearest(scores_of("Cosine", data.queries, data.rows[:10000]), np.ones(len(data.rows[:10000]), bool))
            judge(f"{data.name} {isa}", recall_of(ask(server, "isa", data.queries), truth, data.ids), RECALL_MIN)
            answers[isa] = ask(server, "isa", data.queries, params={"exact": True})
    check(len({json.dumps(answer) for answer in answers.values()}) == 1 or recall_of(
        answers["scalar"], [[int(np.where(data.ids == id)[0][0]) for id in answer] for answer in list(answers.values())[-1]], data.ids) > 0.9995,
        "instruction sets differ on the exact path")


def any_number_of_workers(data):
    """The same query gets the same answer: alone, beside others on two workers, and from a single
    worker after a restart. Scalar quantisation has a graph that is whole as soon as it is loaded. So narrow
    a walk costs a fraction of a scan: were they near each other, the prices that each start measures
    might choose the one before and the other after a restart, and both would be right."""
    ways = ({"hnsw_ef": 16}, {"exact": True})
    with Server(environment={"NIGH__SERVICE__MAX_WORKERS": "2"}) as server:
        create(server, "workers", "Cosine", hnsw_config=GRAPH_ALWAYS, quantization_config={"scalar": {"type": "int8"}})
        upsert(server, "workers", data.ids[:10000], data.rows[:10000])
        server.wait_green("workers")
        alone = [ask(server, "workers", data.queries, params=way) for way in ways]
        check(alone[0] != alone[1], "no walk was taken")
        together = []

        def ask_beside_others():
            client = Client(server.host, server.port)
            together.append([ask(client, "workers", data.queries, params=way) for way in ways])
            client.disconnect()

        threads = [threading.Thread(target=ask_beside_others) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        equal(len(together), len(threads), "threads that got answers")
        check(all(answers == alone for answers in together), "two workers answer otherwise than one request at a time")
        server.environment["NIGH__SERVICE__MAX_WORKERS"] = "1"
        server.restart()
        single = [ask(server, "workers", data.queries, params=way) for way in ways]
        check(single == alone, "a single worker, after a restart, answers otherwise")


def run_all(folder):
    data = Set(folder)
    suffix = "_on_" + data.name.replace("-", "_")
    with Server() as server:
        for distance in ("Cosine", "Dot", "Euclid", "Manhattan"):
            report.run(f"recall_at_defaults_{distance.lower()}{suffix}", each_distance, server, data, distance)
        report.run(f"recall_while_inserting{suffix}", while_inserting, server, data)
        report.run(f"stored_points_stay_found_while_others_are_inserted{suffix}", while_others_insert, server, data)
        report.run(f"recall_in_every_cell_of_the_filter_grid{suffix}", filter_grid, server, data)
        report.run(f"recall_after_deletes_restart_and_kill{suffix}", after_deletes_and_restart, server, data)
    report.run(f"recall_with_each_instruction_set{suffix}", each_instruction_set, data)
    report.run(f"any_number_of_workers_gives_the_same_answers{suffix}", any_number_of_workers, data)


run_all(None)
if os.environ.get("NIGH_DATA"):
    run_all(os.environ["NIGH_DATA"])
report.finish()

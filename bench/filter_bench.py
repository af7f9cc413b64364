#!/usr/bin/env python3
"""Searches with a filter: is the way that nigh takes the fastest of the three, and near enough?

    filter_bench.py [--build FOLDER] [--size short] [--data FOLDER] [--profiles lean,turbo]

Cells are a share of rows that pass, and how the filter lies to the query: *random*; *near*, the
rows nearest to where the queries are; *far*, those farthest away. Each cell is searched in the way
that nigh takes and in each way by force, in turns; medians of CPU time. A way counts as possible if
it finds 95 of 100 neighbours; an exact scan always does.
"""
import argparse
import ctypes
import os
import statistics
import sys

import numpy as np

import engines
from sets import ROOT, SetMissing, open_set

SHARES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.6, 0.9)
LIES = ("random", "near", "far")
WAYS = ("cheapest", "exact", "graph", "filtered graph")  # enum index_plan
QUERIES, K, ROUNDS, SEED = 40, 10, 5, 3
RECALL_MIN, WITHIN, EXACT_MAX = 0.95, 1.5, 2.2


class Filter(ctypes.Structure):
    """struct bench_filter of index_lib.c"""
    _fields_ = [("words", ctypes.c_void_p), ("k", ctypes.c_uint32), ("plan", ctypes.c_int)]


def closeness(rows, queries, metric):
    """Of each row to each query, larger is nearer."""
    products = np.asarray(rows) @ np.asarray(queries).T
    if metric == "dot":
        return products
    return 2 * products - np.square(rows).sum(axis=1)[:, None]


def words_of(passing, count):
    bits = np.zeros(-(-count // 64) * 64, np.uint8)
    bits[passing] = 1
    return np.packbits(bits, bitorder="little").view(np.uint64)


class Cell:
    """Queries near one another, and a filter that lies to them in one of three ways."""

    def __init__(self, bench_set, share, lie):
        self.share, self.lie = share, lie
        rng = np.random.default_rng(SEED)
        pivot = bench_set.queries[rng.integers(len(bench_set.queries))]
        order = np.argsort(-closeness(bench_set.queries, pivot[None], bench_set.metric)[:, 0])
        self.queries = np.ascontiguousarray(bench_set.queries[order[:QUERIES]])
        near = closeness(bench_set.rows, self.queries, bench_set.metric)
        count = max(K, round(share * bench_set.count))
        by_pivot = np.argsort(-near.mean(axis=1))
        passing = {"random": rng.permutation(bench_set.count)[:count],
                   "near": by_pivot[:count], "far": by_pivot[-count:]}[lie]
        self.words = words_of(passing, bench_set.count)
        allowed = np.full(bench_set.count, -np.inf, np.float32)
        allowed[passing] = 0
        self.least = -np.partition(-(near + allowed[:, None]), K - 1, axis=0)[K - 1]
        self.near, self.allowed = near, allowed

    def judge(self, ids):
        """(recall, whether all were filled with rows that pass)"""
        found = np.take_along_axis(self.near + self.allowed[:, None], ids.T, axis=0)
        return float((found >= self.least - 1e-5).mean()), bool((ids >= 0).all() and np.isfinite(found).all())


def measure(engine, cell):
    """{way: (microseconds a query, recall, whether whole, the way that was taken)}"""
    times, told = {way: [] for way in WAYS}, {}
    ids = np.empty((QUERIES, K), np.int32)
    for _ in range(ROUNDS + 1):  # the first warms the caches
        for number, way in enumerate(WAYS):
            taken = np.zeros(len(WAYS), np.uint32)
            request = Filter(cell.words.ctypes.data, K, number)
            seconds = engine.library.bench_filtered(engine.handle, ctypes.addressof(request), cell.queries.ctypes.data,
                                                    QUERIES, ids.ctypes.data, taken.ctypes.data)
            times[way].append(seconds / QUERIES * 1e6)
            told[way] = (*cell.judge(ids), WAYS[int(taken.argmax())])
    return {way: (statistics.median(times[way][1:]), *told[way]) for way in WAYS}


def run(bench_set, profile):
    engine = engines.Nigh(profile, bench_set)
    engine.build(os.cpu_count())
    print(f"\n{bench_set.name}, {profile}: {bench_set.count:,} x {bench_set.dimension}, us a query (recall)")
    print(f"{'share':>6} {'filter':<7}" + "".join(f"{way:>22}" for way in WAYS) + "   taken, against the best, against exact")
    within, cells, shortest, slowest, short = 0, 0, 1.0, 0.0, 0
    for lie in LIES:
        for share in SHARES:
            found = measure(engine, Cell(bench_set, share, lie))
            best = min(us for us, recall, _, _ in (found[way] for way in WAYS[1:]) if recall >= RECALL_MIN)
            us, recall, is_whole, taken = found["cheapest"]
            cells += 1
            within += us <= WITHIN * best
            shortest = min(shortest, recall)
            slowest = max(slowest, us / found["exact"][0])
            short += not is_whole
            print(f"{share:>6} {lie:<7}" + "".join(f"{found[way][0]:>14.1f} ({found[way][1]:.3f})" for way in WAYS)
                  + f"   {taken}, {us / best:.2f}, {us / found['exact'][0]:.2f}", flush=True)
    print(f"within {WITHIN} of the best way in {within} of {cells} cells (wanted: nine of ten); least recall {shortest:.3f} "
          f"(>= {RECALL_MIN}); at most {slowest:.2f} of an exact scan (<= {EXACT_MAX}); not filled: {short}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--size", default="middle", help="the set is the same for all")
    parser.add_argument("--data", default=os.environ.get("NIGH_DATA"))
    parser.add_argument("--sets", default="packages")
    parser.add_argument("--profiles", default="lean,turbo")
    arguments = parser.parse_args()
    os.environ.setdefault("NIGH_BENCH_LIBRARY", os.path.join(os.path.abspath(arguments.build), "libnigh_index.so"))
    for name in arguments.sets.split(","):
        try:
            bench_set = open_set(name, arguments.data)
        except SetMissing as missing:
            sys.exit(f"{name}: {missing}")
        for profile in arguments.profiles.split(","):
            run(bench_set, profile)


if __name__ == "__main__":
    main()

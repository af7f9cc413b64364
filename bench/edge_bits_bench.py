#!/usr/bin/env python3
"""How many bits a coordinate of an edge are worth: a set's graph lean and by edges of 1, 2 and 4
bits.

    edge_bits_bench.py [--build FOLDER] [--size short|middle|full] [--data FOLDER] [--sets NAME,...]

Each profile's graph is built by one builder, by the codes or edges it has. Profiles take turns at each width of search; medians of the CPU time of one thread. Printed are
queries a second at a recall, interpolated, of the best as such and of the others as a share of it.
"""
import argparse
import os
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import engines
from report import qps_at
from sets import ROOT, SetMissing, open_set

PROFILES = ("lean", "turbo-1-bit", "turbo-2-bits", "turbo-4-bits")
EFS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072)
RECALLS = (0.9, 0.95, 0.99, 0.999)
K, ROUNDS, QUERIES, RECALL_ENOUGH = 10, 5, 500, 0.9993
SETS = {
    "short": (),  # its answer does not change from day to day
    "middle": ("packages-64", "packages-128", "packages-192", "packages-256", "packages", "words"),
    "full": ("packages-64", "packages-96", "packages-128", "packages-192", "packages-256", "packages",
             "hard-64-100k", "hard-96-100k", "hard-128-100k", "hard-192-100k", "hard-256-100k", "hard-384-100k",
             "outlier-128-100k", "outlier-384-100k", "words", "fashion", "hard-128-1m"),
}


def build_all(bench_set):
    """{profile: the set's graph, walked that way}"""
    built = {profile: engines.Nigh(profile, bench_set) for profile in PROFILES}
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # building leaves Python's lock alone
        list(pool.map(lambda engine: engine.build(1), built.values()))
    return built


def measure(engine, queries, truth, ef):
    """(CPU seconds a query, recall)"""
    ids = np.empty((len(queries), K), np.int32)
    took = engine.library.bench_search(engine.handle, queries.ctypes.data, len(queries), K, ef, 0, ids.ctypes.data)
    found = sum(len(np.intersect1d(a, b)) for a, b in zip(ids, truth))
    return took / len(queries), found / truth.size


def race(bench_set):
    """{profile: [(recall, queries a second)]}"""
    built = build_all(bench_set)
    queries = np.ascontiguousarray(bench_set.queries[:QUERIES])
    truth = bench_set.truth[:QUERIES, :K]
    points = {profile: [] for profile in PROFILES}
    for ef in EFS:
        running = [profile for profile in PROFILES if not points[profile] or points[profile][-1][0] < RECALL_ENOUGH]
        times, recalls = {profile: [] for profile in running}, {}
        for _ in range(ROUNDS):
            for profile in running:
                took, recalls[profile] = measure(built[profile], queries, truth, ef)
                times[profile].append(took)
        for profile in running:
            points[profile].append((recalls[profile], 1 / statistics.median(times[profile])))
    for engine in built.values():
        engine.free()
    return points


def show(bench_set, points):
    print(f"\n{bench_set.name}: {bench_set.count:,} x {bench_set.dimension}, {bench_set.metric}, k = {K}")
    print(f"{'recall':>7}{'best, a second':>16}" + "".join(f"{profile:>15}" for profile in PROFILES))
    for recall in RECALLS:
        found = {profile: qps_at(points[profile], recall)[0] for profile in PROFILES}
        best = max((qps for qps in found.values() if qps), default=None)
        if best:
            print(f"{recall:>7}{best:>16,.0f}" + "".join(
                f"{found[profile] / best:>15.2f}" if found[profile] else f"{'-':>15}" for profile in PROFILES), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--size", choices=SETS, default="middle")
    parser.add_argument("--data", default=os.environ.get("NIGH_DATA"))
    parser.add_argument("--sets")
    arguments = parser.parse_args()
    os.environ.setdefault("NIGH_BENCH_LIBRARY", os.path.join(os.path.abspath(arguments.build), "libnigh_index.so"))
    for name in arguments.sets.split(",") if arguments.sets else SETS[arguments.size]:
        try:
            bench_set = open_set(name, arguments.data)
        except SetMissing as missing:
            print(f"{name}: {missing}", file=sys.stderr)
            continue
        show(bench_set, race(bench_set))


if __name__ == "__main__":
    main()

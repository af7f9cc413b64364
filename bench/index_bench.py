#!/usr/bin/env python3
"""nigh's index in process against hnswlib (M 16, efC 200, f32), interleaved in one run.

    index_bench.py --build build --size short|middle|full [--data FOLDER] [--set NAME]

FOLDER has NAME.f32, NAME-queries.f32 and NAME-truth.i32 (packages; without --data the cut of
tests/data). The library is that of bench/index_lib.c; make builds it.

One thread, one query a call, CPU seconds of the thread, the median: the machine may be shared.
Queries a second are interpolated at recall@10 of 0.90, 0.95 and 0.99. It prints and asserts nothing.
NIGH_BENCH_PROTOTYPE names the folder of another engine to be raced: its engine.py must have the
class Idx. --size says how often each measurement is taken.
"""
import argparse
import ctypes
import os
import subprocess
import sys
import time

import numpy as np

EFS = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
RECALLS = (0.90, 0.95, 0.99)
ROUNDS = {"short": 1, "middle": 3, "full": 5}
K = 10
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Nigh:
    """The index through its C interface."""

    def __init__(self, library, rows):
        self.lib = ctypes.CDLL(library)
        pointer, u32, double = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_double
        for name, result, arguments in (
                ("bench_create", pointer, [pointer, u32, u32, ctypes.c_int]),
                ("bench_build", double, [pointer, ctypes.c_int]),
                ("bench_search", double, [pointer, pointer, u32, u32, u32, ctypes.c_int, pointer]),
                ("bench_memory", double, [pointer]),
                ("bench_default_ef", u32, [pointer]),
                ("bench_free", None, [pointer])):
            function = getattr(self.lib, name)
            function.restype, function.argtypes = result, arguments
        self.rows = rows
        self.handle = self.lib.bench_create(rows.ctypes.data, len(rows), rows.shape[1], 0)

    def build(self, threads):
        wall = time.perf_counter()
        cpu = self.lib.bench_build(self.handle, threads)
        return cpu, time.perf_counter() - wall

    def search(self, queries, ef, exact=False):
        ids = np.empty((len(queries), K), np.int32)
        seconds = self.lib.bench_search(self.handle, queries.ctypes.data, len(queries), K, ef,
                                        int(exact), ids.ctypes.data)
        return ids, seconds

    def bytes_a_vector(self):
        return self.lib.bench_memory(self.handle)

    def free(self):
        self.lib.bench_free(self.handle)


class Hnswlib:
    def __init__(self, rows):
        import hnswlib
        self.rows = rows
        self.index = hnswlib.Index("ip", rows.shape[1])
        self.index.init_index(len(rows), ef_construction=200, M=16)

    def build(self, threads):
        cpu, wall = time.process_time(), time.perf_counter()
        self.index.add_items(self.rows, num_threads=threads)
        return time.process_time() - cpu, time.perf_counter() - wall

    def search(self, queries, ef):
        self.index.set_ef(ef)
        start = time.thread_time()
        ids, _ = self.index.knn_query(queries, K, num_threads=1)
        return ids.astype(np.int32), time.thread_time() - start

    def bytes_a_vector(self):
        return self.rows.shape[1] * 4 + 32 * 4 + 16  # its record: vector, links, count, label


class Prototype:
    def __init__(self, folder, rows):
        sys.path.insert(0, folder)
        from engine import Idx
        self.rows = rows
        self.index = Idx(rows.shape[1], len(rows), R=32, M=16, Msel=16, efc=200, fill=1, rot=2)

    def build(self, threads):
        wall = time.perf_counter()
        cpu = self.index.build(self.rows, threads)
        return cpu, time.perf_counter() - wall

    def search(self, queries, ef):
        self.index.set("pf", 4)
        ids, seconds, _ = self.index.search(queries, k=K, ef=ef, mode=0)
        return ids, seconds

    def bytes_a_vector(self):
        return self.index.stats()["rec"]


def recall(ids, truth):
    return float(np.mean([len(np.intersect1d(a[:K], t[:K])) for a, t in zip(ids, truth)])) / K


def interpolate(points, wanted):
    """Queries a second at a recall, log-linear in 1 - recall between the measured efs."""
    points = sorted(points)
    for (a, fast), (b, slow) in zip(points, points[1:]):
        if a <= wanted <= b and b > a:
            low, high, at = (np.log(max(1 - r, 1e-4)) for r in (a, b, wanted))
            share = (at - low) / (high - low)
            return float(np.exp(np.log(fast) + share * (np.log(slow) - np.log(fast))))
    return float("nan")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--size", choices=ROUNDS, default="middle")
    parser.add_argument("--data")
    parser.add_argument("--set", default="packages")
    parser.add_argument("--dimension", type=int, default=384)
    options = parser.parse_args()
    library = os.path.abspath(os.path.join(options.build, "libnigh_index.so"))
    subprocess.run(["make", "-s", "-C", ROOT, "BUILD=" + os.path.dirname(library), library],
                   check=True)
    data = (os.path.join(options.data, options.set) if options.data
            else os.path.join(ROOT, "tests", "data", "packages-2k"))
    dimension = options.dimension
    rows = np.fromfile(data + ".f32", np.float32).reshape(-1, dimension)
    queries = np.fromfile(data + "-queries.f32", np.float32).reshape(-1, dimension)
    truth = np.fromfile(data + "-truth.i32", np.int32).reshape(len(queries), -1)
    print(f"{len(rows)} x {dimension}, {len(queries)} queries, k = {K}")

    engines = {"hnswlib": Hnswlib(rows), "nigh": Nigh(library, rows)}
    prototype = os.environ.get("NIGH_BENCH_PROTOTYPE")
    if prototype:
        engines["prototype"] = Prototype(prototype, rows)
    built = {name: engine.build(2) for name, engine in engines.items()}

    seconds = {name: {ef: [] for ef in EFS} for name in engines}
    recalls = {name: {} for name in engines}
    for _ in range(ROUNDS[options.size]):
        for ef in EFS:
            for name, engine in engines.items():
                ids, took = engine.search(queries, ef)
                seconds[name][ef].append(took)
                recalls[name][ef] = recall(ids, truth)

    base = None
    for name, engine in engines.items():
        points = [(recalls[name][ef], len(queries) / float(np.median(seconds[name][ef])))
                  for ef in EFS]
        row = [interpolate(points, wanted) for wanted in RECALLS]
        base = base or (row, built[name])
        cells = "  ".join(f"@{wanted}: {fast:7.0f}/s ({fast / slow:4.2f}x)"
                          for wanted, fast, slow in zip(RECALLS, row, base[0]))
        cpu, wall = built[name]
        print(f"{name:9s} {cells}  build {cpu:6.1f} s CPU, {wall:6.1f} s on 2 threads "
              f"({base[1][0] / cpu:4.2f}x)  {engine.bytes_a_vector():6.0f} bytes a vector")
    nigh = engines["nigh"]
    ids, took = nigh.search(queries[:100], 0, exact=True)
    print(f"nigh exact: {took / 100 * 1e6:.0f} us a query, recall {recall(ids, truth[:100]):.4f}; "
          f"default ef {nigh.lib.bench_default_ef(nigh.handle)}, recall there "
          f"{recall(nigh.search(queries, 0)[0], truth):.4f}")
    nigh.free()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Exact scans and small sets: how near a scan is to the memory's own speed and how far ahead of one
in f32, whether it finds what a scan in double precision finds, what queries that share a pass save,
and who answers fastest where there are only some thousand rows.

    flat_bench.py --build build --size short|middle|full [--data FOLDER] [--only scans|small]

Scans: in turns, one thread, CPU time, the median of 5 rounds. Small sets: each engine in a process of
its own, in turns, at the width at which its recall@10 is 0.99 (interpolated); nigh also as it chooses
by itself. --data: a folder with the full set of tests/data/README.md; without it the
384-dimensional scans are of a synthetic set. Results go to bench/results/latest.jsonl, where
lines of other sizes stay. It asserts nothing.
"""
import argparse
import ctypes
import os
import statistics
import sys

# All that malloc maps may lie in huge pages; of this process, too, which does the scans.
if "GLIBC_TUNABLES" not in os.environ:
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    os.execv(sys.executable, [sys.executable, *sys.argv])
os.environ["OPENBLAS_NUM_THREADS"] = "2"  # as much as finding the truth of sets is worth

import numpy as np  # noqa: E402

import engines  # noqa: E402
import flat_report  # noqa: E402
import report  # noqa: E402
from hard_set import HardSet  # noqa: E402
from runner import EFS, Progress  # noqa: E402
from sets import CACHE, ROOT, SEED, SetMissing, open_cut, open_set  # noqa: E402
from worker import ENGINES, Worker, WorkerDied  # noqa: E402

ROUNDS = 5
K = 10
RECALL = 0.99
SCAN_ROWS = (1000, 5000, 10_000, 20_000, 58_000)
SCAN_BYTES = 4e8  # of codes that a round reads, about: so many queries
TOGETHER = (1, 4, 16)
JUDGED = 6  # queries that are held against double precision, for each distance
JUDGED_ROWS_MAX = 20_000
SMALL_ROWS = {"short": (1000, 5000), "middle": (1000, 2000, 5000, 10_000, 20_000),
              "full": (1000, 2000, 5000, 10_000, 20_000)}
SMALL_QUERIES = 300
SMALL_SETS = ("packages", "hard-768-100k")


class Rows(ctypes.Structure):
    """struct scan_rows of scan_lib.c"""
    _fields_ = [("rows", ctypes.c_void_p), ("count", ctypes.c_uint32),
                ("dimension", ctypes.c_uint32), ("distance", ctypes.c_int)]


class Cut:
    """Rows in memory as an engine wants them."""

    def __init__(self, name, rows, queries, metric):
        self.name, self.rows, self.queries, self.metric = name, rows, queries, metric
        self.count, self.dimension = rows.shape


class Scan:
    """One set in an index whose rows are put and not linked, and scans of it."""

    def __init__(self, cut):
        self.cut, self.engine = cut, engines.Nigh("lean", cut)
        self.library = self.engine.library
        self.library.bench_put(self.engine.handle)
        distance = self.library.bench_distance(engines.DISTANCES[cut.metric].encode())
        self.rows = Rows(self.engine.rows.ctypes.data, cut.count, cut.dimension, distance)
        self.ids = np.empty((len(cut.queries), K), np.int32)

    def close(self):
        self.library.bench_free(self.engine.handle)

    def f32(self, count):
        return self.library.scan_f32(ctypes.addressof(self.rows), self.cut.queries.ctypes.data, count, K,
                                     self.ids.ctypes.data)

    def exact(self, count):
        return self.library.bench_search(self.engine.handle, self.cut.queries.ctypes.data, count, K, 0, 1,
                                         self.ids.ctypes.data)

    def together(self, count, number):
        return self.library.bench_scan(self.engine.handle, self.cut.queries.ctypes.data, count, K, number,
                                       self.ids.ctypes.data)

    def judge(self):
        """How many of the judged queries get just what double precision says, alone and together."""
        truth, distances = np.empty((JUDGED, K), np.int32), np.empty((JUDGED, K), np.float32)
        self.library.scan_double(ctypes.addressof(self.rows), self.cut.queries.ctypes.data, JUDGED, K,
                                 truth.ctypes.data, distances.ctypes.data)
        self.exact(JUDGED)
        alone = self.ids[:JUDGED].copy()
        self.together(JUDGED, JUDGED)
        return int(((alone == truth) & (self.ids[:JUDGED] == truth)).all(axis=1).sum())


def median_of(run, count):
    """Microseconds a query."""
    return statistics.median(run() for _ in range(ROUNDS)) / count * 1e6


def measure_scans(cut):
    """All in turns: a round of each, ROUNDS times."""
    scan = Scan(cut)
    count = int(max(16, min(len(cut.queries), SCAN_BYTES / cut.count / cut.dimension)))
    runs = {"f32": lambda: scan.f32(count), "exact": lambda: scan.exact(count)}
    for number in TOGETHER[1:]:
        runs[number] = lambda number=number: scan.together(count, number)
    times = {name: [] for name in runs}
    for _ in range(ROUNDS + 1):  # the first warms the caches
        for name, run in runs.items():
            times[name].append(run() / count * 1e6)
    us = {name: statistics.median(took[1:]) for name, took in times.items()}
    bytes_read = cut.count * cut.dimension  # widths are multiples of 64 here
    read = {"codes": scan.library.scan_read_ns(bytes_read), "f32": scan.library.scan_read_ns(4 * bytes_read)}
    scan.close()
    return {"kind": "flat", "set": cut.name, "n": cut.count, "dim": cut.dimension, "k": K,
            "f32_us": round(us["f32"], 1), "exact_us": round(us["exact"], 1),
            "together_us": {str(number): round(us[number], 1) for number in TOGETHER[1:]},
            "gb_per_s": round(bytes_read / us["exact"] / 1e3, 1),
            "read_gb_per_s": round(bytes_read / read["codes"], 1),
            "f32_gb_per_s": round(4 * bytes_read / us["f32"] / 1e3, 1),
            "f32_read_gb_per_s": round(4 * bytes_read / read["f32"], 1)}


def judge(cut):
    """Each distance, whatever the set's own is."""
    right = {}
    for metric in engines.DISTANCES:
        scan = Scan(Cut(cut.name, cut.rows, cut.queries, metric))
        right[metric] = scan.judge()
        scan.close()
    return {"kind": "identity", "set": cut.name, "n": cut.count, "dim": cut.dimension, "k": K,
            "queries": JUDGED, "right": right}


def scan_sets(data, progress):
    """(name, rows, queries, metric), at least as many rows as the largest scan has."""
    most = max(SCAN_ROWS)
    found = []
    try:
        packages = open_set("packages", data, progress.say)
        if packages.count >= most:
            found.append(("packages", packages.rows[:most], packages.queries, packages.metric))
    except SetMissing:
        pass
    if not found:
        source, rows = HardSet(384, SEED), np.empty((most, 384), np.float32)
        source.fill(rows)
        found.append(("hard-384", rows, source.queries(SMALL_QUERIES), "dot"))
    hard = open_set("hard-768-100k", data, progress.say)
    found.append(("hard-768", hard.rows[:most], hard.queries, hard.metric))
    return [(name, rows, np.ascontiguousarray(queries[:SMALL_QUERIES]), metric)
            for name, rows, queries, metric in found]


def scans(data, progress, lines):
    for name, rows, queries, metric in scan_sets(data, progress):
        for count in SCAN_ROWS:
            cut = Cut(name, np.ascontiguousarray(rows[:count]), queries, metric)
            lines.append(measure_scans(cut))
            if count <= JUDGED_ROWS_MAX:
                lines.append(judge(cut))
            progress.say(f"scans of {count:,} x {cut.dimension}: done")


# ---- Small sets ----------------------------------------------------------------------------------


def entrants():
    """nigh's profiles, of each peer its best; (engine, profile): version, those that are installed."""
    found = {}
    for name, kind in ENGINES.items():
        try:
            for profile in kind.profiles if name == "nigh" else kind.profiles[:1]:
                found[(name, profile)] = kind.version()
        except (ImportError, engines.LeftOut):
            continue
    return found


def climb(worker):
    """The widest setting whose recall is too low and the first whose recall is not: {ef: recall}."""
    below = {}
    for ef in EFS:
        recall = worker.call("measure", K, ef, SMALL_QUERIES)["recall"]
        if recall >= RECALL:
            return {**below, ef: recall}
        below = {ef: recall}
    return below


def settings_of(worker, entrant):
    """What is raced: {ef: recall}; 0 is what nigh does by itself."""
    default = {0: worker.call("measure", K, 0, SMALL_QUERIES)["recall"]} if entrant[0] == "nigh" else {}
    return {**default, **climb(worker)}


def race(cut, versions, progress):
    workers, settings, lines = {}, {}, []
    head = {"kind": "small", "set": cut.name, "n": cut.count, "dim": cut.dimension, "k": K}
    try:
        for entrant in versions:
            try:
                workers[entrant] = Worker(*entrant, cut.folder, os.path.join(CACHE, "worker.log"))
                workers[entrant].call("build", 2)
                workers[entrant].call("use_huge_pages")
                settings[entrant] = settings_of(workers[entrant], entrant)
            except (engines.LeftOut, WorkerDied) as error:
                progress.say(f"{cut.name}: {' '.join(entrant)} is left out: {error}")
                if entrant in workers:
                    workers.pop(entrant).stop()
        times = {(entrant, ef): [] for entrant in settings for ef in settings[entrant]}
        for _ in range(ROUNDS):
            for (entrant, ef), took in times.items():
                took.append(workers[entrant].call("measure", K, ef, SMALL_QUERIES)["cpu"])
    finally:
        for worker in workers.values():
            worker.stop()
    for entrant, found in settings.items():
        us = {ef: 1e6 * statistics.median(times[entrant, ef]) for ef in found}
        qps, _ = report.qps_at([(recall, 1 / us[ef]) for ef, recall in found.items() if ef > 0], RECALL)
        lines.append({**head, "engine": entrant[0], "version": versions[entrant], "profile": entrant[1],
                      "us": qps and round(1 / qps, 1)})
        if 0 in found:
            lines[-1].update(default_us=round(us[0], 1), default_recall=round(found[0], 4))
    return lines


def small(size, data, progress, lines):
    versions = entrants()
    for name in SMALL_SETS:
        try:
            whole = open_set(name, data, progress.say)
        except SetMissing as error:
            progress.say(f"the set {name} is left out: {error}")
            continue
        for count in SMALL_ROWS[size]:
            if count <= whole.count:
                lines += race(open_cut(whole, count), versions, progress)
                progress.say(f"{name}, {count:,} rows: done")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--size", choices=SMALL_ROWS, default="middle")
    parser.add_argument("--data", default=os.environ.get("NIGH_DATA"))
    parser.add_argument("--only", choices=("scans", "small"))
    options = parser.parse_args()
    os.environ.setdefault("NIGH_BENCH_LIBRARY", os.path.join(os.path.abspath(options.build), "libnigh_index.so"))
    progress, lines = Progress(), []
    if options.only != "small":
        scans(options.data, progress, lines)
    if options.only != "scans":
        small(options.size, options.data, progress, lines)
    flat_report.merge(lines, options.size)
    print(flat_report.text_of(lines))


if __name__ == "__main__":
    main()

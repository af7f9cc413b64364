#!/usr/bin/env python3
"""What the figures of bench/ rest on: exact neighbours, the synthetic set, interpolation, and the
journal that lets a run go on.

    nigh-test: environment=venv-newest seconds=60
"""

import importlib.util
import json
import math
import os
import sys
import tempfile

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
from report import check, equal, finish, test  # noqa: E402

sys.path.append(os.path.join(ROOT, "bench"))
import runner  # noqa: E402
import sets  # noqa: E402
from hard_set import BLOCK, HardSet  # noqa: E402
from sets import (OUTLIER_SIZE, OUTLIERS, exact_nearest, make_hard, make_outlier, make_packages,  # noqa: E402
                  make_projected)

# Its name is also that of a module of tests/support.
spec = importlib.util.spec_from_file_location("bench_report", os.path.join(ROOT, "bench", "report.py"))
bench_report = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench_report)
ours, sys.modules["report"] = sys.modules["report"], bench_report
import flat_report  # noqa: E402
sys.modules["report"] = ours


@test
def exact_neighbours_are_those_of_double_precision_whatever_the_blocks():
    source = HardSet(48, 3, normalise=False)
    rows, queries = np.empty((3000, 48), np.float32), source.queries(40)
    source.fill(rows)
    rows[1000:1010] = rows[0]  # ties, in different blocks
    wide, asked = rows.astype(np.float64), queries.astype(np.float64)
    for metric, distances in (("dot", -asked @ wide.T),
                              ("l2", ((wide[None] - asked[:, None]) ** 2).sum(2))):
        expected = np.argsort(distances, axis=1, kind="stable")[:, :50]
        for block in (700, 3000):
            found = exact_nearest(rows, queries, metric, depth=50, block=block)
            check((found == expected).all(), f"{metric}, blocks of {block}: "
                  f"{(found != expected).sum()} of {expected.size} differ")
    equal(exact_nearest(rows[:20], queries, "l2", depth=50).shape, (40, 20), "neighbours of 20 rows")


def made(maker, *arguments):
    """(rows, queries) of a set"""
    with tempfile.TemporaryDirectory() as folder:
        equal(maker(folder, *arguments), "dot", "metric")
        return tuple(np.load(os.path.join(folder, name + ".npy")) for name in ("rows", "queries"))


@test
def a_projected_set_keeps_what_its_axes_see():
    rows, queries = made(make_packages, None)
    whole, asked = made(make_projected, None, rows.shape[1])
    check(np.abs(whole @ asked.T - rows @ queries.T).max() < 1e-4, "all axes change inner products")
    few, _ = made(make_projected, None, 64)
    equal(few.shape, (len(rows), 64), "64 axes")
    check(np.abs(np.linalg.norm(few, axis=1) - 1).max() < 1e-5, "rows are not of length 1")
    kept = np.corrcoef((few[:500] @ few[:500].T).ravel(), (rows[:500] @ rows[:500].T).ravel())[0, 1]
    check(kept > 0.95, f"64 axes tell inner products with a correlation of {kept:.3f}")


@test
def a_set_with_outliers_has_a_few_large_coordinates():
    plain, _ = made(make_hard, 96, 2000)
    for values in made(make_outlier, 96, 2000):
        sizes = np.sort(np.sqrt((values ** 2).mean(0)))
        check(sizes[-OUTLIERS] / sizes[:-OUTLIERS].mean() > 0.8 * OUTLIER_SIZE, "outliers are not large")
        check(sizes[-OUTLIERS - 1] < 3 * sizes[0], "others are large, too")
        check(np.abs(np.linalg.norm(values, axis=1) - 1).max() < 1e-5, "rows are not of length 1")
    check(np.sqrt((plain ** 2).mean(0)).max() < 0.2, "a hard set has outliers by itself")


@test
def a_synthetic_set_is_the_beginning_of_a_larger_one():
    small, large = (np.empty((count, 32), np.float32) for count in (700, BLOCK + 300))
    HardSet(32, 5).fill(small)
    HardSet(32, 5).fill(large)
    check((small == large[:700]).all(), "the first rows differ")
    check(not (large[BLOCK:] == large[:300]).any(), "the second block repeats the first")
    check(np.abs(np.linalg.norm(large, axis=1) - 1).max() < 1e-5, "rows are not of length 1")
    other = np.empty((700, 32), np.float32)
    HardSet(32, 6).fill(other)
    check(not (small == other).any(), "another seed gives the same rows")


@test
def queries_a_second_are_interpolated_along_what_is_missing_to_one():
    points = [(0.9, 1000.0), (0.99, 100.0), (0.999, 10.0)]
    for wanted, expected in ((0.9, 1000), (0.99, 100), (1 - math.sqrt(0.1 * 0.01), 316.23)):
        qps, is_bound = bench_report.qps_at(points, wanted)
        check(abs(qps - expected) < 0.01, f"at {wanted}: {qps}, expected {expected}")
        equal(is_bound, False, "bound")


@test
def what_every_setting_exceeds_is_a_bound_and_what_none_reaches_is_nothing():
    points = [(0.95, 500.0), (0.99, 100.0)]
    equal(bench_report.qps_at(points, 0.9), (500.0, True), "below all")
    equal(bench_report.qps_at(points, 0.999), (None, False), "above all")
    equal(bench_report.qps_at([], 0.9), (None, False), "of no points")


@test
def a_setting_that_another_beats_in_both_does_not_count():
    points = [(0.9, 1000.0), (0.95, 300.0), (0.96, 500.0), (0.99, 100.0)]
    equal(bench_report.frontier(points), [(0.9, 1000.0), (0.96, 500.0), (0.99, 100.0)], "frontier")


@test
def a_climb_ends_by_recall_by_time_or_when_it_gets_no_better():
    def points(*recalls, cpu=0.001):
        return [{"recall": recall, "cpu": cpu} for recall in recalls]
    for expected, measured in ((False, points(0.9)), (False, points(0.9, 0.9)),
                               (True, points(0.9, 0.9999)), (True, points(0.9, cpu=0.1)),
                               (False, points(0.9, 0.95, 0.95, 0.95, 0.9502)),
                               (False, points(0.95, 0.95, 0.9502, 0.9502)),  # a plateau: pools of one length
                               (True, points(0.95, 0.95, 0.95, 0.9502, 0.9502))):
        equal(runner.is_enough(measured, 0.01), expected, f"the end after {measured}")


PLAN = {"scale": "short", "sets": {"a": "1", "b": "1"}, "versions": {"us": "1", "peer": "1"}}


def journal_of(folder, plan):
    return runner.Journal(os.path.join(folder, "run"), plan, False)


@test
def a_journal_goes_on_where_it_was_though_its_last_line_was_cut():
    with tempfile.TemporaryDirectory() as folder:
        journal = journal_of(folder, PLAN)
        journal.put({"seconds": 1}, "a", "build", "peer", "x", 2)
        journal.put({"points": 2}, "a", "round", 0, 10, 0)
        with open(journal.path, "a") as file:
            file.write(json.dumps({"key": "half", "value": 0})[:12])
        again = journal_of(folder, PLAN)
        equal(again.get("a", "build", "peer", "x", 2), {"seconds": 1}, "build")
        equal(again.get("a", "round", 0, 10, 0), {"points": 2}, "round")
        equal(len(again.entries), 2, "entries")


@test
def under_another_plan_only_builds_of_what_did_not_change_stay():
    with tempfile.TemporaryDirectory() as folder:
        journal = journal_of(folder, PLAN)
        for set_name in ("a", "b"):
            for engine in ("us", "peer"):
                journal.put({"seconds": 1}, set_name, "build", engine, "x", 2)
            journal.put({}, set_name, "round", 0, 10, 0)
        changed = {"scale": "short", "sets": {"a": "1", "b": "2"}, "versions": {"us": "2", "peer": "1"}}
        again = journal_of(folder, changed)
        equal([json.loads(key) for key in again.entries], [["a", "build", "peer", "x", 2]], "kept")


def http_line(name, **more):
    figures = dict.fromkeys(("qps", "p50_ms", "p95_ms", "p99_ms", *bench_report.HTTP_PARTS), 1.25)
    return {"kind": "http", "set": name, "n": 10, "dim": 768, "engine": "nigh", "date": "today", "query": "base64",
            "connections": 8, "k": 10, "recall": 1.0, **figures, **more}


@test
def what_was_measured_over_http_replaces_what_was_measured_over_http_only():
    kept_file = bench_report.RESULTS
    with tempfile.TemporaryDirectory() as folder:
        bench_report.RESULTS = os.path.join(folder, "latest.jsonl")
        bench_report.merge([{"kind": "run", "set": "a"}, {"kind": "run", "set": "b"}])
        bench_report.merge([http_line("a", qps=1), http_line("b", qps=2)])
        bench_report.merge([http_line("a", qps=3)])
        bench_report.merge([{"kind": "run", "set": "a", "again": True}])
        told = sorted((line["set"], line["kind"], line.get("qps", line.get("again"))) for line in bench_report.read())
        equal(told, [("a", "http", 3), ("a", "run", True), ("b", "http", 2), ("b", "run", None)], "lines")
    bench_report.RESULTS = kept_file


@test
def tables_over_http_have_a_row_a_line_and_the_columns_that_were_measured():
    lines = [http_line("a"), http_line("a", connections=1)]
    rows = bench_report.http_rows(lines)
    equal([len(row) for row in rows], [17, 17, 17], "columns")
    equal([row[:2] for row in rows[1:]], [["base64", "8"], ["base64", "1"]], "rows")
    without = http_line("a")
    del without["bare_us"]
    equal(bench_report.http_rows([without])[0][-1], "beyond search", "the last column")


@test
def a_page_changes_between_its_marks_only():
    page = "before <b> old <e> after"
    equal(bench_report.between(page, "<b>", "<e>", "new\n"), "before <b>\n\nnew\n<e> after", "the page")


@test
def a_cut_of_a_set_has_its_own_neighbours_and_is_made_once():
    with tempfile.TemporaryDirectory() as folder:
        kept, sets.CACHE = sets.CACHE, folder
        try:
            whole_folder = os.path.join(folder, "whole")
            os.makedirs(whole_folder)
            source, rows = HardSet(32, 9), np.empty((500, 32), np.float32)
            source.fill(rows)
            queries = source.queries(20)
            sets.save(whole_folder, rows, queries, exact_nearest(rows, queries, "dot"))
            sets.seal(whole_folder, "whole", "dot")
            whole = sets.Set(whole_folder)
            cut = sets.open_cut(whole, 200)
            check((cut.truth == exact_nearest(rows[:200], queries, "dot")).all(), "neighbours beyond the cut")
            equal((cut.count, cut.name, cut.of), (200, "whole-first-200", whole.fingerprint), "the cut")
            made = os.stat(os.path.join(cut.folder, "set.json")).st_mtime_ns
            equal(os.stat(os.path.join(sets.open_cut(whole, 200).folder, "set.json")).st_mtime_ns, made, "made at")
            check(sets.open_cut(whole, 500) is whole, "a cut of all rows is another set")
        finally:
            sets.CACHE = kept


def small_line(engine, us, count=1000, **more):
    return {"kind": "small", "set": f"hard-first-{count}", "n": count, "dim": 8, "engine": engine,
            "profile": "x", "us": us, **more}


@test
def the_fastest_of_a_small_set_is_named_and_what_never_gets_there_is_not():
    rows = flat_report.small_rows([small_line("nigh", 2.0, default_us=3.0, default_recall=0.998), small_line("peer", 1.5),
                                   small_line("other", None), small_line("nigh", 3.0, 20), small_line("peer", 4.0, 20)])
    equal(rows[1:], [["hard", "20", "3.0", "4.0", "-", "nigh x"],
                     ["hard", "1,000", "2.0 / 3.0 (0.998)", "1.5", "-", "peer x"]], "rows")


@test
def lines_of_small_sets_replace_those_of_the_same_size_and_leave_races_alone():
    with tempfile.TemporaryDirectory() as folder:
        kept, bench_report.RESULTS = bench_report.RESULTS, os.path.join(folder, "lines.jsonl")
        try:
            flat_report.merge([small_line("nigh", 2.0), small_line("nigh", 3.0, count=20)], "short")
            bench_report.merge([{"kind": "run", "set": "hard-first-20"}, {"kind": "search", "set": "hard-first-20"}])
            flat_report.merge([small_line("nigh", 1.0)], "short")
            found = [(line["kind"], line.get("n"), line.get("us")) for line in bench_report.read()]
            equal(sorted(found, key=str), [("run", None, None), ("search", None, None), ("small", 1000, 1.0),
                                           ("small", 20, 3.0)], "lines")
        finally:
            bench_report.RESULTS = kept


finish()

#!/usr/bin/env python3
"""nigh's index in process against its peers: queries a second at equal recall, building, memory.

    index_bench.py --build build --size short|middle|full [--data FOLDER]
                   [--sets NAME,...] [--engines NAME,...] [--fresh] [--idle] [--keep]

--data: a folder with the full set of tests/data/README.md. --sets and --engines: only these.
A run that was stopped goes on where it was unless --fresh. --idle: at the lowest priority of all.
--keep: what was built is kept, so that the next run builds only engines that have changed.
NIGH_BENCH_PROTOTYPE names the folder of an engine of one's own to be raced too: see engines.py.

One thread, one query after the other, CPU seconds, engines in turns, the median of 5 rounds; what
else there is to say is in runner.py, and how to read it in docs/BENCHMARKS.md. Results go to
bench/results/latest.jsonl, where those of sets not measured this time stay. It asserts nothing.
"""
import argparse
import dataclasses
import os
import subprocess
import sys

# Before numpy is loaded: workers inherit it. All that malloc maps may lie in huge pages.
os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")

import report  # noqa: E402
from engines import LeftOut  # noqa: E402
from runner import KS, Journal, Progress, SetRun  # noqa: E402
from sets import CACHE, ROOT, SetMissing, open_set, sum_of  # noqa: E402
from worker import ENGINES  # noqa: E402

ALL = tuple(name for name, kind in ENGINES.items() if not kind.is_exact)


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much is measured."""
    sets: dict  # name: engines
    queries: int  # of round 1, which tells recall
    seconds: float  # about, of a measurement in the other rounds
    slow_seconds: float  # a query that takes longer ends the climb
    one_thread: dict  # engines that are built on one thread too: up to so many rows
    every_profile: bool = False
    rounds: int = 5
    ks: tuple = KS

    def threads(self, engine, rows):
        """Of builds; the last one's image is raced."""
        return (1, 2) if rows <= self.one_thread.get(engine, 0) else (2,)


SCALES = {
    "short": Scale({"packages": ALL, "hard-768-100k": ("nigh", "hnswlib")},
                   300, 0.05, 0.005, {"nigh": 60_000}),
    "middle": Scale({"packages": ALL, "fashion": ALL, "words": ALL, "hard-768-100k": ALL},
                    1000, 0.15, 0.01, {"nigh": 1_000_000, "hnswlib": 60_000}),
    "full": Scale({"packages": ALL, "fashion": ALL, "words": ALL, "hard-768-100k": ALL,
                   "hard-1536-100k": ALL, "hard-768-300k": ALL, "hard-128-1m": ALL,
                   "hard-768-1m": ALL},
                  1000, 0.5, 0.02, dict.fromkeys(ALL, 1_000_000), every_profile=True),
}


def entrants_of(engines, scale):
    """nigh's profiles all, of others the first or all; those that are not installed with why."""
    entrants, missing, versions = [], {}, {}
    for name in engines:
        kind = ENGINES[name]
        is_ours = name in ("nigh", "prototype")
        profiles = kind.profiles if scale.every_profile or is_ours else kind.profiles[:1]
        try:
            versions[name] = kind.version()
            entrants += [(name, profile) for profile in profiles]
        except (ImportError, LeftOut) as error:
            missing[(name, profiles[0])] = f"it cannot be installed here ({error})"
    return entrants, missing, versions


def engines_of(options):
    """The scale, and which engines race on which set."""
    scale = SCALES[options.size]
    names = options.sets.split(",") if options.sets else list(scale.sets)
    chosen = options.engines.split(",") if options.engines else None
    engines = {name: chosen or scale.sets.get(name, ALL) for name in names}
    return scale, engines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--size", choices=SCALES, default="middle")
    parser.add_argument("--data", default=os.environ.get("NIGH_DATA"))
    parser.add_argument("--sets", default="")
    parser.add_argument("--engines", default="")
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--idle", action="store_true")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    library = os.path.abspath(os.path.join(options.build, "libnigh_index.so"))
    subprocess.run(["make", "-s", "-C", ROOT, "BUILD=" + os.path.dirname(library), library],
                   check=True)
    os.environ["NIGH_BENCH_LIBRARY"] = library
    if options.idle:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))

    scale, engines = engines_of(options)
    progress = Progress()
    sets = {}
    for name in engines:
        try:
            sets[name] = open_set(name, options.data, progress.say)
        except SetMissing as error:
            progress.say(f"the set {name} is left out: {error}")
    # Workers search on one thread; the truth of sets was found on all.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    teams = {name: entrants_of(engines[name], scale) for name in sets}
    versions = {engine: version for team in teams.values() for engine, version in team[2].items()}
    plan = {"scale": repr(scale), "sets": {name: found.fingerprint for name, found in sets.items()},
            "teams": repr(sorted((name, team[0]) for name, team in teams.items())),
            "versions": {**versions, "nigh": sum_of(library)}}
    journal = Journal(os.path.join(CACHE, "run-" + options.size), plan, options.fresh)
    if journal.entries:
        progress.say("going on with what an earlier run left (--fresh: begin anew)")
    per_entrant = 40 + 16 * scale.rounds * len(scale.ks)
    progress.total = sum(per_entrant * len(team[0]) for team in teams.values())

    for name, (entrants, missing, versions) in teams.items():
        run = SetRun(sets[name], entrants, scale, journal, progress)
        run.left_out.update(missing)
        run.build_all()
        races = run.race_all()
        lines = report.lines_of(run, races, versions, options.size)
        report.merge(lines)
        progress.say(report.text_of(lines))
    journal.end(options.keep)
    if options.size == "full":
        report.write_page()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nstopped: the same command goes on from here")

"""Builds and races engines on one set, so that a run that was stopped goes on where it was.

Everything measured goes into a journal, a JSON object a line, before the next thing begins; a build
that is in the journal has its image beside it, so nothing is built twice. A race is done in rounds:
in each, every engine in turn runs the same queries at the same width, so that a machine that is
slow for a while is slow for all. What counts is the median of the rounds.

- round 1 runs all queries, tells recall, and climbs until the recall is as good as it gets;
- the other rounds repeat what lies in the range that is reported, with as many queries as take a
  fixed time, so that slow settings do not eat the whole run.
"""
import json
import os
import shutil
import sys
import time

from engines import LeftOut
from sets import CACHE
from worker import ENGINES, Worker, WorkerDied

EFS = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
KS = (10, 100)
RECALL_ENOUGH = 0.9995
RECALL_SHOWN = 0.80  # what lies below is not measured again
FLAT_STEPS, FLAT_GAIN = 4, 0.0005  # less gain than this in so many steps: it gets no better
QUERIES_MIN = 50
STARTS = 3  # of each engine, each in a process of its own; the median counts, the last one races
MEMORY_SHARE = 0.7  # of what is available, for engines that race together
BUILD_WEIGHT = 20  # of the progress bar: one measurement is 1


class Progress:
    """A bar on a terminal; elsewhere a line for each thing done."""

    def __init__(self):
        self.done, self.total, self.started = 0, 1, time.monotonic()
        self.is_terminal = sys.stderr.isatty()

    def say(self, text):
        print(f"\r\x1b[K{text}" if self.is_terminal else text, file=sys.stderr, flush=True)

    def step(self, text, weight=1):
        self.done += weight
        if self.is_terminal:
            share = min(1.0, self.done / self.total)
            bar = "#" * int(30 * share) + "-" * (30 - int(30 * share))
            minutes = (time.monotonic() - self.started) / 60
            print(f"\r\x1b[K[{bar}] {100 * share:3.0f} % {minutes:.1f} min  {text[:70]}",
                  end="", file=sys.stderr, flush=True)


class Journal:
    """What was measured, by key: (set, what, ...). A plan names the scale, the sets' and engines'
    versions; what was measured under another plan is thrown away, but for builds of the same
    engine on the same set."""

    def __init__(self, folder, plan, fresh):
        self.folder, self.plan, self.entries = folder, plan, {}
        self.path = os.path.join(folder, "journal.jsonl")
        old = {} if fresh else self.read()
        if self.entries and old != plan:
            self.keep(lambda set_name, what, engine="", *_: what == "build" and all(
                old[part].get(name) == plan[part].get(name)
                for part, name in (("sets", set_name), ("versions", engine))))
        if not self.entries:
            shutil.rmtree(folder, ignore_errors=True)
            os.makedirs(folder)
        self.rewrite()

    def read(self):
        try:
            with open(self.path) as file:
                lines = file.read().split("\n")[:-1]  # the last one may be cut short
        except OSError:
            return {}
        self.entries = {entry["key"]: entry["value"] for entry in map(json.loads, lines[1:])}
        return json.loads(lines[0])["plan"] if lines else {}

    def keep(self, is_wanted):
        self.entries = {key: value for key, value in self.entries.items()
                        if is_wanted(*json.loads(key))}

    def rewrite(self):
        with open(self.path + ".tmp", "w") as file:
            file.write(json.dumps({"plan": self.plan}) + "\n")
            for key, value in self.entries.items():
                file.write(json.dumps({"key": key, "value": value}) + "\n")
        os.replace(self.path + ".tmp", self.path)

    def get(self, *key):
        return self.entries.get(json.dumps(key))

    def put(self, value, *key):
        self.entries[json.dumps(key)] = value
        with open(self.path, "a") as file:
            file.write(json.dumps({"key": json.dumps(key), "value": value}) + "\n")
        return value

    def end(self, is_kept):
        """The run is complete. Kept: what was built stays for the next run."""
        if is_kept:
            self.keep(lambda _, what, *rest: what == "build")
            self.rewrite()
        else:
            shutil.rmtree(self.folder, ignore_errors=True)


class SetRun:
    """All measurements of one set. entrants: (engine, profile) in order; scale: see index_bench."""

    def __init__(self, bench_set, entrants, scale, journal, progress):
        self.set, self.scale, self.journal, self.progress = bench_set, scale, journal, progress
        self.entrants = list(entrants)
        self.left_out = {}
        self.images = os.path.join(journal.folder, "images")
        os.makedirs(self.images, exist_ok=True)

    def key(self, *parts):
        return (self.set.name, *parts)

    def image(self, entrant):
        return os.path.join(self.images, "-".join((self.set.name, *entrant)).replace(" ", "_")
                            .replace(",", "_").replace("/", "_"))

    def worker(self, entrant):
        return Worker(*entrant, self.set.folder, os.path.join(CACHE, "worker.log"))

    def leave_out(self, entrant, reason):
        if self.journal.get(*self.key("left out", *entrant)) is None:
            self.journal.put(str(reason), *self.key("left out", *entrant))
        self.left_out[entrant] = str(reason)
        self.entrants.remove(entrant)
        self.progress.say(f"{self.set.name}: {' '.join(entrant)} is left out: {reason}")

    # ---- Building ------------------------------------------------------------------------------

    def build(self, entrant, threads):
        """Builds and keeps the image, unless both were done before."""
        done = self.journal.get(*self.key("build", *entrant, threads))
        if done:
            self.progress.step("", BUILD_WEIGHT)
            return done
        self.progress.step(f"{self.set.name}: {' '.join(entrant)} builds on {threads}",
                           BUILD_WEIGHT)
        worker = self.worker(entrant)
        try:
            done = worker.call("build", threads)
            path = self.image(entrant)
            shutil.rmtree(path, ignore_errors=True)
            if os.path.exists(path):
                os.remove(path)
            worker.call("save", path)
        finally:
            worker.stop()
        if not self.progress.is_terminal:
            self.progress.say(f"{self.set.name}: {' '.join(entrant)} built on {threads} in "
                              f"{done['seconds']:.1f} s ({done['cpu']:.1f} s of CPU), "
                              f"{done['bytes_per_vector']:.0f} bytes a vector")
        return self.journal.put(done, *self.key("build", *entrant, threads))

    def build_all(self):
        for entrant in list(self.entrants):
            reason = self.journal.get(*self.key("left out", *entrant))
            try:
                if reason:
                    raise LeftOut(reason)
                for threads in self.scale.threads(entrant[0], self.set.count):
                    self.build(entrant, threads)
            except (LeftOut, WorkerDied) as error:
                self.leave_out(entrant, error)

    # ---- Racing --------------------------------------------------------------------------------

    def groups(self):
        """Engines that fit in memory together. nigh and the first peer run in each."""
        with open("/proc/meminfo") as file:
            available = next(int(line.split()[1]) for line in file if "MemAvailable" in line) * 1024
        threads = {entrant: max(self.scale.threads(entrant[0], self.set.count)) for entrant in self.entrants}
        bytes_of = {}
        for entrant in self.entrants:
            built = self.journal.get(*self.key("build", *entrant, threads[entrant]))
            originals = 4 * self.set.dimension if entrant[0] == "nigh" else 0
            bytes_of[entrant] = (built["bytes_per_vector"] + originals) * self.set.count
        always = [entrant for entrant in self.entrants if entrant[0] in ("nigh", "hnswlib")]
        always = [e for e in always if e[0] == "nigh" or e[1] == ENGINES["hnswlib"].profiles[0]]
        groups, room = [list(always)], available * MEMORY_SHARE - sum(map(bytes_of.get, always))
        left = room
        for entrant in self.entrants:
            if entrant in always:
                continue
            if bytes_of[entrant] > left and len(groups[-1]) > len(always):
                groups.append(list(always))
                left = room
            groups[-1].append(entrant)
            left -= bytes_of[entrant]
        return groups

    def race_all(self):
        """The rounds of all groups: [{"engine profile": {k: {ef: [measurement a round]}}}]"""
        plan = self.journal.get(*self.key("groups"))
        if plan is None:
            plan = self.journal.put(self.groups(), *self.key("groups"))
        found = []
        for number, group in enumerate(plan):
            group = [tuple(entrant) for entrant in group if tuple(entrant) in self.entrants]
            rounds = [(k, r) for k in self.scale.ks for r in range(self.scale.rounds)]
            missing = [item for item in rounds
                       if self.journal.get(*self.key("round", number, *item)) is None]
            if missing:
                self.race(number, group, missing)
            found.append(self.collect(number, rounds))
        return found

    def start(self, entrant):
        """A worker that has the engine's image."""
        worker, starts = None, []
        while len(starts) < STARTS:
            if worker:
                worker.stop()
            worker = self.worker(entrant)
            try:
                starts.append(worker.call("load", self.image(entrant)))
            except LeftOut:
                worker.stop()
                raise
        starts.sort(key=lambda start: start["cpu"])
        self.journal.put(starts[STARTS // 2], *self.key("start", *entrant))
        return worker

    def race(self, number, group, missing):
        workers = {}
        try:
            for entrant in group:
                self.progress.step(f"{self.set.name}: {' '.join(entrant)} starts")
                try:
                    workers[entrant] = self.start(entrant)
                    if entrant[0] == "nigh":
                        self.ask_nigh(workers[entrant], entrant)
                except (LeftOut, WorkerDied) as error:
                    workers.pop(entrant, None)
                    self.leave_out(entrant, error)
            for k, round_number in missing:
                measure = self.climb if round_number == 0 else self.repeat
                self.journal.put(measure(workers, number, k, round_number),
                                 *self.key("round", number, k, round_number))
                if not self.progress.is_terminal:
                    self.progress.say(f"{self.set.name}: k {k}, round {round_number + 1} is done")
        finally:
            for worker in workers.values():
                worker.stop()

    def measure(self, workers, entrant, k, ef, count):
        """None if the engine died of it: it is left out from then on."""
        try:
            return workers[entrant].call("measure", k, ef, min(count, len(self.set.queries)))
        except (LeftOut, WorkerDied) as error:
            workers.pop(entrant).stop()
            self.leave_out(entrant, error)
            return None

    def ask_nigh(self, worker, entrant):
        """The price of a random row of memory, for the cost model; what it does by default."""
        sizes = worker.call("row_bytes")
        self.journal.put(
            {"ns": {what: worker.call("row_ns", size, min(size * self.set.count, 1 << 30))
                    for what, size in sizes.items()},
             "bytes": sizes, "default_ef": worker.call("default_ef"),
             "speedup_of_two": worker.call("thread_speedup", 2),
             "default": worker.call("measure", 10, 0, len(self.set.queries))},
            *self.key("facts", *entrant))

    def climb(self, workers, _number, k, _round):
        found = {" ".join(entrant): {} for entrant in workers}
        climbing = list(workers)
        for ef in (ef for ef in EFS if ef >= k):
            for entrant in list(climbing):
                mine = found[" ".join(entrant)]
                got = self.measure(workers, entrant, k, ef, self.scale.queries)
                if got is None:
                    climbing.remove(entrant)
                    continue
                mine[str(ef)] = got
                if is_enough(list(mine.values()), self.scale.slow_seconds):
                    climbing.remove(entrant)
                self.progress.step(f"{self.set.name}: k {k}, round 1, {' '.join(entrant)} ef {ef}")
        return found

    def repeat(self, workers, number, k, round_number):
        first = self.journal.get(*self.key("round", number, k, 0))
        wanted = {entrant: worth_repeating(first[" ".join(entrant)]) for entrant in workers}
        found = {" ".join(entrant): {} for entrant in workers}
        for ef in EFS:
            for entrant in list(workers):
                if str(ef) not in wanted[entrant]:
                    continue
                count = int(self.scale.seconds / first[" ".join(entrant)][str(ef)]["cpu"])
                count = max(QUERIES_MIN, min(count, self.scale.queries))
                got = self.measure(workers, entrant, k, ef, count)
                if got is not None:
                    found[" ".join(entrant)][str(ef)] = got
                self.progress.step(f"{self.set.name}: k {k}, round {round_number + 1}, "
                                   f"{' '.join(entrant)} ef {ef}")
        return found

    def collect(self, number, rounds):
        found = {}
        for k, round_number in rounds:
            for entrant, points in self.journal.get(
                    *self.key("round", number, k, round_number)).items():
                if tuple(entrant.split(" ", 1)) in self.left_out:
                    continue
                for ef, got in points.items():
                    found.setdefault(entrant, {}).setdefault(k, {}).setdefault(int(ef), [])\
                        .append(got)
        return found


def is_enough(points, slow_seconds):
    """Whether a climb ends: by recall, by time, or because it gets no better."""
    last = points[-1]
    is_flat = (len(points) > FLAT_STEPS
               and last["recall"] - points[-1 - FLAT_STEPS]["recall"] < FLAT_GAIN)
    return last["recall"] >= RECALL_ENOUGH or last["cpu"] > slow_seconds or is_flat


def worth_repeating(points):
    """The widths whose recall is in the range that is shown, and one below."""
    efs = list(points)
    shown = [i for i, ef in enumerate(efs) if points[ef]["recall"] >= RECALL_SHOWN]
    first = max(0, shown[0] - 1) if shown else len(efs) - 1
    return set(efs[first:])

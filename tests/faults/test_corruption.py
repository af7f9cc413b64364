#!/usr/bin/env python3
# nigh-test: seconds=300
"""Files are damaged in every way; no wrong answer is served as right, and the others serve on.

    test_corruption.py [--cases N] [--seed N] [--only WORD]

A folder with three collections is made once and its true content kept. Each case damages one file of
a copy: the data of one collection, its graph files, or the catalogue; starts a server on it, and asks
everything. Each answer is right or an error. Collections that were not damaged answer rightly. The
process may die of a damaged page, but then a start or two later it serves. Only a damaged catalogue
may keep it from starting, with a line that says so.
"""

import argparse
import collections
import os
import random
import shutil
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import model  # noqa: E402
import report  # noqa: E402
from torture import Client, Lost, Victim, scratch_folder  # noqa: E402

SEED = 8
PAGE = 4096
POINTS = 150
NAMES = ["alpha", "beta", "gamma"]
STARTS_MAX = 4
DEAD_OF_A_PAGE = (1, -7, -11, -6, 134, 135, 139)


# ---- Damage ---------------------------------------------------------------------------------------


def flip_bit(path, rng, _):
    offset = rng.randrange(os.path.getsize(path))
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ (1 << rng.randrange(8))]))


def flip_bit_of_node(path, rng, golden):
    """In a page of a data file's trees: in a key, or in the sizes and flags before it. Elsewhere, anywhere."""
    with open(path, "rb") as file:
        content = bytearray(file.read())
    nodes = [node for page in range(2 * PAGE, len(content) - PAGE + 1, PAGE) for node in nodes_of(content, page)]
    if not nodes or os.path.basename(path) != "data.mdb":
        flip_bit(path, rng, golden)
        return
    node, length = rng.choice(nodes)
    content[node + rng.randrange(length)] ^= 1 << rng.randrange(8)
    with open(path, "wb") as file:
        file.write(content)


def nodes_of(content, page):
    """(offset, bytes of head and key) of each node of the page at this offset, if it is one of a tree."""
    number, _, flags, lower, upper = struct.unpack_from("<QHHHH", content, page)
    if number * PAGE != page or flags not in (1, 2) or not 16 <= lower <= upper <= PAGE:
        return
    for offset in struct.unpack_from(f"<{(lower - 16) // 2}H", content, page + 16):
        (key_bytes,) = struct.unpack_from("<H", content, page + offset + 6)
        yield page + offset, 8 + key_bytes


def write_page(path, rng, content):
    pages = max(1, os.path.getsize(path) // PAGE)
    with open(path, "r+b") as file:
        file.seek(rng.randrange(pages) * PAGE)
        file.write(content)


def zero_page(path, rng, _):
    write_page(path, rng, bytes(PAGE))


def garbage_page(path, rng, _):
    write_page(path, rng, rng.randbytes(PAGE))


def swap(path, a, b):
    with open(path, "r+b") as file:
        file.seek(a * PAGE)
        first = file.read(PAGE)
        file.seek(b * PAGE)
        second = file.read(PAGE)
        file.seek(a * PAGE)
        file.write(second)
        file.seek(b * PAGE)
        file.write(first)


def swap_pages(path, rng, _):
    pages = max(1, os.path.getsize(path) // PAGE)
    swap(path, rng.randrange(pages), rng.randrange(pages))


def swap_first_pages(path, rng, _):
    """Of a data file: the newest state and the one before it."""
    if os.path.getsize(path) < 2 * PAGE:
        raise report.Skipped("the file is too short")
    swap(path, 0, 1)


def truncate(path, rng, _):
    os.truncate(path, rng.randrange(1, os.path.getsize(path)))


def truncate_to_nothing(path, rng, _):
    os.truncate(path, 0)


def replace_by_noise(path, rng, _):
    size = os.path.getsize(path)
    with open(path, "wb") as file:
        file.write(rng.randbytes(min(size, 200000)))


def replace_by_text(path, rng, _):
    with open(path, "wb") as file:
        file.write(b"This is not the file you are looking for.\n" * 100)


def replace_by_stale(path, rng, golden):
    shutil.copyfile(os.path.join(golden.stale, golden.relative(path)), path)


def replace_by_folder(path, rng, _):
    os.unlink(path)
    os.mkdir(path)


def remove(path, rng, _):
    os.unlink(path)


def replace_by_other_collection(path, rng, golden):
    other = golden.file_of("gamma", os.path.basename(path))
    if not os.path.exists(other):
        raise report.Skipped("the other collection has no such file")
    shutil.copyfile(other, path)


# Weights: how many of a hundred cases.
DAMAGES = {flip_bit: 13, flip_bit_of_node: 13, zero_page: 12, garbage_page: 12, swap_pages: 8, swap_first_pages: 2, truncate: 12,
           truncate_to_nothing: 4, replace_by_noise: 4, replace_by_text: 4, replace_by_stale: 6,
           replace_by_folder: 4, remove: 3, replace_by_other_collection: 3}


# ---- The folder that is damaged -------------------------------------------------------------------


class Golden:
    """A folder whose content is known, and an older copy of it."""

    def __init__(self):
        self.root = scratch_folder("golden")
        self.folder = os.path.join(self.root, "data")
        self.stale = os.path.join(self.root, "stale")
        self.work = os.path.join(self.root, "work")
        self.points = {}
        self.folder_of = {}
        with Victim(folder=self.folder) as server:
            self.write_all(server, self.make, 1)
            shutil.copytree(self.folder, self.stale)
            server.start()
            self.write_all(server, self.change, 2)
        self.filters = {name: list(filters_of(self.points[name])) for name in NAMES}

    def write_all(self, server, write, version):
        """Leaves whole graph files, and beside them deltas of what changed afterwards."""
        for name in NAMES:
            write(server.client(), name)
            self.wait_until_linked(server.client(), name)
        self.stop(server)
        server.start()
        for name in NAMES:
            self.write(server.client(), name, [POINTS], version)
        self.stop(server)
        for folder in self.folder_of.values():
            report.check("graph-0.delta" in os.listdir(folder), f"no delta was written: {os.listdir(folder)}")

    @staticmethod
    def wait_until_linked(client, name):
        until = time.monotonic() + 30
        while client.must("GET", f"/collections/{name}")["status"] != "green":
            report.check(time.monotonic() < until, "vectors wait to be linked")
            time.sleep(0.01)

    @staticmethod
    def stop(server):
        report.equal(server.stop(), 0, "exit status after SIGTERM")

    def folders(self):
        return {entry for entry, _, files in os.walk(self.folder) if "data.mdb" in files}

    def make(self, client, name):
        before = self.folders()
        create = model.CreateCollection("Dot")
        client.must(create.method, create.url(name, True), create.body())
        made = self.folders() - before
        report.equal(len(made), 1, f"folders that {name} made")
        self.folder_of[name] = made.pop()
        for field, schema in model.INDEX_FIELDS.items():
            client.must("PUT", f"/collections/{name}/index?wait=true", {"field_name": field, "field_schema": schema})
        self.points[name] = {}
        self.write(client, name, range(POINTS), 1)

    def change(self, client, name):
        self.write(client, name, range(0, POINTS, 3), 2)
        operation = model.Delete([model.point_id(0, n) for n in range(1, POINTS, 10)])
        client.must(operation.method, operation.url(name, True), operation.body())
        self.points[name] = operation.apply(self.points[name])

    def write(self, client, name, numbers, version):
        ids = [model.point_id(0, n) for n in numbers]
        operation = model.Upsert([(id, model.vector_of(name, id, version), model.payload_of(name, id, version, 0))
                                  for id in ids])
        client.must(operation.method, operation.url(name, True), operation.body())
        self.points[name] = operation.apply(self.points[name])

    def relative(self, path):
        return os.path.relpath(path, self.work)

    def file_of(self, name, base):
        return os.path.join(self.folder_of[name], base)

    def targets(self):
        """(what, path below the folder, weight) of the files that are damaged."""
        rows = []
        alpha = self.folder_of["alpha"]
        for base in sorted(os.listdir(alpha)):
            if base != "lock.mdb":
                weight = 60 if base == "data.mdb" else 8
                rows.append(("collection", os.path.relpath(os.path.join(alpha, base), self.folder), weight))
        for folder in self.folders() - set(self.folder_of.values()):
            rows.append(("catalogue", os.path.relpath(os.path.join(folder, "data.mdb"), self.folder), 25))
        return rows

    def fresh(self):
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.folder, self.work)

    def close(self):
        shutil.rmtree(self.root, ignore_errors=True)


# ---- Asking ---------------------------------------------------------------------------------------


class Asked:
    """What a server on a damaged folder said."""

    def __init__(self):
        self.errors = collections.Counter()  # collection -> error answers
        self.right = collections.Counter()


def filters_of(points):
    """(filter, how many points match): each value of each index, and what the others ask of it."""
    payloads = [payload for _, payload in points.values()]
    for field in ("tag", "num", "flag"):
        for value, expected in collections.Counter(payload[field] for payload in payloads).items():
            yield {"must": [{"key": field, "match": {"value": value}}]}, expected
    for payload in payloads[::3]:
        part, when = payload["part"], payload["when"]
        yield ({"must": [{"key": "part", "range": {"gte": part, "lte": part}}]},
               sum(other["part"] == part for other in payloads))
        yield ({"must": [{"key": "when", "range": {"gte": when, "lte": when}}]},
               sum(other["when"] == when for other in payloads))
    yield ({"must": [{"key": "num", "range": {"gte": 250, "lt": 600}}]},
           sum(250 <= payload["num"] < 600 for payload in payloads))
    yield {"must": [{"key": "tag", "match": {"value": "none of them"}}]}, 0
    yield {"must": [{"is_empty": {"key": "num"}}]}, 0
    yield {"must": [{"key": "version", "match": {"value": 2}}]}, sum(payload["version"] == 2 for payload in payloads)


def ask(client, name, golden, asked, one_by_one=False):
    """Everything about a collection: each answer is right, or an error of the server's. An error hides
    what else is wrong with its answer: one_by_one asks for each id and each value by itself."""
    def judge(method, path, body, is_right):
        answer = client.call(method, path, body)
        if answer.status >= 500:
            report.check(answer.error, f"{name}: an error without a text: {answer}")
            asked.errors[name] += 1
            return
        report.check(answer.status == 200, f"{name}: {method} {path}: {answer}")
        right = is_right(answer.result)
        report.check(right, f"{name}: a wrong answer is served as right: {method} {path} {body}: {answer}")
        asked.right[name] += 1

    here = f"/collections/{name}"
    points = golden.points[name]
    ids = list(points)
    judge("POST", here + "/points/count", {"exact": True}, lambda result: result["count"] == len(points))
    for condition, expected in golden.filters[name][::1 if one_by_one else 50]:
        judge("POST", here + "/points/count", {"exact": True, "filter": condition},
              lambda result: result["count"] == expected)
    for id in [model.point_id(0, n) for n in range(POINTS + 2 if one_by_one else 0)]:
        there = [{"id": id, "vector": points[id][0], "payload": points[id][1]}] if id in points else []
        judge("POST", here + "/points", {"ids": [id], "with_payload": True, "with_vector": True},
              lambda result: result == there)
    judge("POST", here + "/points", {"ids": ids, "with_payload": True, "with_vector": True},
          lambda result: {point["id"]: (point["vector"], point["payload"]) for point in result} == points)
    judge("POST", here + "/points/scroll", {"limit": 1000, "with_payload": True, "with_vector": True},
          lambda result: {point["id"]: (point["vector"], point["payload"]) for point in result["points"]} == points)
    rng = random.Random(name)
    for is_exact in (True, False, True, False):
        query = [rng.randint(-128, 127) / model.UNIT for _ in range(model.DIMENSION)]
        expected = model.nearest("Dot", points, query, 10)
        judge("POST", here + "/points/query", {"query": query, "limit": 10, "params": {"exact": is_exact}},
              lambda result: is_right_search(result["points"], points, query, expected, is_exact))


def is_right_search(hits, points, query, expected, is_exact):
    found = [(hit["id"], model.f32(hit["score"])) for hit in hits]
    if is_exact:
        return found == expected
    return (len(found) == len(expected) and len(set(found) & set(expected)) >= 8
            and all(id in points and score == model.score_of("Dot", query, points[id][0]) for id, score in found))


def try_write(client, name, asked):
    """A write to a damaged collection fails, or works."""
    id, vector = model.point_id(0, 990), model.vector_of("new", 990, 1)
    operation = model.Upsert([(id, vector, {"new": True})])
    answer = client.call(operation.method, operation.url(name, True), operation.body())
    report.check(answer.status == 200 or answer.status >= 500, f"{name}: a write is answered {answer}")
    if answer.status == 200:
        again = client.call("POST", f"/collections/{name}/points", {"ids": [id], "with_payload": True, "with_vector": True})
        report.check(again.status >= 500 or again.result == [{"id": id, "vector": vector, "payload": {"new": True}}],
                     f"{name}: what was written reads as {again}")


def ask_all(server, golden, damaged, asked, one_by_one):
    client = Client(server.port, timeout=20)
    names = client.must("GET", "/collections")["collections"]
    report.equal([entry["name"] for entry in names], NAMES, "collections")
    for name in NAMES:
        ask(client, name, golden, asked, one_by_one and name in damaged)
    for name in NAMES:
        if name in damaged:
            info = client.call("GET", f"/collections/{name}")
            report.check(info.status in (200, 500, 503), f"description of a damaged collection: {info}")
    for name in damaged:
        try_write(client, name, asked)
    for name in NAMES:
        if name not in damaged:
            ask(client, name, golden, asked)
            report.equal(asked.errors[name], 0, f"errors of {name}, which was not damaged")


def judge(golden, target, path, damage, seed):
    """One case; what came of it, for the tally."""
    what, relative = target, path
    golden.fresh()
    damage(os.path.join(golden.work, relative), random.Random(seed), golden)
    asked = Asked()
    damaged = ["alpha"] if what == "collection" else []
    server = Victim(folder=golden.work, start=False)
    deaths = 0
    try:
        while True:
            try:
                server.launch()
                server.wait_ready()
                ask_all(server, golden, damaged, asked, relative.endswith("data.mdb"))
                break
            except Lost as lost:
                time.sleep(0.05)
                report.check(not server.is_running(), f"no answer of a server that lives: {lost}")
            except AssertionError:
                if server.is_running():
                    raise
                if what == "catalogue":
                    report.check(server.process.returncode > 0, f"status {server.process.returncode} at its start: {server.log_tail(800)}")
                    report.check(server.log().strip(), "it did not start and did not say why")
                    return "refused to start"
            deaths += 1
            report.check(server.process.returncode in DEAD_OF_A_PAGE, f"it died with {server.process.returncode}")
            report.check(deaths < STARTS_MAX, f"it died {deaths} times on one folder: {server.log_tail(800)}")
            asked = Asked()
        if asked.errors:
            return f"reported{f' after {deaths} deaths' if deaths else ''}"
        return "no effect" if not deaths else "served after a death"
    finally:
        server.close()


def choose(golden, arguments):
    """The cases: each kind of damage on each file at least once, then at random by weight."""
    rng = random.Random(arguments.seed)
    targets = golden.targets()
    rows = [(target, damage) for target in targets for damage in DAMAGES]
    while len(rows) < arguments.cases:
        rows.append((rng.choices(targets, [weight for _, _, weight in targets])[0],
                     rng.choices(list(DAMAGES), list(DAMAGES.values()))[0]))
    return [(target, damage, rng.random()) for target, damage in rows]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=10000 if os.environ.get("NIGH_TORTURE") else 200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    golden = Golden()
    tally, of_data = collections.Counter(), collections.Counter()

    def run(target, damage, seed):
        outcome = judge(golden, target[0], target[1], damage, seed)
        tally[outcome] += 1
        if target[1].endswith("data.mdb"):  # the others are caches, which are built again
            of_data[outcome] += 1

    try:
        for number, (target, damage, seed) in enumerate(choose(golden, arguments)):
            name = f"{damage.__name__.replace('_', ' ')} in {target[0]} {os.path.basename(target[1])}, case {number}"
            if arguments.only in name:
                report.run(name, run, target, damage, seed)
        print(f"# {dict(tally)}, of data files {dict(of_data)}", flush=True)
        report.run("most damage is noticed", lambda: report.check(
            arguments.only or of_data["no effect"] < 0.6 * sum(of_data.values()), f"outcomes: {dict(of_data)}"))
    finally:
        golden.close()
    report.finish()


if __name__ == "__main__":
    main()

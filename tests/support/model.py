"""What a collection should hold: a model of the operations, and the check of a server against it.

The vector and payload of a point are a pure function of (seed, id, version), so whatever a server
says about a point can be judged. Every number in a vector is a small multiple of 1/64: sums of
products and of squares are exact in f32 whatever their order, so scores are compared bit by bit.

A Share is one writer's points in one collection. Its writer sends one request after the other, and
every write of a collection is applied in order; so after a crash the share is as it was after some
prefix of what was sent, and that prefix reaches at least to the last write that was acknowledged as
completed. A batch that was half applied is no such state, nor is a refused write that left a trace.
"""

import hashlib
import math
import operator
import random
import struct
import uuid

from report import check

DIMENSION = 16
UNIT = 64  # vectors hold multiples of 1/UNIT
TAGS = ["red", "green", "blue", "čtyři", "5"]
DISTANCES = ["Dot", "Euclid", "Manhattan"]
INDEX_FIELDS = {"tag": "keyword", "num": "integer", "part": "float", "flag": "bool", "when": "datetime"}
WRITER_IDS = 1000  # id space of one writer
SHARED_SIZE = {"size": DIMENSION}


def digest(*parts):
    return hashlib.blake2b(repr(parts).encode(), digest_size=32).digest()


def point_id(writer, number):
    """The number-th id of a writer: mostly small numbers, but also huge ones, UUIDs and strings."""
    assert number < WRITER_IDS
    small = writer * WRITER_IDS + number
    kind = number % 8
    if kind == 5:
        return 2**64 - 1 - small
    if kind == 6:
        return str(uuid.UUID(bytes=digest("uuid", small)[:16]))
    if kind == 7:
        return f"řetěz {small}"
    return small


def id_order(id):
    """Numbers, then UUIDs, then strings bytewise."""
    if isinstance(id, int):
        return (0, id, b"")
    try:
        return (1, uuid.UUID(id).int, b"")
    except ValueError:
        return (2, 0, id.encode())


def vector_of(seed, id, version):
    return [(byte - 128) / UNIT for byte in digest(seed, id, version)[:DIMENSION]]


def payload_of(seed, id, version, writer):
    bits = int.from_bytes(digest("payload", seed, id, version)[:8], "big")
    return {
        "writer": writer,
        "version": version,
        "tag": TAGS[bits % len(TAGS)],
        "num": bits % 1000,
        "part": bits % 4096 / 16,
        "flag": bits % 2 == 1,
        "when": f"20{bits % 30:02d}-0{bits % 9 + 1}-1{bits % 7}T0{bits % 10}:00:00Z",
        "big": 2**53 + bits % 1000 + 1,
        "text": "payload %x \U0001f9ca %s" % (bits, "x" * (bits % 200)),
    }


def f32(number):
    return struct.unpack("<f", struct.pack("<f", number))[0]


def score_of(distance, a, b):
    """As the API shows it; exact, see above."""
    if distance == "Dot":
        return sum(map(operator.mul, a, b))
    differences = list(map(operator.sub, a, b))
    if distance == "Euclid":
        return f32(math.sqrt(sum(map(operator.mul, differences, differences))))
    return sum(map(abs, differences))


def nearest(distance, points, query, count):
    """The exact answer: (id, score) of the best, ties by id. points: id -> (vector, payload)."""
    sign = -1 if distance == "Dot" else 1
    scored = [(sign * score_of(distance, query, vector), id_order(id), id)
              for id, (vector, _) in points.items()]
    return [(id, sign * score) for score, _, id in sorted(scored)[:count]]


# ---- Operations -----------------------------------------------------------------------------------
#
# Each knows its request and what it does to a state: id -> (vector, payload), or None where the
# collection does not exist. apply() returns a new state; a request that must be refused changes
# nothing.


class Operation:
    method, path = "POST", ""

    def url(self, collection, wait):
        return f"/collections/{collection}/points{self.path}?wait={'true' if wait else 'false'}"


class Upsert(Operation):
    method = "PUT"

    def __init__(self, points):
        self.points = points  # [(id, vector, payload)]

    def body(self):
        return {"points": [{"id": id, "vector": vector, "payload": payload}
                           for id, vector, payload in self.points]}

    def batch(self):
        return {"upsert": self.body()}

    def apply(self, state):
        if state is None:
            return None
        return {**state, **{id: (vector, payload) for id, vector, payload in self.points}}


class Delete(Operation):
    path = "/delete"

    def __init__(self, ids):
        self.ids = ids

    def body(self):
        return {"points": self.ids}

    def batch(self):
        return {"delete": self.body()}

    def apply(self, state):
        if state is None:
            return None
        gone = set(self.ids)
        return {id: point for id, point in state.items() if id not in gone}


def filter_of(writer, tag):
    return {"must": [{"key": "writer", "match": {"value": writer}}, {"key": "tag", "match": {"value": tag}}]}


def passes(payload, writer, tag):
    return payload.get("writer") == writer and payload.get("tag") == tag


class DeleteByFilter(Operation):
    path = "/delete"

    def __init__(self, writer, tag):
        self.writer, self.tag = writer, tag

    def body(self):
        return {"filter": filter_of(self.writer, self.tag)}

    def apply(self, state):
        if state is None:
            return None
        return {id: point for id, point in state.items() if not passes(point[1], self.writer, self.tag)}


class SetPayload(Operation):
    """Merges keys; by ids all of which must exist, else nothing happens."""

    path = "/payload"

    def __init__(self, ids, payload):
        self.ids, self.payload = ids, payload

    def body(self):
        return {"points": self.ids, "payload": self.payload}

    def batch(self):
        return {"set_payload": self.body()}

    def edit(self, payload):
        return {**payload, **self.payload}

    def apply(self, state):
        if state is None or any(id not in state for id in self.ids):
            return state
        return {**state, **{id: (state[id][0], self.edit(state[id][1])) for id in self.ids}}


class OverwritePayload(SetPayload):
    method = "PUT"

    def batch(self):
        return {"overwrite_payload": self.body()}

    def edit(self, payload):
        return dict(self.payload)


class SetPayloadByFilter(Operation):
    path = "/payload"

    def __init__(self, writer, tag, payload):
        self.writer, self.tag, self.payload = writer, tag, payload

    def body(self):
        return {"filter": filter_of(self.writer, self.tag), "payload": self.payload}

    def apply(self, state):
        if state is None:
            return None
        return {id: (vector, {**payload, **self.payload}) if passes(payload, self.writer, self.tag)
                else (vector, payload) for id, (vector, payload) in state.items()}


class UpdateVectors(Operation):
    method, path = "PUT", "/vectors"

    def __init__(self, points):
        self.points = points  # [(id, vector)]

    def body(self):
        return {"points": [{"id": id, "vector": vector} for id, vector in self.points]}

    def apply(self, state):
        if state is None or any(id not in state for id, _ in self.points):
            return state
        return {**state, **{id: (vector, state[id][1]) for id, vector in self.points}}


class Batch(Operation):
    path = "/batch"

    def __init__(self, operations):
        self.operations = operations

    def body(self):
        return {"operations": [operation.batch() for operation in self.operations]}

    def apply(self, state):
        changed = state
        for operation in self.operations:
            before, changed = changed, operation.apply(changed)
            if changed is before:  # refused: the whole request is
                return state
        return changed


class CreateCollection(Operation):
    method = "PUT"

    def __init__(self, distance, graph=True):
        self.distance, self.graph = distance, graph

    def url(self, collection, wait):
        return f"/collections/{collection}"

    def body(self):
        config = {"vectors": {"size": DIMENSION, "distance": self.distance}}
        if self.graph:  # even small sets are searched by the graph
            config["hnsw_config"] = {"full_scan_threshold": 10}
        return config

    def apply(self, state):
        return {} if state is None else state


class DropCollection(Operation):
    method = "DELETE"

    def url(self, collection, wait):
        return f"/collections/{collection}"

    def body(self):
        return None

    def apply(self, state):
        return None


# ---- Shares ---------------------------------------------------------------------------------------


class Share:
    """One writer's part of one collection, and what it may look like after a crash."""

    def __init__(self, collection, writer, distance, state):
        self.collection, self.writer, self.distance = collection, writer, distance
        self.base = state    # as of the last write acknowledged as completed
        self.pending = []    # later operations, in order: each may be lost, with all after it

    def completed(self, operation):
        for earlier in self.pending:
            self.base = earlier.apply(self.base)
        self.base = operation.apply(self.base)
        self.pending = []

    def accepted(self, operation):
        """Acknowledged without waiting, or without an answer."""
        self.pending.append(operation)

    def newest(self):
        state = self.base
        for operation in self.pending:
            state = operation.apply(state)
        return state

    def allowed(self):
        """Every state that a crash may leave, the newest first."""
        states = [self.base]
        for operation in self.pending:
            states.append(operation.apply(states[-1]))
        return states[::-1]

    def settle(self, found):
        """Takes what a server shows as the truth from now on, or says why it cannot be."""
        allowed = self.allowed()
        if found in allowed:
            self.base, self.pending = found, []
            return
        best = min(allowed, key=lambda state: len(differences(state, found)))
        told = differences(best, found)
        raise AssertionError(
            f"{self.collection}, writer {self.writer}: no prefix of what was sent explains what is "
            f"there ({len(self.pending)} operations pending, nearest state differs in {len(told)} "
            f"points): {'; '.join(told[:4])}")


def differences(expected, found):
    if expected is None or found is None:
        return [] if expected is found else [f"collection {'absent' if found is None else 'present'}"] * 10**6
    told = []
    for id in sorted(set(expected) | set(found), key=id_order):
        if id not in found:
            told.append(f"{id!r} is missing (version {expected[id][1].get('version')})")
        elif id not in expected:
            told.append(f"{id!r} should not be there (version {found[id][1].get('version')})")
        elif expected[id][0] != found[id][0]:
            told.append(f"{id!r} has another vector (payload version {found[id][1].get('version')}, "
                        f"expected {expected[id][1].get('version')})")
        elif expected[id][1] != found[id][1]:
            told.append(f"{id!r} has payload {found[id][1]}, expected {expected[id][1]}"[:300])
    return told


def random_operation(rng, seed, writer, version, state, ids_max):
    """A likely next write of a writer whose share is in this state."""
    def some_ids(most):
        return [point_id(writer, n) for n in rng.sample(range(ids_max), rng.randint(1, most))]

    def new_points(ids):
        return [(id, vector_of(seed, id, version), payload_of(seed, id, version, writer)) for id in ids]

    present = list(state or ())
    kind = rng.random()
    if kind < 0.40 or len(present) < 10:
        return Upsert(new_points(some_ids(min(64, ids_max))))
    if kind < 0.50:
        return Delete(some_ids(10))
    if kind < 0.55:
        return DeleteByFilter(writer, rng.choice(TAGS))
    if kind < 0.65:
        return SetPayload(rng.sample(present, min(8, len(present))),
                          {"tag": rng.choice(TAGS), "num": version % 1000})
    if kind < 0.72:
        ids = rng.sample(present, min(8, len(present)))
        return OverwritePayload(ids, payload_of(seed, ids[0], version, writer))
    if kind < 0.78:
        return SetPayloadByFilter(writer, rng.choice(TAGS), {"num": version % 1000, "extra": version})
    if kind < 0.85:
        return UpdateVectors([(id, vector_of(seed, id, version))
                              for id in rng.sample(present, min(8, len(present)))])
    ids = some_ids(8)
    return Batch([Upsert(new_points(ids)), SetPayload(ids[:1], {"extra": version}),
                  Delete([id for id in present if id not in ids][:1] or ids[-1:])])


# ---- Checking a server ------------------------------------------------------------------------------


def scroll_all(client, collection, page=250):
    """id -> (vector, payload) of every point, checked for order and repeats."""
    points, offset, last = {}, None, None
    while True:
        body = {"limit": page, "with_payload": True, "with_vector": True}
        if offset is not None:
            body["offset"] = offset
        result = client.must("POST", f"/collections/{collection}/points/scroll", body)
        for point in result["points"]:
            check(point["id"] not in points, f"{collection}: scroll shows {point['id']!r} twice")
            order = id_order(point["id"])
            check(last is None or last < order, f"{collection}: scroll is out of order at {point['id']!r}")
            last = order
            points[point["id"]] = (point["vector"], point["payload"])
        offset = result["next_page_offset"]
        if offset is None:
            return points
        check(len(result["points"]) == page, f"{collection}: a page of {len(result['points'])} is not the last")


def check_retrieve(client, collection, points, absent):
    """Asked by id, the points are those that scroll shows, and the others are not there."""
    result = client.must("POST", f"/collections/{collection}/points",
                         {"ids": list(points) + absent, "with_payload": True, "with_vector": True})
    found = {point["id"]: (point["vector"], point["payload"]) for point in result}
    check(found == points, f"{collection}: retrieve and scroll differ: {differences(points, found)[:3]}")


def count(client, collection, condition=None):
    body = {"exact": True}
    if condition:
        body["filter"] = condition
    return client.must("POST", f"/collections/{collection}/points/count", body)["count"]


def check_counts(client, collection, points):
    """Totals and counts by filter agree with what scroll shows, with or without an index."""
    info = client.must("GET", f"/collections/{collection}")
    check(info["points_count"] == len(points),
          f"{collection}: points_count {info['points_count']}, scroll shows {len(points)}")
    payloads = [payload for _, payload in points.values()]
    cases = [(None, len(points))]
    for tag in TAGS:
        cases.append(({"must": [{"key": "tag", "match": {"value": tag}}]},
                      sum(payload.get("tag") == tag for payload in payloads)))
    cases.append(({"must": [{"key": "num", "range": {"gte": 250, "lt": 600}}]},
                  sum(250 <= payload["num"] < 600 for payload in payloads)))
    cases.append(({"must": [{"key": "part", "range": {"gt": 100.5}}]},
                  sum(payload["part"] > 100.5 for payload in payloads)))
    cases.append(({"must": [{"key": "flag", "match": {"value": True}}],
                   "must_not": [{"key": "when", "range": {"lt": "2015-01-01T00:00:00Z"}}]},
                  sum(payload["flag"] and payload["when"] >= "2015" for payload in payloads)))
    cases.append(({"must_not": [{"is_empty": {"key": "extra"}}]},
                  sum("extra" in payload for payload in payloads)))
    for condition, expected in cases:
        found = count(client, collection, condition)
        check(found == expected, f"{collection}: count of {condition} is {found}, scroll shows {expected}")


def check_searches(client, collection, distance, points, rng, queries):
    """Exact search is the brute force over what scroll shows. Graph search shows only what is there,
    with right scores, and finds nearly all of it."""
    found_count = expected_count = 0
    for turn in range(queries):
        query = [rng.randint(-128, 127) / UNIT for _ in range(DIMENSION)]
        body = {"query": query, "limit": 10, "params": {"exact": True}}
        subset = points
        if turn % 2:
            tag = rng.choice(TAGS)
            body["filter"] = {"must": [{"key": "tag", "match": {"value": tag}}]}
            subset = {id: point for id, point in points.items() if point[1].get("tag") == tag}
        expected = nearest(distance, subset, query, 10)
        exact = hits_of(client, collection, body)
        check(exact == expected, f"{collection}: exact search gives {exact}, brute force {expected}")
        body["params"] = {}
        hits = hits_of(client, collection, body)
        check(len(hits) == len(expected), f"{collection}: graph search gives {len(hits)} of {len(expected)} hits")
        for id, score in hits:
            check(id in subset, f"{collection}: graph search gives {id!r}, which is not there")
            check(score == score_of(distance, query, subset[id][0]), f"{collection}: wrong score of {id!r}")
        check(len({id for id, _ in hits}) == len(hits), f"{collection}: graph search repeats an id: {hits}")
        found_count += len(set(hits) & set(expected))
        expected_count += len(expected)
    check(found_count >= 0.9 * expected_count,
          f"{collection}: graph search found {found_count} of {expected_count} nearest")


def hits_of(client, collection, body):
    points = client.must("POST", f"/collections/{collection}/points/query", body)["points"]
    return [(point["id"], f32(point["score"])) for point in points]


def check_collection(client, shares, rng, queries, ids_max):
    """Everything about one collection: shares are all its writers'."""
    collection, distance = shares[0].collection, shares[0].distance
    points = scroll_all(client, collection)
    owner = {point_id(share.writer, n): share.writer for share in shares for n in range(ids_max)}
    for id in points:
        check(id in owner, f"{collection}: {id!r} was never written")
    for share in shares:
        share.settle({id: point for id, point in points.items() if owner[id] == share.writer})
    absent = [id for id in owner if id not in points]
    check_retrieve(client, collection, points, rng.sample(absent, min(50, len(absent))))
    check_counts(client, collection, points)
    check_searches(client, collection, distance, points, rng, queries)

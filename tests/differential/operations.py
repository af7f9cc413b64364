"""A seeded stream of operations, each a dict of plain JSON values, so that a stream can be printed,
cut down and replayed. What an operation does depends on nothing but itself.

The ids are few, so that most operations meet points that exist; the values are those that filters
and paths are known to trip over: integers beyond 2^53, a number written as 5 and as 5.0, booleans
beside 0 and 1, null, [], [null], lists in lists, keys that need quotes.
"""

import random
import uuid

COLLECTIONS = {
    "cosine": {"name": "", "size": 8, "distance": "Cosine"},
    "euclid": {"name": "text", "size": 5, "distance": "Euclid"},
    "dot": {"name": "", "size": 16, "distance": "Dot"},
    "manhattan": {"name": "Bild-ä", "size": 3, "distance": "Manhattan"},
}
UUIDS = [str(uuid.UUID(int=0x1111 * (number + 1) << 96 | number)) for number in range(20)]
BIG = [2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1]
IDS = list(range(0, 100)) + BIG + UUIDS
ABSENT = [77777777, str(uuid.UUID(int=5))]

WORDS = ["Rome", "rome", "Paris", "São Paulo", "Tōkyō", "", " ", "a" * 300, "5", "true", "null", "naïve"]
INTEGERS = [-3, -1, 0, 1, 2, 3, 5, 7, 100, 2**31, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, -2**63]
FLOATS = [-2.5, -0.5, 0.0, 0.1, 0.5, 1.0, 2.0, 2.5, 3.25, 5.0, 1e-9, 1e9, 1e300, -1e300, 9007199254740992.0]
TIMES = ["2024-01-01", "2024-01-01T00:00:00Z", "2024-01-01 00:00:00", "2024-01-01T01:00:00+01:00",
         "2024-06-15T12:30:00.5Z", "2024-06-15T12:30:00.500001Z", "2023-12-31T23:59:59.999999Z",
         "1969-07-20T20:17:40Z", "2030-02-28 10:00:00-05:00", "2024-02-29T00:00:00"]
NOT_TIMES = ["yesterday", "2024-13-01", "2023-02-29T00:00:00Z", "2024", ""]
UIDS = [str(uuid.UUID(int=7 << 100 | number)) for number in range(6)]

# A field, the schema its index may have, and what its values are like.
FIELDS = {"city": "keyword", "n": "integer", "f": "float", "ok": "bool", "at": "datetime", "uid": "uuid",
          "o.a": "integer", "o.s": "keyword", "items[].k": "keyword", "items[].v": "integer",
          '"odd.key"': "keyword", "ключ": "keyword"}
PATHS = list(FIELDS) + ["o", "o.b", "o.b[]", "items", "items[]", "items[0].k", "items[1].v", "tags", "tags[]", "missing",
                        "o.missing", "city.x", "deep.er.est"]


class Stream:
    def __init__(self, seed):
        self.random = random.Random(seed)

    # ---- Values ----------------------------------------------------------------------------

    def chance(self, share):
        return self.random.random() < share

    def pick(self, values):
        return self.random.choice(values)

    def some(self, values, most):
        return self.random.sample(values, self.random.randint(1, min(most, len(values))))

    def vector(self, collection):
        size = COLLECTIONS[collection]["size"]
        kind = self.random.random()
        if kind < 0.03:
            return [0.0] * size
        if kind < 0.06:
            return [1.0] * size
        if kind < 0.15:  # equal vectors, so that scores tie
            return [float(self.random.randint(0, 1)) for _ in range(size)]
        # Halves are exact in f32: what comes back is what was sent.
        return [self.random.randint(-64, 64) / 16 for _ in range(size)]

    def named(self, collection, vector):
        name = COLLECTIONS[collection]["name"]
        return {name: vector} if name else vector

    def scalar(self, field):
        if self.chance(0.08):  # another field's kind of value
            field = self.pick(["city", "n", "f", "ok", "at"])
        if field in ("n", "o.a", "items[].v"):
            return self.pick(INTEGERS) if self.chance(0.85) else self.pick(FLOATS)
        if field == "f":
            return self.pick(FLOATS) if self.chance(0.8) else self.pick(INTEGERS)
        if field == "ok":
            return self.chance(0.5)
        if field == "at":
            return self.pick(TIMES) if self.chance(0.9) else self.pick(NOT_TIMES)
        if field == "uid":
            return self.pick(UIDS)
        return self.pick(WORDS)

    def value(self, field):
        kind = self.random.random()
        if kind < 0.06:
            return None
        if kind < 0.10:
            return []
        if kind < 0.12:
            return [None]
        if kind < 0.14:
            return [[self.scalar(field)], self.scalar(field)]
        if kind < 0.16:
            return {"x": self.scalar(field)}
        if kind < 0.35:
            return [self.scalar(field) for _ in range(self.random.randint(1, 4))]
        return self.scalar(field)

    def payload(self):
        payload = {}
        for field in ("city", "n", "f", "ok", "at", "uid"):
            if self.chance(0.7):
                payload[field] = self.value(field)
        if self.chance(0.5):
            payload["o"] = {key: self.value(path) for key, path in (("a", "o.a"), ("s", "city"), ("b", "n")) if self.chance(0.7)}
        if self.chance(0.5):
            payload["items"] = [{"k": self.scalar("city"), "v": self.value("items[].v")} for _ in range(self.random.randint(0, 3))]
        if self.chance(0.3):
            payload["tags"] = self.some(WORDS, 3)
        if self.chance(0.15):
            payload["odd.key"] = self.value("city")
        if self.chance(0.15):
            payload["ключ"] = self.value("city")
        if self.chance(0.1):
            payload["deep"] = {"er": {"est": self.value("n")}}
        return payload

    def ids(self, most=6):
        chosen = self.some(IDS, most)
        if self.chance(0.08):
            chosen.append(self.pick(ABSENT))
        return chosen

    # ---- Filters ---------------------------------------------------------------------------

    def match(self, path):
        kind = self.random.random()
        # Of a float there is no match; of others any value may be asked for.
        value = self.scalar(path)
        while isinstance(value, float):
            value = self.scalar(path)
        if kind < 0.6:
            return {"value": value}
        values = self.some(WORDS, 4) if isinstance(value, str) else self.some(INTEGERS, 4)
        if isinstance(value, str):
            values.append(value)
        return {"any": values} if kind < 0.85 else {"except": values}

    def bounds(self, values):
        keys = self.some(["lt", "lte", "gt", "gte"], 2)
        return {key: self.pick(values) for key in keys}

    def condition(self, depth):
        kind = self.random.random()
        path = self.pick(list(FIELDS)) if self.chance(0.8) else self.pick(PATHS)
        if kind < 0.35:
            return {"key": path, "match": self.match(path)}
        if kind < 0.50:
            return {"key": path, "range": self.bounds(FLOATS + [float(n) for n in INTEGERS])}
        if kind < 0.57:
            return {"key": self.pick(["at", path]), "range": self.bounds(TIMES[1:2] + TIMES[3:9])}
        if kind < 0.65:
            return {"key": path, "values_count": self.bounds([0, 1, 2, 3])}
        if kind < 0.72:
            return {"is_empty": {"key": path}}
        if kind < 0.79:
            return {"is_null": {"key": path}}
        if kind < 0.81:
            return {"key": path, "is_empty": self.chance(0.5)}
        if kind < 0.83:
            return {"key": path, "is_null": self.chance(0.5)}
        if kind < 0.85:
            return {"has_vector": self.pick(["", "text", "Bild-ä", "missing"])}
        if kind < 0.89:
            return {"nested": {"key": self.pick(["items", "items[]", "o", "deep.er", "city"]), "filter": self.nested_filter()}}
        if kind < 0.93 or depth == 0:
            return {"has_id": self.ids(30)}
        return self.filter(depth - 1)

    def nested_filter(self):
        """On one element of items."""
        choices = [{"key": "k", "match": self.match("city")}, {"key": "v", "match": self.match("n")},
                   {"key": "v", "range": self.bounds([float(n) for n in INTEGERS])}, {"is_empty": {"key": "v"}},
                   {"is_null": {"key": "v"}}, {"key": "v", "values_count": self.bounds([0, 1, 2])}, {"has_id": self.ids(30)}]
        filter = {self.pick(["must", "must", "should", "must_not"]): self.some(choices, 2)}
        if self.chance(0.3):
            filter["must_not"] = self.some(choices, 1)
        return filter

    def filter(self, depth=2):
        clauses = {}
        for clause, share in (("must", 0.5), ("should", 0.35), ("must_not", 0.3)):
            if self.chance(share):
                clauses[clause] = [self.condition(depth) for _ in range(self.random.randint(0 if self.chance(0.1) else 1, 3))]
        if self.chance(0.12):
            conditions = [self.condition(depth) for _ in range(self.random.randint(1, 4))]
            clauses["min_should"] = {"conditions": conditions, "min_count": self.random.randint(1, len(conditions) + 1)}
        return clauses

    def maybe_filter(self, share=0.6):
        return self.filter() if self.chance(share) else None

    # ---- Operations ------------------------------------------------------------------------

    def selector(self):
        return {"ids": self.ids()} if self.chance(0.6) else {"filter": self.filter()}

    def payload_selector(self):
        kind = self.random.random()
        if kind < 0.4:
            return True
        if kind < 0.6:
            return False
        paths = self.some(PATHS, 4)
        return paths if kind < 0.75 else {"include": paths} if kind < 0.88 else {"exclude": paths}

    def vector_selector(self, collection):
        kind = self.random.random()
        return True if kind < 0.4 else False if kind < 0.8 else [COLLECTIONS[collection]["name"]]

    def point(self, collection):
        vector = self.named(collection, self.vector(collection))
        if self.chance(0.06):
            vector = {}
        if self.chance(0.015):
            vector = self.named(collection, [1.0] * (COLLECTIONS[collection]["size"] + self.pick([-1, 1])))
        return {"id": self.pick(IDS), "vector": vector, "payload": self.payload() if self.chance(0.93) else None}

    def upsert(self, collection):
        count = self.random.randint(1, 60 if self.chance(0.15) else 10)
        points = [self.point(collection) for _ in range(count)]
        operation = {"op": "upsert", "points": points, "form": "batch" if self.chance(0.25) else "points"}
        if self.chance(0.12):
            operation["mode"] = self.pick(["upsert", "insert_only", "update_only"])
        if self.chance(0.12):
            operation["update_filter"] = self.filter()
        return operation

    def query(self, collection):
        name = COLLECTIONS[collection]["name"]
        by_id = self.chance(0.2)
        query = self.pick(IDS) if by_id else self.vector(collection)
        if not by_id and self.chance(0.01):
            query = query + [1.0]
        threshold = None
        if self.chance(0.25):
            threshold = self.pick([-20.0, -1.0, 0.0, 0.3, 0.9, 1.0, 3.0, 8.0, 50.0])
        return {"op": "query", "query": query, "using": name or None, "filter": self.maybe_filter(),
                "limit": self.pick([1, 2, 3, 10, 50, 1000]), "offset": self.pick([0, 0, 0, 1, 5, 200]),
                "threshold": threshold, "exact": self.chance(0.4),
                "with_payload": self.payload_selector(), "with_vectors": self.vector_selector(collection)}

    def set_payload(self, collection):
        key = self.pick([None, None, None, "o", "o.a", "items[]", "items[0]", "items[].k", "new.path", "city", '"odd.key"', "o.b[2]"])
        return {"op": "set_payload", "payload": self.payload(), "key": key, **self.selector()}

    def batched(self, collection):
        """A write that may stand in a batch."""
        while True:
            operation = self.write(collection, in_batch=True)
            if operation["op"] not in ("create_index", "drop_index", "recreate"):
                return operation

    def write(self, collection, in_batch=False):
        kind = self.random.random()
        if kind < 0.42:
            return self.upsert(collection)
        if kind < 0.50:
            # By filter more rarely: an empty one deletes everything.
            return {"op": "delete", **({"filter": self.filter()} if self.chance(0.15) else {"ids": self.ids()})}
        if kind < 0.66:
            return self.set_payload(collection)
        if kind < 0.73:
            return {"op": "overwrite_payload", "payload": self.payload(), **self.selector()}
        if kind < 0.82:
            return {"op": "delete_payload", "keys": self.some(PATHS, 3), **self.selector()}
        if kind < 0.85:
            return {"op": "clear_payload", **self.selector()}
        if kind < 0.92:
            points = [{"id": id, "vector": self.named(collection, self.vector(collection))} for id in self.ids(3)]
            filter = self.filter() if self.chance(0.1) else None
            return {"op": "update_vectors", "points": points, "update_filter": filter}
        if kind < 0.93:
            return {"op": "delete_vectors", "names": [COLLECTIONS[collection]["name"]], **self.selector()}
        if kind < 0.945 and not in_batch:
            return {"op": "batch", "operations": [self.batched(collection) for _ in range(self.random.randint(1, 5))]}
        if kind < 0.975:
            field = self.pick(list(FIELDS))
            schema = FIELDS[field] if self.chance(0.9) else self.pick(sorted(set(FIELDS.values())))
            return {"op": "create_index", "field": field, "schema": schema}
        if kind < 0.995:
            return {"op": "drop_index", "field": self.pick(list(FIELDS))}
        return {"op": "recreate"}

    def read(self, collection):
        kind = self.random.random()
        if kind < 0.45:
            return self.query(collection)
        if kind < 0.50:
            return {"op": "query_batch", "queries": [self.query(collection) for _ in range(self.random.randint(1, 4))]}
        if kind < 0.55:
            return {**self.query(collection), "op": "search", "query": self.vector(collection)}
        if kind < 0.72:
            return {"op": "count", "filter": self.maybe_filter(0.9)}
        if kind < 0.82:
            return {"op": "scroll", "filter": self.maybe_filter(), "limit": self.pick([1, 3, 10, 500]),
                    "offset": self.pick(IDS) if self.chance(0.4) else None,
                    "with_payload": self.payload_selector(), "with_vectors": self.vector_selector(collection)}
        if kind < 0.88:
            return {"op": "scroll_all", "filter": self.maybe_filter(), "page": self.pick([1, 7, 16, 64])}
        if kind < 0.98:
            return {"op": "retrieve", "ids": self.ids(10), "with_payload": self.payload_selector(),
                    "with_vectors": self.vector_selector(collection)}
        return {"op": "info"}

    def operations(self, count):
        """The stream: each operation names its collection; every 500th compares all points."""
        names = list(COLLECTIONS)
        for number in range(count):
            if number % 500 == 499:
                yield {"op": "restart" if number % 1000 == 999 else "compare_all", "collection": names[0]}
                continue
            collection = self.pick(names)
            operation = self.write(collection) if self.chance(0.4) else self.read(collection)
            yield {**operation, "collection": collection}

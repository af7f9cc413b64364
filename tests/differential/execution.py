"""Carries an operation out on either side through qdrant-client, as plain values that compare.

The two sides are the server and the client's in-process mode. Where the in-process mode is not the
contract, a comment beginning with "Known:" says so: there the operation or the answer is adapted.
"""

import copy
import json

import httpx
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from operations import COLLECTIONS

TOLERANCE = 1e-5


class Refused(Exception):
    """The side answered an error: a wrong request, not a broken server."""


def to_filter(filter):
    return None if filter is None else models.Filter.model_validate(filter)


def to_selector(operation):
    if "ids" in operation:
        return models.PointIdsList(points=operation["ids"])
    return models.FilterSelector(filter=to_filter(operation["filter"]))


def conditions(operation):
    """How an upsert is limited to new or to matching points."""
    more = {}
    if "mode" in operation:
        more["update_mode"] = models.UpdateMode(operation["mode"])
    if "update_filter" in operation:
        more["update_filter"] = to_filter(operation["update_filter"])
    return more


def last_of_each(points):
    """Known: the last of an id's points in a request wins, and conditions look at what is stored; the
    in-process mode lets the second of them meet the first. A request with a wrong dimension stays, to
    be refused."""
    vectors = [point["vector"] for point in points]
    if len({len(next(iter(vector.values())) if isinstance(vector, dict) else vector) for vector in vectors if vector}) > 1:
        return points
    return list({point["id"]: point for point in points}.values())


def batched(operation, is_remote):
    """An operation as a part of a batch."""
    kind = operation["op"]
    selection = {"points": operation["ids"]} if "ids" in operation else {"filter": to_filter(operation.get("filter"))}
    if kind == "upsert":
        limited = ("mode" in operation or "update_filter" in operation) and not is_remote
        points = [models.PointStruct(**point) for point in (last_of_each(operation["points"]) if limited else operation["points"])]
        return models.UpsertOperation(upsert=models.PointsList(points=points, **conditions(operation)))
    if kind == "delete":
        return models.DeleteOperation(delete=to_selector(operation))
    if kind == "set_payload":
        return models.SetPayloadOperation(set_payload=models.SetPayload(payload=operation["payload"], key=operation["key"], **selection))
    if kind == "overwrite_payload":
        return models.OverwritePayloadOperation(overwrite_payload=models.SetPayload(payload=operation["payload"], **selection))
    if kind == "delete_payload":
        return models.DeletePayloadOperation(delete_payload=models.DeletePayload(keys=operation["keys"], **selection))
    if kind == "clear_payload":
        return models.ClearPayloadOperation(clear_payload=to_selector(operation))
    if kind == "update_vectors":
        points = [models.PointVectors(**point) for point in operation["points"]]
        return models.UpdateVectorsOperation(update_vectors=models.UpdateVectors(points=points, update_filter=to_filter(operation["update_filter"])))
    assert kind == "delete_vectors", kind
    return models.DeleteVectorsOperation(delete_vectors=models.DeleteVectors(vector=operation["names"], **selection))


def to_payload_selector(selector):
    if isinstance(selector, dict):
        kind = models.PayloadSelectorInclude if "include" in selector else models.PayloadSelectorExclude
        return kind(**selector)
    return selector


def plain_vector(vector):
    # A point without vectors: {} or nothing, and both mean the same.
    return None if vector == {} else vector


def plain_record(record):
    return {"id": record.id, "payload": record.payload, "vector": plain_vector(record.vector)}


def plain_point(point):
    return {**plain_record(point), "score": point.score}


class Side:
    """One client and the collections it sees; prefix keeps replays apart on one server."""

    def __init__(self, client, prefix=""):
        self.client = client
        self.prefix = prefix
        for collection in COLLECTIONS:
            self.create(collection)

    def name(self, collection):
        return self.prefix + collection

    def create(self, collection):
        shape = COLLECTIONS[collection]
        params = models.VectorParams(size=shape["size"], distance=models.Distance(shape["distance"]))
        self.client.create_collection(self.name(collection), vectors_config={shape["name"]: params} if shape["name"] else params)

    def drop_all(self):
        for collection in COLLECTIONS:
            self.client.delete_collection(self.name(collection))

    def perform(self, operation):
        """The plain answer; None of a write. Raises Refused."""
        try:
            return getattr(self, operation["op"])(self.name(operation["collection"]), operation)
        except UnexpectedResponse as error:
            if error.status_code is None or error.status_code >= 500:
                raise
            raise Refused(f"{error.status_code} {error.content.decode(errors='replace')[:300]}") from error
        except ResponseHandlingException:
            raise
        except (ValueError, KeyError, AssertionError) as error:
            raise Refused(f"{type(error).__name__}: {error}") from error

    # ---- Writes ----------------------------------------------------------------------------

    def upsert(self, name, operation):
        points = operation["points"]
        if ("mode" in operation or "update_filter" in operation) and not isinstance(self.client, Remote):
            points = last_of_each(points)
        if operation["form"] == "batch" and all(point["vector"] and not isinstance(point["vector"], dict) for point in points):
            self.client.upsert(name, models.Batch(ids=[point["id"] for point in points], vectors=[point["vector"] for point in points],
                                                  payloads=[point["payload"] or {} for point in points]), wait=True, **conditions(operation))
        else:
            self.client.upsert(name, [models.PointStruct(**point) for point in points], wait=True, **conditions(operation))

    def delete(self, name, operation):
        self.client.delete(name, to_selector(operation), wait=True)

    def set_payload(self, name, operation):
        self.client.set_payload(name, operation["payload"], to_selector(operation), key=operation["key"], wait=True)

    def overwrite_payload(self, name, operation):
        self.client.overwrite_payload(name, operation["payload"], to_selector(operation), wait=True)

    def delete_payload(self, name, operation):
        self.client.delete_payload(name, operation["keys"], to_selector(operation), wait=True)

    def clear_payload(self, name, operation):
        self.client.clear_payload(name, to_selector(operation), wait=True)

    def update_vectors(self, name, operation):
        self.client.update_vectors(name, [models.PointVectors(**point) for point in operation["points"]], wait=True,
                                   update_filter=to_filter(operation["update_filter"]))

    def delete_vectors(self, name, operation):
        self.client.delete_vectors(name, operation["names"], to_selector(operation), wait=True)

    def batch(self, name, operation):
        self.client.batch_update_points(name, [batched(part, isinstance(self.client, Remote)) for part in operation["operations"]], wait=True)

    def create_index(self, name, operation):
        self.client.create_payload_index(name, operation["field"], operation["schema"], wait=True)

    def drop_index(self, name, operation):
        self.client.delete_payload_index(name, operation["field"], wait=True)

    def recreate(self, name, operation):
        self.client.delete_collection(name)
        self.create(operation["collection"])

    # ---- Reads -----------------------------------------------------------------------------

    def query(self, name, operation):
        return [plain_point(point) for point in self.client.query_points(
            name, operation["query"], using=operation["using"], query_filter=to_filter(operation["filter"]),
            limit=operation["limit"], offset=operation["offset"], score_threshold=operation["threshold"],
            search_params=models.SearchParams(exact=True) if operation["exact"] else None,
            with_payload=to_payload_selector(operation["with_payload"]), with_vectors=operation["with_vectors"]).points]

    def query_batch(self, name, operation):
        requests = [models.QueryRequest(
            query=query["query"], using=query["using"], filter=to_filter(query["filter"]), limit=query["limit"],
            offset=query["offset"], score_threshold=query["threshold"],
            params=models.SearchParams(exact=True) if query["exact"] else None,
            with_payload=to_payload_selector(query["with_payload"]), with_vector=query["with_vectors"])
            for query in operation["queries"]]
        answers = self.client.query_batch_points(name, requests)
        return [[plain_point(point) for point in answer.points] for answer in answers]

    def search(self, name, operation):
        # Only the server has the legacy form; the same question in today's form must answer the same.
        if isinstance(self.client, Remote):
            return self.client.legacy_search(name, operation)
        return self.query(name, operation)

    def count(self, name, operation):
        return self.client.count(name, to_filter(operation["filter"]), exact=True).count

    def scroll(self, name, operation):
        records, following = self.client.scroll(
            name, to_filter(operation["filter"]), limit=operation["limit"], offset=operation["offset"],
            with_payload=to_payload_selector(operation["with_payload"]), with_vectors=operation["with_vectors"])
        return {"points": [plain_record(record) for record in records], "next": following}

    def scroll_all(self, name, operation):
        pages, offset = [], None
        while len(pages) < 10000:
            records, offset = self.client.scroll(name, to_filter(operation["filter"]), limit=operation["page"], offset=offset,
                                                 with_payload=False, with_vectors=False)
            pages.append([record.id for record in records])
            if offset is None:
                return pages
        raise AssertionError("scrolling does not end")

    def retrieve(self, name, operation):
        # Known: asked for an id twice, the in-process mode answers it twice, the contract once.
        ids = list(dict.fromkeys(operation["ids"]))
        records = self.client.retrieve(name, ids, with_payload=to_payload_selector(operation["with_payload"]),
                                       with_vectors=operation["with_vectors"])
        return [plain_record(record) for record in records]

    def info(self, name, operation):
        return self.client.get_collection(name).points_count

    def remember(self, collection):
        """A copy of the in-process collection, to go back to."""
        return copy.deepcopy(self.client._client.collections[self.name(collection)])

    def go_back(self, collection, remembered):
        self.client._client.collections[self.name(collection)] = remembered

    def all_points(self, collection):
        records, _ = self.client.scroll(self.name(collection), limit=100000, with_payload=True, with_vectors=True)
        return [plain_record(record) for record in records]

    def existing(self, collection, ids):
        return {record.id for record in self.client.retrieve(self.name(collection), ids, with_payload=False)}


class Remote(QdrantClient):
    """The client over HTTP, with the search endpoint that it no longer has."""

    def __init__(self, server):
        # To servers on its own machine the client opens a connection a request, unless it is told otherwise.
        super().__init__(url=server.url, timeout=60, check_compatibility=False, limits=httpx.Limits(max_connections=1))
        self.server = server

    def legacy_search(self, name, operation):
        shape = next(shape for collection, shape in COLLECTIONS.items() if name.endswith(collection))
        filter = to_filter(operation["filter"])
        body = {"vector": {"name": shape["name"], "vector": operation["query"]} if shape["name"] else operation["query"],
                "filter": json.loads(filter.model_dump_json(exclude_none=True, by_alias=True)) if filter else None,
                "limit": operation["limit"], "offset": operation["offset"], "score_threshold": operation["threshold"],
                "params": {"exact": True} if operation["exact"] else None,
                "with_payload": operation["with_payload"], "with_vector": operation["with_vectors"]}
        status, answer = self.server.request("POST", f"/collections/{name}/points/search", body)
        if status != 200:
            raise Refused(f"{status} {answer}")
        return [{"id": point["id"], "payload": point.get("payload"), "vector": plain_vector(point.get("vector")),
                 "score": point["score"]} for point in answer["result"]]


# ---- Comparing ------------------------------------------------------------------------------


def is_close(a, b):
    return abs(a - b) <= TOLERANCE * max(1.0, abs(a), abs(b))


def difference(found, expected, path="answer"):
    """None, or where and how two plain values differ. Numbers of vectors may differ by rounding;
    payloads may not: 5 is not 5.0 there, and true is not 1."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if set(found) != set(expected):
            return f"{path}: keys {sorted(found)} instead of {sorted(expected)}"
        for key in expected:
            inner = difference(found[key], expected[key], f"{path}.{key}")
            if inner:
                return inner
        return None
    if isinstance(expected, list) and isinstance(found, list):
        if len(found) != len(expected):
            return f"{path}: {len(found)} items {str(found)[:200]} instead of {len(expected)} {str(expected)[:200]}"
        for number, (a, b) in enumerate(zip(found, expected)):
            inner = difference(a, b, f"{path}[{number}]")
            if inner:
                return inner
        return None
    in_payload = ".payload" in path
    if isinstance(expected, float) and isinstance(found, (int, float)) and not in_payload:
        return None if is_close(found, expected) else f"{path}: {found!r} instead of {expected!r}"
    if type(found) is not type(expected) or found != expected:
        return f"{path}: {found!r} instead of {expected!r}"
    return None


def difference_of_hits(found, expected, unlimited, operation, larger_is_better):
    """Two answers of a search. unlimited: gives all that the in-process mode finds, without threshold,
    offset and limit; it is asked where the two do not hold the same points. The order must be by
    score, then by id; where scores differ by rounding only, either order is right, so the answer is
    checked against the scores and not against a list."""
    scores = {hit["id"]: hit for hit in expected}
    if set(scores) != {hit["id"] for hit in found}:
        scores = {hit["id"]: hit for hit in unlimited()}
    threshold = operation["threshold"]
    if len(found) != len(expected):
        edge = threshold is not None and any(is_close(hit["score"], threshold) for hit in scores.values())
        if not edge:
            return f"{len(found)} hits {[hit['id'] for hit in found]} instead of {len(expected)} {[hit['id'] for hit in expected]}"
    seen = set()
    for number, hit in enumerate(found):
        if hit["id"] in seen:
            return f"hit {number}: {hit['id']} is found twice"
        seen.add(hit["id"])
        if hit["id"] not in scores:
            return f"hit {number}: {hit['id']} should not be found"
        right = scores[hit["id"]]
        if not is_close(hit["score"], right["score"]):
            return f"hit {number}: {hit['id']} has score {hit['score']} instead of {right['score']}"
        # Its place: the score there must be the score that the place has.
        if number < len(expected) and not is_close(hit["score"], expected[number]["score"]):
            return f"hit {number}: {hit['id']} with {hit['score']}, but {expected[number]['id']} with {expected[number]['score']} belongs there"
        if number > 0:
            before = found[number - 1]
            rising = before["score"] < hit["score"] if larger_is_better else before["score"] > hit["score"]
            if rising:
                return f"hits {number - 1} and {number} are not in order of score"
            if before["score"] == hit["score"] and id_order(before["id"]) > id_order(hit["id"]):
                return f"hits {number - 1} and {number} have equal scores and are not in order of id"
        inner = difference({k: v for k, v in hit.items() if k != "score"},
                           {k: v for k, v in right.items() if k != "score"}, f"hit {number}")
        if inner:
            return inner
    return None


def id_order(id):
    return (0, id, "") if isinstance(id, int) else (1, 0, id)

#!/usr/bin/env python3
"""qdrant-client of the newest version, as a user's program: nigh-test: environment=venv-newest server=yes"""

import os
import random
import sys
import warnings

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from report import check, equal, finish, test  # noqa: E402

client = QdrantClient(url=os.environ.get("NIGH_URL", "http://127.0.0.1:6333"))
CITIES = ["Berlin", "London", "Moscow", "New York", "Mumbai"]


@test
def the_version_check_of_the_client_is_content():
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        QdrantClient(url=os.environ.get("NIGH_URL", "http://127.0.0.1:6333")).get_collections()
    check(not warned, [str(warning.message) for warning in warned])
    check(client.info().title.startswith("nigh"), client.info().title)


@test
def a_collection_is_created_described_and_found():
    check(client.create_collection("cities", vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT)))
    check(client.collection_exists("cities"))
    check(not client.collection_exists("villages"))
    equal([collection.name for collection in client.get_collections().collections], ["cities"], "the list of collections")
    info = client.get_collection("cities")
    equal(info.config.params.vectors.size, 4)
    equal(info.config.params.vectors.distance, models.Distance.DOT)
    equal(info.points_count, 0)


@test
def every_quantisation_is_taken_and_described_as_it_was_sent():
    scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
    forms = [models.ScalarQuantization(scalar=scalar),
             models.ProductQuantization(product=models.ProductQuantizationConfig(
                 compression=models.CompressionRatio.X16)),
             models.BinaryQuantization(binary=models.BinaryQuantizationConfig(
                 query_encoding=models.BinaryQuantizationQueryEncoding.SCALAR8BITS))]
    forms += [models.BinaryQuantization(binary=models.BinaryQuantizationConfig(encoding=encoding))
              for encoding in models.BinaryQuantizationEncoding]
    forms += [models.TurboQuantization(turbo=models.TurboQuantQuantizationConfig(bits=bits, always_ram=False))
              for bits in models.TurboQuantBitSize]
    for form in forms:
        client.create_collection("quantised", quantization_config=form, vectors_config=models.VectorParams(
            size=64, distance=models.Distance.COSINE))
        equal(client.get_collection("quantised").config.quantization_config, form)
        client.delete_collection("quantised")


@test
def creating_it_twice_is_a_conflict():
    try:
        client.create_collection("cities", vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT))
    except UnexpectedResponse as error:
        equal(error.status_code, 409)
        check(b"already exists" in error.content, error.content)
    else:
        check(False, "it was created twice")


@test
def points_are_upserted_and_found():
    vectors = [[0.05, 0.61, 0.76, 0.74], [0.19, 0.81, 0.75, 0.11], [0.36, 0.55, 0.47, 0.94],
               [0.18, 0.01, 0.85, 0.80], [0.24, 0.18, 0.22, 0.44]]
    result = client.upsert("cities", wait=True, points=[
        models.PointStruct(id=number + 1, vector=vector, payload={"city": city, "rank": number})
        for number, (vector, city) in enumerate(zip(vectors, CITIES))])
    equal(result.status, models.UpdateStatus.COMPLETED)
    hits = client.query_points("cities", query=[0.2, 0.1, 0.9, 0.7], limit=3, with_payload=True).points
    equal([hit.payload["city"] for hit in hits], ["New York", "Berlin", "Moscow"])
    check(abs(hits[0].score - 1.362) < 1e-5, hits[0].score)


@test
def a_filter_limits_what_is_found():
    client.create_payload_index("cities", "city", models.PayloadSchemaType.KEYWORD, wait=True)
    client.create_payload_index("cities", "rank", models.PayloadSchemaType.INTEGER, wait=True)
    hits = client.query_points("cities", query=[0.2, 0.1, 0.9, 0.7], query_filter=models.Filter(
        must=[models.FieldCondition(key="city", match=models.MatchAny(any=["London", "Mumbai"]))],
        must_not=[models.FieldCondition(key="rank", range=models.Range(gte=4))]), with_payload=["city"], with_vectors=True).points
    equal([hit.payload for hit in hits], [{"city": "London"}])
    equal(len(hits[0].vector), 4)
    equal(client.get_collection("cities").payload_schema["city"].data_type, models.PayloadSchemaType.KEYWORD)


@test
def a_query_by_id_leaves_the_point_itself_out():
    hits = client.query_points("cities", query=1, limit=10).points
    equal(len(hits), 4)
    check(all(hit.id != 1 for hit in hits))


@test
def several_queries_go_in_one_request():
    answers = client.query_batch_points("cities", [models.QueryRequest(query=[1.0, 0.0, 0.0, 0.0], limit=1),
                                                   models.QueryRequest(query=[0.0, 1.0, 0.0, 0.0], limit=2)])
    equal([len(answer.points) for answer in answers], [1, 2])


@test
def payloads_are_merged_overwritten_and_deleted():
    client.set_payload("cities", {"country": "Germany"}, points=[1], wait=True)
    equal(client.retrieve("cities", [1])[0].payload, {"city": "Berlin", "rank": 0, "country": "Germany"})
    client.overwrite_payload("cities", {"only": [1, None, {"a": 1.5}]}, points=[2], wait=True)
    equal(client.retrieve("cities", [2])[0].payload, {"only": [1, None, {"a": 1.5}]})
    client.delete_payload("cities", ["country"], points=models.Filter(
        must=[models.FieldCondition(key="city", match=models.MatchValue(value="Berlin"))]), wait=True)
    equal(client.retrieve("cities", [1])[0].payload, {"city": "Berlin", "rank": 0})
    client.clear_payload("cities", [2], wait=True)
    equal(client.retrieve("cities", [2])[0].payload, {})


@test
def many_points_are_uploaded_in_parallel():
    client.create_collection("many", vectors_config=models.VectorParams(size=32, distance=models.Distance.COSINE))
    random.seed(7)
    points = [models.PointStruct(id=number, vector=[random.gauss(0, 1) for _ in range(32)], payload={"group": number % 10})
              for number in range(3000)]
    client.upload_points("many", points, batch_size=64, parallel=2, wait=True)
    equal(client.count("many", exact=True).count, 3000)
    equal(client.count("many", models.Filter(must=[models.FieldCondition(key="group", match=models.MatchValue(value=3))])).count, 300)
    for number in (0, 1234, 2999):
        hit = client.query_points("many", query=points[number].vector, limit=1).points[0]
        equal(hit.id, number)
        check(abs(hit.score - 1) < 1e-5, hit.score)


@test
def scrolling_sees_every_point_once():
    seen, offset = [], None
    while True:
        records, offset = client.scroll("many", limit=700, offset=offset, with_payload=False)
        seen += [record.id for record in records]
        if offset is None:
            break
    equal(seen, list(range(3000)))


@test
def ids_are_numbers_of_64_bits_uuids_and_names():
    client.create_collection("ids", vectors_config={"text": models.VectorParams(size=2, distance=models.Distance.EUCLID)})
    ids = [0, 2**53 + 1, 2**64 - 1, "6f9619ff-8b86-d011-b42d-00c04fc964ff"]
    client.upsert("ids", [models.PointStruct(id=id, vector={"text": [1.0, float(number)]}) for number, id in enumerate(ids)], wait=True)
    equal([record.id for record in client.scroll("ids")[0]], ids)
    equal([record.id for record in client.retrieve("ids", ["6F9619FF8B86D011B42D00C04FC964FF"])], ids[3:])
    client.update_vectors("ids", [models.PointVectors(id=0, vector={"text": [5.0, 5.0]})], wait=True)
    equal(client.retrieve("ids", [0], with_vectors=True)[0].vector, {"text": [5.0, 5.0]})


@test
def deleting_by_ids_and_by_filter_is_seen_at_once():
    client.delete("many", [0, 1, 2], wait=True)
    result = client.delete("many", models.Filter(must=[models.FieldCondition(key="group", match=models.MatchValue(value=5))]), wait=True)
    equal(result.status, models.UpdateStatus.COMPLETED)
    equal(client.count("many").count, 2697)
    equal(client.retrieve("many", [0, 5, 15]), [])


@test
def a_wrong_dimension_is_explained():
    try:
        client.upsert("cities", [models.PointStruct(id=9, vector=[1.0, 2.0])], wait=True)
    except UnexpectedResponse as error:
        equal(error.status_code, 400)
        check(b"expected dim: 4, got 2" in error.content, error.content)
    else:
        check(False, "it was taken")


@test
def a_collection_is_deleted():
    for name in ("cities", "many", "ids"):
        check(client.delete_collection(name))
    equal(client.get_collections().collections, [])
    try:
        client.count("cities")
    except UnexpectedResponse as error:
        equal(error.status_code, 404)
        check(b"Collection `cities` doesn't exist!" in error.content, error.content)
    else:
        check(False, "it was counted")


# Uploading in parallel starts processes that read this file again.
if __name__ == "__main__":
    finish()

#!/usr/bin/env python3
"""The asynchronous client: nigh-test: environment=venv-newest server=yes"""

import asyncio
import os
import sys

from qdrant_client import AsyncQdrantClient, models

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from report import check, equal, finish, test  # noqa: E402

URL = os.environ.get("NIGH_URL", "http://127.0.0.1:6333")


async def use():
    client = AsyncQdrantClient(url=URL)
    try:
        await client.create_collection("a", vectors_config=models.VectorParams(size=2, distance=models.Distance.COSINE))

        async def write(worker):
            points = [models.PointStruct(id=worker * 100 + n, vector=[1.0, n / 100], payload={"worker": worker}) for n in range(100)]
            return await client.upsert("a", points, wait=True)

        results = await asyncio.gather(*(write(worker) for worker in range(16)))
        check(all(result.status == models.UpdateStatus.COMPLETED for result in results))
        equal((await client.count("a")).count, 1600)
        searches = await asyncio.gather(*(client.query_points("a", query=[1.0, n / 100], limit=5, query_filter=models.Filter(
            must=[models.FieldCondition(key="worker", match=models.MatchValue(value=7))])) for n in range(50)))
        for n, search in enumerate(searches):
            equal(search.points[0].id, 700 + n)
        await client.delete_collection("a")
    finally:
        await client.close()


@test
def writes_and_searches_run_side_by_side():
    asyncio.run(use())


finish()

#!/usr/bin/env python3
"""langchain-qdrant, the steps of its own introduction: nigh-test: environment=venv-langchain server=yes"""

import hashlib
import math
import os
import sys
from uuid import uuid4

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_qdrant import QdrantVectorStore
from qdrant_client import QdrantClient, models

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from report import check, equal, finish, test  # noqa: E402


class WordEmbeddings(Embeddings):
    """Each word counts in a place that its hash gives: small, local, the same everywhere."""

    SIZE = 256

    def embed_query(self, text):
        vector = [0.0] * self.SIZE
        for word in text.lower().split():
            vector[int.from_bytes(hashlib.sha256(word.strip(".,?!").encode()).digest()[:4], "big") % self.SIZE] += 1.0
        length = math.sqrt(sum(x * x for x in vector)) or 1.0
        return [x / length for x in vector]

    def embed_documents(self, texts):
        return [self.embed_query(text) for text in texts]


client = QdrantClient(url=os.environ.get("NIGH_URL", "http://127.0.0.1:6333"))
client.create_collection("demo_collection", vectors_config=models.VectorParams(size=WordEmbeddings.SIZE, distance=models.Distance.COSINE))
store = QdrantVectorStore(client=client, collection_name="demo_collection", embedding=WordEmbeddings())
documents = [Document(page_content=text, metadata={"source": source}) for text, source in [
    ("I had chocolate chip pancakes and scrambled eggs for breakfast this morning.", "tweet"),
    ("The weather forecast for tomorrow is cloudy and overcast, with a high of 62 degrees.", "news"),
    ("Building an exciting new project with LangChain - come check it out!", "tweet"),
    ("Robbers broke into the city bank and stole $1 million in cash.", "news"),
    ("Wow! That was an amazing movie. I can't wait to see it again.", "tweet"),
    ("Is the new iPhone worth the price? Read this review to find out.", "website"),
    ("LangGraph is the best framework for building stateful, agentic applications!", "tweet"),
]]
ids = [str(uuid4()) for _ in documents]


@test
def documents_are_added():
    equal(store.add_documents(documents=documents, ids=ids), ids)
    equal(client.count("demo_collection").count, len(documents))


@test
def a_document_is_found_by_its_words():
    results = store.similarity_search("What is the weather forecast for tomorrow?", k=2)
    equal(results[0].metadata["source"], "news")
    check("cloudy" in results[0].page_content, results[0].page_content)


@test
def a_filter_on_metadata_is_honoured():
    results = store.similarity_search_with_score("an amazing new movie", k=10, filter=models.Filter(must=[
        models.FieldCondition(key="metadata.source", match=models.MatchValue(value="tweet"))]))
    equal(len(results), 4)
    check("movie" in results[0][0].page_content, results[0][0].page_content)
    check(all(document.metadata["source"] == "tweet" for document, _ in results))
    check(all(a >= b for (_, a), (_, b) in zip(results, results[1:])))


@test
def ids_without_hyphens_are_what_texts_get():
    added = store.add_texts(["Pancakes with syrup."], metadatas=[{"source": "menu"}])
    found = store.similarity_search("pancakes with syrup", k=1)[0]
    equal(found.metadata["source"], "menu")
    equal(found.metadata["_id"].replace("-", ""), added[0].replace("-", ""))
    equal(len(store.get_by_ids(added)), 1)


@test
def deleting_a_document_is_confirmed():
    equal(store.delete(ids=[ids[-1]]), True)
    equal(store.get_by_ids([ids[-1]]), [])


@test
def a_store_is_made_from_texts_and_reopened():
    QdrantVectorStore.from_texts(["one small text", "another longer text"], WordEmbeddings(), collection_name="made",
                                 url=os.environ.get("NIGH_URL", "http://127.0.0.1:6333"))
    again = QdrantVectorStore.from_existing_collection(collection_name="made", embedding=WordEmbeddings(),
                                                       url=os.environ.get("NIGH_URL", "http://127.0.0.1:6333"))
    equal(again.as_retriever(search_kwargs={"k": 1}).invoke("longer")[0].page_content, "another longer text")


finish()

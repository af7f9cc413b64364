#!/usr/bin/env python3
"""Loads real texts and vectors into nigh and asks it five questions: make demo [DATA=folder]

Uses the server on 127.0.0.1:6333 if one answers there, else starts one in a temporary folder. Only
the standard library is needed.
"""

import argparse
import http.client
import os
import sys
import textwrap
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))

from fixture import DIMENSION, Fixture  # noqa: E402
from server import Client, Server  # noqa: E402

COLLECTION = "demo"
BATCH = 250
# The text of a query of the set, and what the answer may be limited to.
QUESTIONS = [
    ("open-source tool for writers", None),
    ("active/passive network address scanner using ARP requests", None),
    ("statistics utility to count lines of code", None),
    ("JSON Web Token (JWT) implementation", {"key": "section", "match": {"any": ["python", "php", "ruby", "golang"]}}),
    ("NeXTSTEP-like window manager for X", {"key": "installed_size", "range": {"lt": 2000}}),
]


def find_server(binary):
    """(client, server or None): a server of nigh's that runs already is used."""
    try:
        client = Client("127.0.0.1", 6333)
        about = client.request("GET", "/")[1]
        if isinstance(about, dict) and about.get("title", "").startswith("nigh"):
            print("Using the server on http://127.0.0.1:6333")
            return client, None
    except (OSError, http.client.HTTPException):
        pass
    os.environ["NIGH_BINARY"] = binary
    server = Server()
    print(f"No server on port 6333: started one on {server.url} in a temporary folder")
    return server, server


def bar(done, of, seconds):
    width = 40
    filled = width * done // of
    sys.stdout.write(f"\r  [{'#' * filled}{'.' * (width - filled)}] {done:,} of {of:,} points, {done / max(seconds, 1e-9):,.0f} a second ")
    sys.stdout.flush()


def load(client, data):
    client.call("DELETE", f"/collections/{COLLECTION}")
    client.call("PUT", f"/collections/{COLLECTION}", {"vectors": {"size": DIMENSION, "distance": "Cosine"}})
    for field, kind in [("section", "keyword"), ("installed_size", "integer")]:
        client.call("PUT", f"/collections/{COLLECTION}/index?wait=true", {"field_name": field, "field_schema": kind})
    started = time.monotonic()
    for begin in range(0, len(data.rows), BATCH):
        end = min(begin + BATCH, len(data.rows))
        client.call("PUT", f"/collections/{COLLECTION}/points?wait=true",
                    {"points": [data.point(row) for row in range(begin, end)]})
        bar(end, len(data.rows), time.monotonic() - started)
    print("\n  every point is on disk and searchable")


def describe(condition):
    if "match" in condition:
        return f"only with {condition['key']} {' or '.join(condition['match']['any'])}"
    return f"only with {condition['key']} under {condition['range']['lt']} KiB"


def ask(client, data, text, condition):
    query = next(number for number, row in enumerate(data.query_rows) if row["text"] == text)
    body = {"query": data.query_text(query), "limit": 3, "with_payload": ["name", "section", "summary", "description"]}
    if condition:
        body["filter"] = {"must": [condition]}
    started = time.perf_counter()
    points = client.call("POST", f"/collections/{COLLECTION}/points/query", body)["points"]
    milliseconds = 1000 * (time.perf_counter() - started)
    print(f'\nQ: "{text}"' + (f"  ({describe(condition)})" if condition else ""))
    for point in points:
        about = point["payload"]
        print(f"  {point['score']:.3f}  {about['name']} ({about['section']}): {about['summary']}")
        first = about["description"].split("\n")[0]
        print(textwrap.fill(textwrap.shorten(first, 220, placeholder=" ..."), 96, initial_indent="         ",
                            subsequent_indent="         "))
    print(f"  ({len(points)} answers in {milliseconds:.1f} ms)")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", default=os.path.join(ROOT, "build", "nigh"))
    parser.add_argument("--data", help="folder of a larger set in the form of tests/data/README.md")
    arguments = parser.parse_args()
    data = Fixture(arguments.data)
    client, server = find_server(arguments.binary)
    try:
        print(f"Loading {len(data.rows):,} descriptions of Debian packages, each with a vector of {DIMENSION} numbers")
        load(client, data)
        for text, condition in QUESTIONS:
            ask(client, data, text, condition)
        if server is None:
            print(f"\nThe collection stays on the server: curl http://127.0.0.1:6333/collections/{COLLECTION}")
    finally:
        if server is not None:
            server.close()


if __name__ == "__main__":
    main()

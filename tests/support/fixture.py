"""The rows, queries and exact answers of tests/data, or of a folder with a larger set of the same form.

Only the standard library. Vectors stay bytes; text() gives the base64 form that nigh takes wherever
a list of numbers may stand.
"""

import array
import base64
import gzip
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SMALL = os.path.join(os.path.dirname(HERE), "data")
DIMENSION = 384
TRUTH_DEPTH = 100
BYTES = 4 * DIMENSION


def read_bytes(path):
    with open(path, "rb") as file:
        return file.read()


def read_lines(path):
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def to_array(kind, data):
    values = array.array(kind)
    values.frombytes(data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


class Fixture:
    """rows[i] is a dict with "id"; query_rows[j] has "text"; truth[j] lists row numbers, best first."""

    def __init__(self, folder=None):
        folder = folder or SMALL
        stem = os.path.join(folder, "packages-2k" if os.path.exists(os.path.join(folder, "packages-2k.f32")) else "packages")
        self.name = os.path.basename(stem)
        self.rows = read_lines(stem + ".jsonl.gz")
        self.vectors = read_bytes(stem + ".f32")
        self.query_rows = read_lines(stem + "-queries.jsonl.gz")
        self.queries = read_bytes(stem + "-queries.f32")
        flat = to_array("i", read_bytes(stem + "-truth.i32"))
        self.truth = [flat[at:at + TRUTH_DEPTH] for at in range(0, len(flat), TRUTH_DEPTH)]
        if len(self.vectors) != BYTES * len(self.rows) or len(self.truth) != len(self.query_rows):
            raise ValueError(f"{stem}: the files do not belong together")

    def text(self, row):
        return base64.b64encode(self.vectors[row * BYTES:(row + 1) * BYTES]).decode()

    def numbers(self, row):
        return list(to_array("f", self.vectors[row * BYTES:(row + 1) * BYTES]))

    def query_text(self, query):
        return base64.b64encode(self.queries[query * BYTES:(query + 1) * BYTES]).decode()

    def query_numbers(self, query):
        return list(to_array("f", self.queries[query * BYTES:(query + 1) * BYTES]))

    def point(self, row):
        payload = {key: value for key, value in self.rows[row].items() if key != "id"}
        return {"id": self.rows[row]["id"], "vector": self.text(row), "payload": payload}

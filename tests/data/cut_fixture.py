#!/usr/bin/env python3
"""Cuts the fixture of this folder out of the full set: cut_fixture.py FULL_SET_FOLDER

Needs numpy. Seeded: the same input gives the same files, byte for byte.
"""

import gzip
import json
import os
import sys

import numpy as np

SEED = 20251125
ROWS = 2000
QUERIES = 200
NEAREST_KEPT = 3  # of each query, so that questions have answers
TRUTH_DEPTH = 100
DIMENSION = 384
HERE = os.path.dirname(os.path.abspath(__file__))


def read_lines(path):
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [line.rstrip("\n") for line in lines]


def write_lines(name, lines):
    with open(os.path.join(HERE, name), "wb") as file:
        # No time and no name inside: the same lines give the same bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
            packed.write(("\n".join(lines) + "\n").encode())


def main(folder):
    def vectors(name):
        return np.fromfile(os.path.join(folder, name), "<f4").reshape(-1, DIMENSION)

    rows, queries = vectors("packages.f32"), vectors("packages-queries.f32")
    row_lines = read_lines(os.path.join(folder, "packages.jsonl.gz"))
    query_lines = read_lines(os.path.join(folder, "packages-queries.jsonl.gz"))
    truth = np.fromfile(os.path.join(folder, "packages-truth.i32"), "<i4").reshape(len(queries), -1)

    random = np.random.default_rng(SEED)
    chosen_queries = np.sort(random.choice(len(queries), QUERIES, replace=False))
    chosen = set(truth[chosen_queries, :NEAREST_KEPT].ravel().tolist())
    for row in random.permutation(len(rows)).tolist():
        if len(chosen) == ROWS:
            break
        chosen.add(row)
    chosen_rows = np.array(sorted(chosen))

    kept, asked = rows[chosen_rows], queries[chosen_queries]
    similarity = asked.astype(np.float64) @ kept.astype(np.float64).T
    # Stable: of equal similarities the lower row comes first.
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :TRUTH_DEPTH]

    kept.astype("<f4").tofile(os.path.join(HERE, "packages-2k.f32"))
    asked.astype("<f4").tofile(os.path.join(HERE, "packages-2k-queries.f32"))
    nearest.astype("<i4").tofile(os.path.join(HERE, "packages-2k-truth.i32"))
    write_lines("packages-2k.jsonl.gz", [row_lines[row] for row in chosen_rows])
    write_lines("packages-2k-queries.jsonl.gz", [query_lines[query] for query in chosen_queries])
    sections = {json.loads(row_lines[row])["section"] for row in chosen_rows}
    print(f"{len(kept)} rows of {len(sections)} sections, {len(asked)} queries")


if __name__ == "__main__":
    main(sys.argv[1])

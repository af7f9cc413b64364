#!/usr/bin/env python3
"""A seeded stream of operations on nigh and on qdrant-client's in-process mode: every answer compared.

    nigh-test: environment=venv-newest seconds=240
    test_differential.py [--operations 5000] [--seed N]

At the first difference it prints the seed, cuts the stream down to the operations that are needed
and prints those. NIGH_TORTURE=1 runs 500,000 operations.
"""

import argparse
import json
import os
import sys
import time
import warnings

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from qdrant_client import QdrantClient

import report
from execution import Refused, Remote, Side, difference, difference_of_hits
from operations import COLLECTIONS, Stream
from server import Server

warnings.filterwarnings("ignore")
SEED_DEFAULT = 20251125
SHRINK_SECONDS_MAX = 60
# By ids, a write that names an unknown one is refused and changes nothing. Known: the in-process mode
# changes the known ones before it refuses.
WHOLE_OR_NOTHING = {"set_payload", "overwrite_payload", "delete_payload", "clear_payload", "update_vectors", "delete_vectors"}


class Different(Exception):
    pass


def names_unknown_id(local, operation):
    if operation["op"] not in WHOLE_OR_NOTHING:
        return False
    ids = operation["ids"] if "ids" in operation else [point["id"] for point in operation.get("points", [])]
    return len(local.existing(operation["collection"], ids)) < len(set(ids))


def outcome(side, operation):
    try:
        return side.perform(operation), None
    except Refused as refusal:
        return None, str(refusal)


def unlimited(local, operation):
    everything = {**operation, "op": "query", "limit": 100000, "offset": 0, "threshold": None}
    return local.perform(everything)


def compare_hits(local, operation, found, expected):
    larger = COLLECTIONS[operation["collection"]]["distance"] in ("Cosine", "Dot")
    return difference_of_hits(found, expected, lambda: unlimited(local, operation), operation, larger)


def compare(local, operation, found, expected):
    if operation["op"] in ("query", "search"):
        return compare_hits(local, operation, found, expected)
    if operation["op"] == "query_batch":
        for number, query in enumerate(operation["queries"]):
            inner = compare_hits(local, {**query, "collection": operation["collection"]}, found[number], expected[number])
            if inner:
                return f"query {number}: {inner}"
        return None
    return difference(found, expected)


def step(server, remote, local, operation):
    """Carries one operation out on both sides. Raises Different."""
    if operation["op"] in ("restart", "compare_all"):
        if operation["op"] == "restart":
            server.restart()
        for collection in COLLECTIONS:
            found = difference(remote.all_points(collection), local.all_points(collection), collection)
            if found:
                raise Different(f"after {operation['op']}, all points of {found}")
        return
    if names_unknown_id(local, operation):
        answer, refusal = outcome(remote, operation)
        if refusal is None:
            raise Different("a write that names an unknown id was not refused")
        return
    # Known: of a batch that is refused, the in-process mode keeps what stands before the refused part.
    before = local.remember(operation["collection"]) if operation["op"] == "batch" else None
    expected, local_refusal = outcome(local, operation)
    if before is not None and local_refusal is not None:
        local.go_back(operation["collection"], before)
    answer, refusal = outcome(remote, operation)
    if (refusal is None) != (local_refusal is None):
        raise Different(f"refused with {refusal}" if refusal else f"not refused, but: {local_refusal}")
    if refusal is None and expected is not None:
        found = compare(local, operation, answer, expected)
        if found:
            raise Different(found)


def replay(server, operations, prefix):
    """The number of the first operation that differs and why, or None."""
    remote, local = Side(Remote(server), prefix), Side(QdrantClient(":memory:"), prefix)
    try:
        for number, operation in enumerate(operations):
            try:
                step(server, remote, local, operation)
            except Different as different:
                return number, str(different)
        return None
    finally:
        remote.drop_all()


def shrink(server, operations):
    """Fewer operations that still differ. Those of other collections go first, then ever smaller pieces."""
    deadline, replays = time.monotonic() + SHRINK_SECONDS_MAX, 0
    last = operations[-1]
    if last["op"] not in ("restart", "compare_all"):
        operations = [operation for operation in operations if operation["collection"] == last["collection"]
                      or operation["op"] == "restart"]
    piece = max(1, len(operations) // 2)
    while time.monotonic() < deadline:
        begin, removed = 0, False
        while begin < len(operations) - 1 and time.monotonic() < deadline:
            fewer = operations[:begin] + operations[min(begin + piece, len(operations) - 1):]
            replays += 1
            failed = replay(server, fewer, f"replay-{replays}-")
            if failed is not None:
                operations, removed = fewer[:failed[0] + 1], True
            else:
                begin += piece
        if piece == 1 and not removed:
            break
        piece = max(1, piece // 2)
    return operations


def run(seed, count):
    started = time.monotonic()
    done = []
    with Server() as server:
        remote, local = Side(Remote(server)), Side(QdrantClient(":memory:"))
        for number, operation in enumerate(Stream(seed).operations(count)):
            done.append(operation)
            try:
                step(server, remote, local, operation)
            except Different as different:
                why = str(different)
                break
            if number % 1000 == 999:
                print(f"# {number + 1} of {count} operations, {time.monotonic() - started:.0f} s", flush=True)
        else:
            report.ok(f"{count}_operations_answer_as_the_in_process_mode_does")
            return
        print(f"seed {seed}, operation {number}: {why}", flush=True)
        smaller = shrink(server, done)
        failed = replay(server, smaller, "final-")
        print(f"{len(smaller)} operations are enough:", flush=True)
        for operation in smaller:
            print("  " + json.dumps(operation, ensure_ascii=False), flush=True)
        report.fail(f"{count}_operations_answer_as_the_in_process_mode_does",
                    f"seed {seed}, operation {number} ({operation['op']}): {why}; cut down to {len(smaller)} operations: "
                    f"{failed[1] if failed else 'which no longer differ'}: {json.dumps(smaller, ensure_ascii=False)[:900]}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--operations", type=int, default=500000 if os.environ.get("NIGH_TORTURE") == "1" else 5000)
    parser.add_argument("--seed", type=int, default=SEED_DEFAULT)
    arguments = parser.parse_args()
    print(f"# seed {arguments.seed}", flush=True)
    run(arguments.seed, arguments.operations)
    report.finish()


if __name__ == "__main__":
    main()

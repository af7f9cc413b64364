#!/usr/bin/env python3
# nigh-test: seconds=60
"""A write that does not wait (wait=false, the default) is not acknowledged where one that waits is
refused: the disk is nearly full, or the memory limit reached. What is let in all the same is applied.
"""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import report  # noqa: E402
from torture import Client, Victim  # noqa: E402

POINTS = "/collections/main/points"
WRITES = [
    ("PUT", POINTS, {"points": [{"id": 9, "vector": [1, 2, 3, 4]}]}),
    ("POST", POINTS + "/batch", {"operations": [{"upsert": {"points": [{"id": 9, "vector": [1, 2, 3, 4]}]}}]}),
    ("PUT", POINTS + "/vectors", {"points": [{"id": 1, "vector": [9, 9, 9, 9]}]}),
]


def count(client):
    return client.must("POST", POINTS + "/count", {"exact": True})["count"]


def waits_for_count(client, expected):
    deadline = time.monotonic() + 5
    while count(client) != expected:
        report.check(time.monotonic() < deadline, f"{count(client)} points after 5 s, not {expected}")
        time.sleep(0.02)


def refuses(setting, value, status, text):
    with Victim() as server:
        client = Client(server.port)
        client.must("PUT", "/collections/main", {"vectors": {"size": 4, "distance": "Dot"}})
        client.must("PUT", POINTS + "?wait=true", {"points": [{"id": id, "vector": [1, 1, 1, id]} for id in (1, 2, 3)]})
        server.kill()
        server.environment = {setting: value}
        server.start()
        client.close()
        for method, path, body in WRITES:
            watched = client.call(method, path + "?wait=true", body)
            unwatched = client.call(method, path, body)
            report.equal(watched.status, status, f"status of a write that waits ({watched})")
            report.equal(unwatched.status, status, f"status of one that does not wait ({unwatched})")
            report.check(text in watched.error, f"the text is {watched.error}")
            report.equal(unwatched.error, watched.error, "the text")
        report.equal(client.must("POST", POINTS + "/delete", {"points": [1]})["status"], "acknowledged", "a deletion")
        waits_for_count(client, 2)
        server.expect_alive("all of it")


def main():
    report.run("writes to a disk that is nearly full are refused, waiting or not", refuses,
               "NIGH__STORAGE__DISK_RESERVE_MB", "1048576", 507, "disk full")
    report.run("writes beyond the memory limit are refused, waiting or not", refuses,
               "NIGH__STORAGE__MEMORY_LIMIT_MB", "1", 503, "storage.memory_limit_mb")
    report.finish()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# nigh-test: seconds=240
"""kill at every FAULT_POINT of the source, then everything acknowledged is there.

    test_fault_points.py [--passes N] [--only NAME] [--seed N]

The points are found by reading the source, so a new one is tested without a word here; one that no
scenario reaches is a failure. Each server is built with MODE=fault and told by NIGH_FAULT where to
die: while eight writers and an indexer work, while it stops, or while it starts. After the kill it is
started twice more with the same fault, so that it may die again while it recovers; then it has to
serve, and to hold what the model says.
"""

import argparse
import os
import random
import re
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import report  # noqa: E402
from preload import FOREVER, Syscalls  # noqa: E402
from server import ROOT  # noqa: E402
from torture import Lost, Victim, fault_binary  # noqa: E402
from writers import World  # noqa: E402

LOAD_SECONDS_MAX = 10.0  # a busy machine needs them; whoever dies earlier is not waited for
# The smallest that there is, so that the map grows under the load.
SETTINGS = {"NIGH__STORAGE__MAP_SIZE_MB": "16"}
BULK_BYTES = 200000  # of one point's payload
BULK_POINTS = 5      # of one request


class Bulk(threading.Thread):
    """Fills a collection with large payloads, so that its map has to grow."""

    NAME = "bulk"

    def __init__(self, world, client):
        super().__init__(daemon=True)
        self.world, self.client = world, client
        self.acknowledged = []
        self.next = 0

    def create(self):
        self.world.strangers.add(self.NAME)
        self.client.must("PUT", f"/collections/{self.NAME}", {"vectors": {"size": 1, "distance": "Dot"}})

    def run(self):
        self.client.close()  # the server was started again since
        try:
            while not self.world.is_over:
                ids = list(range(self.next, self.next + BULK_POINTS))
                self.next += BULK_POINTS
                answer = self.client.call("PUT", f"/collections/{self.NAME}/points?wait=true", {"points": [
                    {"id": id, "vector": [id], "payload": {"id": id, "bulk": "b" * BULK_BYTES}} for id in ids]})
                if answer.status == 200:
                    self.acknowledged += ids
        except Lost:
            pass

    def check(self, client):
        shown = client.must("POST", f"/collections/{self.NAME}/points", {
            "ids": list(range(self.next)), "with_payload": ["id"], "with_vector": True})
        present = {point["id"] for point in shown}
        lost = set(self.acknowledged) - present
        report.check(not lost, f"{len(lost)} acknowledged large points are lost")
        for point in shown:
            report.check(point["vector"] == [point["id"]] and point["payload"] == {"id": point["id"]}, f"wrong: {point}")
        for first in range(0, self.next, BULK_POINTS):
            batch = present & set(range(first, first + BULK_POINTS))
            report.check(len(batch) in (0, BULK_POINTS), f"a batch is half there: {batch}")
        report.equal(client.must("POST", f"/collections/{self.NAME}/points/count", {})["count"], len(present), "large points")


def points_in_source():
    names = set()
    for layer in ("index", "storage", "api", "server"):
        folder = os.path.join(ROOT, layer)
        for name in os.listdir(folder):
            if name.endswith((".c", ".h")) and name not in ("fault.h", "fault.c"):
                with open(os.path.join(folder, name), encoding="utf-8") as source:
                    names.update(re.findall(r'FAULT_POINT\("([^"]+)"\)', source.read()))
    return sorted(names)


def build():
    make = ["make", "-s", "-C", ROOT, "MODE=fault", "-j2", "all"]
    if os.environ.get("NIGH_BUILD"):
        make.append("BUILD=" + os.environ["NIGH_BUILD"])
    done = subprocess.run(make, capture_output=True, text=True)
    report.check(done.returncode == 0, f"make MODE=fault: {done.stderr[-1000:]}")


def launch_until_dead_or_serving(server):
    """Starts it with its fault armed; true if it serves."""
    server.launch()
    try:
        server.wait_ready()
    except AssertionError:
        report.check(not server.is_running(), "the server neither serves nor ends")
        return False
    return True


def end_gently(server):
    """SIGTERM, if it still runs: some points are passed only then."""
    if server.is_running():
        server.stop()


def kill_at(point, number, seed, preload=None):
    """Whether the point was passed at all. preload: syncs fail, for the points on the way back from a
    failed commit."""
    world = World(repr((seed, point, number)))
    fault = f"{point}:{number}:kill"
    with Victim(environment=SETTINGS, preload=preload) as server:
        world.create_shared(server.client())
        bulk = Bulk(world, server.client())
        bulk.create()
        world.write(server, 0.3, lambda: end_gently(server))
        server.start()
        world.check(server.client(), queries=1)  # what was under way at the stop is settled now
        end_gently(server)
        server.environment["NIGH_FAULT"] = fault
        if launch_until_dead_or_serving(server):
            world.is_over = False
            bulk.start()
            if preload:
                world.is_failing_from_start = True
                # From the 20th on all fail: a single failure may meet a collection that is just being
                # created, which has no group to recover.
                preload.arm("fdatasync", "EIO", first=20, count=FOREVER, path="data.mdb")
            world.write(server, LOAD_SECONDS_MAX, lambda: end_gently(server), may_die=True)
            bulk.join()
            if preload:
                preload.disarm()
        was_passed = server.process.returncode == -9
        for _ in range(2):  # it may die again while it recovers
            if launch_until_dead_or_serving(server):
                server.kill()
        del server.environment["NIGH_FAULT"]
        world.is_failing_from_start = False
        server.start()
        world.check(server.client(), queries=2)
        bulk.check(server.client())
        world.write(server, 0.1, server.kill)
        server.start()
        world.check(server.client(), queries=2)
    return was_passed


def kill_at_first_pass(point, seed):
    if kill_at(point, 1, seed):
        return
    preload = Syscalls()
    try:
        report.check(kill_at(point, 1, seed, preload), f"no scenario passes the point {point}")
    finally:
        preload.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--passes", type=int, default=20 if os.environ.get("NIGH_TORTURE") else 1)
    parser.add_argument("--only", default="")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    build()
    os.environ["NIGH_BINARY"] = fault_binary()
    points = [point for point in points_in_source() if arguments.only in point]
    report.check(points, "no fault points in the source")
    rng = random.Random(arguments.seed)
    for point in points:
        report.run(f"a kill at {point} loses nothing", kill_at_first_pass, point, arguments.seed)
        for turn in range(1, arguments.passes):
            number = rng.randint(2, 200)
            report.run(f"a kill at pass {number} of {point} loses nothing", kill_at, point, number,
                       arguments.seed + turn)
    report.finish()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# nigh-test: seconds=240
"""The memory limit: points that need more are refused and leave nothing, all else goes on, and what
deletions free is used again.
"""

import os
import random
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import report  # noqa: E402
from torture import Client, Victim  # noqa: E402

MIB = 1024 * 1024
DIMENSION = 768
BATCH = 100
ROOM = 64 * MIB      # between an empty collection and the limit: far more than the 24 MiB in which a builder
                     # measures, for a moment, what memory costs
SLACK = 64 * MIB     # what a group of writes and the edges of its points may add once it is let in
POINTS_MAX = 40000   # far more than ROOM holds
DELETED = 3000
REFUSALS = 20        # in a row, when nothing is waiting to be indexed
FILLS_MAX = 10       # what building takes for a moment is far less than what a fill takes for good
RESUME_SECONDS_MAX = 100.0


def metric(client, name):
    text = client.call("GET", "/metrics").body.decode()
    return int(re.search(rf"^{name} (\d+)$", text, re.MULTILINE).group(1))


class Load:
    def __init__(self, server):
        self.client = Client(server.port, timeout=30)
        self.rng = random.Random(20251125)
        self.ids = []
        self.next = 0
        self.base = []  # turned by one place for each point: all differ, and drawing numbers is slow

    def upsert(self):
        ids = list(range(self.next, self.next + BATCH))
        if self.next % DIMENSION < BATCH:
            self.base = [self.rng.randint(-99, 99) / 64 for _ in range(DIMENSION)]
        answer = self.client.call("PUT", "/collections/main/points?wait=true", {"points": [
            {"id": id, "vector": self.base[id % DIMENSION:] + self.base[:id % DIMENSION], "payload": {"n": id}}
            for id in ids]})
        if answer.status == 200:
            self.ids += ids
            self.next += BATCH
        return answer

    def upsert_until_refused(self):
        while self.next < POINTS_MAX:
            answer = self.upsert()
            if answer.status != 200:
                expect_refused(answer)
                return
        report.check(False, f"{POINTS_MAX} points were let in")

    def wait_until_indexed(self):
        while self.client.must("GET", "/collections/main")["status"] != "green":
            time.sleep(0.02)

    def fill(self):
        """Until nothing is let in any more. A fill that is refused may have met the memory that builders take
        for a moment: what they give back lets in a little more.
        """
        for fills in range(1, FILLS_MAX + 1):
            self.upsert_until_refused()
            self.wait_until_indexed()
            refusals = 0
            while refusals < REFUSALS:
                answer = self.upsert()
                if answer.status == 200:
                    break
                expect_refused(answer)
                refusals += 1
            else:
                print(f"# {fills} fills", flush=True)
                return
        report.check(False, f"after {FILLS_MAX} fills there is still no end of what is let in")

    def check(self):
        report.equal(self.client.must("POST", "/collections/main/points/count", {"exact": True})["count"], len(self.ids), "points")
        id = self.rng.choice(self.ids)
        found = self.client.must("POST", "/collections/main/points/query", {"query": id, "limit": 3})["points"]
        report.equal(len(found), 3, "points found")
        report.equal(self.client.must("GET", f"/collections/main/points/{id}")["payload"], {"n": id}, "payload")


def expect_refused(answer):
    report.equal(answer.status, 503, f"status of a write beyond the limit ({answer})")
    report.check("storage.memory_limit_mb" in answer.error, f"the text does not name the option: {answer}")


def create(server):
    load = Load(server)
    load.client.must("PUT", "/collections/main", {"vectors": {"size": DIMENSION, "distance": "Cosine"}})
    load.upsert()
    return load


def the_limit_refuses_what_needs_more():
    with Victim() as server:
        used = metric(create(server).client, "memory_used_bytes")
    limit_mb = (used + ROOM) // MIB
    with Victim(environment={"NIGH__STORAGE__MEMORY_LIMIT_MB": str(limit_mb)}) as server:
        load = create(server)
        report.equal(metric(load.client, "memory_limit_bytes"), limit_mb * MIB, "limit told")
        load.fill()
        print(f"# {len(load.ids)} points below {limit_mb} MiB", flush=True)
        load.check()
        report.equal(load.client.call("PUT", "/collections/other", {"vectors": {"size": 4, "distance": "Dot"}}).status, 503,
                     "status of a collection made beyond the limit")
        load.client.must("POST", "/collections/main/points/payload?wait=true", {"payload": {"n": load.ids[0]}, "points": [load.ids[0]]})
        used = metric(load.client, "memory_used_bytes")
        report.check(used < limit_mb * MIB + SLACK, f"{used} bytes are in use, {limit_mb} MiB were allowed")
        load.client.must("POST", "/collections/main/points/delete?wait=true", {"points": load.ids[:DELETED]})
        load.ids = load.ids[DELETED:]
        wanted = len(load.ids) + DELETED // 2
        deadline = time.monotonic() + RESUME_SECONDS_MAX
        while len(load.ids) < wanted:
            answer = load.upsert()
            if answer.status != 200:  # builders, at their low priority, have to tie the gaps first
                report.check(time.monotonic() < deadline, f"what was freed is not used: {answer}")
                time.sleep(0.1)
        load.check()
        server.kill()
        server.start()
        load.client.close()
        load.check()


def main():
    report.run("the limit refuses what needs more and nothing else", the_limit_refuses_what_needs_more)
    report.finish()


if __name__ == "__main__":
    main()

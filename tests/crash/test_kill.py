#!/usr/bin/env python3
# nigh-test: seconds=300
"""kill -9 under eight writers, again and again on one folder; nothing acknowledged is lost.

    test_kill.py [--cycles N] [--seed N] [--seconds S]

Writers upsert and delete batches, by ids and by filter, set and overwrite payloads, update vectors,
create and drop collections; an indexer creates and drops payload indexes. One cycle in five also
kills the server while it starts. After each kill everything is compared with the model
(support/model.py): points bit by bit, batches whole or absent, counts, filters, searches.
"""

import argparse
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import report  # noqa: E402
from torture import Victim  # noqa: E402
from writers import World  # noqa: E402


def kill_cycles(arguments):
    rng = random.Random(arguments.seed)
    world = World(arguments.seed)
    requests = 0
    started = time.monotonic()
    with Victim() as server:
        world.create_shared(server.client())
        for cycle in range(1, arguments.cycles + 1):
            try:
                requests += world.write(server, rng.uniform(0.05, arguments.seconds), server.kill)
                if rng.random() < 0.2:  # once more, while it recovers
                    server.launch()
                    time.sleep(rng.uniform(0, 0.1))
                    server.kill()
                server.start()
                world.check(server.client())
            except AssertionError as error:
                raise AssertionError(f"cycle {cycle} of seed {arguments.seed}: {error}") from error
            if cycle % 10 == 0:
                print(f"# {cycle} kills survived, {requests} requests, {time.monotonic() - started:.0f} s", flush=True)
        status = server.stop()
        report.equal(status, 0, "exit status after SIGTERM")
        server.start()
        world.check(server.client())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cycles", type=int, default=1000 if os.environ.get("NIGH_TORTURE") else 100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.6, help="longest time between two kills")
    arguments = parser.parse_args()
    report.run(f"everything acknowledged survives {arguments.cycles} kills under 8 writers",
               kill_cycles, arguments)
    report.finish()


if __name__ == "__main__":
    main()

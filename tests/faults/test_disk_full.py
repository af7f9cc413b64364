#!/usr/bin/env python3
# nigh-test: seconds=240 needs=root,mount,umount
"""The disk fills up, on file systems of 16 sizes; writes say so and wait, all else goes on.

    test_disk_full.py [--sizes N] [--seed N]

The folder lies on a tmpfs of 2 to 64 MiB, which is filled by the server itself or by another
process. Writes are then refused with a text that says so, and leave nothing; reads, deletes and
health go on. When space returns (the other process removes its file, or points are deleted) writes
work again within seconds, by themselves. A kill and a restart, also on the full disk, lose nothing.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import model  # noqa: E402
import report  # noqa: E402
from torture import Client, Victim, scratch_folder  # noqa: E402

MIB = 1024 * 1024
SEED = 7
RESUME_SECONDS_MAX = 5.0
PAYLOAD_BYTES = 20000
BATCH_POINTS = 10
POINTS_MAX = 900
RESERVE_MB = 1  # of disks of 4 MiB and more
TEXTS = ("disk", "space")


class Disk:
    def __init__(self, bytes_max):
        self.path = scratch_folder("full")
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={bytes_max}", "nigh-test", self.path],
                              capture_output=True, text=True)
        if made.returncode != 0:
            os.rmdir(self.path)
            raise report.Skipped(f"cannot mount a tmpfs: {made.stderr}")
        self.filler = os.path.join(self.path, "filler")

    def fill(self):
        """As another process would: to the last byte."""
        with open(self.filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(65536))
            except OSError:
                pass
            try:
                while True:
                    file.write(bytes(512))
            except OSError:
                pass

    def empty(self):
        os.unlink(self.filler)

    def close(self):
        for _ in range(100):
            if subprocess.run(["umount", self.path], capture_output=True).returncode == 0:
                break
            time.sleep(0.02)
        shutil.rmtree(self.path, ignore_errors=True)


class Load:
    def __init__(self, server, seed):
        self.server = server
        self.rng = random.Random(repr(seed))
        self.share = model.Share("main", 0, "Dot", {})
        self.client = Client(server.port, timeout=20)
        self.version = 0

    def create(self):
        operation = model.CreateCollection("Dot")
        return self.client.call(operation.method, operation.url("main", True), operation.body())

    def upsert(self, first=None):
        """One batch; its answer. What is refused must leave nothing, so the model forgets it."""
        self.version += 1
        if first is None:
            first = self.rng.randrange(POINTS_MAX - BATCH_POINTS)
        points = []
        for n in range(first, first + BATCH_POINTS):
            id = model.point_id(0, n)
            payload = model.payload_of(SEED, id, self.version, 0)
            payload["bulk"] = chr(97 + self.version % 26) * PAYLOAD_BYTES
            points.append((id, model.vector_of(SEED, id, self.version), payload))
        operation = model.Upsert(points)
        answer = self.client.call(operation.method, operation.url("main", True), operation.body())
        if answer.status == 200:
            self.share.completed(operation)
        return answer

    def delete(self, count):
        ids = self.rng.sample(list(self.share.base), min(count, len(self.share.base)))
        operation = model.Delete(ids)
        answer = self.client.call(operation.method, operation.url("main", True), operation.body())
        if answer.status == 200:
            self.share.completed(operation)
        return answer

    def check(self):
        self.share.settle(model.scroll_all(self.client, "main"))
        model.check_counts(self.client, "main", self.share.base)
        model.check_searches(self.client, "main", "Dot", self.share.base, self.rng, 2)
        report.equal(self.client.call("GET", "/healthz").status, 200, "status of /healthz")

    def expect_refused(self, answer):
        report.check(answer.status in (500, 507), f"a write to a full disk is answered {answer}")
        report.check(any(text in answer.error.lower() for text in TEXTS),
                     f"the text does not say that the disk is full: {answer}")

    def write_until_refused(self, disk_bytes):
        sent = 0
        while sent < 2 * disk_bytes:
            answer = self.upsert(first=len(self.share.base) if len(self.share.base) < POINTS_MAX - BATCH_POINTS else None)
            if answer.status != 200:
                self.expect_refused(answer)
                return
            sent += BATCH_POINTS * PAYLOAD_BYTES

    def expect_resumed(self):
        deadline = time.monotonic() + RESUME_SECONDS_MAX
        while True:
            answer = self.upsert()
            if answer.status == 200:
                return
            self.expect_refused(answer)
            report.check(time.monotonic() < deadline,
                         f"no writes {RESUME_SECONDS_MAX} s after space returned: {answer}")
            time.sleep(0.1)


def settings(bytes_max):
    return {"NIGH__STORAGE__DISK_RESERVE_MB": str(RESERVE_MB if bytes_max >= 4 * MIB else 0)}


def refuses_and_resumes(bytes_max, is_filled_by_other, seed):
    disk = Disk(bytes_max)
    server = Victim(folder=os.path.join(disk.path, "data"), environment=settings(bytes_max), start=False)
    try:
        server.start()
        load = Load(server, (seed, bytes_max))
        created = load.create()
        if created.status != 200:  # the smallest disks may have no room for a collection
            load.expect_refused(created)
            report.equal(load.client.must("GET", "/collections")["collections"], [], "collections")
            report.check(bytes_max <= 3 * MIB, f"no room for an empty collection in {bytes_max} bytes: {created}")
            return
        if is_filled_by_other:
            for n in range(max(1, bytes_max // 4 // (BATCH_POINTS * PAYLOAD_BYTES))):
                load.upsert(first=n * BATCH_POINTS)
            disk.fill()
        load.write_until_refused(bytes_max)
        server.expect_alive("filling the disk")
        report.check(load.share.base or bytes_max < 4 * MIB, "not one write was accepted")
        for _ in range(5):  # one that fits into pages freed meanwhile may pass
            answer = load.upsert()
            if answer.status != 200:
                load.expect_refused(answer)
        load.check()
        if load.share.base:
            answer = load.delete(5)
            report.check(answer.status == 200, f"a delete on the full disk is answered {answer}")
            load.check()
        if seed % 2:  # the restart comes while the disk is full
            server.kill()
            server.start()
            load.client.close()
            load.check()
        if is_filled_by_other:
            disk.empty()
        else:
            for _ in range(4):
                answer = load.delete(len(load.share.base) // 3)
                report.check(answer.status == 200, f"a delete on the full disk is answered {answer}")
        load.expect_resumed()
        load.check()
        server.expect_alive("all of it")
        server.kill()
        server.start()
        load.client.close()
        load.check()
    finally:
        server.close()
        disk.close()


def an_index_waits_without_spinning():
    """One that was dropped when the disk was full: its chunks are removed once there is room."""
    bytes_max = 16 * MIB
    disk = Disk(bytes_max)
    server = Victim(folder=os.path.join(disk.path, "data"), environment=settings(bytes_max), start=False)
    try:
        server.start()
        load = Load(server, "index")
        report.equal(load.create().status, 200, "status of the creation")
        load.client.must("PUT", "/collections/main/index?wait=true", {"field_name": "tag", "field_schema": "keyword"})
        load.upsert(first=0)
        disk.fill()
        load.write_until_refused(bytes_max)
        load.client.must("DELETE", "/collections/main/index/tag?wait=true")
        before = server.cpu_seconds()
        time.sleep(1.0)
        used = server.cpu_seconds() - before
        report.check(used < 0.2, f"{used:.2f} s of CPU in a second in which nothing can be done")
        disk.empty()
        load.expect_resumed()
        load.check()
    finally:
        server.close()
        disk.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, default=64 if os.environ.get("NIGH_TORTURE") else 16)
    parser.add_argument("--only", type=int, help="size in KiB")
    arguments = parser.parse_args()
    for n in range(arguments.sizes):
        kib = round(2048 * 32 ** (n / (arguments.sizes - 1)))
        if arguments.only and kib != arguments.only:
            continue
        who = "another process" if n % 2 else "the server itself"
        report.run(f"a disk of {kib} KiB filled by {who} stops writes only", refuses_and_resumes,
                   kib * 1024, n % 2 == 1, n // 2)
    if not arguments.only:
        report.run("an index waits for room without spinning", an_index_waits_without_spinning)
    report.finish()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# nigh-test: seconds=240 needs=cc
"""System calls fail, are cut short or interrupted; nothing is acknowledged that is not on disk.

    test_syscalls.py [--all] [--only WORD] [--seed N]

Each case arms one fault in a running server through support/preload_syscalls.c, loads it until the
fault struck, and disarms it. Then: the process lives, what was refused left nothing, what was
acknowledged is there, reads are right, and writes work again within a few seconds. At the end of a
case the server is killed and started again, and the same is asked of the folder.
"""

import argparse
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import model  # noqa: E402
import report  # noqa: E402
from preload import FOREVER, Syscalls  # noqa: E402
from torture import Client, Lost, Victim  # noqa: E402

POINTS = 80
RECOVERY_SECONDS_MAX = 5.0
LATE_WRITES_SURE = 2  # failed writes of meta pages after which a further commit can still succeed
META_PAGES_END = 8192  # LMDB's two meta pages lie before this offset
REQUESTS_MAX = 40      # sent until the fault strikes, beside one for each call that is let through


class Case:
    """One fault, and the load that makes the server meet it."""

    def __init__(self, call, error, load="write", first=1, count=1, **where):
        self.call, self.error, self.load = call, error, load
        self.first, self.count, self.where = first, count, where

    def name(self):
        what = " ".join(f"{key}={value}" for key, value in self.where.items())
        often = {1: "once", FOREVER: "from then on"}.get(self.count, f"{self.count} times")
        return f"{self.call} {self.error} at call {self.first} {often} {what} during {self.load}".replace("  ", " ")

    def may_stop_writes(self):
        """One failed commit is got over by opening the file again. When the next fails too, the disk is
        not to be trusted: the collection stays read-only until a restart."""
        return self.error == "EIO" and self.count == FOREVER or self.is_doubtful()

    def is_doubtful(self):
        """The group is in the file, but neither it nor the commit that was to make sure of it is on
        disk: refused it may well be there."""
        return self.error == "late" and self.count > LATE_WRITES_SURE


def cases(is_all):
    rows = []
    data = {"target": "file", "path": "data.mdb"}
    firsts = range(1, 51) if is_all else (1, 3)
    for error in ("EIO", "ENOSPC", "EINTR", "short"):
        for first in firsts:
            rows.append(Case("pwrite", error, first=first, **data))
            rows.append(Case("writev", error, first=first, **data))
    for error in ("EIO", "ENOSPC"):
        rows.append(Case("pwrite", error, offset_end=META_PAGES_END, **data))
        rows.append(Case("pwrite", error, count=FOREVER, **data))
        rows.append(Case("pwrite", error, offset_end=META_PAGES_END, count=FOREVER, **data))
        rows.append(Case("fdatasync", error, count=FOREVER, **data))
        for first in firsts:
            rows.append(Case("fdatasync", error, first=first, **data))
    for call in ("pwrite", "writev"):
        rows.append(Case(call, "EDQUOT", count=FOREVER, **data))
    # The new meta page is written, and LMDB fails to put the old one back: the group is found there.
    for count in (LATE_WRITES_SURE, LATE_WRITES_SURE + 1):
        rows.append(Case("pwrite", "late", offset_end=META_PAGES_END, count=count, **data))
    rows.append(Case("fdatasync", "EINTR", **data))
    for call in ("open", "mmap", "ftruncate", "fsync", "mkdir"):
        for error in {"open": ("EMFILE", "ENOSPC"), "mmap": ("ENOMEM",), "mkdir": ("ENOSPC", "EDQUOT")}.get(call, ("EIO",)):
            for first in firsts if is_all else (1, 2):
                rows.append(Case(call, error, load="create", first=first, **({"target": "file"} if call in ("fsync", "ftruncate") else {})))
    rows.append(Case("unlink", "EIO", load="drop"))
    for call, error in (("rename", "EIO"), ("fsync", "EIO"), ("pwrite", "ENOSPC"), ("pwrite", "short"), ("open", "EMFILE")):
        rows.append(Case(call, error, load="stop", path="graph"))
    for call, error in (("rename", "EIO"), ("fsync", "EIO"), ("write", "ENOSPC"), ("write", "short"), ("open", "EMFILE")):
        rows.append(Case(call, error, load="stop", path="slots"))
    for error in ("EMFILE", "ENFILE", "EINTR", "ECONNABORTED", "ENOMEM"):
        rows.append(Case("accept", error, load="connect"))
    rows.append(Case("accept", "EMFILE", load="connect", count=20))
    for call, error in (("read", "ECONNRESET"), ("read", "EINTR"), ("read", "EAGAIN"), ("read", "short"),
                        ("sendmsg", "EPIPE"), ("sendmsg", "EAGAIN"), ("sendmsg", "short"),
                        ("recv", "ECONNRESET"), ("recv", "EINTR"), ("recv", "EAGAIN"), ("recv", "short")):
        rows.append(Case(call, error, load="read", target="socket"))
    for error in ("EPIPE", "EAGAIN", "short"):  # what no worker has a part in, the loop sends
        rows.append(Case("writev", error, load="connect", target="socket"))
    rows.append(Case("read", "short", load="write", target="socket", count=200))
    rows.append(Case("epoll_ctl", "ENOMEM", load="connect"))
    rows.append(Case("epoll_ctl", "ENOMEM", load="read", count=20))
    rows.append(Case("epoll_ctl", "ENOSPC", load="connect"))
    return rows


class Load:
    """One writer with its model, and what it saw."""

    def __init__(self, server, seed, number):
        self.server = server
        self.seed = seed
        self.share = model.Share("main", 0, "Dot", {})
        self.rng = random.Random(seed * 1000 + number)
        self.version = number * 10000
        self.client = Client(server.port, timeout=10)
        self.made = 0
        self.created = {}  # collection -> what `exists` may say
        self.refused = []  # answers of 400 and more
        self.is_doubtful = False  # what is refused may be there

    def prepare(self):
        create = model.CreateCollection("Dot")
        self.client.must(create.method, create.url("main", True), create.body())
        self.client.must("PUT", "/collections/main/index?wait=true", {"field_name": "tag", "field_schema": "keyword"})
        for _ in range(4):
            self.write(must=True)

    def write(self, must=False):
        self.version += 1
        operation = model.random_operation(self.rng, self.seed, 0, self.version, self.share.newest(), POINTS)
        try:
            answer = self.client.call(operation.method, operation.url("main", True), operation.body())
        except Lost:
            self.share.accepted(operation)
            self.settle()
            return False
        if answer.status == 200:
            self.share.completed(operation)
            return True
        report.check(not must, f"a write without a fault is answered {answer}")
        report.check(answer.status >= 500 and answer.error, f"a failed write is answered {answer}")
        self.refused.append(answer)
        if self.is_doubtful:
            self.share.accepted(operation)
            self.settle()
        return False

    def create(self):
        self.made += 1
        name = f"made-{self.made}"
        return self.change(model.CreateCollection("Dot"), name, {True})

    def drop(self):
        present = [name for name, is_there in self.created.items() if is_there == {True}]
        return self.change(model.DropCollection(), present[0], {False}) if present else self.create()

    def change(self, operation, name, outcome):
        before = self.created.get(name, {False})
        try:
            answer = self.client.call(operation.method, operation.url(name, True), operation.body())
        except Lost:
            self.created[name] = before | outcome
            return False
        self.created[name] = outcome if answer.status == 200 else before
        if answer.status != 200:
            report.check(answer.status >= 500 and answer.error, f"a failed change is answered {answer}")
            self.refused.append(answer)
        return answer.status == 200

    def read(self):
        """Any reads; what they say is checked when the fault is over, and right now if it is 200."""
        self.client.close() if self.rng.random() < 0.5 else None
        try:
            answer = self.client.call("POST", "/collections/main/points/count", {"exact": True})
            state = self.share.base
            report.check(answer.status >= 500 or answer.result["count"] == len(state), f"count is {answer}")
        except Lost as lost:
            report.check("timed out" not in str(lost), f"no answer: {lost}")

    def connect(self):
        client = Client(self.server.port, timeout=10, keep_alive=False)
        try:
            client.call("GET", "/healthz")
        except Lost as lost:
            report.check("timed out" not in str(lost), f"no answer: {lost}")
        self.read()

    def stop(self):
        """Graph files are written at a graceful stop; they are a cache, so nothing may depend on them."""
        self.write()
        self.client.close()
        report.equal(self.server.stop(), 0, "exit status after SIGTERM")
        self.server.launch()
        self.server.wait_ready()

    def settle(self):
        """What there is, is what the model allows; asked until the server answers again."""
        deadline = time.monotonic() + RECOVERY_SECONDS_MAX
        while True:
            try:
                self.share.settle(model.scroll_all(self.client, "main"))
                return
            except Lost:
                if time.monotonic() > deadline or not self.server.is_running():
                    raise

    def check(self):
        client = self.client
        self.settle()
        points = self.share.base
        model.check_counts(client, "main", points)
        model.check_searches(client, "main", "Dot", points, self.rng, 2)
        for name, allowed in self.created.items():
            exists = client.must("GET", f"/collections/{name}/exists")["exists"]
            report.check(exists in allowed, f"collection {name} is there: {exists}, allowed {allowed}")
            self.created[name] = {exists}
            if exists:
                report.equal(client.must("POST", f"/collections/{name}/points/count", {})["count"], 0, f"points of {name}")

    def clear(self):
        """Cases that make collections leave none behind: hundreds of them would slow each restart down."""
        for name in [name for name, is_there in self.created.items() if is_there == {True}]:
            self.client.must("DELETE", f"/collections/{name}")
            del self.created[name]

    def wait_until_writable(self):
        """Whether points are written, collections made and dropped again, all within the time."""
        deadline = time.monotonic() + RECOVERY_SECONDS_MAX
        for attempt in (self.write, self.create, self.drop):
            while not attempt():
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.05)
        return True


class Bench:
    """The server all cases share, until one of them takes it down."""

    def __init__(self, seed):
        self.seed = seed
        self.preload = Syscalls()
        self.server = Victim(preload=self.preload)
        self.number = 0
        self.load = Load(self.server, seed, 0)
        self.load.prepare()

    def close(self):
        self.server.close()
        self.preload.close()

    def revive(self):
        """After a failed case, a fresh folder: one failure does not fail all that follow."""
        self.server.close()
        self.preload.reset()
        self.number += 1
        self.server = Victim(preload=self.preload)
        self.load = Load(self.server, self.seed, self.number)
        self.load.prepare()

    def restart(self):
        self.load.client.close()
        self.server.kill()
        self.preload.reset()
        self.server.start()

    def run(self, case):
        try:
            self.try_case(case)
        except Exception:
            self.preload.disarm()
            self.revive()
            raise

    def try_case(self, case):
        load, preload = self.load, self.preload
        load.refused.clear()
        load.is_doubtful = case.is_doubtful()
        preload.arm(case.call, case.error, first=case.first, count=case.count, **case.where)
        try:
            for _ in range(case.first + REQUESTS_MAX):
                getattr(load, case.load)()
                enough = case.count if case.count != FOREVER else 3
                if preload.get(Syscalls.FAILED) >= enough or not self.server.is_running():
                    break
        finally:
            failed = preload.disarm()
        time.sleep(0.02)  # a process that dies closes its sockets first
        if not self.server.is_running() and case.call == "epoll_ctl":
            # libuv aborts the process if it cannot watch a socket: nothing of ours may prevent it.
            # What is left to prove is that nothing is lost.
            self.restart()
            load.check()
            return
        self.server.expect_alive(case.name())
        report.check(failed or case.error == "ECONNABORTED", f"the load made no such call (calls seen: {preload.get(Syscalls.MATCHED)})")
        load.client.close()
        load.check()
        is_writable = load.wait_until_writable()
        if not is_writable and case.may_stop_writes():
            ready = load.client.call("GET", "/readyz")
            report.check(ready.status == 503, f"a collection is read-only, and /readyz answers {ready}")
            report.check("read-only" in load.refused[-1].error, f"a read-only collection answers {load.refused[-1]}")
            is_writable = True
        self.restart()
        load.check()
        report.check(load.wait_until_writable(), "no writes after a restart")
        report.check(is_writable, f"no writes {RECOVERY_SECONDS_MAX} s after the fault was over; "
                                  f"last: {load.refused[-1] if load.refused else ''}")
        load.clear()


def shims_work():
    """The preloaded library really fails what it is told to: else all else here proves nothing."""
    preload = Syscalls()
    server = None
    try:
        server = Victim(preload=preload)
        before = preload.seen("write") + preload.seen("writev") + preload.seen("read")
        server.client().call("GET", "/healthz")
        after = preload.seen("write") + preload.seen("writev") + preload.seen("read")
        report.check(after > before, "the library sees no reads and writes of the server")
        preload.arm("read", "ECONNRESET", target="socket", count=FOREVER)
        try:
            answer = server.client().call("GET", "/healthz")
            raise AssertionError(f"every read was to fail, and the answer is {answer}")
        except Lost:
            report.check(preload.disarm() > 0, "a request was lost though no read failed")
    finally:
        if server:
            server.close()
        preload.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--all", action="store_true", default=bool(os.environ.get("NIGH_TORTURE")))
    parser.add_argument("--only", default="")
    parser.add_argument("--seed", type=int, default=6)
    arguments = parser.parse_args()
    report.run("the preloaded library fails the server's calls", shims_work)
    bench = Bench(arguments.seed)
    try:
        for case in cases(arguments.all):
            if arguments.only in case.name():
                report.run(case.name(), bench.run, case)
    finally:
        bench.close()
    report.finish()


if __name__ == "__main__":
    main()

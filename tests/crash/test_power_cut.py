#!/usr/bin/env python3
# nigh-test: seconds=180 needs=root,mkfs.ext4,mount,umount
"""The power goes while eight writers write: the file system forgets all that was not synced.

    test_power_cut.py [--cycles N] [--seed N] [--seconds S]

The data folder lies on an ext4 file system in a file. EXT4_IOC_SHUTDOWN without flushing the journal
drops what only the page cache holds; then the file system is mounted again as after a power cut. It
does not model a drive that lies about flushing, or torn sectors. Where mkfs.xfs is installed, every
fifth cycle uses XFS.
"""

import argparse
import fcntl
import os
import random
import shutil
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import report  # noqa: E402
from torture import Victim, scratch_folder  # noqa: E402
from writers import World  # noqa: E402

SHUTDOWN = 0x8004587D  # the same number for ext4 and XFS
NO_LOG_FLUSH = 2
IMAGE_BYTES = 512 * 1024 * 1024
CYCLES_PER_FOLDER = 10
SETTINGS = {"NIGH__STORAGE__DISK_RESERVE_MB": "16"}


class Disk:
    """A file system in a file, whose power can be cut."""

    def __init__(self, kind):
        self.kind = kind
        self.folder = scratch_folder("power")
        self.image = os.path.join(self.folder, "image")
        self.mount_point = os.path.join(self.folder, "disk")
        os.mkdir(self.mount_point)
        with open(self.image, "wb") as image:
            image.truncate(IMAGE_BYTES)
        self.is_mounted = False

    def make(self):
        subprocess.run(["mkfs." + self.kind, "-q", self.image], check=True, capture_output=True)
        self.mount()

    def mount(self):
        subprocess.run(["mount", "-o", "loop", self.image, self.mount_point], check=True, capture_output=True)
        self.is_mounted = True

    def unmount(self):
        for _ in range(100):  # the killed server's files may take a moment to be closed
            if subprocess.run(["umount", self.mount_point], capture_output=True).returncode == 0:
                self.is_mounted = False
                return
            time.sleep(0.02)
        raise RuntimeError(f"cannot unmount {self.mount_point}")

    def cut(self):
        fd = os.open(self.mount_point, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def close(self):
        if self.is_mounted:
            self.unmount()
        shutil.rmtree(self.folder, ignore_errors=True)


def expect_cut_works():
    """Proves on a small file that unsynced bytes are lost and synced ones are not: else this machine
    cannot run the test."""
    disk = Disk("ext4")
    try:
        disk.make()
        for name, is_synced in (("synced", True), ("unsynced", False)):
            with open(os.path.join(disk.mount_point, name), "wb") as file:
                file.write(b"x" * 100000)
                file.flush()
                if is_synced:
                    os.fsync(file.fileno())
        disk.cut()
        disk.unmount()
        disk.mount()
        with open(os.path.join(disk.mount_point, "synced"), "rb") as file:
            report.check(file.read() == b"x" * 100000, "what was synced is lost")
        path = os.path.join(disk.mount_point, "unsynced")
        report.check(not os.path.exists(path) or os.path.getsize(path) == 0, "what was not synced is there")
    except (OSError, subprocess.CalledProcessError) as error:
        told = getattr(error, "stderr", b"") or b""
        raise report.Skipped(f"cannot mount and cut ext4 in a file: {error} {told.decode()}") from error
    finally:
        disk.close()


def cut_cycles(disk, cycles, arguments, rng):
    world = World(rng.random())
    disk.make()
    server = Victim(folder=os.path.join(disk.mount_point, "data"), environment=SETTINGS)
    try:
        world.create_shared(server.client())
        for _ in range(cycles):
            def end():
                world.is_failing = True
                disk.cut()
                server.kill()
            world.write(server, rng.uniform(0.05, arguments.seconds), end)
            disk.unmount()
            disk.mount()
            server.start()
            world.check(server.client())
    finally:
        server.close()


def power_cuts(arguments):
    expect_cut_works()
    rng = random.Random(arguments.seed)
    done = 0
    folders = 0
    while done < arguments.cycles:
        folders += 1
        is_xfs = folders % 5 == 0 and shutil.which("mkfs.xfs")
        disk = Disk("xfs" if is_xfs else "ext4")
        cycles = min(CYCLES_PER_FOLDER, arguments.cycles - done)
        try:
            cut_cycles(disk, cycles, arguments, rng)
        except AssertionError as error:
            raise AssertionError(f"folder {folders} of seed {arguments.seed} on {disk.kind}: {error}") from error
        finally:
            disk.close()
        done += cycles
        print(f"# {done} power cuts survived", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cycles", type=int, default=200 if os.environ.get("NIGH_TORTURE") else 10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.8, help="longest time between two cuts")
    arguments = parser.parse_args()
    report.run(f"everything acknowledged survives {arguments.cycles} power cuts under 8 writers",
               power_cuts, arguments)
    report.finish()


if __name__ == "__main__":
    main()

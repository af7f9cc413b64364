"""Builds the shared objects preload_*.c and arms their failures in a running server."""

import errno
import mmap
import os
import struct
import subprocess
import tempfile

from report import check

HERE = os.path.dirname(os.path.abspath(__file__))
FOREVER = 2**64 - 1


class Preload:
    """One shared object and the file through which a running server is told what to fail."""

    SOURCE = None
    SIZE = 4096

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="nigh-preload-")
        self.library = os.path.join(self.folder, "preload.so")
        self.control_path = os.path.join(self.folder, "control")
        subprocess.run(
            [os.environ.get("CC", "cc"), "-std=c11", "-D_GNU_SOURCE", "-O2", "-g", "-fPIC", "-shared",
             "-o", self.library, os.path.join(HERE, self.SOURCE)], check=True)
        with open(self.control_path, "wb") as file:
            file.write(bytes(self.SIZE))
        self.file = open(self.control_path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), self.SIZE)

    def environment(self):
        return {"LD_PRELOAD": self.library, "NIGH_PRELOAD_CONTROL": self.control_path}

    def get(self, word):
        return struct.unpack_from("<Q", self.map, 8 * word)[0]

    def set(self, word, value):
        struct.pack_into("<Q", self.map, 8 * word, value)

    def reset(self):
        """Before the server starts again: nothing armed, nothing counted."""
        self.map[:] = bytes(self.SIZE)

    def expect_mapped(self):
        check(self.get(0) == 1, "the preloaded library is not in the server: nothing would be tested")

    def close(self):
        self.map.close()
        self.file.close()
        for path in (self.library, self.control_path):
            os.unlink(path)
        os.rmdir(self.folder)


class Allocations(Preload):
    """Fails allocations; see preload_malloc.c for the words."""

    SOURCE = "preload_malloc.c"
    CALLS, FAIL_AT, FAIL_COUNT, FAILED, FRAMES_COUNT, FRAMES = 1, 2, 3, 4, 5, 6

    def count_from_now(self):
        self.set(self.FAIL_AT, 0)
        self.set(self.FAILED, 0)
        self.set(self.CALLS, 0)

    def counted(self):
        return self.get(self.CALLS)

    def arm(self, call, count=1):
        """The call-th allocation from now fails, and the count - 1 after it."""
        self.count_from_now()
        self.set(self.FRAMES_COUNT, 0)
        self.set(self.FAIL_COUNT, count)
        self.set(self.FAIL_AT, call)

    def disarm(self):
        """How many failed."""
        self.set(self.FAIL_AT, 0)
        return self.get(self.FAILED)

    def frames(self, maps):
        """Where the first one failed, innermost first. maps: of the process, taken while it ran."""
        count = min(self.get(self.FRAMES_COUNT), 24)
        return [describe_address(maps, self.get(self.FRAMES + i)) for i in range(count)]

    @staticmethod
    def maps(pid):
        """(start, end, offset, file) of what a process has mapped from files."""
        maps = []
        with open(f"/proc/{pid}/maps") as file:
            for line in file:
                fields = line.split()
                if len(fields) >= 6 and fields[5].startswith("/"):
                    start, end = (int(x, 16) for x in fields[0].split("-"))
                    maps.append((start, end, int(fields[2], 16), fields[5]))
        return maps


def describe_address(maps, address):
    """function file:line of a return address, as far as addr2line knows."""
    for start, end, offset, path in maps:
        if start <= address < end:
            place = address - start + offset - 1
            told = subprocess.run(["addr2line", "-sfe", path, hex(place)], capture_output=True, text=True).stdout.split()
            return " ".join(told[:2]) if told and told[0] != "??" else f"{os.path.basename(path)}+{place:#x}"
    return hex(address)


class Syscalls(Preload):
    """Fails system calls; see preload_syscalls.c for the words."""

    SOURCE = "preload_syscalls.c"
    CALLS = ["none", "pwrite", "pwritev", "write", "writev", "read", "pread", "fdatasync", "fsync",
             "open", "mmap", "ftruncate", "rename", "unlink", "mkdir", "accept", "epoll_ctl", "sendmsg",
             "recv"]
    TARGETS = {"any": 0, "file": 1, "socket": 2}
    SPECIAL = {"short": 10000, "late": 10001}
    CALL, TARGET, FIRST, COUNT, ERROR, OFFSET_END, MATCHED, FAILED = 1, 2, 3, 4, 5, 6, 7, 8
    PATH_PART, PATH_PART_MAX, SEEN = 72, 128, 25

    def arm(self, call, error, first=1, count=1, target="any", path="", offset_end=0):
        """error: an errno's name ("EIO"), "short", or "late": see preload_syscalls.c."""
        self.disarm()
        number = self.SPECIAL.get(error) or getattr(errno, error)
        text = path.encode()
        assert len(text) < self.PATH_PART_MAX
        self.map[self.PATH_PART:self.PATH_PART + self.PATH_PART_MAX] = text.ljust(
            self.PATH_PART_MAX, b"\0")
        for word, value in ((self.TARGET, self.TARGETS[target]), (self.FIRST, first),
                            (self.COUNT, count), (self.ERROR, number),
                            (self.OFFSET_END, offset_end), (self.MATCHED, 0), (self.FAILED, 0),
                            (self.CALL, self.CALLS.index(call))):
            self.set(word, value)

    def disarm(self):
        """How many calls failed."""
        self.set(self.CALL, 0)
        return self.get(self.FAILED)

    def seen(self, call):
        return self.get(self.SEEN + self.CALLS.index(call))

#!/usr/bin/env python3
"""nigh-test: seconds=240

The requests of vectors.txt against a running server: each whole, byte by byte, and cut in two at
three random places. Right is: as many answers as there are requests, the status of the refusal
last, the end of the connection, and a server that lives on. One answer too many is a request that
was smuggled.
"""

import os
import random
import re
import socket

from report import check, equal, finish, run
from server import Server

HERE = os.path.dirname(os.path.abspath(__file__))
SPLITS = 3
SEED = 20260101
ESCAPES = {"r": 13, "n": 10, "t": 9, "0": 0, "\\": 92, '"': 34}
LINE = re.compile(r'^(\d+) (\d+|-) "((?:\\.|[^"\\])*)"(?: "(?:\\.|[^"\\])*")?$')
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


def decode(text, names):
    out, at = bytearray(), 0
    while at < len(text):
        name = re.compile(r"\{([A-Z]+)\}").match(text, at)
        if name and name[1] in names:
            out += names[name[1]]
            at = name.end()
        elif text[at] != "\\":
            out += text[at].encode("latin-1")
            at += 1
        elif text[at + 1] == "x":
            out.append(int(text[at + 2:at + 4], 16))
            at += 4
        else:
            out.append(ESCAPES[text[at + 1]])
            at += 2
    return bytes(out)


def vectors():
    names, found = {}, []
    with open(os.path.join(HERE, "vectors.txt"), encoding="latin-1") as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\n")
            if not line or line.startswith("#"):
                continue
            name = re.match(r'^([A-Z]+) "(.*)"$', line)
            if name:
                names[name[1]] = decode(name[2], names)
                continue
            match = LINE.match(line)
            check(match, f"line {number} is malformed: {line}")
            found.append((number, int(match[1]), None if match[2] == "-" else int(match[2]), decode(match[3], names)))
    return found


def talk(server, pieces):
    """Sends the pieces, then that no more will come; all that the server answers. A reset counts as
    an end only after an answer."""
    answer = b""
    with socket.create_connection((server.host, server.port), timeout=20) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server refused and closed before all was sent
        while True:
            received = client.recv(65536)
            if not received:
                return answer
            answer += received


def judge(server, requests, refused, pieces):
    answer = talk(server, pieces)
    statuses = [int(s) for s in STATUS.findall(answer) if s != b"100"]
    expected = requests + (1 if refused else 0)
    check(len(statuses) == expected, f"{len(statuses)} answers {statuses}, expected {expected}")
    if refused:
        equal(statuses[-1], refused, "the last status")
        check(b"connection: close" in answer.lower(), "a refusal must say that the connection closes")


def cuts(data, chance):
    yield "whole", [data]
    yield "byte by byte", [data[i:i + 1] for i in range(len(data))]
    for _ in range(SPLITS if len(data) > 1 else 0):
        at = chance.randint(1, len(data) - 1)
        yield f"cut at {at}", [data[:at], data[at:]]


def one(server, requests, refused, data, chance):
    for how, pieces in cuts(data, chance):
        try:
            judge(server, requests, refused, pieces)
        except (AssertionError, OSError) as error:
            raise AssertionError(f"sent {how}: {error}") from error


def alive(server):
    check(server.is_running(), server.log_tail())
    equal(server.raw("GET", "/healthz")[0], 200, "the status of /healthz")


def count_of_vectors(all_vectors):
    check(len(all_vectors) >= 150, f"only {len(all_vectors)} vectors")


if __name__ == "__main__":
    everything = vectors()
    # vectors.txt names hosts of its own.
    with Server(["--check-host=false"]) as the_server:
        run("there are at least 150 vectors", count_of_vectors, everything)
        the_chance = random.Random(SEED)
        for line_number, count, refusal, request in everything:
            run(f"vector of line {line_number}: {request[:60]!r}", one, the_server, count, refusal, request, the_chance)
        run("the server lives on", alive, the_server)
    finish()

"""What the tests under tests/crash and tests/faults share: a client that expects to be let down, and
a server that is meant to suffer.

Only the standard library is used.
"""

import http.client
import json
import os
import socket
import tempfile
import time

from report import check
from server import ROOT, Server

START_SECONDS_MAX = 30


class Lost(Exception):
    """No answer came: the connection ended first. What was asked may or may not have happened."""


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body
        try:
            self.json = json.loads(body) if body else None
        except ValueError:
            self.json = None

    @property
    def result(self):
        return self.json["result"]

    @property
    def error(self):
        """The text of an error answer, "" if it has none."""
        status = self.json.get("status") if isinstance(self.json, dict) else None
        return status.get("error", "") if isinstance(status, dict) else ""

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"


class Client:
    """One keep-alive connection, for one thread. A broken one is replaced by the next call."""

    def __init__(self, port, timeout=30.0, keep_alive=True):
        self.port = port
        self.timeout = timeout
        self.keep_alive = keep_alive
        self.connection = None

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def call(self, method, path, body=None):
        """Answer, or Lost. Nothing is sent twice: only the caller knows what a repeat would mean."""
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"} if data is not None else {}
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
                self.connection.connect()
                self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connection.request(method, path, data, headers)
            response = self.connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
            if not self.keep_alive or response.will_close:
                self.close()
            return answer
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Lost(f"{method} {path}: {type(error).__name__}: {error}") from error

    def must(self, method, path, body=None):
        """The result of a call that has to succeed."""
        answer = self.call(method, path, body)
        check(answer.status == 200, f"{method} {path}: {answer}")
        return answer.result


class Victim(Server):
    """A server that may be preloaded, limited, and found dead. It serves damaged folders too, so it
    counts as started when it answers at all, ready or not."""

    def __init__(self, preload=None, **more):
        self.preload = preload
        environment = dict(more.pop("environment", None) or {})
        if preload:
            environment.update(preload.environment())
        super().__init__(environment=environment, **more)

    def wait_ready(self, seconds=START_SECONDS_MAX):
        deadline = time.monotonic() + seconds
        while not self.is_serving():
            if not self.is_running():
                raise AssertionError(f"the server ended at its start with status "
                                     f"{self.process.returncode}: {self.log_tail(1500)}")
            check(time.monotonic() < deadline, f"the server did not serve within {seconds} s")
            time.sleep(0.005)
        if self.preload:
            self.preload.expect_mapped()

    def is_serving(self):
        try:
            return self.client(timeout=2.0, keep_alive=False).call("GET", "/healthz").status == 200
        except Lost:
            return False

    def expect_alive(self, after):
        check(self.is_running(), f"the server died (status {self.process.returncode}) after {after}: "
                                 f"{self.log_tail(1500)}")

    def client(self, **options):
        return Client(self.port, **options)


def fault_binary():
    """The program built with its fault points compiled in (make MODE=fault)."""
    build = os.environ.get("NIGH_BUILD", os.path.join(ROOT, "build"))
    return os.path.join(os.path.abspath(build) + "-fault", "nigh")


def scratch_folder(name):
    return tempfile.mkdtemp(prefix=f"nigh-{name}-")

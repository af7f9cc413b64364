"""A nigh server of one's own: started on a free port in a temporary folder, stopped, killed, restarted.

    with Server() as server:
        status, answer = server.request("PUT", "/collections/a", {"vectors": {"size": 4, "distance": "Dot"}})

Only the standard library is used, so that every test program can import it whatever its
environment. NIGH_BINARY names the program (build/nigh by default). A test that wants several
connections makes a Client(server.host, server.port) for each.
"""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
READY_SECONDS_MAX = 60  # an instrumented build on a busy machine is slow to start
STOP_SECONDS_MAX = 15   # a graceful stop promises 10


def binary():
    return os.path.abspath(os.environ.get("NIGH_BINARY", os.path.join(ROOT, "build", "nigh")))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Client:
    """One keep-alive connection, opened when it is first used. One thread at a time."""

    def __init__(self, host, port):
        self.host = host
        self.port = port
        self.connection = None

    @property
    def url(self):
        return f"http://{self.host}:{self.port}"

    def disconnect(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def raw(self, method, path, body=None, headers=None, timeout=60):
        """(status, headers, bytes). body: bytes or None. One keep-alive connection is used."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        if self.connection.sock is not None:
            self.connection.sock.settimeout(timeout)
        try:
            self.connection.request(method, path, body=body, headers=headers or {})
            response = self.connection.getresponse()
            data = response.read()
        except BaseException:
            self.disconnect()
            raise
        if response.will_close:
            self.disconnect()
        return response.status, response.headers, data

    def request(self, method, path, body=None, headers=None, timeout=60):
        """(status, decoded answer). body: anything that json.dumps takes, or bytes or str as they are."""
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        headers = {"Content-Type": "application/json", **(headers or {})} if body is not None else headers
        status, received, data = self.raw(method, path, body, headers, timeout)
        if data and received.get_content_type() == "application/json":
            return status, json.loads(data)
        return status, data.decode("utf-8", "replace")

    def call(self, method, path, body=None, **more):
        """The result of a request that must succeed."""
        status, answer = self.request(method, path, body, **more)
        if status != 200:
            raise AssertionError(f"{method} {path}: status {status}: {answer}")
        return answer["result"]

    def wait_green(self, collection, seconds=120):
        """Waits until nothing of the collection waits to be indexed; the collection's info."""
        deadline = time.monotonic() + seconds
        while True:
            info = self.call("GET", f"/collections/{collection}")
            if info["status"] == "green":
                return info
            if time.monotonic() > deadline:
                raise AssertionError(f"{collection} is {info['status']} after {seconds} s")
            time.sleep(0.05)


class Server(Client):
    """options: more command line arguments. environment: more variables. folder: a data folder to
    use and keep; by default a temporary one that close() removes. wrapper: a command to run the
    server under, such as ["strace", ...]."""

    def __init__(self, options=(), environment=None, folder=None, wrapper=(), start=True):
        self.options = list(options)
        self.environment = dict(environment or {})
        self.wrapper = list(wrapper)
        super().__init__("127.0.0.1", free_port())
        self.owns_folder = folder is None
        self.folder = folder or tempfile.mkdtemp(prefix="nigh-test-")
        # Beside the data folder, not in it: nothing but the server's own files belongs there.
        log_fd, self.log_path = tempfile.mkstemp(prefix="nigh-test-", suffix=".log")
        os.close(log_fd)
        self.process = None
        if start:
            self.start()

    @property
    def pid(self):
        return self.process.pid

    # ---- Life ------------------------------------------------------------------------------

    def launch(self):
        """Starts the process without waiting for it to answer."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("NIGH__", "QDRANT__"))}
        environment.update({
            "NIGH__SERVICE__HOST": self.host,
            "NIGH__SERVICE__HTTP_PORT": str(self.port),
            "NIGH__STORAGE__STORAGE_PATH": self.folder,
        })
        environment.update(self.environment)
        self.disconnect()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.wrapper + [binary()] + self.options, stdout=log,
                                            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                            env=environment)

    def start(self):
        self.launch()
        self.wait_ready()
        return self

    def wait_ready(self, seconds=READY_SECONDS_MAX):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with status {self.process.returncode}:\n{self.log_tail()}")
            try:
                if self.raw("GET", "/readyz", timeout=5)[0] == 200:
                    return
            except (OSError, http.client.HTTPException):
                self.disconnect()
            time.sleep(0.01)
        raise RuntimeError(f"the server was not ready within {seconds} s:\n{self.log_tail()}")

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self):
        """SIGTERM; the exit status."""
        self.disconnect()
        if self.is_running():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise RuntimeError(f"the server did not stop within {STOP_SECONDS_MAX} s:\n{self.log_tail()}")
        return self.process.returncode

    def kill(self):
        """SIGKILL, as a crash would."""
        self.disconnect()
        if self.is_running():
            self.process.kill()
        self.process.wait()

    def restart(self):
        self.stop()
        return self.start()

    def close(self):
        try:
            if self.is_running() and os.environ.get("NIGH_GRACEFUL") == "1":
                # Coverage and leaks are told at an orderly exit only.
                status = self.stop()
                if status != 0:
                    raise RuntimeError(f"the server ended with status {status}:\n{self.log_tail()}")
            elif self.process is not None:
                self.kill()
        finally:
            if self.owns_folder:
                shutil.rmtree(self.folder, ignore_errors=True)
            if os.path.exists(self.log_path):
                os.unlink(self.log_path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- What the process uses -------------------------------------------------------------

    def resident_bytes(self):
        return self.status_kib("VmRSS") * 1024

    def resident_private_bytes(self):
        """Resident memory that is not the page cache's: mapped database files do not count."""
        return self.status_kib("RssAnon") * 1024

    def status_kib(self, field):
        with open(f"/proc/{self.pid}/status") as status:
            for line in status:
                if line.startswith(field + ":"):
                    return int(line.split()[1])
        raise KeyError(field)

    def cpu_seconds(self):
        with open(f"/proc/{self.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def log_tail(self, characters=3000):
        return self.log()[-characters:]

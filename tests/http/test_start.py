#!/usr/bin/env python3
"""nigh-test: seconds=180

Starting and stopping: what the command line says, each way a start can fail (one line that says
what to do, status not 0), the health check, the order of file, environment and flags, SIGTERM.
"""

import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time

from report import Skipped, check, equal, finish, test
from server import ROOT, Server, binary, free_port


def nigh(*arguments, environment=None, timeout=20):
    """(status, standard output, standard error) of a run that must end by itself."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("NIGH__", "QDRANT__"))}
    variables.update(environment or {})
    done = subprocess.run([binary(), *arguments], capture_output=True, text=True, timeout=timeout, env=variables,
                          check=False)
    return done.returncode, done.stdout, done.stderr


def refused(*arguments, says, environment=None):
    """A start that must fail with one line that has each of the words."""
    status, _, error = nigh(*arguments, environment=environment)
    check(status not in (0, None) and status > 0, f"status {status}")
    equal(error.count("\n"), 1, f"lines of {error!r}")
    check(error.startswith("nigh: "), error)
    for word in says:
        check(word in error, f"{word!r} is not in {error!r}")


def config_file(text):
    file = tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False)
    file.write(text)
    file.close()
    return file.name


@test
def the_version_help_and_configuration_are_printed():
    for command in ("version", "--version"):
        status, out, _ = nigh(command)
        check(status == 0 and out.startswith("nigh "), out)
    status, out, _ = nigh("--help")
    check(status == 0 and "--http-port" in out and "healthcheck" in out, out)
    status, out, _ = nigh("--print-config")
    equal(status, 0, "the status")
    with open(os.path.join(ROOT, "config", "config.yaml"), encoding="utf-8") as file:
        equal(file.read(), out, "config/config.yaml")


@test
def a_taken_port_is_named():
    with socket.socket() as taken, tempfile.TemporaryDirectory() as folder:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused("--http-port", port, "--storage-path", folder, says=[port, "taken", "--http-port"])


@test
def a_folder_that_cannot_be_written_is_named():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "file")
        open(path, "w", encoding="utf-8").close()
        refused("--http-port", "0", "--storage-path", os.path.join(path, "data"), says=[path])
        refused("--http-port", "0", "--storage-path", os.path.join(folder, "no", "such", "parent"), says=[folder])


@test
def a_folder_in_use_is_named():
    with Server() as server:
        refused("--http-port", "0", "--storage-path", server.folder, says=[server.folder, "use"])
        equal(server.raw("GET", "/healthz")[0], 200, "the status of the server that uses it")


@test
def a_wrong_configuration_is_named():
    for text, says in [
        ("service:\n  htp_port: 1\n", ["line 2", "service.htp_port"]),
        ("service:\n  http_port: 70000\n", ["line 2", "service.http_port", "65535"]),
        ("service: [\n", ["line"]),
    ]:
        path = config_file(text)
        refused("--config", path, says=says + [path])
        os.unlink(path)
    refused("--config", "/nonexistent.yaml", says=["/nonexistent.yaml"])
    refused("--config", says=["--config"])
    refused("--no-such-flag", says=["--no-such-flag", "--help"])
    refused("no-such-command", says=["no-such-command", "--help"])
    refused("--host", "256.256.256.256", "--storage-path", tempfile.gettempdir() + "/nigh-never", says=["--host"])
    refused(environment={"NIGH__SERVICE__HTP_PORT": "1"}, says=["NIGH__SERVICE__HTP_PORT"])
    refused(environment={"NIGH__SERVICE__API_KEY": ""}, says=["service.api_key", "empty"])


@test
def flags_come_before_the_environment_and_that_before_the_file():
    path = config_file("service:\n  http_port: 1\n  keep_alive_s: 1\n  head_timeout_s: 1\n")
    flag_port = free_port()
    with Server(["--config", path, "--http-port", str(flag_port)], start=False,
                environment={"NIGH__SERVICE__KEEP_ALIVE_S": "100"}) as server:
        server.port = flag_port  # the environment names another one
        server.environment["NIGH__SERVICE__HTTP_PORT"] = str(free_port())
        server.start()
        with socket.create_connection((server.host, flag_port)) as client:
            client.settimeout(3)
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            check(b" 200 OK" in client.recv(4096), "no answer")
            try:
                equal(client.recv(1), None, "what comes within 3 s of idleness")  # the file would close it
            except TimeoutError:
                pass
            client.sendall(b"GET")
            client.settimeout(10)
            check(client.recv(4096).startswith(b"HTTP/1.1 408 "), "the file's head timeout does not hold")
    os.unlink(path)


@test
def the_start_says_where_it_listens_and_what_to_try():
    with Server() as server:
        log = server.log()
        check(f"http://127.0.0.1:{server.port}" in log, log)
        check(server.folder in log and "curl http://" in log, log)
        check(" warn " not in log, log)
    with Server(environment={"NIGH__SERVICE__HOST": "0.0.0.0"}) as server:
        check(" warn " in server.log() and "NIGH__SERVICE__API_KEY" in server.log(), server.log())
    with Server(["--log-format", "json"]) as server:
        for line in server.log().splitlines():
            json.loads(line)


@test
def the_health_check_tells_whether_a_server_answers():
    with Server() as server:
        where = {"NIGH__SERVICE__HTTP_PORT": str(server.port)}
        equal(nigh("healthcheck", environment=where)[0], 0, "the status beside a server")
        os.kill(server.pid, signal.SIGSTOP)
        equal(nigh("healthcheck", environment=where)[0], 1, "the status beside a stopped server")
        os.kill(server.pid, signal.SIGCONT)
    refused("healthcheck", environment=where, says=["port"])


@test
def the_health_check_needs_no_key():
    with Server(environment={"NIGH__SERVICE__API_KEY": "k"}, start=False) as server:
        server.launch()
        where = {"NIGH__SERVICE__HTTP_PORT": str(server.port)}
        deadline = time.monotonic() + 30
        while nigh("healthcheck", environment=where)[0] != 0:
            check(time.monotonic() < deadline, "never healthy")
            time.sleep(0.05)


@test
def no_key_appears_in_the_log():
    key = "canary-5d1f0c"
    with Server(environment={"NIGH__SERVICE__API_KEY": key, "NIGH__LOG_LEVEL": "debug"}, start=False) as server:
        server.launch()
        deadline = time.monotonic() + 30
        while True:
            try:
                if server.raw("GET", f"/collections?api_key={key}", headers={"api-key": key})[0] == 200:
                    break
            except OSError:
                pass
            check(time.monotonic() < deadline, "never ready")
            time.sleep(0.05)
        equal(server.raw("GET", "/collections", headers={"api-key": key + "x"})[0], 401, "the status")
        server.stop()
        check(key not in server.log(), server.log())


@test
def sigterm_under_load_cuts_no_answer_and_ends_with_status_0():
    with Server() as server:
        server.call("PUT", "/collections/a", {"vectors": {"size": 4, "distance": "Dot"}})
        cut, acknowledged = [], []

        def write(number):
            import http.client
            connection = http.client.HTTPConnection(server.host, server.port, timeout=20)
            point = number * 1000000
            while True:
                point += 1
                body = json.dumps({"points": [{"id": point, "vector": [1, 2, 3, 4]}]})
                try:
                    connection.request("PUT", "/collections/a/points?wait=true", body)
                    response = connection.getresponse()
                except (OSError, http.client.HTTPException):
                    return  # between requests: no answer was begun
                try:
                    response.read()
                except http.client.IncompleteRead:
                    cut.append(point)
                    return
                if response.status == 200:
                    acknowledged.append(point)

        writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for writer in writers:
            writer.start()
        time.sleep(1)
        begin = time.monotonic()
        equal(server.stop(), 0, "the exit status")
        seconds = time.monotonic() - begin
        for writer in writers:
            writer.join()
        check(seconds <= 10, f"the stop took {seconds:.1f} s")
        equal(cut, [], "answers that were cut")
        check(acknowledged, "nothing was written")
        server.start()
        equal(server.call("POST", "/collections/a/points/count", {"exact": True})["count"] >= len(acknowledged), True,
              "every acknowledged point is there")


@test
def a_second_sigterm_ends_at_once():
    with Server() as server:
        with socket.create_connection((server.host, server.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\n")  # a request that never ends
            time.sleep(0.2)
            os.kill(server.pid, signal.SIGTERM)
            time.sleep(0.3)
            check(server.is_running(), "the first signal did not wait")
            begin = time.monotonic()
            os.kill(server.pid, signal.SIGTERM)
            server.process.wait(5)
            check(time.monotonic() - begin < 3, "the second signal waited")  # sanitizers sleep a second


@test
def the_program_listens_where_it_is_told():
    for host, family in [("127.0.0.1", socket.AF_INET), ("localhost", socket.AF_UNSPEC), ("::1", socket.AF_INET6)]:
        if family == socket.AF_INET6 and not socket.has_ipv6:
            raise Skipped("no IPv6")
        server = Server(environment={"NIGH__SERVICE__HOST": host}, start=False)
        server.host = host
        with server:
            try:
                server.start()
            except RuntimeError as error:
                if family == socket.AF_INET6 and "cannot listen" in str(error):
                    raise Skipped("no IPv6 address") from error
                raise
            equal(server.raw("GET", "/")[0], 200, f"the status on {host}")


finish()

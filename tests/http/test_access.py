#!/usr/bin/env python3
"""nigh-test: seconds=120

Who may do what, on the real routes: keys, paths that look like public ones but are not, host names
that web pages send by DNS rebinding.
"""

import socket

from report import check, equal, finish, run
from server import Server

KEY, READ_KEY = "full-key", "read-key"
KEYS = {"none": {}, "wrong": {"api-key": "x"}, "empty": {"api-key": ""}, "read": {"api-key": READ_KEY},
        "full": {"api-key": KEY}, "bearer": {"Authorization": f"Bearer {KEY}"},
        "basic": {"Authorization": "Basic eDp4"}, "both": {"api-key": READ_KEY, "Authorization": f"Bearer {KEY}"}}

PUBLIC = ["/", "/healthz", "/livez", "/readyz"]
READS = [("GET", "/collections"), ("GET", "/collections/a"), ("GET", "/collections/a/exists"),
         ("POST", "/collections/a/points/count"), ("POST", "/collections/a/points/scroll"),
         ("GET", "/metrics"), ("GET", "/telemetry")]
WRITES = [("PUT", "/collections/a/points"), ("POST", "/collections/a/points/delete"), ("PUT", "/collections/a/index"),
          ("POST", "/collections/a/points/payload"), ("PATCH", "/collections/a"), ("DELETE", "/collections/b")]

# Each must be refused without a key: none is a public route, whatever it looks like.
BYPASSES = [
    "/collections/", "//collections", "/collections//", "/./collections", "/healthz/../collections",
    "/healthz/%2e%2e/collections", "/healthz%2f..%2fcollections", "/healthz/..%2fcollections",
    "/dashboard/..%2fcollections", "/dashboard%2f..%2fcollections", "/dashboard/../collections",
    "/readyz/../collections", "/livez/../collections", "/livez%2F..%2Fcollections", "/%63ollections",
    "/collection%73", "/COLLECTIONS", "/Collections", "/collections;healthz", "/collections;/healthz",
    "/collections?/healthz", "/collections?x=/healthz", "/collections%3f/healthz", "/collections%23/healthz",
    "/collections%00", "/healthz%00/../collections", "/collections%00/healthz", "/collections%20", "/collections.",
    "/collections/.", "/collections/..", "/collections/a/../../healthz", "/collections\\healthz", "/healthz\\..\\collections",
    "/collections%5chealthz", "/%c0%af/collections", "/healthz%c0%afcollections", "/healthz/%c0%ae%c0%ae/collections",
    "/collections/%ff", "/collections/a/points/1", "/healthz/collections", "/readyz/collections", "/healthz/", "/healthz//x",
    "/%2fcollections", "/%2e/collections", "/%252e%252e/collections", "/healthz%252f..%252fcollections", "/.well-known/x",
    "/metrics", "/metrics/", "//metrics", "/telemetry", "/issues", "/openapi.json/../collections", "http:/collections",
]
MAY_BE_PUBLIC = {"/healthz/"}  # slashes that trail are ignored


def raw(server, target, headers=b"", host=b"localhost"):
    """The status of a request whose target no client library has tidied up."""
    with socket.create_connection((server.host, server.port), timeout=20) as client:
        client.sendall(b"GET " + target.encode() + b" HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n" + headers +
                       b"\r\n")
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
    return int(answer[9:12]), answer


def expected(access, key):
    if access == "public" or key in ("full", "bearer"):
        return "let in"
    if key == "read":
        return "let in" if access == "read" else "403"
    return "401"


def access_row(server, method, path, access):
    for name, headers in KEYS.items():
        status, received, body = server.raw(method, path, b"{}" if method != "GET" else None, headers)
        want = expected(access, name)
        if want == "let in":
            check(status not in (401, 403), f"key {name}: status {status}")
            continue
        equal(str(status), want, f"key {name}: the status")
        if want == "401":
            check(received.get_content_type() == "text/plain", received)
            check(body in (b"Must provide an API key or an Authorization bearer token", b"Invalid API key or JWT"), body)
        else:
            check(b'{"status":{"error":"Forbidden: ' in body, body)


def bypass(server, path):
    status, answer = raw(server, path)
    allowed = (200, 401) if path in MAY_BE_PUBLIC else (400, 401)
    check(status in allowed, f"status {status}: {answer[:200]!r}")
    check(b'"collections"' not in answer and b"app_info" not in answer, answer[:200])


def absolute_targets(server):
    for target in ["http://localhost/collections", "http://localhost/healthz/../collections",
                   "http://x/collections", "http://healthz/collections"]:
        equal(raw(server, target)[0], 401, f"the status of {target}")
    equal(raw(server, "http://localhost/healthz")[0], 200, "the status of /healthz")


def key_headers_that_come_twice(server):
    for headers in [b"api-key: full-key\r\napi-key: full-key\r\n", b"api-key: x\r\nAPI-Key: full-key\r\n",
                    b"Authorization: Bearer full-key\r\nAuthorization: Bearer full-key\r\n"]:
        equal(raw(server, "/collections", headers)[0], 400, f"the status of {headers!r}")


def nothing_is_kept_before_the_key_is_checked(server):
    """A body that would fill the budget: refused at its head, without a byte having been sent."""
    with socket.create_connection((server.host, server.port), timeout=20) as client:
        client.sendall(b"PUT /collections/a/points HTTP/1.1\r\nHost: localhost\r\nContent-Length: 33554432\r\n\r\n")
        check(client.recv(4096).startswith(b"HTTP/1.1 401 "), "no 401 before the body")


def everything_is_as_it_was(server):
    status, answer = server.request("GET", "/collections", headers={"api-key": KEY})
    equal((status, [c["name"] for c in answer["result"]["collections"]]), (200, ["a"]), "the collections")


def main():
    keys = {"NIGH__SERVICE__API_KEY": KEY, "NIGH__SERVICE__READ_ONLY_API_KEY": READ_KEY}
    with Server(environment=keys) as server:
        equal(server.request("PUT", "/collections/a", {"vectors": {"size": 4, "distance": "Dot"}},
                             headers={"api-key": KEY})[0], 200, "the status of the creation")
        for path in PUBLIC:
            run(f"access to GET {path}", access_row, server, "GET", path, "public")
        for method, path in READS:
            run(f"access to {method} {path}", access_row, server, method, path, "read")
        for method, path in WRITES:
            run(f"access to {method} {path}", access_row, server, method, path, "write")
        for path in BYPASSES:
            run(f"no way around the key by {path}", bypass, server, path)
        for function in [absolute_targets, key_headers_that_come_twice, nothing_is_kept_before_the_key_is_checked,
                         everything_is_as_it_was]:
            run(function.__name__, function, server)
    with Server() as server:
        run("without a key only local host names are served", host_names, server)
    with Server(environment={"NIGH__SERVICE__API_KEY": KEY}) as server:
        run("with a key any host name is served", any_host_name, server)
    finish()


def host_names(server):
    for host in [b"localhost", b"127.0.0.1", b"[::1]:6333", b"localhost:1"]:
        equal(raw(server, "/collections", host=host)[0], 200, f"the status for {host!r}")
    for host in [b"evil.example", b"evil.example:6333", b"localhost.evil.example", b"10.0.0.1", b"0.0.0.0"]:
        equal(raw(server, "/collections", host=host)[0], 421, f"the status for {host!r}")
    equal(raw(server, "http://evil.example/collections")[0], 421, "the status for a target with a host")


def any_host_name(server):
    equal(raw(server, "/collections", b"api-key: full-key\r\n", host=b"db.example")[0], 200, "the status")


main()

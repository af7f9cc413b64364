"""What the benches over HTTP share: loads of bench/http_load.c, CPU of the server's threads, and
what of it each stage of a request took.
"""
import json
import os
import re
import struct
import subprocess
import tempfile
import time

STAGES = ("parse", "snapshot", "search", "rows", "encode", "send")
STAGE_LINE = re.compile(r'^nigh_stage_cpu_seconds_(sum|count)\{method="(\w+)",endpoint="([^"]*)",stage="(\w+)"\} (\S+)$', re.M)


def cpu_by_thread(pid):
    """Seconds of CPU of the server's threads, added up by name (without a number at its end). From
    schedstat, which counts nanoseconds: stat counts ticks of a hundredth of a second."""
    seconds = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/comm") as file:
                name = file.read().strip()
            with open(f"/proc/{pid}/task/{task}/schedstat") as file:
                ran = int(file.read().split()[0]) / 1e9
        except OSError:
            continue
        group = re.sub(r"[-_ ]?\d+$", "", name) or name
        seconds[group] = seconds.get(group, 0) + ran
    return seconds


def cpu_difference(before, after, per):
    """Microseconds of each group of threads, divided by `per`."""
    return {name: (after[name] - before.get(name, 0)) / per * 1e6 for name in after}


def tell(parts):
    return ", ".join(f"{name} {us:.1f}" for name, us in sorted(parts.items()) if us >= 0.05)


def stages_of(server, method, endpoint):
    """{stage: (seconds, requests of the sample)} since the server's start."""
    text = server.raw("GET", "/metrics")[2].decode()
    found = {}
    for part, by, where, stage, value in STAGE_LINE.findall(text):
        if (by, where) == (method, endpoint):
            found.setdefault(stage, {})[part] = float(value)
    return {stage: (parts["sum"], parts["count"]) for stage, parts in found.items()}


def stage_difference(before, after):
    """Microseconds a request of the sample, for each stage; 0 where there was none."""
    means = {}
    for stage in STAGES:
        (s0, n0), (s1, n1) = before.get(stage, (0, 0)), after.get(stage, (0, 0))
        means[stage] = (s1 - s0) / (n1 - n0) * 1e6 if n1 > n0 else 0.0
    return means


def write_bodies(bodies):
    """A file for mode=file; the caller removes it."""
    with tempfile.NamedTemporaryFile(prefix="nigh-bodies-", delete=False) as file:
        for body in bodies:
            file.write(struct.pack("<I", len(body)) + body)
    return file.name


def load(program, server, **options):
    """Runs http_load against the server; what it printed."""
    command = [program, f"port={server.port}", f"pid={server.pid}", *(f"{k}={v}" for k, v in options.items())]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if not result.stdout:
        raise RuntimeError(f"{' '.join(command)}: status {result.returncode}")
    answer = json.loads(result.stdout)
    if answer["refused"]:
        print(f"    {answer['refused']} answers were not 200, the first {answer['first_bad_status']}")
    return answer


def settle(server):
    """Waits until builders rest: what speeds up searches follows the last link."""
    before = -1.0
    while (now := cpu_by_thread(server.pid).get("builder", 0)) - before > 0.01:
        before = now
        time.sleep(0.5)

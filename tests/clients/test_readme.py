#!/usr/bin/env python3
"""What README.md shows is true: its requests are sent, its programs run: nigh-test: environment=venv-newest server=yes needs=curl,node

The answers must be those that the README prints, but for the time they took.
"""

import json
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
import environments  # noqa: E402
from report import check, equal, finish, test  # noqa: E402

URL = os.environ.get("NIGH_URL", "http://127.0.0.1:6333")
with open(os.path.join(HERE, "..", "..", "README.md"), encoding="utf-8") as file:
    README = file.read()


def block(language, beginning):
    for text in re.findall(rf"```{language}\n(.*?)```", README, re.S):
        if text.startswith(beginning):
            return text.replace("http://127.0.0.1:6333", URL)
    raise AssertionError(f"README.md has no block of {language} that begins with {beginning}")


def without_time(answer):
    return re.sub(r'"time":[0-9.e-]+', '"time":0', answer)


@test
def the_requests_answer_as_shown():
    steps = re.findall(r"\$ (curl .*?)\n(\{\"result.*?)\n", block("sh", "$ curl"), re.S)
    equal(len(steps), 3, "number of requests")
    for command, shown in steps:
        answer = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, text=True, check=True).stdout
        json.loads(answer)
        equal(without_time(answer.strip()), without_time(shown), command[:60])


@test
def the_python_program_prints_what_it_says():
    program = block("python", "from qdrant_client")
    shown = re.search(r"print\(.*\)  # (.*)", program).group(1)
    result = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    equal(result.stdout.strip(), shown)


@test
def the_javascript_program_prints_what_it_says():
    program = block("js", "import {QdrantClient}")
    shown = re.search(r"console\.log\(.*\); // (.*)", program).group(1)
    folder = environments.prepare("npm")
    with tempfile.NamedTemporaryFile("w", suffix=".mjs", dir=folder, encoding="utf-8") as file:
        file.write(program)
        file.flush()
        result = subprocess.run(["node", file.name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    equal(result.stdout.strip(), shown)


@test
def every_file_that_it_names_exists():
    named = set(re.findall(r"`((?:tests|docs|api|index|storage|server|config|bench)/[\w./-]+)`", README))
    named |= {link for link in re.findall(r"\]\(([^)#]+)\)", README) if not link.startswith("http")}
    missing = [name for name in sorted(named) if not os.path.exists(os.path.join(HERE, "..", "..", name))]
    check(not missing, f"README.md names what is not there: {missing}")


finish()

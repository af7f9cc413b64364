"""The packages from PyPI and npm that tests need, pinned, in cache folders (.cache/venv-*, .cache/npm).

A folder is made once and kept until its list of packages changes. NIGH_CACHE names another place.
What is optional and cannot be installed here is named, and whoever uses it does without.
`python3 tests/support/environments.py NAME...` makes environments by hand.
"""

import hashlib
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CACHE = os.environ.get("NIGH_CACHE", os.path.join(ROOT, ".cache"))

PYTHON = {
    # numpy: vectors of the tests; qdrant-client in two versions: the one that nigh's API is of, and
    # the newest.
    "venv-1.19": ["qdrant-client==1.19.0", "numpy==2.2.6"],
    "venv-newest": ["qdrant-client==1.20.0", "numpy==2.2.6"],
    "venv-langchain": ["langchain-qdrant==1.1.0", "langchain-core==1.8.3", "qdrant-client==1.20.0"],
    "venv-bench": ["qdrant-client==1.20.0", "numpy==2.2.6"],
    "venv-glass": ["numpy==1.26.4", "glassppy==1.0.5"],
}
# The peers of the bench. hnswlib comes as sources and is compiled; for the others a wheel must fit.
OPTIONAL = {
    "venv-bench": ["hnswlib==0.8.0", "faiss-cpu==1.15.1", "usearch==2.26.6", "scalable-vs==0.5.0",
                   "rabitqlib==0.7.1", "qdrant-edge-py==0.9.0"],
}
# Environments of another Python than this one: the only wheel of glassppy is for 3.10.
INTERPRETERS = {"venv-glass": "python3.10"}
# The client as it was before it asked for node 20: Debian 12 and Ubuntu 24.04 have 18.
NPM = {"npm": ["@qdrant/js-client-rest@1.19.0"]}
NPM_OF_OLD_NODE = {"npm": ["@qdrant/js-client-rest@1.18.0"]}
NODE_OF_NPM = (20, 18)


def say(text):
    print(text, flush=True)


def stamp_of(packages):
    return hashlib.sha256(" ".join([*packages, sys.version]).encode()).hexdigest()


def is_current(folder, packages):
    try:
        with open(os.path.join(folder, "made-of")) as stamp:
            return stamp.read() == stamp_of(packages)
    except OSError:
        return False


def run(command, **more):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {result.stdout[-1500:]}")


def make_python(folder, packages):
    run([INTERPRETERS.get(os.path.basename(folder), sys.executable), "-m", "venv", folder])
    install = [os.path.join(folder, "bin", "pip"), "install", "-q", "--disable-pip-version-check"]
    optional = OPTIONAL.get(os.path.basename(folder), [])
    run([*install, *(package for package in packages if package not in optional)])
    for package in optional:
        try:
            run([*install, package])
        except RuntimeError as error:
            say(f"# {package} cannot be installed: {str(error).splitlines()[-1]}")


def make_npm(folder, packages):
    os.makedirs(folder)
    run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, *packages])


def node_version():
    """Major and minor; (0, 0) if there is none, which then is said by whoever runs it."""
    try:
        told = subprocess.run(["node", "--version"], stdout=subprocess.PIPE, text=True).stdout
        major, minor = told.strip().lstrip("v").split(".")[:2]
        return int(major), int(minor)
    except (OSError, ValueError):
        return 0, 0


def prepare(name):
    """The folder of the environment, made if need be. Raises RuntimeError if that fails."""
    if name in PYTHON:
        packages, make = [*PYTHON[name], *OPTIONAL.get(name, [])], make_python
    else:
        found = NPM if node_version() >= NODE_OF_NPM else NPM_OF_OLD_NODE
        packages, make = found[name], make_npm
    folder = os.path.join(CACHE, name)
    if is_current(folder, packages):
        return folder
    say(f"# installing {' '.join(packages)} into {os.path.relpath(folder, ROOT)}")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(CACHE, exist_ok=True)
    try:
        make(folder, packages)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise RuntimeError(f"cannot make {name}: {error}") from error
    # Last: a folder that was interrupted half-way has no stamp and is made again.
    with open(os.path.join(folder, "made-of"), "w") as stamp:
        stamp.write(stamp_of(packages))
    return folder


def interpreter(name):
    return os.path.join(prepare(name), "bin", "python3")


if __name__ == "__main__":
    for wanted in sys.argv[1:] or [*(name for name in PYTHON if name not in INTERPRETERS), *NPM]:
        say(prepare(wanted))

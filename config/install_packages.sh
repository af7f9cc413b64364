#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that a task needs and this machine lacks.
#
#   config/install_packages.sh GROUP...     groups: build, demo, test, check, bench
#
# It says which packages and why, asks nothing, and does nothing when all are there.
# NO_INSTALL=1: only names what is missing, and fails if anything is.
set -euo pipefail

# package | why
build_packages() {
    cat <<'LIST'
gcc|the compiler
libc6-dev|the C library's headers
make|runs the build
libuv1-dev|sockets and the event loop
liblmdb-dev|storage
libxxhash-dev|checksums
libyaml-dev|the configuration file
libssl-dev|comparing API keys
LIST
    # A library where the distribution has one (llhttp 9), else the C sources that node's package ships.
    # (Without -q: grep would leave early, and pipefail would take apt-cache's broken pipe for a no.)
    if apt-cache show libllhttp-dev 2>/dev/null | grep '^Package:' >/dev/null; then
        echo 'libllhttp-dev|the HTTP parser'
    else
        echo 'node-llhttp|the HTTP parser, as C sources'
    fi
}

demo_packages() {
    echo 'python3|runs the demo'
}

test_packages() {
    cat <<'LIST'
check|runs the unit tests
libcjson-dev|trees of JSON, a second opinion of the tests
libroaring-dev|a second opinion on sets of slots, for tests only
libsimde-dev|AVX-512 on machines that lack it, for tests only
python3|runs the other tests
python3-venv|keeps the Python clients of tests apart from the system
nodejs|runs the JavaScript client
npm|fetches the JavaScript client
curl|a client of the tests
strace|makes system calls fail, for tests of faults
e2fsprogs|makes the disks that lose power in tests
LIST
}

check_packages() {
    cat <<'LIST'
clang|a second compiler, and the fuzzer
clang-format|the layout of the code
clang-tidy|static analysis
cppcheck|static analysis
shellcheck|static analysis of shell scripts
gcovr|coverage of tests
binutils|readelf shows the hardening of the program
LIST
}

bench_packages() {
    cat <<'LIST'
g++|compiles hnswlib, which is measured beside nigh
python3-dev|hnswlib is a module of Python
LIST
}

# Packages that may have come another way: these programs will do.
program_of() {
    case $1 in
        gcc | g++ | make | curl | strace | cppcheck | shellcheck | gcovr) echo "$1" ;;
        python3-dev) echo python3-config ;;
        nodejs) echo node ;;
        npm) echo npm ;;
        binutils) echo readelf ;;
        clang | clang-format | clang-tidy) compgen -c "$1-" | grep -E "^$1-[0-9]+\$" | sort -rV | head -n 1 || true ;;
    esac
}

is_installed() {
    local program
    [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null || true)" = 'ii ' ] && return 0
    program=$(program_of "$1")
    [ -n "$program" ] && command -v "$program" >/dev/null
}

if ! command -v apt-get >/dev/null; then
    echo "This is not Debian or Ubuntu: install what README.md names by hand; nothing was installed." >&2
    exit 0
fi

missing=()
for group in "$@"; do
    while IFS='|' read -r package why; do
        if ! is_installed "$package"; then
            [ ${#missing[@]} -gt 0 ] || echo "Packages that are needed and missing:"
            printf '  %-16s %s\n' "$package" "$why"
            missing+=("$package")
        fi
    done < <("${group}_packages")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "${NO_INSTALL:-0}" = 1 ]; then
    echo "NO_INSTALL=1: nothing was installed. To do it by hand: apt-get install ${missing[*]}" >&2
    exit 1
fi

as_root=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || {
        echo "Installing needs root. Run as root: apt-get install ${missing[*]}" >&2
        exit 1
    }
    as_root=(sudo)
fi
apt_get() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -qq -o Dpkg::Use-Pty=0 "$@" >/dev/null
}

echo "Installing them with apt-get; it may take some minutes ..."
if ! apt_get install --no-install-recommends "${missing[@]}" 2>/dev/null; then
    # A fresh machine has no lists of packages yet, an old one has stale lists.
    apt_get update
    # With lists, the distribution may turn out to offer another HTTP parser: look again.
    [ "${NIGH_LISTS_FRESH:-0}" = 1 ] || NIGH_LISTS_FRESH=1 exec "$0" "$@"
    apt_get install --no-install-recommends "${missing[@]}"
fi

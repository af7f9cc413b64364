"""What a test program prints, and how the runner counts it.

    ok NAME | FAIL NAME: why | skip NAME: reason

Lines flush at once, so that the runner can show progress and a crash loses nothing.

    from report import check, test, finish

    @test
    def counts_the_points_that_match():
        check(count == 3, f"counted {count}")

    finish()  # runs what @test collected, in order; exit status 1 if anything failed
"""

import sys
import traceback

collected = []
failures = 0


def line(word, name, why=None):
    text = f"{word} {name}" if why is None else f"{word} {name}: {' '.join(str(why).split())[:2000]}"
    print(text, flush=True)


def ok(name):
    line("ok", name)


def fail(name, why):
    global failures
    failures += 1
    line("FAIL", name, why)


def skip(name, reason):
    line("skip", name, reason)


class Skipped(Exception):
    """Raised by a test that cannot run here; its text is the reason."""


def check(condition, why="the check did not hold"):
    if not condition:
        raise AssertionError(why)


def equal(found, expected, what="value"):
    if found != expected:
        raise AssertionError(f"{what} is {found!r}, expected {expected!r}")


def test(function):
    collected.append(function)
    return function


def run(name, function, *arguments):
    try:
        function(*arguments)
    except Skipped as reason:
        skip(name, reason)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        fail(name, f"{type(error).__name__}: {error} ({where.filename.rsplit('/', 1)[-1]}:{where.lineno})")
    else:
        ok(name)


def finish():
    for function in collected:
        run(function.__name__, function)
    sys.exit(1 if failures else 0)

"""Prints which test holds which of the guide's 65 capabilities, in each of the four ways: `python capabilities.py`.

Names decide: a test called `test_08_…` holds number 8. Python's are those that pytest collects; its ways are in their
brackets. Rust's are those of the client's tests, each of which runs over the wire and in the process.
"""

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
RUST = HERE.parent / "crates/client/tests/client/capabilities.rs"
WAYS = ("sync", "async", "embedded", "rust")
NUMBERS = range(1, 66)
#: What only the async client has: it connects, and its verbs have a second name.
OF_ASYNC_ONLY = {2, 49, 50, 51}


def table():
    """Returns the names of the tests for each number and way."""
    found = {(number, way): [] for number in NUMBERS for way in WAYS}

    def add(name, ways):
        number = re.match(r"test_(\d\d)_", name)
        for way in ways if number else ():
            if name not in found[int(number[1]), way]:
                found[int(number[1]), way].append(name)

    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests/test_capabilities.py"]
    collected = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True).stdout
    for name, said in re.findall(r"::(test_\w+)(?:\[(.*)\])?$", collected, re.MULTILINE):
        add(name, [way for way in WAYS[:3] if way in said.split("-")])
    for name in re.findall(r"#\[(?:tokio::)?test[^\n]*\]\n(?:async )?fn (test_\w+)", RUST.read_text()):
        add(name, ["rust"])
    return found


def missing(found):
    """Returns the numbers and ways that no test holds."""
    return [(number, way) for (number, way), names in found.items() if not names and not (way == "sync" and number in OF_ASYNC_ONLY)]


if __name__ == "__main__":
    found = table()
    print("| | Python sync | async | embedded | Rust, remote and embedded |")
    print("|---|---|---|---|---|")
    for number in NUMBERS:
        cells = (", ".join(found[number, way]) or "–" for way in WAYS)
        print(f"| {number} | {' | '.join(cells)} |")
    if holes := missing(found):
        sys.exit(f"not tested: {holes}")

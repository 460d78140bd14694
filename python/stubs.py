"""Writes the stubs of the managers and clients: `python stubs.py`. A test fails when they are behind.

A verb is written once and serves both clients; a stub says of each what it returns. Docs stay in the sources.
"""

import inspect
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def verbs(cls):
    """Returns the public methods of a class by name, those of its bases included."""
    found = inspect.getmembers(cls, inspect.isfunction)
    keep = {"__init__", "__enter__", "__exit__", "__aenter__", "__aexit__"}
    return {name: verb for name, verb in found if not name.startswith("_") or name in keep}


def signature(function):
    """Returns the signature with its annotations as they are written, which Python prints in quotes."""
    text = str(inspect.signature(function))
    return re.sub(r"""(: |-> )(['"])(.*?)\2""", lambda found: found[1] + found[3].strip("'"), text)


def managers(module):
    lines = ["# Written by stubs.py.", "", "import datetime as dt", "from typing import Any, Dict, List, Optional, Sequence, Union", ""]
    lines += ["from ._results import CleanupResult, PitrPolicy, RecoveryPoint, RestoreResult, RestoreStep, RetentionRules"]
    lines += ["from ._results import RetentionStep, Schedule, Snapshot, SnapshotLevel", ""]
    lines += ["Moment = Union[dt.datetime, dt.date, str, int]", "Level = Union[SnapshotLevel, str]"]
    for name, cls in vars(module).items():
        if inspect.isclass(cls) and name.endswith("Manager") and not name.startswith("_"):
            lines += ["", f"class {name}:"]
            for verb, function in verbs(cls).items():
                if verb != "__init__":
                    word = "async def" if name.startswith("Async") else "def"
                    lines.append(f"    {word} {verb}{signature(function)}: ...")
    return "\n".join(lines) + "\n"


def clients(module):
    lines = ["# Written by stubs.py.", "", "import os", "from typing import Any, Optional, Sequence, Union", ""]
    lines += ["from . import _managers", "from ._results import ResultSet", ""]
    lines += ['PathLike = Union[str, "os.PathLike[str]"]']
    for prefix in ("", "Async"):
        for name in ("Client", "Transaction"):
            cls = getattr(module, prefix + name)
            lines += ["", f"class {prefix}{name}:"]
            if name == "Client":
                kinds = ["snapshots Snapshot", "snapshot Snapshot", "restore Restore", "pitr Pitr", "clone Clone"]
                kinds += ["retention Retention", "schedules Schedule"]
                lines.append("    @property\n    def connected(self) -> bool: ...")
            else:
                kinds = ["snapshots Snapshot", "snapshot Snapshot", "clone Clone"]
            for attribute, kind in map(str.split, kinds):
                lines.append(f"    {attribute}: _managers.{prefix}{kind}Manager")
            for verb, function in verbs(cls).items():
                if name == "Transaction" and verb == "__init__":
                    continue
                word = "async def" if inspect.iscoroutinefunction(function) else "def"
                lines.append(f"    {word} {verb}{signature(function)}: ...")
    return "\n".join(lines) + "\n"


def all_stubs():
    sys.path.insert(0, str(HERE))
    from strandline import _client, _managers

    return {"_managers.pyi": managers(_managers), "_client.pyi": clients(_client)}


if __name__ == "__main__":
    for name, text in all_stubs().items():
        (HERE / "strandline" / name).write_text(text)

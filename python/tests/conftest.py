"""A server, a store in this process, and one face for three ways to use them.

Every test that asks for `db` runs three times: over the wire, over the wire with asyncio, and in this process.
"""

import asyncio
import inspect
import itertools
import os
import random
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "matrixone")]

import strandline  # noqa: E402
from strandline import AsyncClient, Client, exceptions  # noqa: E402

PASSWORD = "tide-table-17"
START_SECONDS_MAX = 60
OWN_DATABASES = {"information_schema", "mo_catalog", "mysql", "performance_schema", "sys", "system", "system_metrics"}


# None of those that the system gives to clients: one could have it first.
PORTS = itertools.cycle(random.sample(range(10_000, 32_000), 22_000))


def free_port():
    """Returns a port that nobody listens on, and none twice, whether or not its server listens by now."""
    for port in itertools.islice(PORTS, 1000):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise AssertionError("there is no free port")


class Server:
    """A server in a process of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.params = ("127.0.0.1", self.port, "root", PASSWORD, None)
        self.log = folder / "server.log"
        self.start()

    def start(self):
        """Starts it, also again: with the same data, at the same address."""
        binary = Path(os.environ.get("STRANDLINE_BIN", ROOT / "target/debug/strandline"))
        assert binary.is_file(), f"no binary at {binary}: run `cargo build`, or set STRANDLINE_BIN"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [binary, "serve", "--data", self.folder / "data", "--listen", f"127.0.0.1:{self.port}", "--http", "off"],
                stdout=log, stderr=log, env=dict(os.environ, STRANDLINE_ROOT_PASSWORD=PASSWORD),
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                Client(*self.params).connect().close()
                return
            except exceptions.ConnectionError as error:
                assert self.process.poll() is None, f"the server ended:\n{self.log.read_text()}"
                assert time.monotonic() < deadline, f"no answer: {error}\n{self.log.read_text()}"
                time.sleep(0.02)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(timeout=60) == 0, self.log.read_text()


class Waiting:
    """An async client or manager whose calls are waited for: what is tested is the same for all three ways."""

    def __init__(self, inner, loop):
        self._inner, self._loop = inner, loop

    def __getattr__(self, name):
        found = getattr(self._inner, name)
        if not callable(found):
            return Waiting(found, self._loop) if hasattr(found, "_client") else found

        def call(*args, **kwargs):
            result = found(*args, **kwargs)
            if inspect.isawaitable(result):
                return self._loop.run_until_complete(result)
            return Waiting(result, self._loop)

        return call

    def __enter__(self):
        self._loop.run_until_complete(self._inner.__aenter__())
        return self

    def __exit__(self, *exception):
        return self._loop.run_until_complete(self._inner.__aexit__(*exception))


def clear(client):
    """Drops all databases, snapshots and policies."""
    for schedule in client.schedules.list():
        client.schedules.delete(schedule.name)
    for policy in client.pitr.list():
        client.pitr.delete(policy.name)
    for rules in client.retention.list():
        client.retention.delete(rules.database, level=rules.level)
    for snapshot in client.snapshots.list():
        client.snapshots.delete(snapshot.name, if_exists=True, cascade=True)
    for (name,) in client.execute("SHOW DATABASES").rows:
        if name.lower() not in OWN_DATABASES:
            quoted = name.replace("`", "``")
            client.execute(f"DROP DATABASE `{quoted}`")


def fill(client):
    """The databases that the guide speaks of."""
    for sql in [
        "CREATE DATABASE production_db",
        "USE production_db",
        "CREATE TABLE users (id INT PRIMARY KEY, username VARCHAR(40), email VARCHAR(60), created_at DATETIME)",
        "CREATE TABLE orders (id INT PRIMARY KEY, user_id INT, total DECIMAL(8,2))",
        "CREATE TABLE products (id INT PRIMARY KEY, name VARCHAR(40))",
        "INSERT INTO users VALUES (1, 'ada', 'ada@example.org', '2023-05-01'), (2, 'bob', 'bob@example.org', '2024-03-01')",
        "INSERT INTO orders VALUES (1, 1, 9.50), (2, 1, 20.00), (3, 2, 1.25)",
        "INSERT INTO products VALUES (1, 'rope'), (2, 'anchor')",
        "CREATE DATABASE analytics_db",
        "CREATE TABLE analytics_db.events (id INT PRIMARY KEY, what VARCHAR(20))",
        "INSERT INTO analytics_db.events VALUES (1, 'tide')",
    ]:
        client.execute(sql)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("embedded") / "store"


@pytest.fixture(params=["sync", "async", "embedded"])
def db(request):
    """A connected client over a store that holds what the guide speaks of, and nothing else."""
    if request.param == "async":
        loop = asyncio.new_event_loop()
        client = Waiting(AsyncClient(*request.getfixturevalue("server").params), loop)
    elif request.param == "sync":
        client = Client(*request.getfixturevalue("server").params)
    else:
        client = Client(path=request.getfixturevalue("folder"))
    with client:
        clear(client)
        fill(client)
        yield client
        clear(client)
    if request.param == "async":
        loop.close()


@pytest.fixture
def environment(server, monkeypatch):
    """The settings of the environment lead to the server, over the guide's databases."""
    host, port, user, password, _ = server.params
    for name, value in {"HOST": host, "PORT": port, "USER": user, "PASSWORD": password}.items():
        monkeypatch.setenv(f"STRANDLINE_{name}", str(value))
    for name in ("DATABASE", "CONFIG", "DATA"):
        monkeypatch.delenv(f"STRANDLINE_{name}", raising=False)
    with Client() as client:
        clear(client)
        fill(client)
        yield client
        clear(client)


def blocks(text, start):
    """Returns the code blocks of a text: those of Markdown after ```python, those of reStructuredText after a directive."""
    if start.startswith("```"):
        return re.findall(rf"^{start}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    found, lines, at = [], text.splitlines(), 0
    while at < len(lines):
        if lines[at].strip() == start:
            at += 1
            block = []
            while at < len(lines) and (not lines[at].strip() or lines[at].startswith("   ")):
                block.append(lines[at][3:])
                at += 1
            found.append("\n".join(block).strip("\n") + "\n")
        else:
            at += 1
    return found

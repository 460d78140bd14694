"""Servers for the client tests: Strandline's binary and a private MariaDB, each over a folder of its own."""

import itertools
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pymysql
import pytest

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "tide-table-17"
START_SECONDS_MAX = 60


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


def binary():
    path = Path(os.environ.get("STRANDLINE_BIN", ROOT / "target/debug/strandline"))
    assert path.is_file(), f"no binary at {path}: run `cargo build`, or set STRANDLINE_BIN"
    return path


def run(command, script, check):
    """Runs a program with `script` (text or bytes) as its input. A dump is bytes: BLOBs stand in it as they are."""
    script = script.encode() if isinstance(script, str) else script
    result = subprocess.run(command, input=script, capture_output=True, timeout=600)
    result.raw = result.stdout
    result.stdout = result.stdout.decode(errors="replace")
    result.stderr = result.stderr.decode(errors="replace")
    if check:
        assert result.returncode == 0, result.stderr
    return result


class Strandline:
    """A server over the store `data`. It can be stopped, killed and started again."""

    def __init__(self, data, arguments=(), environment=None):
        self.data = Path(data)
        self.log = self.data.with_suffix(".log")
        self.arguments = list(arguments)
        self.environment = environment or {}
        self.process = None
        self.start()

    def start(self):
        self.port = free_port()
        command = [
            binary(), "serve", "--local-infile", "--data", self.data,
            "--listen", f"127.0.0.1:{self.port}", "--http", f"127.0.0.1:{free_port()}", *self.arguments,
        ]
        environment = dict(os.environ, STRANDLINE_ROOT_PASSWORD=PASSWORD) | self.environment
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                self.connect().close()
                return
            except pymysql.err.OperationalError as error:
                assert self.process.poll() is None, f"the server ended:\n{self.log.read_text()}"
                assert time.monotonic() < deadline, f"no answer: {error}\n{self.log.read_text()}"
                time.sleep(0.05)

    def connect(self, **options):
        settings = dict(host="127.0.0.1", port=self.port, user="root", password=PASSWORD, autocommit=True)
        return pymysql.connect(**(settings | options))

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def client(self, *arguments, script=None, check=True):
        """Runs Debian's client and returns what it prints."""
        command = ["mysql", "--no-defaults", "-h127.0.0.1", f"-P{self.port}", "-uroot", f"-p{PASSWORD}", *arguments]
        return run(command, script, check)


class MariaDB:
    """A private MariaDB that only its socket reaches."""

    def __init__(self, folder):
        self.data = Path(folder)
        self.socket = self.data / "m.sock"
        user = ["--user=root"] if os.geteuid() == 0 else []
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db",
             f"--datadir={self.data}", *user],
            check=True, capture_output=True,
        )
        server = shutil.which("mariadbd") or "/usr/sbin/mariadbd"
        self.process = subprocess.Popen(
            [server, "--no-defaults", *user, f"--datadir={self.data}", f"--socket={self.socket}",
             "--skip-networking", "--skip-log-bin", "--character-set-server=utf8mb4"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECONDS_MAX
        while self.run("mysql", "-e", "SELECT 1", check=False).returncode != 0:
            assert self.process.poll() is None and time.monotonic() < deadline, "MariaDB does not answer"
            time.sleep(0.05)

    def run(self, program, *arguments, script=None, check=True):
        command = [program, "--no-defaults", f"--socket={self.socket}", "-uroot", "--default-character-set=utf8mb4"]
        return run(command + list(arguments), script, check)

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=60)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One server for all tests that leave it running."""
    server = Strandline(tmp_path_factory.mktemp("store") / "data")
    yield server
    assert server.stop() == 0, server.log.read_text()


@pytest.fixture
def own_server(tmp_path):
    """A server of the test's own, to stop and kill."""
    server = Strandline(tmp_path / "data")
    yield server
    if server.process.poll() is None:
        server.kill()


@pytest.fixture
def database(server, request):
    """An empty database with the test's name."""
    name = re.sub(r"\W", "_", request.node.name)[:60].lower()
    with server.connect() as conn, conn.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")
        cursor.execute(f"CREATE DATABASE {name}")
    return name


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory):
    server = MariaDB(tmp_path_factory.mktemp("maria"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shop_dump(mariadb):
    """What mysqldump makes of the shop database."""
    mariadb.run("mysql", "-e", "CREATE DATABASE shop CHARACTER SET utf8mb4")
    mariadb.run("mysql", "shop", script=(ROOT / "tests/data/shop.sql").read_bytes())
    return mariadb.run("mysqldump", "--databases", "shop").raw


@pytest.fixture(scope="session")
def flights(tmp_path_factory):
    """The folder with the flights tables as CSV files."""
    if folder := os.environ.get("STRANDLINE_FLIGHTS"):
        return Path(folder)
    import flights

    folder = tmp_path_factory.mktemp("flights")
    flights.write(folder)
    return folder

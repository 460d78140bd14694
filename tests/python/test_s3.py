"""A store whose files lie in storage that speaks S3: a server of moto's."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import boto3
import pytest

from conftest import PASSWORD, Strandline, binary, free_port
from test_store import rows

SECRET = "canary-of-the-secret-key"
URL = "s3://strandline-test/shop/live"


class Moto:
    def __init__(self, **environment):
        self.port = free_port()
        program = Path(sys.executable).parent / "moto_server"
        command = [program, "-H", "127.0.0.1", "-p", str(self.port)]
        self.log = tempfile.NamedTemporaryFile()
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self.log,
                                        env=dict(os.environ) | environment)
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.endpoint, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": SECRET,
        }
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                break
            except OSError:
                assert self.process.poll() is None and time.monotonic() < deadline, "moto does not start"
                time.sleep(0.05)
        self.client = boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1",
                                   aws_access_key_id="test", aws_secret_access_key="test")
        self.client.create_bucket(Bucket="strandline-test")

    def empty(self):
        urllib.request.urlopen(f"{self.endpoint}/moto-api/reset", data=b"").close()
        self.client.create_bucket(Bucket="strandline-test")

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=60)

    def requests(self):
        """How many requests were answered so far."""
        return Path(self.log.name).read_text().count(" HTTP/1.1")

    def objects(self):
        """The names of all objects, with their digests."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket="strandline-test")
        return {item["Key"]: item["ETag"] for page in pages for item in page.get("Contents", [])}


@pytest.fixture(scope="module")
def moto_server():
    server = Moto()
    yield server
    server.stop()


@pytest.fixture
def moto(moto_server):
    """A server that holds nothing but an empty bucket."""
    moto_server.empty()
    return moto_server


@pytest.fixture
def strict_moto():
    """Looks at keys once the bucket is made, and knows none."""
    server = Moto(INITIAL_NO_AUTH_ACTION_COUNT="1")
    yield server
    server.stop()


@pytest.fixture
def s3_server(tmp_path, moto):
    server = Strandline(tmp_path / "data", ["--objects", URL], moto.environment)
    yield server
    if server.process.poll() is None:
        server.kill()


def strandline(server, moto, *verb):
    command = [binary(), *verb, "--data", server.data]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=dict(os.environ) | moto.environment)


def count(server, sql="SELECT COUNT(*), SUM(v) FROM d.t"):
    return rows(server, sql)[0]


def test_the_first_hour(s3_server, moto):
    server = s3_server
    rows(server, "CREATE DATABASE d")
    rows(server, "CREATE TABLE d.t (id INT PRIMARY KEY, v INT)")
    values = ",".join(f"({n},{n * 7})" for n in range(5000))
    rows(server, f"INSERT INTO d.t VALUES {values}")
    rows(server, "OPTIMIZE TABLE d.t")
    written = moto.objects()
    assert any(name.startswith("shop/live/parts/") for name in written), written
    assert not (server.data / "parts").exists()
    before = count(server)

    # None of these writes an object.
    rows(server, "CREATE SNAPSHOT s FOR DATABASE d")
    rows(server, "CREATE DATABASE e CLONE d")
    rows(server, "DROP TABLE d.t")
    rows(server, "RESTORE DATABASE d FROM SNAPSHOT s")
    assert moto.objects() == written
    assert count(server) == before == count(server, "SELECT COUNT(*), SUM(v) FROM e.t")

    rows(server, "UPDATE d.t SET v = 0 WHERE id < 100")
    rows(server, "OPTIMIZE TABLE d.t")
    changed = count(server)
    assert {name: tag for name, tag in moto.objects().items() if name in written} == written, "nothing is overwritten"
    rows(server, "COLLECT GARBAGE")
    server.kill()
    # It remembers where its files are.
    server.arguments = []
    server.start()
    assert count(server) == changed
    assert count(server, "SELECT COUNT(*), SUM(v) FROM d.t {SNAPSHOT = 's'}") == before
    assert server.stop() == 0
    report = strandline(server, moto, "check", "--deep")
    assert report.returncode == 0 and "All is well." in report.stdout, report.stdout + report.stderr
    server.start()
    assert count(server) == changed
    assert server.stop() == 0
    for path in [server.log, *server.data.rglob("*")]:
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path


def test_what_it_costs(s3_server, moto):
    server = s3_server

    def asks(at_most, work, *arguments):
        before = moto.requests()
        result = work(*arguments)
        asked = moto.requests() - before
        assert asked <= at_most, f"{arguments}: {asked} requests"
        return result

    # The server's own first reading is over: the next is tomorrow.
    deadline = time.monotonic() + 60
    while rows(server, "SELECT LAST_ENDED FROM information_schema.STRANDLINE_HEALTH") in ((), ((None,),)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    rows(server, "CREATE DATABASE d")
    rows(server, "CREATE TABLE d.t (id INT PRIMARY KEY, v INT, name VARCHAR(40))")
    values = ",".join(f"({n},{n * 7919 % 20_011},'{n * 7919 % 20_011:032x}')" for n in range(20_000))
    asks(0, rows, server, f"INSERT INTO d.t VALUES {values}")
    asks(2, rows, server, "OPTIMIZE TABLE d.t")
    asks(0, server.stop)
    asks(3, server.start)
    point, scan = "SELECT v FROM d.t WHERE id = 777", "SELECT SUM(v), MAX(name) FROM d.t"
    # The manifest, the footer, the keys, the row.
    asks(5, rows, server, point)
    asks(0, rows, server, point)
    asks(3, rows, server, scan)
    asks(1, rows, server, scan)
    keys = ",".join(map(str, range(1000, 20_000, 2500)))
    rows(server, f"UPDATE d.t SET v = 0 WHERE id IN ({keys})")
    # Eight blocks are in memory, and those of the new part come there together.
    asks(12, rows, server, "OPTIMIZE TABLE d.t")
    asks(0, rows, server, "SELECT v FROM d.t WHERE id = 11000")


def test_storage_that_does_not_answer_stops_only_who_needs_it(s3_server, moto):
    server = s3_server
    rows(server, "CREATE DATABASE d")
    rows(server, "CREATE TABLE d.t (id INT PRIMARY KEY, v INT)")
    rows(server, "CREATE TABLE d.w (id INT PRIMARY KEY, v INT)")
    rows(server, "INSERT INTO d.t VALUES (1, 1), (2, 2)")
    rows(server, "OPTIMIZE TABLE d.t")
    moto.process.send_signal(signal.SIGSTOP)
    answers = []
    reader = threading.Thread(target=lambda: answers.append(count(server)))
    reader.start()
    rows(server, "INSERT INTO d.w VALUES (1, 1)")
    rows(server, "CREATE SNAPSHOT s FOR DATABASE d")
    rows(server, "CREATE DATABASE e CLONE d")
    assert count(server, "SELECT COUNT(*), SUM(v) FROM e.w") == (1, 1)
    assert answers == []
    moto.process.send_signal(signal.SIGCONT)
    reader.join()
    assert answers == [(2, 3)]


def refused(data, moto, url, **environment):
    command = [binary(), "serve", "--data", data, "--objects", url, "--listen", f"127.0.0.1:{free_port()}", "--http", "off"]
    environment = dict(os.environ, STRANDLINE_ROOT_PASSWORD=PASSWORD) | moto.environment | environment
    result = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment)
    assert result.returncode != 0 and SECRET not in result.stderr + result.stdout, result.stderr
    return result.stderr


def test_a_wrong_place_is_refused_and_nothing_is_made(tmp_path, moto):
    data = tmp_path / "data"
    assert "no bucket" in refused(data, moto, "s3://another-bucket/x")
    assert "s3://bucket/prefix" in refused(data, moto, "file:///tmp/x")
    assert "s3://bucket/prefix" in refused(data, moto, f"s3://key:{SECRET}@bucket/x")
    assert "cannot be reached" in refused(data, moto, URL, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert not data.exists()


def test_wrong_keys_are_refused(tmp_path, strict_moto):
    said = refused(tmp_path / "data", strict_moto, URL)
    assert "may not be used with these keys" in said and "AWS_SECRET_ACCESS_KEY" in said, said
    assert not (tmp_path / "data").exists()


def test_another_place_than_its_own_is_refused(s3_server, moto, tmp_path):
    assert s3_server.stop() == 0
    assert URL in refused(s3_server.data, moto, "s3://strandline-test/other")
    assert "is not empty" in refused(tmp_path / "second", moto, URL)

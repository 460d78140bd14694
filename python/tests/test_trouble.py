"""What goes wrong: input that makes no sense, many at once, a server that goes away, a fork."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from conftest import HERE, Server, clear, fill
from strandline import AsyncClient, Client
from strandline.exceptions import ConnectionError, QueryError, RestoreError, SnapshotError

#: Names that would end a quote, a statement or a path if they could.
NAMES = ["it's", "a b  c", "größe 日本 🐚", "x`; DROP DATABASE production_db; -- x", "'); DELETE FROM users; -- x", "50%_of\\it", "../../etc"]


def one_step(error):
    """Whether an error is one sentence about what is wrong, and one about what to do."""
    return bool(error.hint) and error.hint.endswith((".", "?")) and "BUG" not in str(error)


def rows(client, table):
    return client.execute(f"SELECT COUNT(*) FROM {table}").scalar()


def newest(client):
    return client.execute("SHOW COMMITS LIMIT 1").rows[0][0]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_name_and_nothing_else(db, name):
    made = db.snapshots.create(name, database="production_db", description=name)
    assert made.name == made.description == name and db.snapshots.get(name) == made
    assert db.query_snapshot(name, "SELECT COUNT(*) FROM users").scalar() == 2
    assert db.snapshots.restore(name, name).success
    quoted = name.replace("`", "``")
    assert rows(db, f"`{quoted}`.users") == 2
    assert db.snapshots.delete(name)
    assert rows(db, "production_db.users") == 2


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", " s "])
def test_a_name_that_cannot_be(db, name):
    with pytest.raises(SnapshotError) as raised:
        db.snapshots.create(name, database="production_db")
    assert raised.value.code in (1105, 1064), raised.value
    assert raised.value.code == 1064 or one_step(raised.value), raised.value
    assert db.snapshots.list() == []
    db.snapshots.create("ä" * 64, database="production_db")


def test_a_base_that_is_missing_dropped_or_of_another_scope(db):
    db.snapshots.create("whole", database="production_db")
    for base, said in [("nope", "No snapshot 'nope'"), ("whole", "needs a base of the same scope")]:
        with pytest.raises(SnapshotError, match=said) as raised:
            db.snapshots.create("i", database="production_db", table="users", base_snapshot=base)
        assert one_step(raised.value), raised.value
    db.snapshots.delete("whole")
    with pytest.raises(SnapshotError, match="No snapshot 'whole'") as raised:
        db.snapshots.create("i", database="production_db", base_snapshot="whole")
    assert one_step(raised.value), raised.value
    with pytest.raises(SnapshotError, match="no snapshot of DATABASE") as raised:
        db.snapshots.create("i", database="production_db", incremental=True)
    assert one_step(raised.value), raised.value
    assert db.snapshots.list() == []


def test_what_is_not_in_the_snapshot(db):
    db.snapshots.create("s", database="production_db", table="users", columns=["id"])
    before = newest(db)
    with pytest.raises(QueryError, match="'production_db.orders' is not part of it") as raised:
        db.query_snapshot("s", "SELECT * FROM orders")
    assert one_step(raised.value), raised.value
    with pytest.raises(QueryError, match="which has the columns id"):
        db.query_snapshot("s", "SELECT username FROM users")
    with pytest.raises(RestoreError) as raised:
        db.snapshots.restore_tables("s", "there", tables=["orders"])
    assert one_step(raised.value), raised.value
    with pytest.raises(RestoreError, match="column"):
        db.snapshots.restore("s", overwrite=True)
    assert newest(db) == before and db.execute("SHOW DATABASES LIKE 'there'").rows == []


def test_foreign_keys_from_outside_are_named(db):
    db.snapshots.create("s", database="production_db")
    db.execute("INSERT INTO users VALUES (3, 'cy', NULL, NULL)")
    db.execute(
        "CREATE TABLE analytics_db.visits (id INT PRIMARY KEY, user_id INT,"
        " CONSTRAINT visitor FOREIGN KEY (user_id) REFERENCES production_db.users (id))"
    )
    db.execute("INSERT INTO analytics_db.visits VALUES (1, 3)")
    before = newest(db)
    with pytest.raises(RestoreError, match="visits") as raised:
        db.snapshots.restore("s", overwrite=True)
    assert "users" in str(raised.value)
    assert newest(db) == before and rows(db, "users") == 3
    db.execute("DROP TABLE analytics_db.visits")


def test_a_taken_target_stays_as_it_is(db):
    db.snapshots.create("s", database="production_db")
    before = newest(db)
    for restore in (
        lambda: db.snapshots.restore("s"),
        lambda: db.snapshots.restore("s", "analytics_db", overwrite=False),
        lambda: db.snapshots.restore_table("s", target_table="users"),
    ):
        with pytest.raises(RestoreError) as raised:
            restore()
        assert raised.value.kind == "already_exists", raised.value
    assert newest(db) == before


def test_warnings_are_told(db):
    assert db.execute("SELECT '5a' + 1").warnings == 1
    assert db.execute("SELECT 1").warnings == 0
    db.schedules.create("s", every="6 hours", database="analytics_db")
    assert db.execute("DROP DATABASE analytics_db").warnings == 1


# Many at once


@pytest.fixture(params=["remote", "embedded"])
def place(request):
    """The arguments of a client, over the wire or in this process, of a store with the guide's databases."""
    if request.param == "remote":
        arguments = dict(zip(("host", "port", "user", "password"), request.getfixturevalue("server").params))
    else:
        arguments = {"path": request.getfixturevalue("folder")}
    with Client(**arguments) as client:
        clear(client)
        fill(client)
        client.execute("CREATE TABLE production_db.pairs (id INT PRIMARY KEY)")
        yield arguments
        clear(client)


def pairs(at):
    return f"INSERT INTO production_db.pairs VALUES ({2 * at}), ({2 * at + 1})"


def check(place, names):
    """Each snapshot is whole, its restore is what it was, and the clone after it holds no less."""
    with Client(**place) as client:
        for name in names:
            then = client.query_snapshot(name, "SELECT COUNT(*) FROM pairs").scalar()
            restored, cloned = rows(client, f"r_{name}.pairs"), rows(client, f"c_{name}.pairs")
            assert then % 2 == 0 and cloned % 2 == 0 and restored == then <= cloned, (name, then, restored, cloned)


def test_threads_take_restore_and_clone_during_writes(place):
    stop, failures, written = threading.Event(), [], [0]

    def guarded(work):
        def run():
            try:
                with Client(**place) as client:
                    work(client)
            except Exception as error:
                failures.append(error)

        return threading.Thread(target=run)

    def write(client):
        while not stop.is_set():
            client.execute(pairs(written[0]))
            written[0] += 1

    def take(worker):
        def work(client):
            for turn in range(3):
                name = f"w{worker}_{turn}"
                client.snapshots.create(name, database="production_db")
                client.snapshots.restore(name, f"r_{name}")
                client.clone.clone_database(f"c_{name}", "production_db")

        return work

    writer = guarded(write)
    takers = [guarded(take(worker)) for worker in range(4)]
    for thread in [writer, *takers]:
        thread.start()
    for thread in takers:
        thread.join()
    stop.set()
    writer.join()
    assert failures == [] and written[0] > 0
    check(place, [f"w{worker}_{turn}" for worker in range(4) for turn in range(3)])


def test_tasks_take_restore_and_clone_during_writes(place):
    async def work():
        stop, written = asyncio.Event(), 0

        async def write():
            nonlocal written
            async with AsyncClient(**place) as client:
                while not stop.is_set():
                    await client.execute(pairs(written))
                    written += 1

        async def take(worker):
            async with AsyncClient(**place) as client:
                for turn in range(3):
                    name = f"t{worker}_{turn}"
                    await client.snapshots.create(name, database="production_db")
                    await client.snapshots.restore(name, f"r_{name}")
                    await client.clone.clone_database(f"c_{name}", "production_db")

        writing = asyncio.ensure_future(write())
        await asyncio.gather(*(take(worker) for worker in range(4)))
        stop.set()
        await writing
        return written

    assert asyncio.run(work()) > 0
    check(place, [f"t{worker}_{turn}" for worker in range(4) for turn in range(3)])


# A server that goes away


@pytest.fixture
def own_server(tmp_path):
    """A server that a test may stop, kill and start again."""
    server = Server(tmp_path)
    with Client(*server.params) as client:
        fill(client)
    yield server
    server.stop()


def test_a_client_survives_a_restart_of_the_server(own_server):
    with Client(*own_server.params) as client:
        client.snapshots.create("s", database="production_db")
        own_server.stop()
        with pytest.raises(ConnectionError) as raised:
            client.execute("SELECT 1")
        assert raised.value.kind == "connection" and not client.connected
        with pytest.raises(ConnectionError, match="Is the server running"):
            client.execute("SELECT 1")
        own_server.start()
        assert client.snapshots.get("s").name == "s", "it connects again by itself"
        assert client.connected


def test_an_async_client_survives_a_restart_of_the_server(own_server):
    async def work():
        async with AsyncClient(*own_server.params) as client:
            await client.snapshots.create("s", database="production_db")
            own_server.stop()
            with pytest.raises(ConnectionError):
                await client.execute("SELECT 1")
            own_server.start()
            assert (await client.snapshots.get("s")).name == "s"

    asyncio.run(work())


def test_a_transaction_does_not_go_on_elsewhere(own_server):
    with Client(*own_server.params) as client:
        with pytest.raises(ConnectionError, match="the transaction with it"):
            with client.transaction() as tx:
                tx.execute("DELETE FROM production_db.users")
                own_server.stop()
                own_server.start()
                with pytest.raises(ConnectionError):
                    tx.execute("DELETE FROM production_db.orders")
                for again in (tx, client):
                    with pytest.raises(ConnectionError, match="the transaction with it"):
                        again.execute("DELETE FROM production_db.products")
                # At its end it is not committed, and says so.
        assert [rows(client, f"production_db.{table}") for table in ("users", "orders", "products")] == [2, 3, 2]
        with client.transaction() as tx:
            tx.execute("DELETE FROM production_db.users WHERE id = 1")
        assert rows(client, "production_db.users") == 1


def test_a_connection_that_is_lost_in_the_middle_of_a_restore(own_server):
    """Each restore was done or was not, and one look tells."""
    ended = []
    with Client(*own_server.params) as client:
        client.snapshots.create("s", database="production_db")

        def restore():
            try:
                while True:
                    client.snapshots.restore("s", f"r{len(ended)}")
                    ended.append(True)
            except ConnectionError as error:
                ended.append(error)

        thread = threading.Thread(target=restore)
        thread.start()
        while len(ended) < 3:
            time.sleep(0.01)
        own_server.process.send_signal(signal.SIGKILL)
        own_server.process.wait()
        thread.join()
        *done, error = ended
        assert error.kind == "connection"
        own_server.start()
        tables = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = ?"
        assert [client.execute(tables, [f"r{at}"]).scalar() for at in range(len(done))] == [3] * len(done)
        assert client.execute(tables, [f"r{len(done)}"]).scalar() in (0, 3), "all of it or nothing"
        client.snapshots.restore("s", f"r{len(done)}", overwrite=True)


# A fork


FORKED = """
import gc, os, sys
from strandline import Client
from strandline.exceptions import ConnectionError

place, path = {place!r}, {path!r}
remote, local = Client(*place).connect(), Client(path=path).connect()
local.execute("CREATE DATABASE IF NOT EXISTS forked")
local.execute("CREATE TABLE forked.t (id INT PRIMARY KEY)")
local.execute("INSERT INTO forked.t VALUES (1)")
child = os.fork()
if child == 0:
    status = 1
    try:
        for old in (remote, local):
            try:
                old.execute("SELECT 1")
                raise AssertionError("a client of the parent was used")
            except RuntimeError as error:
                assert "before a fork" in str(error), error
        with Client(*place) as own:
            assert own.execute("SELECT 1").scalar() == 1
        try:
            Client(path=path).connect()
            raise AssertionError("the parent's store was opened")
        except ConnectionError as error:
            assert "in use" in str(error), error
        with Client(path=path + "-of-child") as own:
            assert own.execute("SELECT 1").scalar() == 1
        # What was the parent's is let go, and not ended.
        del remote, local, old
        gc.collect()
        status = 0
    except BaseException as error:
        print("child:", repr(error), file=sys.stderr)
    os._exit(status)
assert os.waitpid(child, 0)[1] == 0
assert remote.execute("SELECT 1").scalar() == 1
local.execute("INSERT INTO forked.t VALUES (2)")
assert local.execute("SELECT COUNT(*) FROM forked.t").scalar() == 2
local.close()
with Client(path=path) as again:
    assert again.execute("SELECT COUNT(*) FROM forked.t").scalar() == 2
    assert again.execute("CHECK TABLE forked.t").rows[-1][-1] == "OK"
remote.close()
print("well")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_makes_its_own_clients(server, tmp_path):
    code = FORKED.format(place=server.params, path=str(tmp_path / "store"))
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=HERE.parent, capture_output=True, text=True, timeout=120)
    assert done.stdout == "well\n", done.stderr


# A small disk


@pytest.fixture
def small_disk(tmp_path):
    """A folder that is a disk of 48 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no small disk to try it on: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def refused_without_room(client, folder):
    fill(client)
    client.snapshots.create("plain", database="production_db")
    parts = sorted(folder.glob("**/parts/*"))
    with pytest.raises(SnapshotError, match="must stay free") as raised:
        client.snapshots.create("packed", database="production_db", compression=True)
    assert raised.value.kind == "unavailable" and "Make room" in raised.value.hint
    assert [snapshot.name for snapshot in client.snapshots.list()] == ["plain"], "the name is free"
    assert sorted(folder.glob("**/parts/*")) == parts, "no file is left behind"


def test_a_disk_too_small_for_a_compressed_copy(small_disk):
    with Client(path=small_disk / "store") as client:
        refused_without_room(client, small_disk)


def test_a_server_whose_disk_is_too_small_for_a_compressed_copy(small_disk):
    server = Server(small_disk)
    try:
        with Client(*server.params) as client:
            refused_without_room(client, small_disk)
    finally:
        server.stop()

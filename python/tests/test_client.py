"""The clients themselves: settings, values, results, threads, Ctrl-C, cancelling."""

import asyncio
import datetime as dt
import decimal
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import pytest

import strandline
from conftest import HERE, PASSWORD
from strandline import AsyncClient, Client, exceptions
from strandline.config import get_connection_params

SLOW = "SELECT SLEEP(60) FROM production_db.users WHERE id > 0"


def test_settings_come_from_the_first_place_that_has_them(tmp_path, monkeypatch):
    for name in ("HOST", "PORT", "USER", "PASSWORD", "DATABASE", "DATA", "CONFIG"):
        monkeypatch.delenv(f"STRANDLINE_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert get_connection_params() == ("127.0.0.1", 6001, "root", None, None)
    (tmp_path / "strandline-data").mkdir()
    (tmp_path / "strandline-data/root-password").write_text("of the store\n")
    assert get_connection_params().password == "of the store"
    (tmp_path / "strandline").mkdir()
    (tmp_path / "strandline/config.toml").write_text("user = 'file'\nport = 1\npassword = 'of the file'\n")
    assert get_connection_params() == ("127.0.0.1", 1, "file", "of the file", None)
    other = tmp_path / "other.toml"
    other.write_text("host = 'other'\n")
    assert get_connection_params(config_file=other).host == "other"
    monkeypatch.setenv("STRANDLINE_PORT", "2")
    assert get_connection_params()[1:3] == (2, "file")
    assert get_connection_params(port=3, database="d")[1:] == (3, "file", "of the file", "d")
    other.write_text("hots = 'other'\n")
    with pytest.raises(exceptions.ConfigError, match="hots"):
        get_connection_params(config_file=other)


def test_settings_of_the_constructor_and_of_connect(server):
    client = Client("127.0.0.1", 1, "nobody")
    assert "nobody@127.0.0.1:1" in repr(client) and "not connected" in repr(client)
    client.connect(*server.params)
    assert PASSWORD not in repr(client)
    assert client.execute("SELECT CURRENT_USER()").scalar().startswith("root@")
    client.connect()
    assert client.connected
    client.close()
    with pytest.raises(exceptions.ConnectionError) as raised:
        client.connect("127.0.0.1", server.port, "root", "wrong")
    assert raised.value.code == 1045


def test_values_and_parameters(db):
    db.execute(
        "CREATE TABLE production_db.v (i BIGINT PRIMARY KEY, u BIGINT UNSIGNED, d DECIMAL(6,2), f DOUBLE, s VARCHAR(20),"
        " b VARBINARY(9), da DATE, dt DATETIME(6), ti TIME(3), n INT)"
    )
    row = (
        -(2**63), 2**64 - 1, decimal.Decimal("-12.50"), 0.1, "grün ?'\\", b"\x00\xff", dt.date(2026, 1, 31),
        dt.datetime(2026, 1, 31, 23, 59, 59, 123456), dt.timedelta(hours=-30, milliseconds=500), None,
    )
    result = db.execute("INSERT INTO production_db.v VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    assert (result.affected_rows, result.rows, result.columns) == (1, [], [])
    assert db.execute("SELECT * FROM production_db.v").rows == [row]
    assert db.execute("SELECT * FROM production_db.v WHERE s = ? AND dt = ?", [row[4], row[7]]).rows == [row]
    with pytest.raises(TypeError, match="object"):
        db.execute("SELECT ?", [object()])
    with pytest.raises(exceptions.QueryError) as raised:
        db.execute("SELECT ?", [])
    assert raised.value.code == 1210


def test_results(db):
    result = db.execute("SELECT id, total FROM orders ORDER BY id")
    assert result.columns == ["id", "total"] and len(result) == 3
    assert [row[0] for row in result] == [1, 2, 3]
    assert result.to_dicts()[0] == {"id": 1, "total": decimal.Decimal("9.50")}
    assert result.scalar() == 1 and db.execute("SELECT 1 FROM orders WHERE id = 9").scalar() is None
    assert repr(result) == "<ResultSet: 3 rows of id, total>"
    db.execute("CREATE TABLE auto (id INT PRIMARY KEY AUTO_INCREMENT, v INT)")
    assert db.execute("INSERT INTO auto (v) VALUES (1)").last_insert_id == 1


def test_results_in_other_libraries(db):
    result = db.execute(
        "SELECT id, username, created_at, CAST(id AS DECIMAL(5,1)) AS d, TIME('01:00:00') AS t FROM users ORDER BY id"
    )
    arrow, pandas, polars = result.to_arrow(), result.to_pandas(), result.to_polars()
    assert arrow.column_names == list(pandas.columns) == polars.columns == result.columns
    assert [tuple(row.values()) for row in arrow.to_pylist()] == result.rows
    assert pandas["username"].tolist() == polars["username"].to_list() == ["ada", "bob"]
    assert polars.rows() == result.rows
    empty = db.execute("SELECT id, total FROM orders WHERE id > 9")
    assert empty.to_arrow().num_rows == len(empty.to_pandas()) == len(empty.to_polars()) == 0


def test_the_libraries_are_imported_only_when_called():
    code = "import sys, strandline; print(sorted({'pyarrow', 'pandas', 'polars', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=HERE.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_errors_travel_between_processes():
    error = exceptions.SnapshotError("No.", code=1, sqlstate="HY000", hint="Do this.", kind="not_found")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (exceptions.SnapshotError, "No. Do this.", vars(error))


def test_a_closed_client_connects_again_and_transactions_do_not_nest(db):
    with db.transaction():
        with pytest.raises(exceptions.Error, match="open transaction"):
            with db.transaction():
                pass
    with db.transaction() as tx:
        tx.execute("DELETE FROM users")
        tx.rollback()
    assert db.execute("SELECT COUNT(*) FROM users").scalar() == 2


def test_a_lost_commit_says_that_it_may_be_run_again(server, environment):
    with Client(*server.params) as other, pytest.raises(exceptions.QueryError) as raised:
        with environment.transaction() as tx:
            tx.execute("UPDATE production_db.users SET username = 'x' WHERE id = 1")
            other.execute("UPDATE production_db.users SET username = 'y' WHERE id = 1")
    assert (raised.value.kind, raised.value.code) == ("conflict", 1213)
    assert environment.execute("SELECT username FROM production_db.users WHERE id = 1").scalar() == "y"


@pytest.fixture(params=["remote", "embedded"])
def place(request):
    """The arguments of a client, over the wire or in this process, of a store with the guide's databases."""
    from conftest import clear, fill

    if request.param == "remote":
        arguments = dict(zip(("host", "port", "user", "password"), request.getfixturevalue("server").params))
    else:
        arguments = {"path": request.getfixturevalue("folder")}
    with Client(**arguments) as client:
        clear(client)
        fill(client)
        yield arguments
        clear(client)


def ended(run):
    """Whether a slow statement was ended: by an error, or as MySQL's SLEEP says it."""
    start = time.monotonic()
    run()
    return time.monotonic() - start < 30


def test_other_threads_run_while_a_statement_runs(place):
    with Client(**place) as client:
        thread = threading.Thread(target=client.execute, args=("SELECT SLEEP(0.5)",))
        thread.start()
        turns = 0
        while thread.is_alive():
            turns += 1
            time.sleep(0.001)
        thread.join()
        assert turns > 20


def test_ctrl_c_ends_a_statement(place):
    with Client(**place) as client:
        def interrupted():
            timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                client.execute(SLOW)
            timer.join()

        assert ended(interrupted)
        assert client.execute("SELECT 1").scalar() == 1, "the client can be used on"


def test_a_cancelled_task_ends_its_statement(place):
    async def work():
        async with AsyncClient(**place) as client:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.execute(SLOW), 0.5)
            assert (await client.execute("SELECT 1")).scalar() == 1

    assert ended(lambda: asyncio.run(work()))


def test_the_event_loop_goes_on(place):
    async def work():
        async with AsyncClient(**place) as one, AsyncClient(**place) as other:
            turns = 0

            async def count():
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0.001)

            counting = asyncio.ensure_future(count())
            start = time.monotonic()
            await asyncio.gather(one.execute("SELECT SLEEP(0.5)"), other.execute("SELECT SLEEP(0.5)"))
            took = time.monotonic() - start
            counting.cancel()
            # Two statements of one client wait for each other, and both are answered.
            both = await asyncio.gather(one.execute("SELECT 1"), one.execute("SELECT 2"))
            return turns, took, [result.scalar() for result in both]

    turns, took, both = asyncio.run(work())
    assert turns > 20 and took < 0.95 and both == [1, 2]


def test_clients_of_one_process_share_a_store(folder):
    with Client(path=folder) as one, Client(path=str(folder)) as other:
        one.execute("CREATE DATABASE shared")
        assert other.execute("SHOW DATABASES LIKE 'shared'").rows == [("shared",)]
        code = f"from strandline import Client; Client(path={str(folder)!r}).connect()"
        refused = subprocess.run([sys.executable, "-c", code], cwd=HERE.parent, capture_output=True, text=True)
        assert "ConnectionError" in refused.stderr and "in use" in refused.stderr, refused.stderr
        one.execute("DROP DATABASE shared")


def test_arguments_that_make_no_sense(db):
    for wrong in (
        lambda: db.snapshots.create("s"),
        lambda: db.snapshots.create("s", "galaxy"),
        lambda: db.snapshots.create("s", "table", "production_db", table="a", tables=["b"]),
        lambda: db.snapshots.create("s", "cluster", "production_db"),
        lambda: db.snapshots.create("s", database="production_db", retain="soon"),
        lambda: db.clone.clone_database("a", "b", snapshot_name="s", at="-1 hour"),
    ):
        with pytest.raises(exceptions.ConfigError):
            wrong()
    assert db.snapshots.list() == []


def test_matrixone_is_the_same_package():
    import matrixone
    from matrixone.config import get_connection_params as params
    from matrixone.exceptions import SnapshotError

    assert (matrixone.Client, matrixone.AsyncClient, matrixone.SnapshotLevel) == (
        strandline.Client, strandline.AsyncClient, strandline.SnapshotLevel
    )
    assert params is get_connection_params and SnapshotError is exceptions.SnapshotError


def test_the_stubs_are_up_to_date():
    import stubs

    for name, text in stubs.all_stubs().items():
        compile(text, name, "exec")
        written = (HERE.parent / "strandline" / name).read_text()
        assert written == text, f"{name} is behind: run `python python/stubs.py`"

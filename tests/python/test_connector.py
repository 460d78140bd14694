"""mysql-connector-python: prepared statements, types, TLS, sessions."""

import datetime

import mysql.connector
import pytest

import values
from conftest import PASSWORD


@pytest.fixture(params=["plain", "tls"])
def conn(server, database, request):
    conn = mysql.connector.connect(
        host="127.0.0.1", port=server.port, user="root", password=PASSWORD, database=database,
        ssl_disabled=request.param == "plain", autocommit=True, use_pure=True,
    )
    yield conn
    conn.close()


def rows(conn, sql, args=(), prepared=False):
    cursor = conn.cursor(prepared=prepared)
    try:
        cursor.execute(sql, args)
        return cursor.fetchall() if cursor.with_rows else []
    finally:
        cursor.close()


def test_prepared_every_type_there_and_back(conn):
    rows(conn, values.TABLE)
    cursor = conn.cursor(prepared=True)
    marks = ", ".join(["?"] * len(values.COLUMNS))
    for row in values.ROWS:
        cursor.execute(f"INSERT INTO every VALUES ({marks})", row)
    cursor.close()
    got = rows(conn, "SELECT * FROM every WHERE id > ? ORDER BY id", (0,), prepared=True)
    for have, sent in zip(got, values.ROWS, strict=True):
        have = [bytes(value) if isinstance(value, bytearray) else value for value in have]
        sent = [as_read_in_binary(value) for value in sent]
        assert dict(zip(values.COLUMNS, have)) == dict(zip(values.COLUMNS, sent))
    durations = [row[values.COLUMNS.index("tm")] for row in values.ROWS]
    assert rows(conn, "SELECT tm FROM every ORDER BY id") == [(tm,) for tm in durations], "this is what was stored"


def as_read_in_binary(value):
    """mysql-connector applies the sign of a binary TIME to its days alone, whatever server it comes from."""
    if not isinstance(value, datetime.timedelta) or value >= datetime.timedelta(0):
        return value
    return datetime.timedelta(days=-(-value).days, seconds=(-value).seconds, microseconds=(-value).microseconds)


def test_prepared_again_and_again(conn):
    rows(conn, "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))")
    cursor = conn.cursor(prepared=True)
    for i in range(20):
        cursor.execute("INSERT INTO t VALUES (?, ?)", (i, f"row {i}" if i % 3 else None))
    cursor.close()
    cursor = conn.cursor(prepared=True)
    for i in range(20):
        cursor.execute("SELECT v FROM t WHERE id = ?", (i,))
        assert cursor.fetchall() == [(f"row {i}" if i % 3 else None,)]
    cursor.close()


def test_prepared_sees_new_definition(conn):
    rows(conn, "CREATE TABLE t (id INT PRIMARY KEY)")
    cursor = conn.cursor(prepared=True)
    cursor.execute("SELECT * FROM t WHERE id = ?", (1,))
    assert cursor.fetchall() == []
    rows(conn, "INSERT INTO t VALUES (1)")
    cursor.execute("SELECT * FROM t WHERE id = ?", (1,))
    assert cursor.fetchall() == [(1,)]
    cursor.close()


def test_reset_connection(conn):
    rows(conn, "SET @a = 5")
    conn.cmd_reset_connection()
    assert rows(conn, "SELECT @a") == [(None,)]


def test_change_user(conn, database):
    conn.cmd_change_user(username="root", password=PASSWORD, database=database)
    assert rows(conn, "SELECT DATABASE()") == [(database,)]
    with pytest.raises(mysql.connector.Error) as caught:
        conn.cmd_change_user(username="root", password="wrong", database=database)
    assert caught.value.errno == 1045


def test_transaction_and_error_codes(conn):
    rows(conn, "CREATE TABLE t (id INT PRIMARY KEY)")
    conn.autocommit = False
    rows(conn, "INSERT INTO t VALUES (1)")
    conn.rollback()
    assert rows(conn, "SELECT COUNT(*) FROM t") == [(0,)]
    rows(conn, "INSERT INTO t VALUES (1)")
    conn.commit()
    with pytest.raises(mysql.connector.IntegrityError) as caught:
        rows(conn, "INSERT INTO t VALUES (1)")
    assert (caught.value.errno, caught.value.sqlstate) == (1062, "23000")


def test_history_prepared(conn, database):
    snapshot = f"s_{database}"
    rows(conn, "CREATE TABLE t (id INT PRIMARY KEY, v INT)")
    rows(conn, "INSERT INTO t VALUES (1, 10)")
    rows(conn, f"CREATE SNAPSHOT {snapshot} FOR TABLE {database}.t")
    rows(conn, "UPDATE t SET v = 11")
    sql = f"SELECT v FROM t {{SNAPSHOT = '{snapshot}'}} WHERE id = ?"
    assert rows(conn, sql, (1,), prepared=True) == [(10,)]
    rows(conn, f"RESTORE TABLE {database}.t FROM SNAPSHOT {snapshot}")
    assert rows(conn, "SELECT v FROM t WHERE id = ?", (1,), prepared=True) == [(10,)]
    rows(conn, f"DROP SNAPSHOT {snapshot}")

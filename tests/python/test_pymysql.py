"""PyMySQL: text protocol, types, transactions, errors, history."""

import pymysql
import pytest
from pymysql.constants import CLIENT

import values


@pytest.fixture
def conn(server, database):
    with server.connect(database=database) as conn:
        yield conn


def rows(conn, sql, *args):
    with conn.cursor() as cursor:
        cursor.execute(sql, args or None)
        return cursor.fetchall()


def test_every_type_there_and_back(conn):
    rows(conn, values.TABLE)
    with conn.cursor() as cursor:
        marks = ", ".join(["%s"] * len(values.COLUMNS))
        cursor.executemany(f"INSERT INTO every VALUES ({marks})", values.ROWS)
    for got, sent in zip(rows(conn, "SELECT * FROM every ORDER BY id"), values.ROWS, strict=True):
        assert dict(zip(values.COLUMNS, got)) == dict(zip(values.COLUMNS, sent))


def test_column_names_and_empty_result(conn):
    with conn.cursor() as cursor:
        cursor.execute("SELECT 1 AS one, 'x' AS `Two Words`, 1 + 1")
        assert [column[0] for column in cursor.description] == ["one", "Two Words", "1 + 1"]
        cursor.execute("CREATE TABLE t (id INT)")
        cursor.execute("SELECT * FROM t")
        assert cursor.fetchall() == ()


def test_insert_id_and_row_count(conn):
    rows(conn, "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v INT)")
    with conn.cursor() as cursor:
        assert cursor.execute("INSERT INTO t (v) VALUES (1), (2)") == 2
        assert cursor.lastrowid == 1
        assert cursor.execute("UPDATE t SET v = 1") == 1, "the other row already held the value"
        assert cursor.execute("DELETE FROM t WHERE id = 9") == 0


@pytest.mark.parametrize("found_rows", [False, True])
def test_affected_rows(server, mariadb, database, found_rows):
    """Changed rows, or matched ones where the client asks for these: as MariaDB counts them."""
    statements = [
        "CREATE TABLE t (id INT PRIMARY KEY, u INT UNIQUE, v INT)",
        "INSERT INTO t VALUES (1, 1, 1), (2, 2, 2), (3, 3, 3)",
        "UPDATE t SET v = 1",
        "UPDATE t SET v = 1",
        "UPDATE t SET v = v + 1 ORDER BY id DESC LIMIT 2",
        "UPDATE t SET v = 9 WHERE id = 99",
        "INSERT INTO t VALUES (1, 1, 7) ON DUPLICATE KEY UPDATE v = 8",
        "INSERT INTO t VALUES (1, 1, 7) ON DUPLICATE KEY UPDATE v = 8",
        "INSERT INTO t VALUES (1, 1, 7), (4, 4, 4), (2, 2, 2) ON DUPLICATE KEY UPDATE v = 8",
        "REPLACE INTO t VALUES (1, 1, 8)",
        "REPLACE INTO t VALUES (1, 2, 8)",
        "REPLACE INTO t VALUES (1, 2, 8)",
        "REPLACE INTO t VALUES (9, 9, 9)",
        "INSERT IGNORE INTO t VALUES (9, 9, 9), (10, 10, 10)",
        "DELETE FROM t ORDER BY id LIMIT 2",
        "DELETE FROM t",
    ]
    flag = CLIENT.FOUND_ROWS if found_rows else 0
    mariadb.run("mysql", "-e", f"CREATE OR REPLACE DATABASE {database}")
    theirs = pymysql.connect(unix_socket=str(mariadb.socket), user="root", database=database, client_flag=flag)
    with server.connect(database=database, client_flag=flag) as ours, theirs:
        for sql in statements:
            with ours.cursor() as here, theirs.cursor() as there:
                assert here.execute(sql) == there.execute(sql), sql
                assert here._result.message == there._result.message, sql
            assert rows(ours, "SELECT ROW_COUNT()") == rows(theirs, "SELECT ROW_COUNT()"), sql


def test_transactions(server, conn, database):
    rows(conn, "CREATE TABLE t (id INT PRIMARY KEY)")
    conn.autocommit(False)
    rows(conn, "INSERT INTO t VALUES (1)")
    with server.connect(database=database) as other:
        assert rows(other, "SELECT * FROM t") == ()
        conn.commit()
        assert rows(other, "SELECT * FROM t") == ((1,),)
        rows(conn, "INSERT INTO t VALUES (2)")
        conn.rollback()
        assert rows(other, "SELECT * FROM t") == ((1,),)


@pytest.mark.parametrize(
    "sql, code, words",
    [
        ("SELEC 1", 1064, "SELEC"),
        ("SELECT * FROM orderz", 1146, "Did you mean 'orders'"),
        ("SELECT * FROM nowhere.t", 1049, "nowhere"),
        ("SELECT nope FROM orders", 1054, "nope"),
        ("INSERT INTO orders VALUES (1, 1)", 1062, "Duplicate entry '1'"),
        ("INSERT INTO orders VALUES (2, 300)", 1264, "Out of range"),
        ("INSERT INTO orders VALUES (2, NULL)", 1048, "cannot be null"),
        ("INSERT INTO orders VALUES (2)", 1136, "count"),
        ("CREATE TABLE orders (id INT)", 1050, "orders"),
        ("CREATE DATABASE information_schema", (1007, 1044), "information_schema"),
        ("SELECT * FROM orders {SNAPSHOT = 'none'}", 1105, "SHOW SNAPSHOTS"),
        ("RESTORE TABLE orders FROM TIMESTAMP '2999-01-01'", 1105, "future"),
    ],
)
def test_errors_have_mysqls_codes_and_say_the_next_step(conn, sql, code, words):
    rows(conn, "CREATE TABLE orders (id INT PRIMARY KEY, v TINYINT NOT NULL)")
    rows(conn, "INSERT INTO orders VALUES (1, 1)")
    with pytest.raises(pymysql.MySQLError) as caught:
        rows(conn, sql)
    got, message = caught.value.args
    assert got in (code if isinstance(code, tuple) else (code,)), message
    assert words in message
    assert rows(conn, "SELECT * FROM orders") == ((1, 1),), "nothing is half done"


def test_wrong_password_and_unknown_database(server):
    with pytest.raises(pymysql.err.OperationalError) as caught:
        server.connect(password="wrong")
    assert caught.value.args[0] == 1045
    with pytest.raises(pymysql.err.OperationalError) as caught:
        server.connect(database="nowhere")
    assert caught.value.args[0] == 1049


def test_tls(server):
    with server.connect(ssl={"check_hostname": False, "verify_mode": False}) as conn:
        assert conn._secure
        assert rows(conn, "SELECT 1") == ((1,),)
    with server.connect(ssl_disabled=True) as conn:
        assert not conn._secure
        assert rows(conn, "SELECT 1") == ((1,),)


def test_large_values_and_results(conn):
    rows(conn, "CREATE TABLE t (id INT PRIMARY KEY, b LONGBLOB)")
    big = bytes(range(256)) * (20 * 4096)  # 20 MiB: more than one packet of the protocol
    conn.max_allowed_packet = 64 << 20
    rows(conn, "INSERT INTO t VALUES (1, %s)", big)
    assert rows(conn, "SELECT b FROM t")[0][0] == big


def test_history(conn, database):
    snapshot = f"s_{database}"
    rows(conn, "CREATE TABLE t (id INT PRIMARY KEY, v INT)")
    rows(conn, "INSERT INTO t VALUES (1, 10), (2, 20)")
    rows(conn, f"CREATE SNAPSHOT {snapshot} FOR DATABASE {database}")
    rows(conn, "UPDATE t SET v = 0")
    both = f"SELECT now.v, old.v FROM t now JOIN t {{SNAPSHOT = '{snapshot}'}} old ON old.id = now.id ORDER BY now.id"
    assert rows(conn, both) == ((0, 10), (0, 20))
    assert rows(conn, f"EXPLAIN RESTORE DATABASE {database} FROM SNAPSHOT {snapshot}")
    assert rows(conn, f"RESTORE DATABASE {database} FROM SNAPSHOT {snapshot}"), "a restore says what it did"
    assert rows(conn, "SELECT v FROM t ORDER BY id") == ((10,), (20,))
    rows(conn, "DROP TABLE t")
    rows(conn, f"UNDROP TABLE {database}.t")
    assert rows(conn, "SELECT COUNT(*) FROM t") == ((2,),)
    rows(conn, "CREATE TABLE c CLONE t")
    assert rows(conn, "SELECT COUNT(*) FROM c") == ((2,),)
    assert len(rows(conn, f"SHOW COMMITS FOR DATABASE {database}")) >= 5
    assert rows(conn, f"DIFF TABLE {database}.t FROM SNAPSHOT {snapshot} TO NOW OUTPUT COUNT") == ((0,),)
    rows(conn, f"DROP SNAPSHOT {snapshot}")


def test_kill_query(server, conn):
    import threading
    import time

    thread = conn.thread_id()

    def stop():
        time.sleep(0.5)
        with server.connect() as other:
            rows(other, f"KILL QUERY {thread}")

    killer = threading.Thread(target=stop)
    killer.start()
    start = time.monotonic()
    try:
        # As in MySQL, SLEEP that is interrupted returns 1; other queries end with 1317.
        assert rows(conn, "SELECT SLEEP(30)") == ((1,),)
    except pymysql.MySQLError as error:
        assert error.args[0] == 1317
    killer.join()
    assert time.monotonic() - start < 10
    assert rows(conn, "SELECT 1") == ((1,),), "the connection lives on"


def test_silent_client_is_sent_away(server):
    with server.connect(read_timeout=60) as conn:
        rows(conn, "SET wait_timeout = 1")
        assert b"inactivity" in conn._rfile.read(), "the last words before the end of the stream"
        conn._force_close()

"""The store between two lives of the server: kill -9, orderly end, locks."""

import subprocess

from conftest import PASSWORD, binary, free_port


def rows(server, sql):
    with server.connect() as conn, conn.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def fill(server):
    rows(server, "CREATE DATABASE d")
    rows(server, "CREATE TABLE d.t (id INT PRIMARY KEY, v VARCHAR(20))")
    rows(server, "INSERT INTO d.t VALUES (1, 'one'), (2, 'two')")
    rows(server, "CREATE SNAPSHOT s FOR DATABASE d")
    rows(server, "UPDATE d.t SET v = 'lost' WHERE id = 1")


def check(server):
    assert rows(server, "SELECT v FROM d.t ORDER BY id") == (("lost",), ("two",))
    assert rows(server, "SELECT v FROM d.t {SNAPSHOT = 's'} ORDER BY id") == (("one",), ("two",))


def test_everything_is_there_after_kill_9(own_server):
    fill(own_server)
    own_server.kill()
    own_server.start()
    check(own_server)
    rows(own_server, "RESTORE DATABASE d FROM SNAPSHOT s")
    own_server.kill()
    own_server.start()
    assert rows(own_server, "SELECT v FROM d.t ORDER BY id") == (("one",), ("two",))


def test_everything_is_there_after_sigterm(own_server):
    fill(own_server)
    assert own_server.stop() == 0
    own_server.start()
    check(own_server)


def test_an_open_transaction_is_gone_after_kill_9(own_server):
    fill(own_server)
    conn = own_server.connect(autocommit=False)
    with conn.cursor() as cursor:
        cursor.execute("INSERT INTO d.t VALUES (3, 'never')")
    own_server.kill()
    own_server.start()
    check(own_server)


def test_a_store_has_one_process(own_server):
    command = [binary(), "serve", "--data", own_server.data, "--listen", f"127.0.0.1:{free_port()}",
               "--http", f"127.0.0.1:{free_port()}"]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60,
                            env={"STRANDLINE_ROOT_PASSWORD": PASSWORD, "PATH": "/usr/bin:/bin"})
    assert second.returncode != 0
    assert str(own_server.process.pid) in second.stderr + second.stdout, "it says who holds the store"
    assert rows(own_server, "SELECT 1") == ((1,),)


def test_a_password_file_is_private(tmp_path):
    data = tmp_path / "data"
    port = free_port()
    command = [binary(), "serve", "--data", data, "--listen", f"127.0.0.1:{port}", "--http", f"127.0.0.1:{free_port()}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={"PATH": "/usr/bin:/bin"})
    try:
        import time

        import pymysql

        deadline = time.monotonic() + 60
        secret = data / "root-password"
        while True:
            try:
                pymysql.connect(host="127.0.0.1", port=port, user="root", password=secret.read_text().strip()).close()
                break
            except (OSError, pymysql.MySQLError):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
        assert secret.stat().st_mode & 0o777 == 0o600
    finally:
        process.kill()
        process.wait()

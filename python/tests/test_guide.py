"""The guides, run as they are written.

`docs/guide/python.md` always. The guide of another product that this package follows is not ours to copy: where
`STRANDLINE_GUIDE` names the file, its blocks are run too, unchanged.
"""

import contextlib
import io
import os
import time
import types

import pytest

import conftest
from conftest import ROOT, blocks
from strandline import Client, SnapshotLevel
from strandline.exceptions import Error

OURS = blocks((ROOT / "docs/guide/python.md").read_text(), "```python")


def run(code, names):
    """Runs a block, and returns what it prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "guide", "exec"), names)
    return out.getvalue()


def test_our_guide(environment, tmp_path, monkeypatch):
    """Every block, from the first to the last, as one program."""
    monkeypatch.chdir(tmp_path)
    names, ran = {}, 0
    environment.execute("CREATE DATABASE shop")
    environment.execute("CREATE TABLE shop.orders (id INT PRIMARY KEY, price DECIMAL(8,2), created_at DATETIME)")
    environment.execute("INSERT INTO shop.orders VALUES (1, 9.50, '2026-01-01'), (2, 20, '2026-02-01')")
    environment.execute("CREATE TABLE shop.users (id INT PRIMARY KEY, name VARCHAR(40), email VARCHAR(40))")
    environment.execute("INSERT INTO shop.users VALUES (1, 'ada', 'ada@example.org')")
    for block in OURS:
        run(block, names)
        ran += 1
    assert ran == len(OURS) > 10
    names["client"].disconnect()


HOUR = (ROOT / "docs/guide/first-hour.md").read_text()


def test_the_first_hour_in_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names, said = {}, []
    parts = blocks(HOUR, "```python")
    assert len(parts) > 10
    for part in parts:
        said.append(run(part, names))
    said = "".join(said)
    for line in ("before_sale ", "to take it back: version ", "taken by itself: ticking_", "dropped: ["):
        assert line in said, said
    with Client(path=tmp_path / "first-hour") as client:
        assert [policy.name for policy in client.pitr.list()] == ["a_week"]
        assert sorted(schedule.name for schedule in client.schedules.list()) == ["nightly", "often"]
        assert not client.snapshots.exists("before_sale")


def test_the_first_hour_in_sql(tmp_path):
    parts = blocks(HOUR, "```sql")
    assert len(parts) > 8
    with Client(path=tmp_path / "store") as client:
        for part in parts:
            client.execute(part)
        assert client.execute("SELECT SUM(price) FROM shop.orders").scalar() == client.execute(
            "SELECT SUM(price) FROM shop_then.orders"
        ).scalar()
        assert client.execute("SELECT COUNT(*) FROM shop.notes").scalar() == 1
        assert client.execute("SHOW SCHEDULES").to_dicts()[1]["RHYTHM"] == "EVERY 6 HOUR"


# The other guide


GUIDE = os.environ.get("STRANDLINE_GUIDE")
guide = pytest.mark.skipif(not GUIDE, reason="STRANDLINE_GUIDE is not set: the guide that the package follows is not run")


@pytest.fixture
def block(environment):
    """Returns the blocks by their number, and prepares the databases and snapshots that the text takes for granted."""
    for sql in [
        "CREATE DATABASE old_production",
        "CREATE TABLE old_production.users (id INT PRIMARY KEY)",
        "CREATE TABLE old_production.orders (id INT PRIMARY KEY)",
        "CREATE TABLE old_production.products (id INT PRIMARY KEY)",
        "INSERT INTO old_production.users VALUES (1), (2), (3)",
        "CREATE DATABASE test_db",
    ]:
        environment.execute(sql)
    return blocks(open(GUIDE).read(), ".. code-block:: python")


@pytest.fixture
def names(block):
    """The names after the guide's first block, and what it forgot to import."""
    names = {"SnapshotLevel": SnapshotLevel, "time": time}
    run(block[0], names)
    yield names
    names["client"].disconnect()


def steps(code):
    """Returns the statements of a block, one by one."""
    import ast

    tree = ast.parse(code)
    return [ast.get_source_segment(code, node) + "\n" for node in tree.body]


def prepared(client, names=("daily_backup_20240114", "daily_backup_20240115"), database="production_db"):
    for name in names:
        client.snapshots.create(name, database=database)


def tables(client, database):
    sql = "SELECT table_name FROM information_schema.tables WHERE table_schema = ? ORDER BY 1"
    return [table for (table,) in client.execute(sql, [database]).rows]


@guide
def test_guide_has_the_blocks_that_are_tested_here(block):
    assert len(block) == 16


@guide
def test_guide_00_setup(names):
    assert names["snapshot_manager"] is names["client"].snapshot


@guide
def test_guide_01_database_snapshots(environment, block, names):
    prepared(environment, ["daily_backup_20240114"])
    first, said = steps(block[1])[:2]
    assert run(first + said, names) == "Created snapshot: daily_backup_20240115\n"
    assert environment.snapshots.get("daily_backup_20240115").description == "Daily backup of production database"


@guide
def test_guide_01_compressed_and_incremental(environment, block, names):
    prepared(environment, ["daily_backup_20240114"])
    run(block[1], names)
    assert environment.snapshots.get("compressed_backup").compressed
    assert environment.snapshots.get("incremental_backup").base_snapshot == "daily_backup_20240114"


@guide
def test_guide_02_table_snapshots(environment, block, names):
    run(block[2], names)
    get = environment.snapshots.get
    assert get("users_table_backup").table == "users"
    assert get("multi_table_backup").tables == ["users", "orders", "products"]
    assert get("users_data_backup").columns == ["id", "username", "email", "created_at"]


@guide
def test_guide_03_listing(environment, block, names):
    prepared(environment, ["s"])
    environment.snapshots.create("t", database="production_db", table="users")
    said = run(block[3], names).splitlines()
    for line in ("Snapshot: s", "  Level: database", "  Database: production_db", "Database snapshot: s", "Table snapshot: t"):
        assert line in said
    assert "Database snapshot: t" not in said and "Table snapshot: s" not in said
    assert any(line.startswith("  Size: ") and line.endswith(" MB") for line in said)


@guide
def test_guide_04_details(environment, block, names):
    prepared(environment)
    said = run(block[4], names)
    assert "  Name: daily_backup_20240115\n" in said and "  Status: available\n" in said
    assert "Metadata: {'name': 'daily_backup_20240115'" in said


@guide
def test_guide_05_database_restore(environment, block, names):
    prepared(environment)
    environment.execute("DELETE FROM production_db.users")
    said = run("".join(steps(block[5])[:3]), names)
    assert said == "Restore completed: True\n"
    assert tables(environment, "restored_production_db") == tables(environment, "production_db")
    assert environment.execute("SELECT COUNT(*) FROM production_db.users").scalar() == 2
    [backup] = names["restore_result"].backups
    assert environment.execute(f"SELECT COUNT(*) FROM `{backup}`.users").scalar() == 0


@guide
def test_guide_05_permissions(environment, block, names):
    prepared(environment)
    run(block[5], names)
    assert "users" in tables(environment, "test_restore_db")


@guide
def test_guide_06_table_restore(environment, block, names):
    run(block[2], names)
    run(block[6], names)
    assert tables(environment, "restored_db") == ["orders", "products", "users", "users_backup"]


@guide
def test_guide_07_cluster_restore(environment, block, names):
    environment.execute("CREATE DATABASE restored_db")
    environment.execute("CREATE TABLE restored_db.t (id INT PRIMARY KEY)")
    environment.snapshots.create("my_snapshot", "cluster")
    environment.execute("DROP DATABASE restored_db")
    environment.execute("DROP TABLE production_db.users")
    run("".join(steps(block[7])[:2]), names)
    assert tables(environment, "restored_db") == ["t"] and "users" in tables(environment, "production_db")
    # The guide's dates are long ago: nothing can be restored from then, and nothing is listed.
    assert run("".join(steps(block[7])[2:]), names) == ""


@guide
def test_guide_08_queries_of_snapshots(environment, block, names):
    prepared(environment, ["daily_backup_20240114"])
    environment.execute("INSERT INTO production_db.users VALUES (3, 'cy', NULL, '2024-05-05')")
    prepared(environment, ["daily_backup_20240115"])
    environment.snapshots.create("users_table_backup", database="production_db", table="users")
    environment.execute("DELETE FROM production_db.users")
    assert run(block[8], names) == "User count in snapshot: 3\nUser growth: 1\n"
    assert [row[0] for row in names["results"].rows] == [2, 3]


def cleanup(environment):
    prepared(environment, ["old_backup_20240101", "backup1", "backup2", "backup3", "recent"])


@guide
def test_guide_09_deleting(environment, block, names):
    cleanup(environment)
    said = run("".join(steps(block[9])[:6]), names)
    assert said == "Snapshot deleted\nDeleted 0 old snapshots\n"
    assert [snapshot.name for snapshot in environment.snapshots.list()] == ["recent"]


@guide
def test_guide_09_retention(environment, block, names):
    cleanup(environment)
    assert run(block[9], names).endswith("Cleanup completed: 0 snapshots deleted\n")


@guide
def test_guide_10_async(environment, block, names):
    assert run(block[10], names) == "Found 1 snapshots\n"
    assert "users" in tables(environment, "async_restored_db")


@guide
def test_guide_11_automated_backup(environment, block, names):
    import schedule

    run(block[11], names)
    system = names["backup_system"]
    daily = run("backup_system.daily_backup()", names)
    assert "Daily backup created: daily_backup_" in daily and "Cleaned up 0 old backups" in daily
    weekly = run("backup_system.weekly_backup()", names)
    assert weekly.startswith("Weekly backup "), weekly

    class Enough(Exception):
        pass

    def enough(seconds):
        raise Enough

    names["time"] = types.SimpleNamespace(sleep=enough)
    with pytest.raises(Enough):
        run("backup_system.start_scheduler()", names)
    jobs = sorted((job.unit, str(job.at_time)) for job in schedule.get_jobs())
    assert jobs == [("days", "02:00:00"), ("weeks", "03:00:00")]
    schedule.clear()
    system.client.disconnect()


@guide
def test_guide_11_weekly_backup_is_compressed(environment, block, names):
    run(block[11], names)
    assert "Weekly backup created" in run("backup_system.weekly_backup()", names)


@guide
def test_guide_12_disaster_recovery(environment, block, names):
    prepared(environment, ["my_snapshot"])
    said = run(block[12], names)
    assert "Emergency restore from snapshot: my_snapshot\n" in said
    assert "Restored database has 3 tables\nRestore validation successful\n" in said
    assert names["restored_db"] == "production_db_restored"
    run("dr_system.point_in_time_recovery('production_db', '2024-01-15 10:00:00')", names)
    assert "users" in tables(environment, "production_db_pitr_restored")
    assert "False" in run("print(dr_system.validate_restore('nowhere'))", names)


@guide
def test_guide_13_migration(environment, block, names):
    said = run(block[13], names)
    assert "Database migration completed: old_production -> new_production\n" in said
    assert said.count("Table migration completed") == 3
    assert tables(environment, "new_production") == ["orders", "products", "users"]
    assert environment.snapshots.list() == [], "each migration removes its snapshot"


@guide
def test_guide_14_errors(environment, block, names):
    run(block[14], names)
    assert environment.snapshots.exists("test_backup")
    assert run(block[14], names).startswith("Snapshot error: A snapshot 'test_backup' exists already.")
    waited = []
    names["time"] = types.SimpleNamespace(sleep=waited.append)
    retry = "create_snapshot_with_retry(snapshot_manager, {!r}, SnapshotLevel.DATABASE, 'test_db')"
    run(retry.format("retried"), names)
    assert environment.snapshots.exists("retried") and waited == []
    with pytest.raises(Error):
        run(retry.format("retried"), names)
    assert waited == [1, 2]


@guide
def test_guide_15_performance(environment, block, names):
    run("from datetime import datetime, timedelta\n" + block[15], names)
    run("made = batch_create_snapshots(snapshot_manager, ['production_db', 'test_db', 'nowhere'], 'b')", names)
    assert [snapshot.database for snapshot in names["made"]] == ["production_db", "test_db"]
    prepared(environment, ["latest"])
    assert run("print(smart_cleanup(snapshot_manager, 'production_db', retention_days=-1))", names) == "1\n"
    assert [snapshot.name for snapshot in environment.snapshots.list(database="production_db")] == ["latest"]

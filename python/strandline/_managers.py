"""The verbs, by what they are about.

Each is written once. A manager of `Client` returns what a verb came to; the same manager of `AsyncClient` returns it
awaitable.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Dict, List, Optional, Sequence, Union

from . import _times
from ._results import (
    CleanupResult,
    PitrPolicy,
    RecoveryPoint,
    RestoreResult,
    RestoreStep,
    RetentionRules,
    RetentionStep,
    Schedule,
    Snapshot,
    SnapshotLevel,
)
from .exceptions import ConfigError

#: A moment: a `datetime` or `date` (local time, if it has no zone), a text such as ``"2026-01-31 10:00:00"`` or
#: ``"-10 minutes"``, or the number of a version.
Moment = Union[dt.datetime, dt.date, str, int]
Level = Union[SnapshotLevel, str]


class _Manager:
    def __init__(self, client) -> None:
        self._client = client

    def _do(self, make, convert=lambda value: value):
        return self._client._do(make, convert)


class SnapshotManager(_Manager):
    """Takes, lists and drops snapshots, and restores what they hold. `client.snapshots`, also `client.snapshot`."""

    def create(
        self,
        name: str,
        level: Optional[Level] = None,
        database: Optional[str] = None,
        table: Optional[str] = None,
        *,
        tables: Sequence[str] = (),
        columns: Sequence[str] = (),
        description: Optional[str] = None,
        compression: bool = False,
        incremental: bool = False,
        base_snapshot: Optional[str] = None,
        retain: Optional[str] = None,
        at: Optional[Moment] = None,
        account: Optional[str] = None,
        if_not_exists: bool = False,
    ) -> Snapshot:
        """Takes a snapshot. It costs the same at any size, and blocks nobody.

        Args:
            name: Up to 64 characters; unique in the account.
            level: `SnapshotLevel.CLUSTER`, `ACCOUNT`, `DATABASE` or `TABLE`, or the word. Left out, it is what
                `database` and `table` say.
            database: The database, or the one that the tables are in.
            table: One table.
            tables: Several tables, as they are together at one moment.
            columns: Only these columns of one table.
            description: A text, readable later.
            compression: Makes a copy of its own, packed for long-term storage.
            incremental: Relative to `base_snapshot`, or without one to the newest snapshot of the same scope.
            retain: How long it is to be kept, such as ``"7 days"``.
            at: Another moment than now.
            if_not_exists: A snapshot of this name is left alone and returned.

        Raises:
            SnapshotError: The database, table or column does not exist (`kind` ``"not_found"``), the name is taken, the
                user may not (``"denied"``), the disk is full (``"unavailable"``). Nothing is left behind.
        """
        incremental = incremental or base_snapshot is not None
        return self._do(
            lambda core: core.snapshot_create(
                name,
                _scope(level, account, database, table, tables),
                columns=list(columns),
                description=description,
                compression=compression,
                incremental=incremental,
                base=base_snapshot,
                retain=retain,
                at=_times.moment(at),
                if_not_exists=if_not_exists,
            ),
            Snapshot._of,
        )

    def list(self, database: Optional[str] = None, level: Optional[Level] = None) -> List[Snapshot]:
        """Lists snapshots, newest first.

        Args:
            database: Those of this whole database, or with `level` those at that level in it.
            level: Those at this level.
        """
        return self._do(lambda core: core.snapshot_list(database, _word(level)), Snapshot._list)

    def get(self, name: str) -> Optional[Snapshot]:
        """Returns a snapshot, or `None` where there is none of this name."""
        return self._do(lambda core: core.snapshot_get(name), Snapshot._of)

    def exists(self, name: str) -> bool:
        """Tells whether there is a snapshot of this name."""
        return self._do(lambda core: core.snapshot_get(name), lambda found: found is not None)

    def get_metadata(self, name: str) -> Dict[str, Any]:
        """Returns all that is known of a snapshot, as a dict.

        Raises:
            SnapshotError: There is none of this name.
        """
        return self._do(lambda core: core.snapshot_find(name), lambda found: Snapshot._of(found).metadata())

    def delete(self, name: str, *, if_exists: bool = False, cascade: bool = False) -> bool:
        """Drops a snapshot. Returns whether there was one.

        Args:
            if_exists: It is no error that there is none.
            cascade: Drops those that are relative to it, too.

        Raises:
            SnapshotError: There is none of this name, and `if_exists` was not said; or another one is relative to it, and
                `cascade` was not.
        """
        return self._do(lambda core: core.snapshot_delete(name, if_exists, cascade))

    def delete_older_than(
        self, cutoff_date: Moment, database: Optional[str] = None, level: Optional[Level] = None
    ) -> int:
        """Drops the snapshots taken before a time, and returns how many.

        One that a younger snapshot is relative to stays until that one goes.

        Args:
            cutoff_date: A `datetime`, a `date`, or an ISO text; a day is its midnight, here.
            database, level: As in `list`: a database alone means snapshots of the whole database.
        """
        time = _times.micros(cutoff_date)
        return self._do(lambda core: core.snapshot_delete_older_than(time, database, _word(level)), len)

    def cleanup_retention_policy(
        self,
        database: str,
        keep_daily: Optional[int] = None,
        keep_weekly: Optional[int] = None,
        keep_monthly: Optional[int] = None,
        *,
        keep_last: Optional[int] = None,
        keep_hourly: Optional[int] = None,
        keep_yearly: Optional[int] = None,
        time_zone: Optional[str] = None,
    ) -> CleanupResult:
        """Drops the snapshots of a database that none of the numbers keeps. For once: no rule is set.

        Each number counts periods: ``keep_daily=7`` keeps the newest snapshot of each of the last seven days that have
        one. A snapshot stays if any of them keeps it.

        Args:
            time_zone: Whose days, weeks and months are meant, such as ``"Europe/Berlin"``; left out, the session's.
        """
        keep = [keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly]
        return self._do(
            lambda core: core.snapshot_cleanup(_scope("database", None, database, None, ()), keep, time_zone),
            CleanupResult._of,
        )

    def restore(
        self,
        snapshot_name: str,
        target_database: Optional[str] = None,
        overwrite: bool = False,
        *,
        backup_existing: bool = False,
        create_database: bool = True,
        restore_permissions: bool = False,
        database: Optional[str] = None,
    ) -> RestoreResult:
        """Restores what a snapshot holds, all of it or nothing. It copies no rows.

        Args:
            target_database: Under this name; left out, where it came from.
            overwrite: Replaces what is there. Without it, that is an error.
            backup_existing: What is replaced stays as ``<name>_before_<version>``.
            create_database: Makes the target if it is missing.
            restore_permissions: Brings back the rights of then, too.
            database: Which database, where the snapshot holds several.

        Raises:
            RestoreError: It cannot be done. Nothing was changed.
        """
        options = _options(overwrite, backup_existing, create_database, restore_permissions)
        return self._do(
            lambda core: core.restore_snapshot("run", snapshot_name, database, [], target_database, None, options),
            RestoreResult._of,
        )

    def plan_restore(
        self,
        snapshot_name: str,
        target_database: Optional[str] = None,
        overwrite: bool = False,
        *,
        backup_existing: bool = False,
        create_database: bool = True,
        restore_permissions: bool = False,
        database: Optional[str] = None,
    ) -> List[RestoreStep]:
        """Says what `restore` would do, and why. Changes nothing."""
        options = _options(overwrite, backup_existing, create_database, restore_permissions)
        return self._do(
            lambda core: core.restore_snapshot("plan", snapshot_name, database, [], target_database, None, options),
            RestoreStep._list,
        )

    def restore_table(
        self,
        snapshot_name: str,
        target_database: Optional[str] = None,
        target_table: Optional[str] = None,
        overwrite: bool = False,
        *,
        table: Optional[str] = None,
        database: Optional[str] = None,
        backup_existing: bool = False,
        create_database: bool = True,
        restore_permissions: bool = False,
    ) -> RestoreResult:
        """Restores one table.

        Args:
            target_database: Into this database; left out, the one that it came from.
            target_table: Under this name.
            table: Which table, where the snapshot holds several; left out, the one called `target_table`.
        """
        options = _options(overwrite, backup_existing, create_database, restore_permissions)
        tables = [table] if table else []
        return self._do(
            lambda core: core.restore_snapshot(
                "tables", snapshot_name, database, tables, target_database, target_table, options
            ),
            RestoreResult._of,
        )

    def restore_tables(
        self,
        snapshot_name: str,
        target_database: Optional[str] = None,
        overwrite: bool = False,
        *,
        tables: Sequence[str] = (),
        database: Optional[str] = None,
        backup_existing: bool = False,
        create_database: bool = True,
        restore_permissions: bool = False,
    ) -> RestoreResult:
        """Restores tables together: those named, or all that a snapshot of tables holds."""
        options = _options(overwrite, backup_existing, create_database, restore_permissions)
        return self._do(
            lambda core: core.restore_snapshot(
                "tables", snapshot_name, database, list(tables), target_database, None, options
            ),
            RestoreResult._of,
        )

    def get_recovery_points(
        self,
        database: Optional[str] = None,
        start_date: Optional[Moment] = None,
        end_date: Optional[Moment] = None,
        *,
        table: Optional[str] = None,
    ) -> List[RecoveryPoint]:
        """Lists what can be restored between two times, newest first: snapshots, and every commit in the window.

        Args:
            start_date, end_date: Both included; a day without a time is all of it. Left out, there is no bound.
        """
        level = "table" if table else "database" if database else "cluster"
        start, end = _times.moment(start_date), _times.moment(end_date, end_of_day=True)
        return self._do(
            lambda core: core.recovery_points(_scope(level, None, database, table, ()), start, end), RecoveryPoint._list
        )


class RestoreManager(_Manager):
    """Restores the cluster, an account, or anything to any moment of its recovery window. `client.restore`."""

    def restore_cluster(self, snapshot_name: str) -> RestoreResult:
        """Restores everything as it was at a snapshot of the cluster, in place."""
        return self._do(lambda core: core.restore_cluster(snapshot_name), RestoreResult._of)

    def restore_account(self, snapshot_name: str, account_name: str) -> RestoreResult:
        """Restores an account in place. A user's name stands for the user's account."""
        return self._do(lambda core: core.restore_account(snapshot_name, account_name), RestoreResult._of)

    def restore_database(self, snapshot_name: str, account_name: str, database_name: str) -> RestoreResult:
        """Restores a database over what is there now.

        Args:
            account_name: The account, or one of its users; the default account is ``sys``.
            database_name: Which database. If the snapshot has none of this name but holds exactly one, that one is
                restored under the name.
        """
        return self._do(
            lambda core: core.restore_database(snapshot_name, account_name, database_name), RestoreResult._of
        )

    def restore_to_time(
        self,
        timestamp: Moment,
        database: Optional[str] = None,
        table: Optional[str] = None,
        *,
        tables: Sequence[str] = (),
        target_database: Optional[str] = None,
        target_table: Optional[str] = None,
        overwrite: bool = False,
        backup_existing: bool = False,
        create_database: bool = True,
        restore_permissions: bool = False,
        pitr_name: Optional[str] = None,
    ) -> RestoreResult:
        """Restores a database, tables, or without either the cluster, to the newest commit at or before a time.

        Args:
            timestamp: A moment inside the recovery window; a number is a version.
            pitr_name: The policy that the window is taken from, as MatrixOne has it.

        Raises:
            RestoreError: No such time, in the future, or outside the window. Nothing was changed.
        """
        scope = _scope(None if database else "cluster", None, database, table, tables)
        options = _options(overwrite, backup_existing, create_database, restore_permissions)
        at = _times.moment(timestamp)
        target = (target_database, target_table, options)
        if pitr_name is not None:
            return self._do(lambda core: core.pitr_restore(pitr_name, at, scope, *target), RestoreResult._of)
        return self._do(lambda core: core.restore_scope(False, scope, at, *target), RestoreResult._of)


class PitrManager(_Manager):
    """Sets how far back every commit stays recoverable. `client.pitr`."""

    def create(
        self,
        name: str,
        level: Optional[Level] = None,
        database: Optional[str] = None,
        table: Optional[str] = None,
        *,
        range_value: int,
        range_unit: str = "d",
        account: Optional[str] = None,
    ) -> PitrPolicy:
        """Makes every commit recoverable for ``range_value`` (1 to 100) of ``range_unit`` (``h d mo y``)."""
        return self._do(
            lambda core: core.pitr_create(name, _scope(level, account, database, table, ()), range_value, range_unit),
            PitrPolicy._of,
        )

    def alter(self, name: str, range_value: int, range_unit: str = "d") -> PitrPolicy:
        """Changes how far back a policy reaches."""
        return self._do(lambda core: core.pitr_alter(name, range_value, range_unit), PitrPolicy._of)

    def delete(self, name: str) -> None:
        """Drops a policy: the store's own window is what is left."""
        return self._do(lambda core: core.pitr_delete(name))

    def get(self, name: str) -> Optional[PitrPolicy]:
        """Returns a policy, or `None` where there is none of this name."""
        return self._do(lambda core: core.pitr_get(name), PitrPolicy._of)

    def list(self) -> List[PitrPolicy]:
        """Lists the policies."""
        return self._do(lambda core: core.pitr_list(), PitrPolicy._list)


class CloneManager(_Manager):
    """Clones: another name for what is or was there. Nothing is copied. `client.clone`."""

    def clone_database(
        self,
        target_database: str,
        source_database: str,
        *,
        snapshot_name: Optional[str] = None,
        at: Optional[Moment] = None,
    ) -> None:
        """Clones a database as it is, was in a snapshot, or was at a moment."""
        moment = _past(snapshot_name, at)
        return self._do(lambda core: core.clone_database(source_database, target_database, moment))

    def clone_table(
        self,
        target_table: str,
        source_table: str,
        *,
        snapshot_name: Optional[str] = None,
        at: Optional[Moment] = None,
    ) -> None:
        """Clones a table. Names are ``database.table``, or a table of the session's database."""
        moment = _past(snapshot_name, at)
        return self._do(lambda core: core.clone_table(_table(source_table), _table(target_table), moment))


class RetentionManager(_Manager):
    """Says how many snapshots are kept. `client.retention`."""

    def set(
        self,
        database: Optional[str] = None,
        table: Optional[str] = None,
        *,
        level: Optional[Level] = None,
        keep_last: Optional[int] = None,
        keep_hourly: Optional[int] = None,
        keep_daily: Optional[int] = None,
        keep_weekly: Optional[int] = None,
        keep_monthly: Optional[int] = None,
        keep_yearly: Optional[int] = None,
        time_zone: Optional[str] = None,
    ) -> None:
        """Sets the rules of a database, a table, or a level. They replace those before.

        Args:
            time_zone: Whose days, weeks and months are meant, such as ``"Europe/Berlin"``; left out, the session's.
        """
        keep = [keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly]
        return self._do(lambda core: core.retention_set(_scope(level, None, database, table, ()), keep, time_zone))

    def list(self) -> List[RetentionRules]:
        """Lists the rules that were set."""
        return self._do(lambda core: core.retention_list(), RetentionRules._list)

    def delete(
        self, database: Optional[str] = None, table: Optional[str] = None, *, level: Optional[Level] = None
    ) -> None:
        """Drops the rules of a database, a table, or a level; no snapshot is dropped for that."""
        return self._do(lambda core: core.retention_delete(_scope(level, None, database, table, ())))

    def plan(
        self, database: Optional[str] = None, table: Optional[str] = None, *, level: Optional[Level] = None
    ) -> List[RetentionStep]:
        """Says what `apply` would drop, and why. Changes nothing."""
        return self._do(
            lambda core: core.retention_plan(_scope(level, None, database, table, ())), RetentionStep._list
        )

    def apply(
        self, database: Optional[str] = None, table: Optional[str] = None, *, level: Optional[Level] = None
    ) -> CleanupResult:
        """Drops the snapshots that the rule does not keep."""
        return self._do(
            lambda core: core.retention_apply(_scope(level, None, database, table, ())), CleanupResult._of
        )


class ScheduleManager(_Manager):
    """Lets the server take snapshots by the clock. `client.schedules`."""

    def create(
        self,
        name: str,
        cron: Optional[str] = None,
        level: Optional[Level] = None,
        database: Optional[str] = None,
        table: Optional[str] = None,
        *,
        every: Optional[str] = None,
        time_zone: Optional[str] = None,
        snapshot_name: Optional[str] = None,
        incremental: bool = False,
        compression: bool = False,
        description: Optional[str] = None,
        retain: Optional[str] = None,
        keep_last: Optional[int] = None,
        keep_hourly: Optional[int] = None,
        keep_daily: Optional[int] = None,
        keep_weekly: Optional[int] = None,
        keep_monthly: Optional[int] = None,
        keep_yearly: Optional[int] = None,
        if_not_exists: bool = False,
    ) -> None:
        """Takes a snapshot at the times that ``cron`` says, or every so often.

        Args:
            cron: Five fields, minute hour day month weekday: ``"0 2 * * *"`` is two o'clock at night. A sixth in front is
                seconds; ``"@daily"`` and the like work too.
            every: In the place of ``cron``: ``"6 hours"``, ``"30 minutes"``, ``"1 month"``, counted from now.
            time_zone: Such as ``"Europe/Berlin"``; left out, the session's.
            snapshot_name: How the snapshots are called, such as ``"nightly_{time}"``.
            retain: How long each is kept, such as ``"30 days"``.
        """
        if (cron is None) == (every is None):
            raise ConfigError("When does it run?", hint="Give either 'cron' or 'every'.", kind="config")
        keep = [keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly]
        return self._do(
            lambda core: core.schedule_create(
                name,
                _scope(level, None, database, table, ()),
                cron,
                every,
                time_zone=time_zone,
                snapshot_name=snapshot_name,
                incremental=incremental,
                compression=compression,
                description=description,
                retain=retain,
                keep=keep,
                if_not_exists=if_not_exists,
            )
        )

    def list(self) -> List[Schedule]:
        """Lists the schedules."""
        return self._do(lambda core: core.schedule_list(), Schedule._list)

    def pause(self, name: str) -> None:
        """Lets a schedule rest until `resume`."""
        return self._do(lambda core: core.schedule_pause(name))

    def resume(self, name: str) -> None:
        """Lets a schedule go on."""
        return self._do(lambda core: core.schedule_resume(name))

    def delete(self, name: str) -> None:
        """Drops a schedule. The snapshots that it took stay."""
        return self._do(lambda core: core.schedule_delete(name))


class AsyncSnapshotManager(SnapshotManager):
    """`SnapshotManager`, to be awaited. Each verb has a second name that ends with ``_async``."""


class AsyncRestoreManager(RestoreManager):
    """`RestoreManager`, to be awaited."""


class AsyncPitrManager(PitrManager):
    """`PitrManager`, to be awaited."""


class AsyncCloneManager(CloneManager):
    """`CloneManager`, to be awaited."""


class AsyncRetentionManager(RetentionManager):
    """`RetentionManager`, to be awaited."""


class AsyncScheduleManager(ScheduleManager):
    """`ScheduleManager`, to be awaited."""


for _name, _verb in list(vars(SnapshotManager).items()):
    if not _name.startswith("_"):
        setattr(AsyncSnapshotManager, _name + "_async", _verb)


def _word(level) -> str | None:
    return None if level is None else str(SnapshotLevel(level) if isinstance(level, SnapshotLevel) else level)


def _scope(level, account, database, table, tables) -> dict:
    names = list(tables)
    if table is not None:
        if names:
            raise ConfigError("Give 'table' or 'tables', not both.", kind="config")
        names = [table]
    if level is None:
        if not (names or database or account):
            raise ConfigError(
                "What is it about?", hint="Give a level, or the name of a database or table.", kind="config"
            )
        level = "table" if names else "database" if database else "account"
    return {"level": _word(level), "account": account, "database": database, "tables": names}


def _options(overwrite, backup_existing, create_database, restore_permissions) -> dict:
    return {
        "overwrite": overwrite,
        "backup_existing": backup_existing,
        "create_database": create_database,
        "restore_permissions": restore_permissions,
    }


def _past(snapshot_name, at) -> str | None:
    if snapshot_name is not None and at is not None:
        raise ConfigError("Give 'snapshot_name' or 'at', not both.", kind="config")
    return f"snapshot:{snapshot_name}" if snapshot_name is not None else _times.moment(at)


def _table(name: str) -> tuple[str | None, str]:
    database, dot, table = name.partition(".")
    return (database, table) if dot else (None, name)

"""The clients: one waits for each call, the other is awaited. They share everything but that."""

from __future__ import annotations

import datetime as dt
import decimal
import os
from typing import Any, Optional, Sequence, Union

from . import _managers, _native
from ._results import ResultSet
from .exceptions import ConnectionError, Error

PathLike = Union[str, "os.PathLike[str]"]


class _Base:
    """What both clients are: settings, a native core, and the managers."""

    def __init__(
        self,
        host: Optional[str] = None,
        port: Optional[int] = None,
        user: Optional[str] = None,
        password: Optional[str] = None,
        database: Optional[str] = None,
        *,
        path: Optional[PathLike] = None,
        config_file: Optional[PathLike] = None,
    ) -> None:
        self._core = _native.Core()
        self._connected = False
        #: Counts the connections: a transaction belongs to one.
        self._session = 0
        self._in_transaction = False
        self._settings = (host, port, user, password, database, path, config_file)
        self.snapshots = self._manager("SnapshotManager")
        #: The same as `snapshots`.
        self.snapshot = self.snapshots
        self.restore = self._manager("RestoreManager")
        self.pitr = self._manager("PitrManager")
        self.clone = self._manager("CloneManager")
        self.retention = self._manager("RetentionManager")
        self.schedules = self._manager("ScheduleManager")

    _prefix = ""

    def _manager(self, name: str):
        return getattr(_managers, self._prefix + name)(self)

    def _connecting(self, *settings):
        """Takes settings over, and returns the call that connects with them."""
        if any(value is not None for value in settings):
            self._settings = settings
        host, port, user, password, database, path, config_file = self._settings
        if path is not None:
            return self._core.open(os.fspath(path), user, database)
        return self._core.connect(host, port, user, password, database, config_file)

    def _connect_done(self) -> None:
        self._connected = True
        self._session += 1

    def _check_transaction(self, session: Optional[int] = None) -> None:
        """Refuses to go on in a transaction whose connection is gone: what comes next would be outside of it."""
        gone = not self._connected or session not in (None, self._session)
        if self._in_transaction and gone:
            raise ConnectionError(
                "The connection of the open transaction is gone, and the transaction with it.",
                hint="Run it again from its beginning.",
                kind="connection",
            )

    def __repr__(self) -> str:
        host, port, user, _, database, path, _ = self._settings
        state = "connected" if self._connected else "not connected"
        if path is not None:
            return f"<{type(self).__name__} of {os.fspath(path)!r}, {state}>"
        return f"<{type(self).__name__} {user or '…'}@{host or '…'}:{port or '…'}/{database or ''}, {state}>"


class Client(_Base):
    """A session at a server, or with `path` the engine in this process.

    ::

        with Client("127.0.0.1", 6001, "root", "secret", "shop") as client:
            client.snapshots.create("before", database="shop")

    It connects at the first use, at `connect`, or at the begin of a `with`; and at the next use after the connection was
    lost, which raised `ConnectionError`. Then what ``USE`` and ``SET`` said is gone. Settings that are left out come from the
    environment, a file, or the local store: see `strandline.config`. One statement runs at a time, whatever the threads;
    the GIL is released while it runs, and Ctrl-C ends it.

    Args:
        host, port: Where the server is.
        user: ``user``, or ``account:user`` for another account than ``sys``.
        password: Its password.
        database: The session's database.
        path: The folder of a store to open in this process instead; made if it is missing. No password is asked:
            whoever can read the folder can read the store.
        config_file: A TOML file with settings.
    """

    def connect(
        self,
        host: Optional[str] = None,
        port: Optional[int] = None,
        user: Optional[str] = None,
        password: Optional[str] = None,
        database: Optional[str] = None,
        *,
        path: Optional[PathLike] = None,
        config_file: Optional[PathLike] = None,
    ) -> "Client":
        """Connects, with the settings given here or else those given before. A connection that was open is closed.

        Raises:
            ConnectionError: The server cannot be reached or refuses the login, or another process has the store.
        """
        self._connecting(host, port, user, password, database, path, config_file).wait()
        self._connect_done()
        return self

    def disconnect(self) -> None:
        """Closes the connection. What was not committed is rolled back."""
        self._connected = False
        self._core.close().wait()

    close = disconnect

    def execute(self, sql: str, params: Optional[Sequence[Any]] = None) -> ResultSet:
        """Runs a statement, and reads all that it returns into memory.

        Args:
            params: A value for each ``?`` in the statement.

        Raises:
            QueryError: The database refused it.
        """
        return self._do(lambda core: core.query(sql, _parameters(params)), ResultSet)

    query = execute

    def query_snapshot(self, snapshot_name: str, sql: str) -> ResultSet:
        """Runs a query against a snapshot. Names without a database mean the snapshot's own.

        The session's database and transaction are left alone.
        """
        return self._do(lambda core: core.query_snapshot(snapshot_name, sql), ResultSet)

    def transaction(self) -> "Transaction":
        """Returns a transaction, for a `with`: committed at its end, rolled back by an exception."""
        return Transaction(self)

    def server_version(self) -> str:
        """Returns the version that the server greets with."""
        return self._do(lambda core: core.server_version(), str)

    @property
    def connected(self) -> bool:
        return self._connected

    def _do(self, make, convert):
        self._check_transaction()
        if not self._connected:
            self.connect()
        try:
            return convert(make(self._core).wait())
        except ConnectionError:
            self._connected = False
            raise

    def __enter__(self) -> "Client":
        if not self._connected:
            self.connect()
        return self

    def __exit__(self, *exception) -> None:
        self.disconnect()


class AsyncClient(_Base):
    """`Client` for asyncio: every method is awaited, and none of them holds the event loop.

    ::

        async with AsyncClient() as client:
            await client.snapshots.create("before", database="shop")

    Cancelling a task ends its statement at the server.
    """

    _prefix = "Async"

    async def connect(
        self,
        host: Optional[str] = None,
        port: Optional[int] = None,
        user: Optional[str] = None,
        password: Optional[str] = None,
        database: Optional[str] = None,
        *,
        path: Optional[PathLike] = None,
        config_file: Optional[PathLike] = None,
    ) -> "AsyncClient":
        """Connects, with the settings given here or else those given before. A connection that was open is closed."""
        await self._connecting(host, port, user, password, database, path, config_file).future()
        self._connect_done()
        return self

    async def disconnect(self) -> None:
        """Closes the connection. What was not committed is rolled back."""
        self._connected = False
        await self._core.close().future()

    close = disconnect

    async def execute(self, sql: str, params: Optional[Sequence[Any]] = None) -> ResultSet:
        """Runs a statement, and reads all that it returns into memory. Each ``?`` in it stands for a parameter."""
        return await self._do(lambda core: core.query(sql, _parameters(params)), ResultSet)

    query = execute

    async def query_snapshot(self, snapshot_name: str, sql: str) -> ResultSet:
        """Runs a query against a snapshot. Names without a database mean the snapshot's own."""
        return await self._do(lambda core: core.query_snapshot(snapshot_name, sql), ResultSet)

    def transaction(self) -> "AsyncTransaction":
        """Returns a transaction, for an `async with`."""
        return AsyncTransaction(self)

    async def server_version(self) -> str:
        """Returns the version that the server greets with."""
        return await self._do(lambda core: core.server_version(), str)

    @property
    def connected(self) -> bool:
        return self._connected

    async def _do(self, make, convert):
        self._check_transaction()
        if not self._connected:
            await self.connect()
        try:
            return convert(await make(self._core).future())
        except ConnectionError:
            self._connected = False
            raise

    async def __aenter__(self) -> "AsyncClient":
        if not self._connected:
            await self.connect()
        return self

    async def __aexit__(self, *exception) -> None:
        await self.disconnect()


class _BaseTransaction:
    """What both transactions are."""

    def __init__(self, client) -> None:
        self._client = client
        self._open = False
        self._session = None
        #: Snapshots taken here mean the transaction's commit, and go with its rollback.
        self.snapshots = client.snapshots
        self.snapshot = client.snapshots
        self.clone = client.clone

    def _begin(self) -> None:
        if self._client._in_transaction:
            raise Error("The client has an open transaction already.", hint="End it first, or use another client.")
        self._client._in_transaction = self._open = True

    def _begun(self) -> None:
        self._session = self._client._session

    def _check(self) -> None:
        if self._open:
            self._client._check_transaction(self._session)

    def _end(self) -> bool:
        """Tells whether it was still open, on the connection that it began on."""
        was_open, self._open = self._open, False
        if was_open:
            self._client._in_transaction = False
        return was_open and self._client._connected and self._session == self._client._session


class Transaction(_BaseTransaction):
    """An open transaction."""

    def execute(self, sql: str, params: Optional[Sequence[Any]] = None) -> ResultSet:
        """Runs a statement inside the transaction."""
        self._check()
        return self._client.execute(sql, params)

    query = execute

    def commit(self) -> None:
        """Commits.

        Raises:
            QueryError: Another transaction was first (`kind` ``"conflict"``). All is rolled back: run it again.
            ConnectionError: The connection was lost before the commit, and nothing is committed; or during it, and nobody
                knows.
        """
        self._check()
        if self._end():
            self._client.execute("COMMIT")

    def rollback(self) -> None:
        if self._end():
            self._client.execute("ROLLBACK")

    def __enter__(self) -> "Transaction":
        if not self._client.connected:
            self._client.connect()
        self._begin()
        try:
            self._client.execute("START TRANSACTION")
            self._begun()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind, *exception) -> None:
        try:
            self.commit() if kind is None else self.rollback()
        finally:
            self._end()


class AsyncTransaction(_BaseTransaction):
    """An open transaction, to be awaited."""

    async def execute(self, sql: str, params: Optional[Sequence[Any]] = None) -> ResultSet:
        """Runs a statement inside the transaction."""
        self._check()
        return await self._client.execute(sql, params)

    query = execute

    async def commit(self) -> None:
        """Commits."""
        self._check()
        if self._end():
            await self._client.execute("COMMIT")

    async def rollback(self) -> None:
        if self._end():
            await self._client.execute("ROLLBACK")

    async def __aenter__(self) -> "AsyncTransaction":
        if not self._client.connected:
            await self._client.connect()
        self._begin()
        try:
            await self._client.execute("START TRANSACTION")
            self._begun()
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(self, kind, *exception) -> None:
        try:
            await (self.commit() if kind is None else self.rollback())
        finally:
            self._end()


def _parameters(params: Optional[Sequence[Any]]) -> Optional[list]:
    return None if params is None else [_parameter(value) for value in params]


def _parameter(value: Any) -> Any:
    """Words what the native half has no type for, as SQL would write it."""
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        micros = value // dt.timedelta(microseconds=1)
        sign, micros = ("-", -micros) if micros < 0 else ("", micros)
        seconds, micros = divmod(micros, 1_000_000)
        return f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{micros:06}"
    if isinstance(value, decimal.Decimal):
        return str(value)
    return value

"""What can go wrong, as exceptions.

::

    Error                       anything below; its `kind` says what to do about it
    ├── ConfigError             settings or arguments that make no sense; nothing was sent
    ├── ConnectionError         the server cannot be reached, refuses the login, or is lost
    └── QueryError              the database refused a statement
        ├── SnapshotError       … of the snapshot manager
        ├── RestoreError        … that restores; nothing was changed
        ├── PitrError           … about recovery windows
        ├── CloneError
        ├── RetentionError
        └── ScheduleError
"""

from __future__ import annotations

import builtins

__all__ = [
    "CloneError",
    "ConfigError",
    "ConnectionError",
    "Error",
    "PitrError",
    "QueryError",
    "RestoreError",
    "RetentionError",
    "ScheduleError",
    "SnapshotError",
]


class Error(Exception):
    """An error of the client or of the database.

    Attributes:
        message: What is wrong.
        code: The database's number, MySQL's own where there is one (1049 a missing database, 1142 a missing right,
            1030 storage that cannot be reached, 1114 a full disk, 1213 a lost commit); `None` if it did not answer.
        sqlstate: The SQLSTATE, such as ``"42000"``; `None` if it did not answer.
        hint: The next step, if there is one to name.
        kind: One word to decide by: ``"not_found"``, ``"already_exists"``, ``"denied"``, ``"conflict"`` (run it
            again), ``"constraint"``, ``"unavailable"`` (make room, or try later), ``"cancelled"``, ``"unsupported"``,
            ``"read_only"``, ``"corrupt"``, ``"connection"``, ``"config"`` or ``"refused"``.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        sqlstate: str | None = None,
        hint: str | None = None,
        kind: str = "refused",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.sqlstate = sqlstate
        self.hint = hint
        self.kind = kind

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r}, code={self.code}, sqlstate={self.sqlstate!r}, kind={self.kind!r})"

    def __reduce__(self):
        details = {name: getattr(self, name) for name in ("code", "sqlstate", "hint", "kind")}
        return (_again, (type(self), self.message, details))


def _again(cls, message, details):
    return cls(message, **details)


class ConfigError(Error, ValueError):
    """Settings or arguments that make no sense; nothing was sent."""


class ConnectionError(Error, builtins.ConnectionError):
    """The server cannot be reached, refuses the login, or is lost: whether a running statement took effect is not known."""


class QueryError(Error):
    """The database refused a statement."""


class SnapshotError(QueryError):
    """The database refused a verb about snapshots. A create that failed left nothing behind, and the name is free."""


class RestoreError(QueryError):
    """A restore was refused. Nothing was changed."""


class PitrError(QueryError):
    """The database refused a verb about recovery windows."""


class CloneError(QueryError):
    """A clone was refused. Nothing was made."""


class RetentionError(QueryError):
    """The database refused a verb about which snapshots are kept."""


class ScheduleError(QueryError):
    """The database refused a verb about schedules."""

"""Where to connect, and as whom.

Each setting comes from the first of these that has it:

1. an argument;
2. the environment: ``STRANDLINE_HOST``, ``STRANDLINE_PORT``, ``STRANDLINE_USER``, ``STRANDLINE_PASSWORD``,
   ``STRANDLINE_DATABASE``, ``STRANDLINE_DATA``, ``STRANDLINE_TLS``, ``STRANDLINE_TLS_CA``;
3. a TOML file with ``host``, ``port``, ``user``, ``password``, ``database``, ``data``, ``tls``, ``tls_ca``: the one given,
   else the one that ``STRANDLINE_CONFIG`` names, else ``~/.config/strandline/config.toml``;
4. the local store: the password of its root, from ``root-password`` in the folder ``data`` (``strandline-data`` unless
   told otherwise), where root connects to this machine;
5. the defaults: 127.0.0.1, port 6001, user root, no database.
"""

from __future__ import annotations

import os
from typing import NamedTuple, Optional

from . import _native

__all__ = ["ConnectionParams", "get_connection_params"]


class ConnectionParams(NamedTuple):
    """Where to connect, in the order in which `Client` takes it."""

    host: str
    port: int
    user: str
    password: Optional[str]
    database: Optional[str]

    def __repr__(self) -> str:
        shown = "…" if self.password else self.password
        return (
            f"ConnectionParams(host={self.host!r}, port={self.port}, user={self.user!r}, "
            f"password={shown!r}, database={self.database!r})"
        )


def get_connection_params(
    host: str | None = None,
    port: int | None = None,
    user: str | None = None,
    password: str | None = None,
    database: str | None = None,
    *,
    config_file: str | os.PathLike[str] | None = None,
) -> ConnectionParams:
    """Returns where to connect, each setting from the first place that has it (see the module).

    Raises:
        ConfigError: A setting makes no sense, or a file that was named cannot be read.
    """
    found = _native.settings(config_file)
    given = {"host": host, "port": port, "user": user, "password": password, "database": database}
    return ConnectionParams(**{name: found[name] if value is None else value for name, value in given.items()})

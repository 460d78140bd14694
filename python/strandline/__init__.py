"""Strandline: a SQL database in which every commit is a recovery point.

::

    from strandline import Client

    with Client() as client:
        client.snapshots.create("before", database="shop")
        client.execute("DELETE FROM shop.orders")
        client.snapshots.restore("before", overwrite=True)
"""

from . import config, exceptions
from ._client import AsyncClient, AsyncTransaction, Client, Transaction
from ._results import (
    CleanupResult,
    PitrPolicy,
    RecoveryPoint,
    RestoreResult,
    RestoreStep,
    ResultSet,
    RetentionRules,
    RetentionStep,
    Schedule,
    Snapshot,
    SnapshotLevel,
)

__all__ = [
    "AsyncClient",
    "AsyncTransaction",
    "CleanupResult",
    "Client",
    "PitrPolicy",
    "RecoveryPoint",
    "RestoreResult",
    "RestoreStep",
    "ResultSet",
    "RetentionRules",
    "RetentionStep",
    "Schedule",
    "Snapshot",
    "SnapshotLevel",
    "Transaction",
    "config",
    "exceptions",
]

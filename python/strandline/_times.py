"""Moments as people give them, in the words of the native half."""

from __future__ import annotations

import datetime as dt

from .exceptions import ConfigError


def moment(value, *, end_of_day: bool = False) -> str | None:
    """Words a moment: a `datetime` or `date`, a text, or a version's number.

    What has no zone is local time, as `datetime.now()` is. A text that is no ISO date (``-10 minutes``) is left to the
    server. With `end_of_day`, a day without a time means its last moment.
    """
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return f"version:{value}"
    time = _read(value, end_of_day)
    return f"time:{value}" if time is None else f"time:{_utc(time):%Y-%m-%dT%H:%M:%S.%fZ}"


def micros(value) -> int:
    """Returns a moment in microseconds since 1970, UTC."""
    time = _read(value, False)
    if time is None:
        raise ConfigError(
            f"'{value}' is not a time.", hint="Give a datetime, or write '2026-01-31' or '2026-01-31 10:00:00'.", kind="config"
        )
    return (_utc(time) - _EPOCH) // dt.timedelta(microseconds=1)


def local(micros_since_epoch: int | None) -> dt.datetime | None:
    """Returns a time as `datetime.now()` would have given it: local, without a zone."""
    if micros_since_epoch is None:
        return None
    time = _EPOCH + dt.timedelta(microseconds=micros_since_epoch)
    return time.astimezone().replace(tzinfo=None)


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


def _utc(time: dt.datetime) -> dt.datetime:
    return time.astimezone(dt.timezone.utc)


def _read(value, end_of_day: bool) -> dt.datetime | None:
    if isinstance(value, dt.datetime):
        return value
    if isinstance(value, dt.date):
        return _of_day(value, end_of_day)
    if not isinstance(value, str):
        raise ConfigError(f"A moment cannot be a {type(value).__name__}.", kind="config")
    text = value.strip()
    try:
        return _of_day(dt.date.fromisoformat(text), end_of_day)
    except ValueError:
        pass
    try:
        # Python 3.10 does not know the Z.
        return dt.datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
    except ValueError:
        return None


def _of_day(day: dt.date, end: bool) -> dt.datetime:
    return dt.datetime.combine(day, dt.time.max if end else dt.time.min)

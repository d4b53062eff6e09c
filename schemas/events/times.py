"""Parse and format times. All results are UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

MAX_TIME_LENGTH = 48

_US_FORM = re.compile(
    r"(\d{1,2})/(\d{1,2})/(\d{4}),?\s+(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?"
    r"(?:\s*([AaPp])\.?[Mm]\.?)?\s*(Z|UTC|[+-]\d{2}:?\d{2})?"
)
_EPOCH_FORM = re.compile(r"/Date\((\d{9,14})(?:[+-]\d{4})?\)/|(\d{10}(?:\d{3})?(?:\.\d{1,9})?)")
_RFC_1123_FORM = re.compile(
    r"[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} (?:GMT|UTC|[+-]\d{4})"
)
_FIRST_YEAR, _END_YEAR = 2000, 2100
_EARLIEST = datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC).timestamp()
_LATEST = datetime(_END_YEAR, 1, 1, tzinfo=UTC).timestamp()
"""Seconds since the epoch between which a number is a time."""
_ISO_FORM = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})[Tt ](\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,12}))?)?"
    r"\s*(Z|z|UTC|[+-]\d{2}:?\d{2})?"
)


def parse_time(value: object) -> datetime | None:
    """Return the timestamp in *value*, in UTC, or None if it has none.

    Accepts ISO 8601 with any number of fraction digits (cut to microseconds), an unpadded hour and
    any offset; the US format ``5/6/2031 3:03:58 PM``, month first; seconds or milliseconds since
    the epoch, as numbers or texts, also as Windows PowerShell 5.1 writes them
    (``/Date(1772438430000)/``); and RFC 1123. A time without a zone is UTC. The formats come from
    recorded events of Entra ID, AD FS and Log Analytics, and from exports. Never raises.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _since_epoch(value)
    if not isinstance(value, str) or len(value) > MAX_TIME_LENGTH:
        return None
    try:
        timestamp = datetime.fromisoformat(value)
    except ValueError:
        return _parse_odd_time(value.strip())
    return _utc(timestamp)


def is_plausible(time: datetime) -> bool:
    """Return False for the ends of the calendar and zero, which services write for "no time"."""
    return _FIRST_YEAR <= time.year < _END_YEAR


def _utc(timestamp: datetime) -> datetime | None:
    if timestamp.tzinfo is None:
        return timestamp.replace(tzinfo=UTC)
    try:
        return timestamp.astimezone(UTC)
    except OverflowError:
        return None


def _parse_odd_time(text: str) -> datetime | None:
    if match := _US_FORM.fullmatch(text):
        month, day, year, hour, minute, second, fraction, half, zone = match.groups()
    elif match := _EPOCH_FORM.fullmatch(text):
        return _since_epoch(float(match[1] or match[2]))
    elif match := _RFC_1123_FORM.fullmatch(text):
        return _parse_rfc_1123(text)
    elif match := _ISO_FORM.fullmatch(text):
        year, month, day, hour, minute, second, fraction, zone = match.groups()
        half = None
    else:
        return None
    try:
        timestamp = datetime(
            int(year),
            int(month),
            int(day),
            _hour(int(hour), half),
            int(minute),
            int(second or 0),
            int((fraction or "0")[:6].ljust(6, "0")),
            tzinfo=_zone(zone),
        )
    except ValueError:
        return None
    return _utc(timestamp)


def _since_epoch(number: float) -> datetime | None:
    """Return the time of seconds or milliseconds since the epoch; None if it is neither."""
    for unit in (1.0, 1_000.0):
        if _EARLIEST <= number / unit < _LATEST:
            return datetime.fromtimestamp(number / unit, UTC)
    return None


def _parse_rfc_1123(text: str) -> datetime | None:
    try:
        return _utc(parsedate_to_datetime(text))
    except (ValueError, TypeError):
        return None


def _hour(hour: int, half: str | None) -> int:
    if half is None:
        return hour
    if not 1 <= hour <= 12:
        raise ValueError(hour)
    return hour % 12 + (12 if half in "Pp" else 0)


def _zone(text: str | None) -> timezone:
    if text is None or text in ("Z", "z", "UTC"):
        return UTC
    digits = text[1:].replace(":", "")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)


def iso_of(seconds: float | None) -> str | None:
    """Format seconds since the epoch like :func:`iso`; None for None or out of range."""
    if seconds is None:
        return None
    try:
        return iso(datetime.fromtimestamp(seconds, UTC))
    except (OverflowError, OSError, ValueError):
        return None


def iso(timestamp: datetime) -> str:
    """Format *timestamp* as in every row and file: UTC, microseconds, Z."""
    return timestamp.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

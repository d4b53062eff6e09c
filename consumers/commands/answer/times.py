"""Times as people read them, in a time zone of their choice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from schemas.errors import ConfigurationError
from schemas.events.times import parse_time

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Times:
    """Writes times of a time zone."""

    zone: tzinfo = UTC
    name: str = "UTC"

    def local(self, text: str | None) -> datetime | None:
        """Return a time of a row in the time zone; None for none."""
        found = parse_time(text)
        return None if found is None else found.astimezone(self.zone)

    def minute(self, text: str | None) -> str:
        """Return a time to the minute, with its year."""
        found = self.local(text)
        return UNKNOWN if found is None else f"{found:%Y-%m-%d %H:%M}"

    def period(self, first: str | None, last: str | None) -> str:
        """Return from when to when; the day only once if it is the same."""
        begin, end = self.local(first), self.local(last)
        if begin is None or end is None:
            return UNKNOWN
        if begin == end:
            return f"{begin:%Y-%m-%d %H:%M}"
        same = begin.date() == end.date()
        return f"{begin:%Y-%m-%d %H:%M} to {end:{'%H:%M' if same else '%Y-%m-%d %H:%M'}}"


def times_in(name: str | None) -> Times:
    """Return the times of a named zone, of this machine for ``local``, of UTC for None.

    Raises ConfigurationError for a zone that is not known.
    """
    if name is None or name.upper() == "UTC":
        return Times()
    if name == "local":
        zone = datetime.now().astimezone().tzinfo or UTC
        return Times(zone, "local time")
    try:
        return Times(ZoneInfo(name), name)
    except (ValueError, OSError, KeyError):
        raise ConfigurationError(
            f"--timezone {name[:60]}: is unknown; use one such as Europe/Berlin, or local"
        ) from None

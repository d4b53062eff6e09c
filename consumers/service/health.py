"""How the service is: its troubles, and since when."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from schemas.events.times import iso
from schemas.health import DEGRADED_ONLY, OUTSIDE, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger()

GRACE_SECONDS = 10.0
"""Seconds that a trouble which may pass by itself is given before anybody hears of it."""
WARN_INTERVAL_SECONDS = 300.0
"""Seconds between two warnings about the same trouble."""
_TRANSIENT = frozenset(
    {
        Problem.HUB_UNREACHABLE,
        Problem.CHECKPOINT_UNREACHABLE,
        Problem.LEDGER_UNREACHABLE,
        Problem.QUARANTINE_UNREACHABLE,
        Problem.FINDINGS_HELD_BACK,
    }
)
_EXPECTED = frozenset({Problem.STARTING, Problem.DRAINING})
MAX_DETAIL_LENGTH = 500


@dataclass(slots=True)
class _OpenProblem:
    wall: float
    monotonic: float
    detail: str
    told: float | None = None


class Health:
    """Keeps the open problems. Logs each one once, and again at intervals while it lasts."""

    def __init__(
        self,
        *,
        grace: float = 0.0,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._grace = grace
        self._now = now
        self._monotonic = monotonic
        self._troubles: dict[tuple[Problem, str], _OpenProblem] = {}

    def report(self, what: Problem, detail: str, *, part: str = "") -> None:
        """Note that something is wrong."""
        moment = self._monotonic()
        since = self._troubles.setdefault((what, part), _OpenProblem(self._now(), moment, detail))
        since.detail = detail[:MAX_DETAIL_LENGTH]
        due = since.told is None or moment - since.told > WARN_INTERVAL_SECONDS
        if due and self._lasts(what, since):
            since.told = moment
            tell = log.debug if what in _EXPECTED else log.warning
            tell("trouble", what=what.value, part=part or None, detail=since.detail)

    def resolve(self, what: Problem, *, part: str = "") -> None:
        """Note that it is right (again)."""
        since = self._troubles.pop((what, part), None)
        if since is not None and since.told is not None:
            tell = log.debug if what in _EXPECTED else log.info
            tell("mended", what=what.value, part=part or None)

    def _lasts(self, what: Problem, since: _OpenProblem) -> bool:
        grace = self._grace if what in _TRANSIENT else 0.0
        return self._monotonic() - since.monotonic >= grace

    @property
    def overdue(self) -> bool:
        """Whether something outside the process holds its work up."""
        return any(what in OUTSIDE for what, _ in list(self._troubles))

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong that keeps sign-ins from being judged."""
        return not any(
            what not in DEGRADED_ONLY and self._lasts(what, since)
            for (what, _), since in list(self._troubles.items())
        )

    def reasons(self) -> list[dict[str, Any]]:
        """Return what is wrong, the longest first, as shown by ``/readyz`` and the health table."""
        lasting = [
            (what, part, since)
            for (what, part), since in list(self._troubles.items())
            if self._lasts(what, since)
        ]
        return [
            {
                "code": what.value,
                "part": part or None,
                "since": iso(datetime.fromtimestamp(since.wall, UTC)),
                "detail": since.detail,
                "blocking": what not in DEGRADED_ONLY,
            }
            for what, part, since in sorted(lasting, key=lambda one: one[2].monotonic)
        ]

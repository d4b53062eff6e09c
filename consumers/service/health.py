"""The health of the service: its open problems, and since when they exist."""

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
"""Seconds for which a transient problem is not reported."""
WARN_INTERVAL_SECONDS = 300.0
"""Seconds between two warnings about the same problem."""
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
    logged: float | None = None


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
        self._problems: dict[tuple[Problem, str], _OpenProblem] = {}

    def report(self, what: Problem, detail: str, *, part: str = "") -> None:
        """Open a problem, or update its detail."""
        now = self._monotonic()
        problem = self._problems.setdefault((what, part), _OpenProblem(self._now(), now, detail))
        problem.detail = detail[:MAX_DETAIL_LENGTH]
        due = problem.logged is None or now - problem.logged > WARN_INTERVAL_SECONDS
        if due and self._lasts(what, problem):
            problem.logged = now
            write = log.debug if what in _EXPECTED else log.warning
            write("problem", what=what.value, part=part or None, detail=problem.detail)

    def resolve(self, what: Problem, *, part: str = "") -> None:
        """Close a problem; does nothing if it is not open."""
        problem = self._problems.pop((what, part), None)
        if problem is not None and problem.logged is not None:
            write = log.debug if what in _EXPECTED else log.info
            write("problem resolved", what=what.value, part=part or None)

    def _lasts(self, what: Problem, problem: _OpenProblem) -> bool:
        grace = self._grace if what in _TRANSIENT else 0.0
        return self._monotonic() - problem.monotonic >= grace

    @property
    def is_blocked(self) -> bool:
        """True if an external problem blocks the service."""
        return any(what in OUTSIDE for what, _ in list(self._problems))

    @property
    def healthy(self) -> bool:
        """True if no open problem keeps sign-ins from being judged."""
        return not any(
            what not in DEGRADED_ONLY and self._lasts(what, problem)
            for (what, _), problem in list(self._problems.items())
        )

    def reasons(self) -> list[dict[str, Any]]:
        """Return the open problems, oldest first, as in ``/readyz`` and the health table."""
        lasting = [
            (what, part, problem)
            for (what, part), problem in list(self._problems.items())
            if self._lasts(what, problem)
        ]
        return [
            {
                "code": what.value,
                "part": part or None,
                "since": iso(datetime.fromtimestamp(problem.wall, UTC)),
                "detail": problem.detail,
                "blocking": what not in DEGRADED_ONLY,
            }
            for what, part, problem in sorted(lasting, key=lambda item: item[2].monotonic)
        ]

"""The limit on open files, which a service with many connections reaches first."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import structlog

from schemas.health import Problem

if TYPE_CHECKING:
    from schemas.health import HealthReporter

log = structlog.get_logger()

MIN_OPEN_FILES = 512
"""Open files: hub connections, 64 concurrent storage requests, sources and SQLite."""
WANTED_OPEN_FILES = 4_096


def ensure_open_files(health: HealthReporter) -> None:
    """Raise a soft limit (``ulimit -n``) that is too low; report it if that fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= MIN_OPEN_FILES:
        return
    wanted = WANTED_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, WANTED_OPEN_FILES)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    except (OSError, ValueError):
        wanted = soft
    if wanted >= MIN_OPEN_FILES:
        log.warning("limit on open files raised", limit="RLIMIT_NOFILE", was=soft, now=wanted)
        return
    health.report(
        Problem.FEW_FILES,
        f"RLIMIT_NOFILE ('ulimit -n') allows only {max(soft, wanted)} open files, but "
        f"{MIN_OPEN_FILES} may be needed; raise it, or connections will fail under load",
    )

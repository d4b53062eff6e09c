"""Where commands keep what was paid for: in the state directory, or the user's state folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from platformdirs import user_state_path

from consumers.enrichment.budget import reset_before
from consumers.settings.urls import is_loopback
from consumers.sources.paid_answers import KeepingSource, PaidAnswers, file_of
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from consumers.enrichment.paid_lookup import Lifetimes
    from consumers.settings import Settings
    from schemas.ports import Source, SourceVerdict

_FOLDER = "paid"


def paid_folder(settings: Settings) -> Path:
    """Return the folder of the answers that were paid for; it may not exist."""
    return (settings.state.dir or user_state_path("signinwatch")) / _FOLDER


def folder_to_keep(settings: Settings, *, forget: bool, spend: bool = False) -> Path | None:
    """Return where answers are kept; None for a loopback URL, which nobody pays for.

    Raises ConfigurationError if they are not to be used, and lookups may be paid for again.
    """
    if is_loopback(settings.crowdsec.url):
        return None
    if forget and spend:
        raise ConfigurationError(
            "--forget-paid: would pay again with --spend for what is known; leave out one of them"
        )
    return None if forget else paid_folder(settings)


def keeping(
    source: Source, settings: Settings, folder: Path, quota: int, lifetimes: Lifetimes
) -> KeepingSource:
    """Return a source that asks for what is not kept in *folder*, within a quota."""
    key = settings.crowdsec.api_key
    path = file_of(folder, settings.crowdsec.url, key.get_secret_value() if key else "")

    def lifetime_of(answer: SourceVerdict) -> float:
        return lifetimes.of(answer.reputation)

    reset_day = settings.crowdsec.reset_day
    return KeepingSource(
        source,
        PaidAnswers(path),
        quota=quota,
        period_of=lambda now: reset_before(now, reset_day).timestamp(),
        lifetime_of=lifetime_of,
    )


def forget_paid(settings: Settings, addresses: list[str]) -> int:
    """Delete what was paid for on addresses, of every key; return how many answers there were."""
    folder, deleted = paid_folder(settings), 0
    for path in folder.glob("*.sqlite") if folder.is_dir() else ():
        kept = PaidAnswers(path)
        deleted += kept.forget(addresses)
        kept.close()
    return deleted

"""``signinwatch feeds release`` and ``refuse``: a person's decision on an indicator."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from consumers.commands import console as screens
from consumers.commands.options import state_option
from schemas.errors import ConfigurationError, StateRefused
from schemas.events.times import iso_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from consumers.settings import Settings
    from schemas.ledger_ports import Ledger

until_option = click.option(
    "--until",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]),
    help="End of the decision, UTC. Default: none.",
)


@click.command("release")
@click.argument("indicator")
@until_option
@state_option
@click.pass_obj
def release_command(
    config: Path | None, indicator: str, until: datetime | None, state: Path | None
) -> None:
    """Believe an indicator whose findings are capped.

    INDICATOR is its id, as in the problem indicator-capped and in feeds status.
    """
    _decide(config, indicator, until, state, release=True)


@click.command("refuse")
@click.argument("indicator")
@until_option
@state_option
@click.pass_obj
def refuse_command(
    config: Path | None, indicator: str, until: datetime | None, state: Path | None
) -> None:
    """Ignore an indicator: it makes no findings.

    INDICATOR is its id, as in the problem indicator-capped, in feeds status and in a finding.
    """
    _decide(config, indicator, until, state, release=False)


def _decide(
    config: Path | None,
    indicator: str,
    until: datetime | None,
    state: Path | None,
    *,
    release: bool,
) -> None:
    from consumers.enrichment.indicator_review import Decision, decide
    from consumers.settings import load_settings

    settings = load_settings(config)
    end = None if until is None else until.replace(tzinfo=until.tzinfo or UTC).timestamp()

    async def store() -> None:
        async with _open_ledger(settings, state) as ledger:
            await decide(ledger, indicator, Decision(release, end))

    asyncio.run(store())
    done = "released" if release else "refused"
    how_long = f" until {iso_of(end)}" if end is not None else ""
    Console().print(screens.plain(f"{indicator} is {done}{how_long}.", 1_000))


@asynccontextmanager
async def _open_ledger(settings: Settings, state: Path | None) -> AsyncIterator[Ledger]:
    """Open the ledger of the service, or of the replays of a folder."""
    from consumers.wiring.replay import StateFolder, make_clock, make_ledger
    from consumers.wiring.shared_ledger import is_shared, open_shared_ledger

    folder = state or settings.state.dir
    async with AsyncExitStack() as stack:
        if folder is not None:
            stored = StateFolder(folder)
            ledger: Ledger = make_ledger(settings, stored, make_clock(stored.clock_kind))
            stack.push_async_callback(ledger.close)
        elif is_shared(settings):
            ledger = await open_shared_ledger(settings, stack)
        else:
            raise ConfigurationError(
                "SIGNINWATCH_STATE__DIR is not set; set it, --state, STATE__CONNECTION_STRING or "
                "STATE__ACCOUNT_URL"
            )
        yield ledger


async def capped_rows(settings: Settings, state: Path | None) -> dict[str, list[dict[str, Any]]]:
    """Return the indicators that were capped, by feed, with what was decided.

    Nothing if there is no ledger, or a service has it open.
    """
    from consumers.enrichment.indicator_review import read_capped, read_decisions
    from consumers.ledger.sqlite.schema import clock_of

    folder = state or settings.state.dir
    if folder is not None and clock_of(folder) is None:
        return {}  # reading must not create a ledger
    found: dict[str, list[dict[str, Any]]] = {}
    try:
        async with _open_ledger(settings, state) as ledger:
            capped, decisions = await read_capped(ledger), await read_decisions(ledger)
    except (StateRefused, ConfigurationError):
        return {}
    for indicator, why in capped.items():
        decision = decisions.get(indicator)
        word = None if decision is None else "released" if decision.release else "refused"
        row = {
            "indicator": indicator,
            "names": why.names,
            "accounts": why.accounts,
            "days": why.days,
            "since": iso_of(why.since),
            "decision": word,
            "until": iso_of(decision.until) if decision is not None else None,
        }
        found.setdefault(why.feed, []).append(row)
    return found

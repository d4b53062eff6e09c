"""The commands ``signinwatch feeds``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click
import orjson
from rich.console import Console

from consumers.commands import console as screens
from consumers.commands.options import state_option

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from consumers.commands.feeds import FeedReport
    from consumers.sources.feeds.conversion import Synced

STDERR = Console(stderr=True)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


@click.group("feeds")
def feeds_group() -> None:
    """TAXII feeds and the CrowdSec replica: what they know costs no lookup."""


@feeds_group.command("sync")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@state_option
@json_option
@click.pass_obj
def sync_command(
    config: Path | None, names: tuple[str, ...], state: Path | None, as_json: bool
) -> None:
    """Read feeds, and fetch the replica, now.

    NAME is a feed, or crowdsec-replica; all without one. The service does this by itself; where
    instances share a ledger, it follows what this command reads.
    """
    from consumers.commands.feeds import require_free_sources, sync_feeds
    from consumers.settings import load_settings

    settings = load_settings(config)
    lowered = [name.lower() for name in names]
    require_free_sources(settings, lowered)
    with screens.progress_bar(STDERR, None) as advance:

        def progress(name: str, synced: Synced) -> None:
            advance(1, f"{name}: {synced.objects:,} objects, {synced.fresh:,} new")

        reports = asyncio.run(sync_feeds(settings, state, lowered, progress))
    _show(reports, as_json=as_json)
    if any(report.trouble for report in reports):
        raise SystemExit(1)


@feeds_group.command("status")
@state_option
@json_option
@click.pass_obj
def status_command(config: Path | None, state: Path | None, as_json: bool) -> None:
    """Show age and size of feeds and replica, as they are kept."""
    from consumers.commands.feeds import feeds_status, require_free_sources
    from consumers.settings import load_settings

    settings = load_settings(config)
    require_free_sources(settings, ())
    _show(asyncio.run(feeds_status(settings, state)), as_json=as_json)


def _show(reports: Sequence[FeedReport], *, as_json: bool) -> None:
    if as_json:
        for report in reports:
            click.echo(orjson.dumps(report.as_row()).decode())
    else:
        Console().print(screens.feeds_table([report.as_row() for report in reports]))

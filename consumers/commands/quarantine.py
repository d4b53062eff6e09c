"""``signinwatch quarantine``. A *folder* of None means the checkpoint container."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click
import orjson
from rich.console import Console

from consumers.commands import console as screens
from consumers.commands.options import quota_option, spend_option, state_option
from schemas.errors import ConfigurationError
from schemas.events.times import iso
from schemas.ports import Message, Position
from schemas.rows.columns import row_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Sequence
    from pathlib import Path

    from consumers.settings import Settings
    from consumers.wiring.replay import ReplayPipeline
    from schemas.events.decode import Decoder
    from schemas.ports import Quarantine, QuarantineItem, Sink


@click.group("quarantine")
def quarantine_group() -> None:
    """List, show, retry or purge unreadable or undelivered items.

    The quarantine is in the directory of --state. Without --state, it is in the checkpoint
    container, where the service puts it, if that is configured, else in STATE__DIR.
    """


def _in_container(settings: Settings) -> bool:
    checkpoint = settings.checkpoint
    return checkpoint.connection_string is not None or checkpoint.account_url is not None


def _location(config: Path | None, state: Path | None) -> tuple[Settings, Path | None]:
    """Return the settings and the directory of the quarantine, or None for the container."""
    from consumers.settings import load_settings

    settings = load_settings(config)
    folder = state or (None if _in_container(settings) else settings.state.dir)
    if folder is not None and not folder.is_dir():
        raise ConfigurationError(f"--state {folder}: no such directory")
    return settings, folder


@quarantine_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object per line.")
@state_option
@click.pass_obj
def quarantine_list(config: Path | None, as_json: bool, state: Path | None) -> None:
    """List quarantined items."""
    items = asyncio.run(items_of(*_location(config, state)))
    if as_json:
        for item in items:
            click.echo(orjson.dumps(_listed(item)).decode())
    else:
        Console().print(screens.quarantine_table(items))


def _listed(item: QuarantineItem) -> dict[str, Any]:
    return {
        "id": item.id,
        "time": iso(item.time),
        "kind": item.kind,
        "reason": item.reason,
        "position": item.position,
        "bytes": len(item.body),
    }


def _chosen(
    settings: Settings, folder: Path | None, ids: Sequence[str]
) -> tuple[list[QuarantineItem], set[str] | None]:
    """Return the items of *ids*, or all, and the ids as a set; None for all.

    Raise ConfigurationError for an unknown id.
    """
    items = asyncio.run(items_of(settings, folder))
    known = {item.id for item in items}
    for id_ in ids:
        if id_ not in known:
            raise ConfigurationError(f"{id_}: no such item; see 'signinwatch quarantine list'")
    wanted = set(ids) or None
    return [item for item in items if wanted is None or item.id in wanted], wanted


@quarantine_group.command("show")
@click.argument("id_", metavar="ID")
@state_option
@click.pass_obj
def quarantine_show(config: Path | None, id_: str, state: Path | None) -> None:
    """Show one item in full. A terminal shows control characters as replacements."""
    (item,), _ = _chosen(*_location(config, state), [id_])
    if sys.stdout.isatty():
        Console().print(screens.plain(item.body.decode("utf-8", "replace"), 1 << 20))
    else:
        sys.stdout.buffer.write(item.body)


@quarantine_group.command("retry")
@click.argument("ids", nargs=-1, metavar="[ID...]")
@click.option(
    "--findings", help="Where to write findings: a file, - or azure. Default: azure, if configured."
)
@state_option
@quota_option
@spend_option
@click.pass_obj
def quarantine_retry(
    config: Path | None,
    ids: tuple[str, ...],
    findings: str | None,
    state: Path | None,
    quota: int | None,
    spend: bool,
) -> None:
    """Process messages and send findings again. Without ID: all items.

    With the quarantine in the checkpoint container, no lookups are made unless --quota allows
    them: only the service knows what it has spent this month.
    """
    from consumers.wiring.replay import make_sink

    settings, folder = _location(config, state)
    if findings is None and settings.logs.endpoint is None:
        raise ConfigurationError("--findings is not set; set it or SIGNINWATCH_LOGS__ENDPOINT")
    items, _ = _chosen(settings, folder, ids)
    if quota is None and folder is not None:
        quota = settings.crowdsec.monthly_quota
    result = asyncio.run(
        retry(
            settings,
            folder,
            items,
            lambda: make_sink(settings, findings or "azure"),
            quota=quota or 0,
            spend=spend,
        )
    )
    output = sys.stderr if findings == "-" else sys.stdout
    counts = f"{result.settled:,} of {result.tried:,} resolved, {result.findings:,} findings"
    click.echo(counts, output)
    if quota is None and result.settled < result.tried:
        click.echo("signinwatch: no lookups were made; --quota N allows N lookups", err=True)


@quarantine_group.command("purge")
@click.argument("ids", nargs=-1, metavar="[ID...]")
@click.option(
    "--older-than", type=click.IntRange(min=0), metavar="DAYS", help="Delete items older than this."
)
@click.option("--all", "all_", is_flag=True, help="Delete all items.")
@state_option
@click.pass_obj
def quarantine_purge(
    config: Path | None,
    ids: tuple[str, ...],
    older_than: int | None,
    all_: bool,
    state: Path | None,
) -> None:
    """Permanently delete items."""
    if not ids and older_than is None and not all_:
        raise ConfigurationError("no items selected; give an ID, --older-than DAYS or --all")
    before = None if older_than is None else datetime.now(UTC) - timedelta(days=older_than)
    settings, folder = _location(config, state)
    wanted = _chosen(settings, folder, ids)[1] if ids else None
    click.echo(f"{asyncio.run(purge(settings, folder, wanted, before)):,} deleted")


@dataclass(slots=True)
class RetryResult:
    """Counts of a retry."""

    tried: int = 0
    settled: int = 0
    findings: int = 0


@asynccontextmanager
async def _opened(settings: Settings, folder: Path | None) -> AsyncIterator[Quarantine]:
    from consumers.wiring.replay import make_quarantine

    quarantine = make_quarantine(settings, folder)
    try:
        yield quarantine
    finally:
        await quarantine.close()


async def items_of(settings: Settings, folder: Path | None) -> list[QuarantineItem]:
    """Return all items, oldest first."""
    async with _opened(settings, folder) as quarantine:
        return [item async for item in quarantine.items()]


async def purge(
    settings: Settings,
    folder: Path | None,
    ids: Collection[str] | None,
    before: datetime | None,
) -> int:
    """Delete the items of *ids*, or all, older than *before* if given. Return the count."""
    async with _opened(settings, folder) as quarantine:
        return await quarantine.remove(ids, before)


async def retry(
    settings: Settings,
    folder: Path | None,
    items: Sequence[QuarantineItem],
    new_sink: Callable[[], Sink],
    *,
    quota: int,
    spend: bool,
) -> RetryResult:
    """Process messages and send findings again; remove the items that this resolves.

    A message that is still unreadable, or has a record that is quarantined again, stays; so does
    a finding that is still rejected. Without a folder the ledger is temporary: then a message
    with an unanswered sign-in stays too.
    """
    from consumers.commands.replay.job import refuse_to_spend_unasked
    from consumers.wiring.pipeline import make_decoder
    from consumers.wiring.replay import StateFolder, open_chain

    decoder = make_decoder(settings)
    with StateFolder(folder) as state:
        kind = state.clock_kind
        refuse_to_spend_unasked(settings, kind, quota, spend=spend)
        async with (
            _opened(settings, folder) as quarantine,
            open_chain(
                settings,
                state,
                new_sink,
                clock_kind=kind,
                quota=quota,
                origin="late",
                quarantine=quarantine,
                paced=False,  # manual lookups
            ) as running,
        ):
            processed = [item for item in items if await _processed(item, running, decoder)]
            await running.pipeline.drain()
            settled = {
                item.id
                for item in processed
                if not any(raw in item.body for raw in running.pipeline.guard.caught)
                and not (state.temporary and await _is_waiting(item, running, decoder))
            }
            await quarantine.remove(settled)
            return RetryResult(len(items), len(settled), running.outbox.accepted.total())


async def _processed(item: QuarantineItem, running: ReplayPipeline, decoder: Decoder) -> bool:
    """Process an item; return True if it may be removed once the pipeline is drained."""
    from consumers.pipeline.record_guard import PENDING

    if item.kind == "finding":
        return await _sent(item, running)
    if item.kind == PENDING:
        return False  # for manual review: there is no message to process again
    if decoder.decode(item.body).rejects:
        return False
    before = running.pipeline.counts.unanswered
    await running.pipeline.process([Message(item.body, Position(item.position, 0))])
    # Without lookups an unanswered sign-in does not wait in the ledger, so the item stays here.
    return running.lookups is not None or running.pipeline.counts.unanswered == before


async def _sent(item: QuarantineItem, running: ReplayPipeline) -> bool:
    try:
        row = orjson.loads(item.body)
    except orjson.JSONDecodeError:  # cut because it was too large
        return False
    if row_error(row) is not None:
        return False
    refused = running.outbox.refused
    await running.outbox.add([row])
    await running.outbox.flush()
    return running.outbox.refused == refused


async def _is_waiting(item: QuarantineItem, running: ReplayPipeline, decoder: Decoder) -> bool:
    """Return True if a sign-in of the message waits in the temporary ledger."""
    if item.kind == "finding":
        return False
    signins = decoder.decode(item.body).signins
    addresses = list(dict.fromkeys(ip for signin in signins for ip in signin.addresses))
    return bool(await running.ledger.waiting_among(addresses))

"""``signinwatch quarantine``: list, show, retry and purge items.

A *folder* of None means the quarantine beside the checkpoints.
"""

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
    """List, show, retry or purge quarantined messages and findings.

    The quarantine is in the directory of --state; else beside the checkpoints of ``run``, if they
    are configured; else in STATE__DIR.
    """


def _beside_checkpoints(settings: Settings) -> bool:
    checkpoint = settings.checkpoint
    return checkpoint.connection_string is not None or checkpoint.account_url is not None


def _place(config: Path | None, state: Path | None) -> tuple[Settings, Path | None]:
    """Return the settings and the quarantine directory, None for the blob container."""
    from consumers.settings import load_settings

    settings = load_settings(config)
    folder = state or (None if _beside_checkpoints(settings) else settings.state.dir)
    if folder is not None and not folder.is_dir():
        raise ConfigurationError(f"--state {folder}: no such directory")
    return settings, folder


@quarantine_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")
@state_option
@click.pass_obj
def quarantine_list(config: Path | None, as_json: bool, state: Path | None) -> None:
    """List quarantined items."""
    items = asyncio.run(items_of(*_place(config, state)))
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
    """Return the items of *ids*, or all, and the ids to pass to the quarantine."""
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
    """Show an item in full. On a terminal, control characters are replaced."""
    (item,), _ = _chosen(*_place(config, state), [id_])
    if sys.stdout.isatty():
        Console().print(screens.plain(item.body.decode("utf-8", "replace"), 1 << 20))
    else:
        sys.stdout.buffer.write(item.body)


@quarantine_group.command("retry")
@click.argument("ids", nargs=-1, metavar="[ID...]")
@click.option(
    "--findings", help="Write findings to a file, - or azure. Default: azure, if configured."
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
    """Read messages and send findings again. Without ID: all items.

    With a quarantine beside the checkpoints no lookups are made unless --quota permits them: only
    the service knows what it has spent this month.
    """
    from consumers.wiring.replay import make_sink

    settings, folder = _place(config, state)
    if findings is None and settings.logs.endpoint is None:
        raise ConfigurationError("--findings: name a destination, or set LOGS__ENDPOINT")
    items, _ = _chosen(settings, folder, ids)
    if quota is None and folder is not None:
        quota = settings.crowdsec.monthly_quota
    told = asyncio.run(
        retry(
            settings,
            folder,
            items,
            lambda: make_sink(settings, findings or "azure"),
            quota=quota or 0,
            spend=spend,
        )
    )
    where = sys.stderr if findings == "-" else sys.stdout
    click.echo(f"{told.settled:,} of {told.tried:,} settled, {told.findings:,} findings", where)
    if quota is None and told.settled < told.tried:
        click.echo("signinwatch: no lookups were made; --quota N permits N lookups", err=True)


@quarantine_group.command("purge")
@click.argument("ids", nargs=-1, metavar="[ID...]")
@click.option(
    "--older-than", type=click.IntRange(min=0), metavar="DAYS", help="Only items older than this."
)
@click.option("--all", "all_", is_flag=True, help="All items.")
@state_option
@click.pass_obj
def quarantine_purge(
    config: Path | None,
    ids: tuple[str, ...],
    older_than: int | None,
    all_: bool,
    state: Path | None,
) -> None:
    """Delete items permanently."""
    if not ids and older_than is None and not all_:
        raise ConfigurationError("no items selected; give an ID, --older-than DAYS or --all")
    before = None if older_than is None else datetime.now(UTC) - timedelta(days=older_than)
    settings, folder = _place(config, state)
    wanted = _chosen(settings, folder, ids)[1] if ids else None
    click.echo(f"{asyncio.run(purge(settings, folder, wanted, before)):,} deleted")


@dataclass(slots=True)
class RetryResult:
    """The result of a retry."""

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
    """Delete items by id, or all; only those older than *before* if given. Return how many."""
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
    """Read messages and send findings again; remove the items that this settles.

    A message that is still unreadable, or of which a record is set aside again, stays, as does a
    finding that is still refused. Without a
    folder the ledger is a temporary one: a message of which anything is unanswered stays as well.
    """
    from consumers.commands.replay import refuse_to_spend_unasked
    from consumers.wiring.core import make_decoder
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
                paced=False,  # a person asks
            ) as chain,
        ):
            taken = [item for item in items if await _taken(item, chain, decoder)]
            await chain.pipeline.drain()
            settled = {
                item.id
                for item in taken
                if not any(raw in item.body for raw in chain.pipeline.guard.caught)
                and not (state.temporary and await _waits(item, chain, decoder))
            }
            await quarantine.remove(settled)
            return RetryResult(len(items), len(settled), chain.outbox.accepted.total())


async def _taken(item: QuarantineItem, chain: ReplayPipeline, decoder: Decoder) -> bool:
    """Process an item. Return True if it may be removed once the pipeline is drained."""
    from consumers.pipeline.record_guard import PENDING

    if item.kind == "finding":
        return await _sent(item, chain)
    if item.kind == PENDING:
        return False  # for a person: there is no message to be read again
    if decoder.decode(item.body).rejects:
        return False
    before = chain.pipeline.counts.unanswered
    await chain.pipeline.process([Message(item.body, Position(item.position, 0))])
    # Without a source to ask, an unanswered sign-in does not wait in the ledger, so it stays here.
    return chain.lookups is not None or chain.pipeline.counts.unanswered == before


async def _sent(item: QuarantineItem, chain: ReplayPipeline) -> bool:
    try:
        row = orjson.loads(item.body)
    except orjson.JSONDecodeError:  # cut, for it was too large
        return False
    if row_error(row) is not None:
        return False
    refused = chain.outbox.refused
    await chain.outbox.add([row])
    await chain.outbox.flush()
    return chain.outbox.refused == refused


async def _waits(item: QuarantineItem, chain: ReplayPipeline, decoder: Decoder) -> bool:
    """Return True if a sign-in of the message waits in the temporary ledger."""
    if item.kind == "finding":
        return False
    signins = decoder.decode(item.body).signins
    addresses = list(dict.fromkeys(one for signin in signins for one in signin.addresses))
    return bool(await chain.ledger.waiting_among(addresses))

"""The commands of ``signinwatch quarantine``.

They work on the directory of ``--state``, on the service's own quarantine beside the checkpoints,
or on that of STATE__DIR.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click
import orjson
from rich.console import Console

from consumers.commands import console as screens
from consumers.commands.options import quota_option, spend_option, state_option
from schemas.errors import ConfigurationError
from schemas.events.times import iso

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from consumers.settings import Settings
    from schemas.ports import Quarantined


@click.group("quarantine")
def quarantine_group() -> None:
    """Look after what could not be read or was refused for good.

    It lies in the directory of --state; beside the checkpoints, where ``run`` puts it, if there
    are settings for that; else in STATE__DIR.
    """


def _beside_checkpoints(settings: Settings) -> bool:
    checkpoint = settings.checkpoint
    return checkpoint.connection_string is not None or checkpoint.account_url is not None


def _place(config: Path | None, state: Path | None) -> tuple[Settings, Path | None]:
    """Return the settings, and the directory of the quarantine if it is one."""
    from consumers.settings import load_settings

    settings = load_settings(config)
    folder = state or (None if _beside_checkpoints(settings) else settings.state.dir)
    if folder is not None and not folder.is_dir():
        raise ConfigurationError(f"--state {folder}: no such directory")
    return settings, folder


@quarantine_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@state_option
@click.pass_obj
def quarantine_list(config: Path | None, as_json: bool, state: Path | None) -> None:
    """List what is kept aside."""
    from consumers.commands.quarantine import items_of

    items = asyncio.run(items_of(*_place(config, state)))
    if as_json:
        for item in items:
            click.echo(orjson.dumps(_listed(item)).decode())
    else:
        Console().print(screens.quarantine_table(items))


def _listed(item: Quarantined) -> dict[str, Any]:
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
) -> tuple[list[Quarantined], set[str] | None]:
    """Return the items of *ids*, or all, and what *ids* mean to a quarantine."""
    from consumers.commands.quarantine import items_of

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
    """Show one item whole. On a terminal control characters are made visible."""
    (item,), _ = _chosen(*_place(config, state), [id_])
    if sys.stdout.isatty():
        Console().print(screens.plain(item.body.decode("utf-8", "replace"), 1 << 20))
    else:
        sys.stdout.buffer.write(item.body)


@quarantine_group.command("retry")
@click.argument("ids", nargs=-1, metavar="[ID...]")
@click.option(
    "--findings", help="Where findings go: a file, - or azure. Default: azure, if configured."
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
    """Try again: read messages anew and send findings anew. Without ID, everything.

    With a quarantine beside the checkpoints nothing is asked unless --quota says how much: the
    service alone knows what it has spent this month.
    """
    from consumers.commands.quarantine import retry
    from consumers.wiring.replay import make_sink

    settings, folder = _place(config, state)
    if findings is None and settings.logs.endpoint is None:
        raise ConfigurationError("--findings: say where findings go, or set LOGS__ENDPOINT")
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
        click.echo("signinwatch: nothing was asked; --quota N allows N lookups", err=True)


@quarantine_group.command("purge")
@click.argument("ids", nargs=-1, metavar="[ID...]")
@click.option("--older-than", type=click.IntRange(min=0), metavar="DAYS", help="Only older items.")
@click.option("--all", "all_", is_flag=True, help="Everything.")
@state_option
@click.pass_obj
def quarantine_purge(
    config: Path | None,
    ids: tuple[str, ...],
    older_than: int | None,
    all_: bool,
    state: Path | None,
) -> None:
    """Delete items for good."""
    from consumers.commands.quarantine import purge

    if not ids and older_than is None and not all_:
        raise ConfigurationError("say which: ID, --older-than DAYS or --all")
    before = None if older_than is None else datetime.now(UTC) - timedelta(days=older_than)
    settings, folder = _place(config, state)
    wanted = _chosen(settings, folder, ids)[1] if ids else None
    click.echo(f"{asyncio.run(purge(settings, folder, wanted, before)):,} deleted")

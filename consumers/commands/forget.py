"""``signinwatch forget``: delete what ledger and quarantine store about a person or address.

What lies in Log Analytics, in the hub and in recordings is not ours to delete.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import click
import structlog
from rich import box
from rich.console import Console
from rich.table import Table

from consumers.commands import console as screens
from consumers.commands.forget_matching import BodyMatcher
from consumers.commands.options import state_option
from schemas.errors import ConfigurationError, StateRefused
from schemas.ledger_ports import ErasedCounts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from consumers.commands.forget_matching import DataSubjects
    from consumers.settings import Settings
    from schemas.ledger_ports import Ledger, RecentStore
    from schemas.ports import Quarantine


log = structlog.get_logger()


@click.command("forget")
@click.argument("texts", nargs=-1, required=True, metavar="ACCOUNT|IP...")
@state_option
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.pass_obj
def forget_command(
    config: Path | None, texts: tuple[str, ...], state: Path | None, yes: bool
) -> None:
    """Delete what is stored about accounts and IP addresses.

    ACCOUNT is a user principal name in any case, IP an address in any notation. Works on ledger
    and quarantine in the directory of --state, else on those that the settings name.
    """
    from consumers.commands.forget_matching import DataSubjects
    from consumers.settings import load_settings

    wanted = DataSubjects.of(texts)
    settings = load_settings(config)
    stores = ErasureStores.of(settings, state)
    if not yes and sys.stdin.isatty():
        click.confirm(_question(settings, stores, wanted), abort=True, err=True)
    told = asyncio.run(forget(settings, stores, wanted))
    console = Console()
    console.print(_table(told))
    for note in notes_on(stores):
        console.print(screens.plain(note, 1_000), soft_wrap=True)


def _question(settings: Settings, stores: ErasureStores, wanted: DataSubjects) -> str:
    places = "; ".join(str(screens.plain(one, 1_000)) for one in stores.names(settings))
    numbers = [(len(wanted.accounts), "account"), (len(wanted.addresses), "address")]
    whom = " and ".join(
        f"{number} {what}{'' if number == 1 else 'es' if what.endswith('s') else 's'}"
        for number, what in numbers
        if number
    )
    return f"Permanently delete what is stored about {whom}? From {places}"


def _table(counts: Sequence[DeletedCount]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("Where", overflow="fold")
    table.add_column("What", overflow="fold")
    table.add_column("Deleted", justify="right")
    for count in counts:
        table.add_row(
            screens.plain(count.store, 300), screens.plain(count.what), f"{count.number:,}"
        )
    return table


@dataclass(frozen=True, slots=True)
class ErasureStores:
    """Where data may be stored: the ledger, and up to two quarantines.

    A *folder* of None is the table, or the quarantine beside the checkpoints.
    """

    folder: Path | None
    quarantines: tuple[Path | None, ...]

    @classmethod
    def of(cls, settings: Settings, state: Path | None) -> ErasureStores:
        """Return the stores: *state* alone if given, else all that the settings name."""
        shared = (
            settings.state.connection_string is not None or settings.state.account_url is not None
        )
        folder = state or settings.state.dir
        if folder is not None and not folder.is_dir():
            setting = "--state" if state else "SIGNINWATCH_STATE__DIR:"
            raise ConfigurationError(f"{setting} {folder}: no such directory")
        if folder is None and not shared:
            raise ConfigurationError(
                "SIGNINWATCH_STATE__DIR is not set; set it, --state, STATE__CONNECTION_STRING or "
                "STATE__ACCOUNT_URL to name the ledger"
            )
        if state is None and folder is not None and shared:
            raise ConfigurationError(
                "SIGNINWATCH_STATE__DIR: set either it or STATE__CONNECTION_STRING/ACCOUNT_URL"
            )
        checkpoint = settings.checkpoint
        beside = checkpoint.connection_string is not None or checkpoint.account_url is not None
        quarantines: list[Path | None] = [] if folder is None else [folder]
        if state is None and (beside or folder is None):
            quarantines.append(None)
        return cls(folder, tuple(quarantines))

    def names(self, settings: Settings) -> list[str]:
        """Return a description of each store: the ledger, then the quarantines."""
        table = f"the ledger's table {settings.state.table}"
        container = f"the quarantine in container {settings.checkpoint.container}"
        ledger = table if self.folder is None else f"the ledger in {self.folder}"
        return [
            ledger,
            *(f"the quarantine in {one}" if one else container for one in self.quarantines),
        ]


@dataclass(frozen=True, slots=True)
class DeletedCount:
    """How many items of a kind were deleted from a store."""

    store: str
    what: str
    number: int


async def forget(
    settings: Settings, stores: ErasureStores, wanted: DataSubjects
) -> list[DeletedCount]:
    """Delete what the stores hold about *wanted*, and return the counts.

    Once more does no harm. StateRefused when another process has the directory; then, as with
    every other wrong setting, nothing was deleted.
    """
    from consumers.wiring.replay import make_quarantine

    log.debug("forgetting", accounts=wanted.accounts, addresses=wanted.addresses)
    async with AsyncExitStack() as stack:
        quarantines: list[Quarantine] = []
        for folder in stores.quarantines:
            quarantines.append(make_quarantine(settings, folder))
            stack.push_async_callback(quarantines[-1].close)
        ledger = await _opened(settings, stores.folder, stack)
        found = [await _mentioning(one, wanted) for one in quarantines]
        names = stores.names(settings)
        forgotten = await _from_ledger(ledger, wanted)
        told = [
            DeletedCount(names[0], "verdicts", forgotten.verdicts),
            DeletedCount(names[0], "waiting sign-ins", forgotten.waiting),
            DeletedCount(names[0], "history entries", forgotten.history),
            DeletedCount(
                names[0],
                "recent sign-ins",
                await _of_lately(settings, stores, wanted, stack),
            ),
        ]
        for name, quarantine, ids in zip(names[1:], quarantines, found, strict=True):
            told.append(DeletedCount(name, "messages and findings", await quarantine.remove(ids)))
        return told


async def _of_lately(
    settings: Settings, stores: ErasureStores, wanted: DataSubjects, stack: AsyncExitStack
) -> int:
    """Delete recent sign-ins; return how many."""
    from consumers.ledger.sqlite.recent import RECENT_FILE, SqliteRecentStore
    from consumers.ledger.table.recent import TableRecentStore
    from consumers.pipeline.recent_sign_ins import RecentSignIns
    from consumers.service.health import Health
    from consumers.wiring.credentials import Credentials
    from consumers.wiring.local_sources import wants_local_sources
    from consumers.wiring.replay import StateFolder, make_clock
    from consumers.wiring.service_sources import RECENT_SUFFIX, make_table

    recent: RecentStore
    if stores.folder is not None:
        if not (stores.folder / RECENT_FILE).is_file():
            return 0
        clock = make_clock(StateFolder(stores.folder).clock_kind)
        recent = SqliteRecentStore(stores.folder, clock)
    elif wants_local_sources(settings):
        table = make_table(settings, Health(), Credentials(stack, settings), RECENT_SUFFIX)
        clock = make_clock("wall")
        recent = TableRecentStore(table, clock)
    else:
        return 0
    lately = RecentSignIns(recent, clock, 1.0)
    stack.push_async_callback(lately.close)
    accounts = {account.lower() for account in wanted.accounts}
    addresses = set(wanted.addresses)
    return await lately.forget(lambda one: one.account in accounts or one.address in addresses)


async def _mentioning(quarantine: Quarantine, wanted: DataSubjects) -> set[str]:
    """Return the ids of the items that mention *wanted*."""
    mentions = BodyMatcher(wanted)
    return {
        item.id
        async for item in quarantine.items()
        if mentions.matches(item.body) or mentions.matches(item.reason.encode("utf-8", "replace"))
    }


async def _opened(settings: Settings, folder: Path | None, stack: AsyncExitStack) -> Ledger | None:
    """Open the ledger; None for a directory without one."""
    from consumers.ledger.sqlite.schema import LEDGER_FILE
    from consumers.wiring.replay import StateFolder, make_clock, make_ledger
    from consumers.wiring.shared_ledger import open_shared_ledger

    if folder is None:
        return await open_shared_ledger(settings, stack, create=False)
    if not (folder / LEDGER_FILE).is_file():
        return None
    state = StateFolder(folder)
    try:
        ledger = make_ledger(settings, state, make_clock(state.clock_kind))
    except StateRefused as error:
        raise StateRefused(f"{error}; if the service is running, stop it first") from None
    stack.push_async_callback(ledger.close)
    return ledger


async def _from_ledger(ledger: Ledger | None, wanted: DataSubjects) -> ErasedCounts:
    from consumers.enrichment.history_entries import without

    whole = ErasedCounts()
    if ledger is None:
        return whole
    for account in wanted.accounts:
        revise = partial(without, account=account, address=None)
        _add(whole, await ledger.forget(revise, account=account))
    for address in wanted.addresses:
        revise = partial(without, account=None, address=address)
        _add(whole, await ledger.forget(revise, address=address))
    return whole


def _add(whole: ErasedCounts, part: ErasedCounts) -> None:
    whole.verdicts += part.verdicts
    whole.waiting += part.waiting
    whole.history += part.history


def notes_on(stores: ErasureStores) -> Sequence[str]:
    """Return what remains elsewhere and needs a person."""
    notes = [
        "Not deleted: findings, verdicts and sign-ins in Log Analytics, messages in the event "
        "hub, and your own files; see docs/privacy.md."
    ]
    if stores.folder is None:
        notes.insert(
            0,
            "Running instances may hold it in memory until they restart, and may store it again. "
            "Restart them, then run this command again.",
        )
    return notes

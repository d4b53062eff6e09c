"""``signinwatch forget``: delete what ledger and quarantine store about accounts or IPs.

Log Analytics, the event hub and files are out of scope.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import click
from rich import box
from rich.console import Console
from rich.table import Table

from consumers.commands import console as screens
from consumers.commands.forget_matching import BodyMatcher
from consumers.commands.options import state_option
from schemas.errors import ConfigurationError, StateRefused
from schemas.ledger_ports import ErasedCounts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    from consumers.commands.forget_matching import DataSubjects
    from consumers.settings import Settings
    from schemas.ledger_ports import Ledger, RecentStore
    from schemas.ports import Quarantine


@click.command("forget")
@click.argument("texts", nargs=-1, required=True, metavar="ACCOUNT|IP...")
@state_option
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.pass_obj
def forget_command(
    config: Path | None, texts: tuple[str, ...], state: Path | None, yes: bool
) -> None:
    """Delete what is stored about accounts or IP addresses.

    ACCOUNT is a user principal name (case-insensitive), IP an address in any notation. Deletes
    from ledger and quarantine in the directory of --state. Without --state: from the ledger in
    STATE__DIR or its table, and from the quarantine in the checkpoint container.
    """
    from consumers.commands.forget_matching import DataSubjects
    from consumers.settings import load_settings
    from consumers.wiring.paid_answers import forget_paid, paid_folder

    wanted = DataSubjects.of(texts)
    settings = load_settings(config)
    stores = ErasureStores.of(settings, state)
    if not yes and sys.stdin.isatty():
        click.confirm(_question(settings, stores, wanted), abort=True, err=True)
    deleted = asyncio.run(forget(settings, stores, wanted))
    if wanted.addresses:
        paid = forget_paid(settings, list(wanted.addresses))
        deleted.append(DeletedCount(str(paid_folder(settings)), "answers paid for", paid))
    console = Console()
    console.print(_table(deleted))
    for note in notes_on(stores):
        console.print(screens.plain(note, 1_000), soft_wrap=True)


def _question(settings: Settings, stores: ErasureStores, wanted: DataSubjects) -> str:
    names = "; ".join(str(screens.plain(name, 1_000)) for name in stores.names(settings))
    numbers = [(len(wanted.accounts), "account"), (len(wanted.addresses), "IP address")]
    subjects = " and ".join(
        f"{number} {what}{'' if number == 1 else 'es' if what.endswith('s') else 's'}"
        for number, what in numbers
        if number
    )
    return f"Permanently delete what is stored about {subjects}? From {names}"


def _table(counts: Sequence[DeletedCount]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("Store", overflow="fold")
    table.add_column("Data", overflow="fold")
    table.add_column("Deleted", justify="right")
    for count in counts:
        table.add_row(
            screens.plain(count.store, 300), screens.plain(count.what), f"{count.number:,}"
        )
    return table


@dataclass(frozen=True, slots=True)
class ErasureStores:
    """The stores to delete from: the ledger, and one or two quarantines.

    A folder of None means the ledger's table, or the quarantine in the checkpoint container.
    """

    folder: Path | None
    quarantines: tuple[Path | None, ...]

    @classmethod
    def of(cls, settings: Settings, state: Path | None) -> ErasureStores:
        """Return *state* alone if it is given, else all stores of the settings.

        Raise ConfigurationError if the ledger is not set, set twice, or its directory is missing.
        """
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
                "SIGNINWATCH_STATE__DIR: set either it or STATE__CONNECTION_STRING/ACCOUNT_URL, "
                "not both"
            )
        checkpoint = settings.checkpoint
        beside = checkpoint.connection_string is not None or checkpoint.account_url is not None
        quarantines: list[Path | None] = [] if folder is None else [folder]
        if state is None and (beside or folder is None):
            quarantines.append(None)
        return cls(folder, tuple(quarantines))

    def names(self, settings: Settings) -> list[str]:
        """Return a display name for each store: the ledger first, then the quarantines."""
        table = f"the ledger's table {settings.state.table}"
        container = f"the quarantine in container {settings.checkpoint.container}"
        ledger = table if self.folder is None else f"the ledger in {self.folder}"
        return [
            ledger,
            *(f"the quarantine in {path}" if path else container for path in self.quarantines),
        ]


@dataclass(frozen=True, slots=True)
class DeletedCount:
    """Number of items of one kind that were deleted from one store."""

    store: str
    what: str
    number: int


async def forget(
    settings: Settings, stores: ErasureStores, wanted: DataSubjects
) -> list[DeletedCount]:
    """Delete what the stores have about *wanted*, and return the counts.

    Idempotent. Raise StateRefused if another process has the directory open; then, as with any
    invalid setting, nothing was deleted.
    """
    import structlog

    from consumers.wiring.replay import make_quarantine

    log = structlog.get_logger()
    log.debug("forgetting", accounts=wanted.accounts, addresses=wanted.addresses)
    async with AsyncExitStack() as stack:
        quarantines: list[Quarantine] = []
        for folder in stores.quarantines:
            quarantines.append(make_quarantine(settings, folder))
            stack.push_async_callback(quarantines[-1].close)
        ledger = await _opened(settings, stores.folder, stack)
        found = [await _matching_ids(quarantine, wanted) for quarantine in quarantines]
        names = stores.names(settings)
        accounts = AccountNames(wanted.accounts)
        erased = await _from_ledger(ledger, wanted, accounts)
        deleted = [
            DeletedCount(names[0], "verdicts", erased.verdicts),
            DeletedCount(names[0], "waiting sign-ins", erased.waiting),
            DeletedCount(names[0], "history entries", erased.history),
            DeletedCount(
                names[0],
                "recent sign-ins (retro-hunt)",
                await _from_recent(settings, stores, accounts, wanted.addresses, stack),
            ),
        ]
        for name, quarantine, ids in zip(names[1:], quarantines, found, strict=True):
            removed = await quarantine.remove(ids)
            deleted.append(DeletedCount(name, "messages and findings", removed))
        return deleted


async def _from_recent(
    settings: Settings,
    stores: ErasureStores,
    accounts: AccountNames,
    addresses: Collection[str],
    stack: AsyncExitStack,
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

    store: RecentStore
    if stores.folder is not None:
        if not (stores.folder / RECENT_FILE).is_file():
            return 0
        clock = make_clock(StateFolder(stores.folder).clock_kind)
        store = SqliteRecentStore(stores.folder, clock)
    elif wants_local_sources(settings):
        table = make_table(settings, Health(), Credentials(stack, settings), RECENT_SUFFIX)
        clock = make_clock("wall")
        store = TableRecentStore(table, clock)
    else:
        return 0
    recent = RecentSignIns(store, clock, 1.0)
    stack.push_async_callback(recent.close)
    return await recent.forget(
        lambda signin: signin.account in accounts or signin.address in addresses
    )


async def _matching_ids(quarantine: Quarantine, wanted: DataSubjects) -> set[str]:
    """Return the ids of items that mention any of *wanted*."""
    matcher = BodyMatcher(wanted)
    return {
        item.id
        async for item in quarantine.items()
        if matcher.matches(item.body) or matcher.matches(item.reason.encode("utf-8", "replace"))
    }


async def _opened(settings: Settings, folder: Path | None, stack: AsyncExitStack) -> Ledger | None:
    """Open the ledger without creating it; None for a directory that has none."""
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
        raise StateRefused(f"{error}; stop the service first if it is running") from None
    stack.push_async_callback(ledger.close)
    return ledger


async def _from_ledger(
    ledger: Ledger | None, wanted: DataSubjects, names: AccountNames
) -> ErasedCounts:
    from consumers.enrichment.history_entries import without_account, without_address

    total = ErasedCounts()
    if ledger is None:
        return total
    known = 0
    while known < len(names.pseudonyms):  # the history has the other names of an account
        known = len(names.pseudonyms)
        revise = partial(without_account, names=names.pseudonyms)
        _add(total, await ledger.forget(revise, accounts=names))
    for address in wanted.addresses:
        revise = partial(without_address, address=address)
        _add(total, await ledger.forget(revise, address=address))
    return total


class AccountNames:
    """All names of accounts as far as they are known: user principal names and object ids."""

    def __init__(self, accounts: Iterable[str]) -> None:
        from consumers.enrichment.history_entries import pseudonym

        self.pseudonyms = {pseudonym(account.lower()) for account in accounts}

    def __contains__(self, name: object) -> bool:
        """Return True for a name of one of the accounts, in any case."""
        from consumers.enrichment.history_entries import pseudonym

        return isinstance(name, str) and pseudonym(name.lower()) in self.pseudonyms


def _add(total: ErasedCounts, part: ErasedCounts) -> None:
    total.verdicts += part.verdicts
    total.waiting += part.waiting
    total.history += part.history


def notes_on(stores: ErasureStores) -> Sequence[str]:
    """Return notes on data that remains elsewhere."""
    notes = [
        "Not deleted: findings, verdicts and sign-ins in Log Analytics, messages that the event "
        "hub still retains, and your own files; see docs/privacy.md."
    ]
    if stores.folder is None:
        notes.insert(
            0,
            "Running instances may hold the data in memory until they restart, and may store it "
            "again. If so, run this command again.",
        )
    return notes

"""Options that several commands share, and how summaries are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import orjson

from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumers.commands.answer.filters import FindingFilter
    from consumers.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)
state_option = click.option(
    "--state", type=PATH, help="Directory of ledger and quarantine, kept between runs."
)
quota_option = click.option(
    "--quota", type=click.IntRange(min=0), help="Lookups a month. 0: no lookups."
)
spend_option = click.option(
    "--spend", is_flag=True, help="Allow lookups that count against the key, by the event clock."
)
forget_paid_option = click.option(
    "--forget-paid", is_flag=True, help="Do not use answers that were paid for earlier."
)
table_option = click.option(
    "--table",
    metavar="NAME",
    help="Table of rows that have no column Type, such as SigninLogs. Only its findings are shown.",
)


def require_table(settings: Settings, table: str | None) -> None:
    """Raise ConfigurationError for a --table that is neither shipped nor custom."""
    from schemas.events.tables import load_tables
    from schemas.spelling import closest

    if table is None:
        return
    known = load_tables(settings.tables, settings.own_tables).by_type
    if table.lower() not in known:
        names = [form.table or name for name, form in known.items()]
        meant = closest(table, names)
        hint = f"did you mean {meant}? " if meant else ""
        raise ConfigurationError(
            f"--table {table}: is no known table; {hint}known are {', '.join(names)}"
        )


def require_outputs(files: Sequence[str], outputs: Mapping[str, str | None]) -> None:
    """Raise ConfigurationError if an output cannot be written or would overwrite an input."""
    inputs = {Path(name).resolve() for name in files if name != "-"}
    seen: dict[Path, str] = {}
    for option, name in outputs.items():
        if name is None or name == "-":
            continue
        path = Path(name).resolve()
        if path in inputs:
            raise ConfigurationError(f"{option} {name}: is also an input file; name another file")
        if path in seen and not path.is_char_device():
            raise ConfigurationError(f"{option} {name}: {seen[path]} has the same file; use two")
        seen[path] = option
        try:
            path.open("ab").close()
        except OSError as error:
            raise ConfigurationError(f"{option} {name}: {error.strerror}") from None


def write_summary(target: str | None, summary: Mapping[str, Any]) -> None:
    """Write the ``--summary`` object to standard output, to a file, or nowhere."""
    text = orjson.dumps(summary)
    if target == "-":
        click.echo(text.decode())
    elif target:
        try:
            Path(target).write_bytes(text + b"\n")
        except OSError as error:
            raise ConfigurationError(f"--summary {target}: {error.strerror}") from None


timezone_option = click.option(
    "--timezone", metavar="ZONE", help="Time zone of times that are shown. Default: UTC."
)
_OUTCOMES = {
    "success": "Success",
    "password": "PasswordAccepted",
    "interrupted": "Interrupted",
    "failure": "Failure",
    "unknown": "Unknown",
}
_TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"])


def filter_options(command: Command) -> Command:
    """Add the options that say which findings are shown."""
    for option in (
        click.option(
            "--outcome",
            "outcomes",
            multiple=True,
            type=click.Choice(list(_OUTCOMES)),
            help="Show findings of these outcomes only.",
        ),
        click.option(
            "--min-severity",
            type=click.Choice(["high", "medium", "low", "informational"]),
            help="Show findings that are at least so severe.",
        ),
        click.option(
            "--address",
            "addresses",
            multiple=True,
            metavar="IP",
            help="Show findings from these addresses or networks only.",
        ),
        click.option(
            "--account",
            "accounts",
            multiple=True,
            metavar="NAME",
            help="Show findings of these accounts only; * stands for any text.",
        ),
        click.option("--to", "until", type=_TIME, help="Show sign-ins before this time."),
        click.option("--from", "since", type=_TIME, help="Show sign-ins from this time on."),
    ):
        command = option(command)
    return command


def filter_of(given: Mapping[str, Any], table: str | None) -> FindingFilter:
    """Return the filter of a command's options. Raises ConfigurationError for a bad network."""
    from consumers.commands.answer.filters import FindingFilter
    from consumers.commands.answer.times import times_in
    from schemas.events.addresses import Networks

    try:
        networks = Networks(given["addresses"]) if given["addresses"] else None
    except ValueError as error:
        raise ConfigurationError(f"--address: {error}") from None
    zone = times_in(given["timezone"]).zone
    severity = given["min_severity"]
    return FindingFilter(
        since=given["since"] and given["since"].replace(tzinfo=zone),
        until=given["until"] and given["until"].replace(tzinfo=zone),
        accounts=tuple(name.lower() for name in given["accounts"]),
        networks=networks,
        min_severity=severity and severity.title(),
        outcomes=tuple(_OUTCOMES[name] for name in given["outcomes"]),
        table=table,
    )

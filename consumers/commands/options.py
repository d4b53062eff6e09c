"""Options and outputs that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PATH = click.Path(path_type=Path)
state_option = click.option(
    "--state", type=PATH, help="Directory of the ledger and quarantine, kept between runs."
)
quota_option = click.option(
    "--quota", type=click.IntRange(min=0), help="Lookups per month; 0 makes none."
)
spend_option = click.option(
    "--spend", is_flag=True, help="Permit real lookups under the event clock."
)


def require_outputs(files: Sequence[str], outputs: Mapping[str, str | None]) -> None:
    """Refuse, before a lookup is spent, outputs that cannot be written or would destroy input.

    *files* are recordings to be read; *outputs* are files, ``-`` or None by their options.
    """
    inputs = {Path(name).resolve() for name in files if name != "-"}
    seen: dict[Path, str] = {}
    for option, name in outputs.items():
        if name is None or name == "-":
            continue
        path = Path(name).resolve()
        if path in inputs:
            raise ConfigurationError(f"{option} {name}: is an input file")
        if path in seen and not path.is_char_device():
            raise ConfigurationError(f"{option} {name}: is also the file of {seen[path]}")
        seen[path] = option
        try:
            path.open("ab").close()
        except OSError as error:
            raise ConfigurationError(f"{option} {name}: {error.strerror}") from None


def write_summary(place: str | None, summary: Mapping[str, Any]) -> None:
    """Write the summary object to standard output, to a file, or nowhere."""
    text = orjson.dumps(summary)
    if place == "-":
        click.echo(text.decode())
    elif place:
        try:
            Path(place).write_bytes(text + b"\n")
        except OSError as error:
            raise ConfigurationError(f"--summary {place}: {error.strerror}") from None

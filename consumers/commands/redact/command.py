"""``signinwatch redact``: recordings made safe to share, as one recording."""

from __future__ import annotations

import gzip
import hashlib
import secrets
import sys
import tomllib
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import click
from rich.console import Console

from consumers.commands import console as screens
from schemas.errors import ConfigurationError, RecordingUnreadable, SigninwatchError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from schemas.events.tables import Tables


SHORTEST_KEY = 16
"""Characters. Anyone who guesses the key can identify the accounts."""
_SALT = b"signinwatch redact"
Progress = Callable[[int, str], None]
"""Called with the bytes read and a description of what was redacted."""


@click.command("redact")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--out",
    required=True,
    metavar="PATH",
    help="Output file; gzipped if it ends in .gz; - is stdout.",
)
@click.option(
    "--key",
    envvar="SIGNINWATCH_REDACT_KEY",
    help="A long secret that gives the same pseudonyms in every run. Prefer "
    "SIGNINWATCH_REDACT_KEY: other users may see arguments. Default: random, not stored.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.pass_obj
def redact_command(
    config: Path | None, files: tuple[str, ...], out: str, key: str | None, force: bool
) -> None:
    """Pseudonymise a recording so that it is safe to share.

    FILE is NDJSON, gzipped NDJSON or Event Hubs Capture Avro; - is standard input. Every text
    that could identify a user, device, location or company is replaced consistently. Addresses
    keep their network structure. Times, countries, AS numbers, results and risk stay.
    """
    from consumers.inputs.recording import sizes_of

    require_new(files, out, force=force)
    tables = tables_of(config)
    console = Console(stderr=True)
    with screens.progress_bar(console, sizes_of(files)) as advance:
        result = redact(files, out, key, tables, advance)
    _show(result)
    if result.notes:
        raise SystemExit(1)


def _show(result: RedactionResult) -> None:
    lines = [f"{result.messages:,} messages with {result.records:,} records redacted."]
    for count, what in (
        (result.unreadable_messages, "messages were unreadable and were replaced entirely."),
        (result.unreadable_records, "records were unreadable and were replaced entirely."),
    ):
        if count:
            lines.append(f"{count:,} {what}")
    if result.names:
        lines.append(f"Column names kept as they are, please review: {', '.join(result.names)}.")
    for line in (*lines, *result.notes):
        click.echo(f"signinwatch: {screens.plain(line, 100_000)}", err=True)


@dataclass(slots=True)
class RedactionResult:
    """What was written."""

    messages: int = 0
    records: int = 0
    unreadable_messages: int = 0
    unreadable_records: int = 0
    names: list[str] = field(default_factory=list)
    """Column names that were kept although they are not standard names."""
    notes: list[str] = field(default_factory=list)
    """Recordings that became unreadable, a line for each."""


def redact(
    files: Sequence[str], out: str, key: str | None, tables: Tables, progress: Progress
) -> RedactionResult:
    """Redact recordings into *out*, a file that appears when it is complete, or ``-``.

    The same *key* gives the same pseudonyms; None makes a random key. ConfigurationError if the
    input or key is unusable, SigninwatchError if *out* cannot be written.
    """
    from consumers.commands.redact.redactor import UNREADABLE, Redactor
    from consumers.inputs.recording import read_recording, require_recording

    for name in files:
        require_recording(name)
    redactor = Redactor(stretched(key), tables)
    told = RedactionResult()
    with opened(out) as write:
        for name in files:
            try:
                for message in read_recording(name, lambda read: progress(read, "")):
                    write(redactor.message(message.body) + b"\n")
                    told.messages += 1
                    if told.messages % 100 == 0:
                        progress(0, f"{told.messages:,} messages")
            except RecordingUnreadable as error:
                write(UNREADABLE + b"\n")  # a replay counts the rest of such a file as one
                told.messages += 1
                redactor.records += 1
                redactor.unreadable_messages += 1
                told.notes.append(f"{error}; what came before it was redacted.")
    told.records = redactor.records
    told.unreadable_messages = redactor.unreadable_messages
    told.unreadable_records = redactor.unreadable_records
    told.names = sorted(redactor.unknown_names)
    return told


def stretched(key: str | None) -> bytes:
    """Return 64 bytes from a key, slowly, as it may be a phrase; random ones for None."""
    if key is None:
        return secrets.token_bytes(64)
    if len(key) < SHORTEST_KEY:
        raise ConfigurationError(
            f"--key: needs at least {SHORTEST_KEY} characters, since who guesses it can tell "
            "who is who; without one a random key is used and forgotten"
        )
    secret = key.encode("utf-8", "surrogateescape")
    return hashlib.scrypt(secret, salt=_SALT, n=1 << 14, r=8, p=1, dklen=64)


def tables_of(config: Path | None) -> Tables:
    """Return all tables, with the own ones that a configuration file names, and nothing else of it.

    The environment is not read: a recording is redacted the same wherever that is done.
    """
    from schemas.events.tables import load_tables

    own: Any = {}
    if config is not None:
        try:
            own = tomllib.loads(config.read_text("utf-8")).get("own_tables", {})
        except OSError as error:
            raise ConfigurationError(f"--config {config}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"--config {config}: not TOML: {error}") from None
    if not isinstance(own, dict) or not all(isinstance(one, dict) for one in own.values()):
        raise ConfigurationError(f"--config {config}: own_tables must hold tables")
    return load_tables(["all"], own)


def require_new(files: Sequence[str], out: str, *, force: bool) -> None:
    """Refuse an output that would destroy something. ConfigurationError says what."""
    if out == "-":
        return
    path = Path(out)
    if path.is_dir() or not path.resolve().parent.is_dir():
        raise ConfigurationError(f"--out {out}: a file is needed, in a folder that exists")
    if not path.exists():
        return
    for name in files:
        if name != "-" and Path(name).exists() and path.samefile(name):
            raise ConfigurationError(f"--out {out}: is a recording to be read")
    if path.is_file() and not force:
        raise ConfigurationError(f"--out {out}: exists already; --force overwrites it")


@contextmanager
def opened(out: str) -> Iterator[Callable[[bytes], object]]:
    """Give a function that writes to *out*; a file gets its name when all is written."""
    if out == "-":
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    path = Path(out).resolve()
    direct = path.exists() and not path.is_file()  # a pipe or a device
    part = path if direct else path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("wb" if direct else "xb") as raw:
            file = _packed(raw) if out.endswith(".gz") else raw
            yield file.write
            if file is not raw:
                file.close()
        if not direct:
            part.replace(path)
    except OSError as error:
        raise SigninwatchError(f"--out {out}: {error.strerror}") from None
    finally:
        if not direct:
            part.unlink(missing_ok=True)


def _packed(raw: BinaryIO) -> BinaryIO:
    """Pack; neither the name of a file nor a time goes into it."""
    return cast("BinaryIO", gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0))

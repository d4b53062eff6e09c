"""``signinwatch redact``: pseudonymise exported sign-ins into one file that is safe to share."""

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
"""Characters. A guessed key reveals who is who."""
_SALT = b"signinwatch redact"
Progress = Callable[[int, str], None]
"""Gets the number of bytes read and a description of what was redacted."""


@click.command("redact")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--out",
    required=True,
    metavar="PATH",
    help="Output file, gzipped if .gz; - writes standard output.",
)
@click.option(
    "--key",
    envvar="SIGNINWATCH_REDACT_KEY",
    help="Long secret that keeps pseudonyms the same between runs. Prefer SIGNINWATCH_REDACT_KEY: "
    "arguments are visible to other users. Default: random, not stored.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.pass_obj
def redact_command(
    config: Path | None, files: tuple[str, ...], out: str, key: str | None, force: bool
) -> None:
    """Pseudonymise exported sign-ins so that they are safe to share.

    FILE is an export of any kind, as for replay, a folder or a pattern; - reads standard input.
    Strings that could identify a person, device, place or company are pseudonymised consistently;
    IP addresses keep their network structure. Times, countries, AS numbers, results and risk are
    kept.
    """
    from consumers.inputs.recording import expand_names, sizes_of

    files = tuple(expand_names(files))
    require_new(files, out, force=force)
    tables = tables_of(config)
    console = Console(stderr=True)
    with screens.progress_bar(console, sizes_of(files)) as advance:
        result = redact(files, out, key, tables, advance)
    _report(result)
    if result.notes:
        raise SystemExit(1)


def _report(result: RedactionResult) -> None:
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
    """Counts and notes of a redaction."""

    messages: int = 0
    records: int = 0
    unreadable_messages: int = 0
    unreadable_records: int = 0
    names: list[str] = field(default_factory=list)
    """Names of columns that were kept and that no table defines."""
    notes: list[str] = field(default_factory=list)
    """Files that became unreadable part-way, one line each."""


def redact(
    files: Sequence[str], out: str, key: str | None, tables: Tables, progress: Progress
) -> RedactionResult:
    """Redact files into *out*, ``-`` or a file that appears only when it is complete.

    The same *key* gives the same pseudonyms; None uses a random key. Raise ConfigurationError for
    invalid arguments, SigninwatchError if *out* cannot be written.
    """
    from consumers.commands.redact.redactor import UNREADABLE, Redactor
    from consumers.inputs.recording import read_recording, require_recording

    for name in files:
        require_recording(name)
    redactor = Redactor(stretched(key), tables)
    result = RedactionResult()
    with opened(out) as write:
        for name in files:
            try:
                for message in read_recording(name, lambda read: progress(read, "")):
                    write(redactor.message(message.body) + b"\n")
                    result.messages += 1
                    if result.messages % 100 == 0:
                        progress(0, f"{result.messages:,} messages")
            except RecordingUnreadable as error:
                write(UNREADABLE + b"\n")  # a replay counts the rest of such a file as 1 message
                result.messages += 1
                redactor.records += 1
                redactor.unreadable_messages += 1
                result.notes.append(f"{error}; messages before it were redacted.")
    result.records = redactor.records
    result.unreadable_messages = redactor.unreadable_messages
    result.unreadable_records = redactor.unreadable_records
    result.names = sorted(redactor.unknown_names)
    return result


def stretched(key: str | None) -> bytes:
    """Return 64 bytes derived slowly from a key, which may be a phrase; random bytes for None."""
    if key is None:
        return secrets.token_bytes(64)
    if len(key) < SHORTEST_KEY:
        raise ConfigurationError(
            f"--key: too short; use at least {SHORTEST_KEY} characters, because a guessed key "
            "reveals who is who, or omit it for a random key"
        )
    secret = key.encode("utf-8", "surrogateescape")
    return hashlib.scrypt(secret, salt=_SALT, n=1 << 14, r=8, p=1, dklen=64)


def tables_of(config: Path | None) -> Tables:
    """Return all tables, including the custom tables of a configuration file.

    Other settings and the environment are not read, so that results are the same everywhere.
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
    if not isinstance(own, dict) or not all(isinstance(item, dict) for item in own.values()):
        raise ConfigurationError(f"--config {config}: own_tables must contain TOML tables")
    return load_tables(["all"], own)


def require_new(files: Sequence[str], out: str, *, force: bool) -> None:
    """Raise ConfigurationError for an output that would overwrite an input or existing file."""
    if out == "-":
        return
    path = Path(out)
    if path.is_dir() or not path.resolve().parent.is_dir():
        raise ConfigurationError(f"--out {out}: must be a file in an existing directory")
    if not path.exists():
        return
    for name in files:
        if name != "-" and Path(name).exists() and path.samefile(name):
            raise ConfigurationError(f"--out {out}: is also an input file; name another file")
    if path.is_file() and not force:
        raise ConfigurationError(f"--out {out}: already exists; use --force to overwrite it")


@contextmanager
def opened(out: str) -> Iterator[Callable[[bytes], object]]:
    """Yield a function that writes to *out*; a file gets its name when it is complete."""
    if out == "-":
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    path = Path(out).resolve()
    direct = path.exists() and not path.is_file()  # a pipe or a device
    part = path if direct else path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("wb" if direct else "xb") as raw:
            file = _gzipped(raw) if out.endswith(".gz") else raw
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


def _gzipped(raw: BinaryIO) -> BinaryIO:
    """Return a gzip writer that stores neither file name nor time."""
    return cast("BinaryIO", gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0))

"""Writes the pages of ``docs/`` that are made from code, so that the two cannot differ.

``configuration.md`` from the settings, ``commands.md`` from ``--help``, ``reference.md`` from
tables, codes, policy, ranking, columns and metrics. The other way round, the service gets a copy of
``runbook.md``. Run ``make docs`` after a change of any.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from pydantic import BaseModel

from consumers.cli import cli
from consumers.enrichment.ranking import WEIGHTS
from consumers.ledger.rechecks import RECHECKS
from consumers.settings import Settings
from consumers.settings.catalogue import NAMED_GROUPS, default_text, unit_of
from consumers.settings.model import PREFIX
from schemas.events.addresses import Unusable
from schemas.events.outcomes import ENTRA_CODES, RESULT_WORDS, Outcome
from schemas.events.tables import load_tables, table_names
from schemas.intel.verdicts import WhyUnanswered
from schemas.metrics import METRIC_PREFIX, METRICS
from schemas.rows.columns import FINDING_COLUMNS, HEALTH_COLUMNS, VERDICT_COLUMNS
from schemas.rows.policy import shipped_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic.fields import FieldInfo

    from schemas.rows.columns import Column

DOCS = Path(__file__).parent
RUNBOOK_COPY = DOCS.parent / "consumers" / "service" / "runbook.md"
"""The copy that the service serves beside its status page."""
GENERATED = "Generated from the code by `make docs`; do not edit."
HELP_WIDTH = 100
SETTING_HEAD = ("variable", "meaning", "unit", "default", "example")
POLICY_HEAD = ("line", "stories", "signs", "class", "outcome", "reputation", "severity", "why")
COLUMN_HEAD = ("column", "type", "origin", "null means")
INTRODUCTION = f"""\
Settings come from environment variables, which win, or from the same keys in a TOML file, named by
`--config` or `{PREFIX}CONFIG`. `{PREFIX}CROWDSEC__API_KEY` is `api_key` in the
section `[crowdsec]`.

- `{PREFIX}ENV_FILE` names a file of such variables. A running service reads the keys in it again
  within seconds of a change; the environment wins.
- `HTTPS_PROXY` and `NO_PROXY` apply to every connection.
- `http://` URLs are allowed on loopback only.
- An unknown or invalid setting ends the command with exit status 2 and a line that names it, and
  the name that was probably meant.
- `signinwatch config` shows what is set and where it comes from, writes a file to begin with, and
  finds all problems at once."""


def pages() -> dict[str, str]:
    """Return the text of each generated page by its file name."""
    return {
        "configuration.md": _page("Configuration", INTRODUCTION, *_settings()),
        "commands.md": _page("Commands", *_commands()),
        "reference.md": _page("Reference", *_reference()),
    }


def _page(title: str, *sections: str) -> str:
    return "\n\n".join((f"# {title}", GENERATED, *sections)) + "\n"


def _section(title: str, head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *rows]
    table = "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
    return f"## {title}\n\n{table}"


def _settings() -> Iterator[str]:
    single = []
    for name, info in Settings.model_fields.items():
        group, prefix = info.annotation, f"{PREFIX}{name.upper()}__"
        if name in NAMED_GROUPS:
            group, prefix = NAMED_GROUPS[name], f"{PREFIX}{name.upper()}__<NAME>__"
        if isinstance(group, type) and issubclass(group, BaseModel):
            yield _of_group(prefix, group, info.description)
            for inner, below in group.model_fields.items():
                part = below.annotation
                if isinstance(part, type) and issubclass(part, BaseModel):
                    yield _of_group(f"{prefix}{inner.upper()}__", part, part.__doc__)
        else:
            single.append(_setting(f"{PREFIX}{name.upper()}", info))
    yield _section("Other settings", SETTING_HEAD, single)


def _of_group(prefix: str, group: type[BaseModel], description: str | None) -> str:
    section = _section(f"`{prefix}…`", SETTING_HEAD, _group(prefix, group))
    return section.replace("\n\n", f"\n\n{description}\n\n", 1)


def _group(prefix: str, group: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    for name, info in group.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            continue
        yield _setting(f"{prefix}{(info.alias or name).upper()}", info)


def _setting(variable: str, info: FieldInfo) -> tuple[str, ...]:
    meaning = " ".join((info.description or "").split())
    examples = info.examples or []
    default = default_text(info)
    shown = (_code(default) if default else "", ", ".join(map(_code, examples)))
    return f"`{variable}`", meaning, unit_of(info), *shown


def _code(text: object) -> str:
    return str(text) if str(text).startswith("(") else f"`{text}`"


def _commands() -> Iterator[str]:
    yield "Two options go before the command: `--config FILE` and `--verbose`."
    yield _help(cli, "signinwatch", "signinwatch")
    for name, command in sorted(cli.commands.items()):
        yield _help(command, name, f"signinwatch {name}")
        if isinstance(command, click.Group):
            for inner, part in command.commands.items():
                yield _help(part, f"{name} {inner}", f"signinwatch {name} {inner}")


def _help(command: click.Command, title: str, usage: str) -> str:
    context = click.Context(
        command, info_name=usage, terminal_width=HELP_WIDTH, help_option_names=["-h", "--help"]
    )
    return f"## {title}\n\n```console\n{command.get_help(context)}\n```"


def _reference() -> Iterator[str]:
    yield _section("Tables", ("table", "on by default", "address columns"), _tables())
    yield _section("Result codes of Entra ID", ("code", "outcome", "meaning"), _codes())
    yield "Any other number is a `Failure`. Without a number or a known word it is `Unknown`."
    yield _section("Result words of other tables", ("outcome", "words"), _words())
    yield _section("Policy", POLICY_HEAD, _policy())
    yield "The first line that matches decides. An empty cell matches anything."
    yield _section("Ranking", ("reason", "points", "why"), _weights())
    yield (
        "The score of an address is the highest score of its waiting sign-ins, with what is known "
        "of its location by then. Ten points are a factor e in the odds. An address that no source "
        "knew is looked up again "
        + ", ".join(f"{after / 3_600:g} hours" for after, _ in RECHECKS)
        + " after its first lookup, if it still scores as high as others plus "
        + ", ".join(f"{points:g}" for _, points in RECHECKS)
        + " points."
    )
    yield _section("Findings table", COLUMN_HEAD, _columns(FINDING_COLUMNS))
    yield _section("Verdicts table", COLUMN_HEAD, _columns(VERDICT_COLUMNS))
    yield _section("Health table", COLUMN_HEAD, _columns(HEALTH_COLUMNS))
    yield _section("Metrics", ("metric", "kind", "labels", "meaning"), _metrics())
    yield (
        f"On `/metrics` a name starts with `{METRIC_PREFIX}`, and the name of a counter ends in "
        "`_total`. The health table has the bare names, and `last_error` for each problem; the "
        "histogram is on `/metrics` only."
    )
    yield _section("Reasons", ("kind", "reason"), _reasons())


def _tables() -> Iterator[tuple[str, str, str]]:
    layouts = load_tables(["all"]).by_type
    for name, on in table_names().items():
        paths = (".".join(path) for (path,) in layouts[name.lower()].columns["address"])
        yield f"`{name}`", "yes" if on else "no", ", ".join(f"`{path}`" for path in paths)


def _codes() -> Iterator[tuple[str, str, str]]:
    for code, (outcome, meaning) in ENTRA_CODES.items():
        yield f"`{code}`", f"`{outcome}`", meaning


def _words() -> Iterator[tuple[str, str]]:
    for outcome in Outcome:
        words = sorted(word for word, meant in RESULT_WORDS.items() if meant is outcome)
        if words:
            yield f"`{outcome}`", ", ".join(words)


def _policy() -> Iterator[tuple[str, ...]]:
    for line in shipped_lines():
        conditions = (line.classes, line.outcome, line.reputation)
        cells = (", ".join(sorted(item.value for item in items)) for items in conditions)
        stories = ", ".join(sorted(line.stories))
        signs = str(line.signs or "")
        yield f"`{line.name}`", stories, signs, *cells, line.severity.value, line.why


def _weights() -> Iterator[tuple[str, str, str]]:
    for name, weight in WEIGHTS.items():
        yield name, f"{weight.points:+g}", weight.why


def _columns(columns: Iterable[Column]) -> Iterator[tuple[str, str, str, str]]:
    for column in columns:
        yield f"`{column.name}`", column.kind, column.origin, column.null or "never null"


def _metrics() -> Iterator[tuple[str, ...]]:
    for metric in METRICS:
        yield f"`{metric.name}`", metric.kind, ", ".join(metric.labels), metric.meaning


def _reasons() -> Iterator[tuple[str, str]]:
    for reason in ("null item", "unknown table", "table not chosen"):
        yield "skipped", reason
    for unusable in Unusable:
        yield "skipped", unusable.value
    for why in WhyUnanswered:
        yield "unanswered", why.value


if __name__ == "__main__":
    for file, text in pages().items():
        (DOCS / file).write_text(text, "utf-8")
    RUNBOOK_COPY.write_bytes((DOCS / "runbook.md").read_bytes())

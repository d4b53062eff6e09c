"""Attack stories and their benign twins, without any lookup: ``python -m tests.bench.stories``.

Each story runs alone after the background: a story is found when one of its guilty sign-ins became
a finding of Medium or above that names the right story; a twin is quiet when none of its own did.
Then all run together through two instances that share a table, shuffled and partly an hour late.
Ends with 1 if fewer than four in five are found, or a twin is not quiet.
"""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from tests.bench.stories.background import background
from tests.bench.stories.harness import Prepared, disordered, in_order, run_shared
from tests.servers.azurite import Azurite

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.bench.stories.model import Record, Story

WANTED_SHARE = 0.8
HALVES = ("shown", "held")
SERIOUS = ("Medium", "High")


def stories() -> list[Story]:
    """Return the stories of all halves that are here."""
    found: list[Story] = []
    for name in HALVES:
        try:
            found += import_module(f"tests.bench.stories.{name}").STORIES
        except ModuleNotFoundError:
            continue
    return found


def serious(findings: Iterable[dict[str, Any]], ids: Iterable[str]) -> list[dict[str, Any]]:
    """Return the findings of some sign-ins that are of Medium or above."""
    wanted = frozenset(ids)
    return [row for row in findings if row["EventId"] in wanted and row["Severity"] in SERIOUS]


def named(rows: Sequence[dict[str, Any]]) -> set[str]:
    """Return the stories that findings name."""
    return {name for row in rows for name in row["Stories"] or ()}


def is_found(story: Story, findings: Iterable[dict[str, Any]]) -> bool:
    """Return True if a guilty sign-in is a serious finding that names the right story."""
    return not named(serious(findings, story.guilty)).isdisjoint({story.kind, *story.also})


def disturbing(records: Iterable[Record], findings: Iterable[dict[str, Any]]) -> set[str]:
    """Return the stories that serious findings of benign records name."""
    return named(serious(findings, [record["Id"] for record in records if "Id" in record]))


async def alone(every: Sequence[Story]) -> tuple[set[str], dict[str, set[str]]]:
    """Run each story alone; return those found, and the twins that are not quiet."""
    prepared = Prepared(in_order(background()))
    try:
        await prepared.learn()
        found, loud = set(), {}
        table = Table(title="Each story alone, no lookups")
        for head in ("story", "kind", "found", "severity", "named", "twin"):
            table.add_column(head)
        for story in every:
            findings = await prepared.run(in_order(story.attack))
            benign = disturbing(story.twin, await prepared.run(in_order(story.twin)))
            if is_found(story, findings):
                found.add(story.name)
            if benign:
                loud[story.name] = benign
            guilty = [row for row in findings if row["EventId"] in story.guilty]
            table.add_row(
                story.name, story.kind, "yes" if story.name in found else "NO",
                ", ".join(sorted({row["Severity"] for row in guilty})),
                ", ".join(sorted(named(guilty))),
                ", ".join(sorted(benign)) or "quiet",
            )  # fmt: skip
        noise = serious(prepared.findings, [record.get("Id", "") for record in background()])
        Console(width=160).print(table)
        print(f"background: {len(noise)} serious findings {sorted(named(noise))}")
    finally:
        prepared.close()
    return found, loud


async def together(every: Sequence[Story]) -> tuple[set[str], dict[str, set[str]]]:
    """Run all attacks, then all twins, through two instances, shuffled and partly late."""
    learned = in_order(background())
    async with Azurite() as azurite:
        attacks = disordered([it for story in every for it in story.attack], "attacks")
        findings = await run_shared(azurite.connection_string, learned, attacks, 2)
        found = {story.name for story in every if is_found(story, findings)}
        twins = disordered([it for story in every for it in story.twin], "twins")
        quiet = await run_shared(azurite.connection_string, learned, twins, 2)
    benign = {story.name: disturbing(story.twin, quiet) for story in every}
    return found, {name: names for name, names in benign.items() if names}


async def main() -> int:
    """Run both ways; return 1 if a goal is missed."""
    every = stories()
    missed = False
    for title, run in (("alone", alone), ("two instances, shuffled, late", together)):
        found, loud = await run(every)
        lost = [story.name for story in every if story.name not in found]
        print(f"{title}: {len(found)} of {len(every)} found; not found: {', '.join(lost) or '-'}")
        print(f"{title}: {len(loud)} twins not quiet: {loud or '-'}")
        missed |= len(found) < WANTED_SHARE * len(every) or bool(loud)
    return int(missed)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

"""What is wrong with the settings, with what only their users can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consumers.settings.problems import read_with_problems
from consumers.sources.feeds.presets import feed_plans
from consumers.sources.lists.presets import list_plans
from consumers.sources.mmdb import ClassField
from consumers.wiring.source_clients import lapi_plan
from schemas.errors import ConfigurationError
from schemas.events.tables import load_tables
from schemas.rows.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from consumers.settings import Settings


def problems_of_settings(config: Path | None) -> list[str]:
    """Return a line for each problem. Reads files, connects to nothing."""
    settings, problems = read_with_problems(config)
    wrong = {_name(problem) for problem in problems}
    # a wrong value was left out: it is not missing as well
    problems += [problem for problem in _of_users(settings) if _name(problem) not in wrong]
    return list(dict.fromkeys(problems))


def _name(problem: str) -> str:
    """Return the setting that a line is about."""
    return problem.partition(":")[0].removesuffix(" is not set")


def _of_users(settings: Settings) -> Iterator[str]:
    for feed, of_feed in settings.feeds.items():
        yield from _problem(feed_plans, {feed: of_feed})
    yield from _problem(feed_plans, settings.feeds)  # names that differ in case
    for name, of_list in settings.lists.items():
        yield from _problem(list_plans, {name: of_list}, settings.feeds)
    yield from _problem(list_plans, settings.lists)
    for name, file in settings.mmdb.items():
        for text in file.class_fields:
            for problem in _problem(ClassField, text):
                yield f"SIGNINWATCH_MMDB__{name.upper()}__{problem}"
    yield from _problem(lapi_plan, settings)
    for table in settings.tables or ():
        yield from _problem(load_tables, [table], settings.own_tables)
    for table, columns in settings.own_tables.items():
        yield from _problem(load_tables, None, {table: columns})
    for number, line in enumerate(settings.policy.lines):
        for problem in _problem(Policy, [line]):
            yield problem.replace("LINES[0]", f"LINES[{number}]", 1)


def _problem(build: Callable[..., object], *arguments: Any) -> Iterator[str]:
    try:
        build(*arguments)
    except ConfigurationError as error:
        yield str(error)

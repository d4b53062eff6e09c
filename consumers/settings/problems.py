"""All that is wrong with the settings, not only the first. Connects to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ValidationError

from consumers.settings.clouds import cloud_of
from consumers.settings.load import names_not_known, with_key_from_file
from consumers.settings.model import Settings
from consumers.settings.origins import contributions, merged
from consumers.settings.proxies import normalise_proxies
from consumers.settings.wrong_names import problem_lines
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class ReadSettings(NamedTuple):
    """Settings as far as they could be read."""

    settings: Settings
    """Without the wrong ones."""
    problems: list[str]
    """A line for each problem."""


def read_with_problems(config: Path | None) -> ReadSettings:
    """Read the settings like :func:`load_settings`, and go on after a problem."""
    found, problems = contributions(config)
    from_file = next((part.data for part in found if not part.variable), {})
    problems += names_not_known(from_file)
    problems += _problem_of(normalise_proxies)
    data = merged(found)
    for key in from_file.keys() - Settings.model_fields.keys():
        del data[key]
    settings, wrong = _valid_part(data, from_file)
    problems += wrong
    try:
        settings = with_key_from_file(settings)
    except ConfigurationError as error:
        problems.append(str(error))
    problems += _problem_of(lambda: cloud_of(settings))
    return ReadSettings(settings, list(dict.fromkeys(problems)))


def _problem_of(require: Callable[[], object]) -> list[str]:
    try:
        require()
    except ConfigurationError as error:
        return [str(error)]
    return []


def _valid_part(data: dict[str, Any], from_file: dict[str, Any]) -> tuple[Settings, list[str]]:
    """Return the settings without the wrong ones, which are removed from *data*, and why."""
    problems: list[str] = []
    while True:
        try:
            return _validated(data), problems
        except ValidationError as error:
            problems += problem_lines(error, from_file)
            errors = error.errors(include_input=False, include_url=False)
            wrong = {_existing(data, problem["loc"]) for problem in errors}
            for path in sorted(wrong, key=len, reverse=True):  # the inner ones first
                _remove(data, path)


def _validated(data: dict[str, Any]) -> Settings:
    """Return the settings of *data* alone: the constructor would read the sources again."""
    settings = Settings.__new__(Settings)
    BaseModel.__init__(settings, **data)
    return settings


def _existing(data: dict[str, Any], path: tuple[int | str, ...]) -> tuple[str, ...]:
    """Return as much of *path* as *data* has in tables."""
    value: Any = data
    found: list[str] = []
    for key in path:
        if not isinstance(value, dict) or key not in value:
            break
        found.append(str(key))
        value = value[key]
    return tuple(found)


def _remove(data: dict[str, Any], path: tuple[str, ...]) -> None:
    for key in path[:-1]:
        data = data[key]
    del data[path[-1]]

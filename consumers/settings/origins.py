"""Where each setting comes from: a variable, the file of variables, or the TOML file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource, SettingsError

from consumers.settings.catalogue import variable_of
from consumers.settings.load import config_path, env_file_path, read_toml, require_env_file
from consumers.settings.model import PREFIX, Settings
from consumers.settings.wrong_names import unknown_variables
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

DEFAULT = "default"


class Contribution(NamedTuple):
    """What one variable, or the TOML file, sets."""

    source: str
    variable: str
    """Empty for the TOML file."""
    data: dict[str, Any]

    def sets(self, path: Sequence[str]) -> bool:
        """Return True if it has a value for the setting with these keys."""
        value: Any = self.data
        for key in path:
            if not isinstance(value, dict) or key not in value:
                return False
            value = value[key]
        return True


def contributions(config: Path | None) -> tuple[list[Contribution], list[str]]:
    """Return what each source sets, the one that wins first, and a line for each problem.

    A problem is a file that cannot be read, or a variable whose JSON is broken.
    """
    found: list[Contribution] = []
    problems: list[str] = []
    readers = [("environment variable", EnvSettingsSource(Settings))]
    path, env_file = config_path(config), env_file_path()
    try:
        require_env_file()
        if env_file is not None:
            of_file = DotEnvSettingsSource(Settings, env_file=env_file, env_file_encoding="utf-8")
            readers.append((f"environment file {env_file}", of_file))
    except ConfigurationError as error:
        problems.append(str(error))
    for source, reader in readers:
        for variable, data in _by_variable(reader):
            if data is None:
                problems.append(f"{variable.upper()}: JSON was expected")
            elif data:
                found.append(Contribution(source, variable.upper(), data))
    try:
        if path is not None:
            found.append(Contribution(f"TOML file {path}", "", read_toml(path)))
    except ConfigurationError as error:
        problems.append(str(error))
    return found, problems


def source_of(path: Sequence[str], found: Sequence[Contribution]) -> str:
    """Return where the setting with these keys comes from, for people."""
    for contribution in found:
        if contribution.sets(path):
            if contribution.variable in ("", variable_of(tuple(path))):
                return contribution.source
            return f"{contribution.source}, {contribution.variable}"
    return DEFAULT


def merged(found: Sequence[Contribution]) -> dict[str, Any]:
    """Return what all sources set together."""
    data: dict[str, Any] = {}
    for contribution in reversed(found):
        _add(data, contribution.data)
    return data


def _add(data: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict):
            below = data.get(key)
            data[key] = dict(below) if isinstance(below, dict) else {}
            _add(data[key], value)
        else:
            data[key] = value


def _by_variable(reader: EnvSettingsSource) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Yield what each variable sets alone, None if it cannot be read; the most nested first."""
    file = isinstance(reader, DotEnvSettingsSource)
    variables = {
        name: value
        for name, value in reader.env_vars.items()
        if file or (name.startswith(PREFIX.lower()) and not any(unknown_variables([name])))
    }
    for name in sorted(variables, key=lambda name: -name.count("__")):
        reader.env_vars = {name: variables[name]}
        try:
            yield name, reader()
        except SettingsError:
            yield name, None

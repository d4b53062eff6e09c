"""All settings, one by one, with what the documentation says about each."""

from __future__ import annotations

import typing
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from consumers.settings.lists import ListSettings, MmdbSettings
from consumers.settings.model import PREFIX, FeedSettings, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.fields import FieldInfo

NAMED_GROUPS: Mapping[str, type[BaseModel]] = {
    "feeds": FeedSettings,
    "lists": ListSettings,
    "mmdb": MmdbSettings,
}
"""Groups of which there are any number, each with a name."""
ANY_NAME = "<NAME>"


class Setting(NamedTuple):
    """A setting."""

    path: tuple[str, ...]
    """Its keys in TOML. ANY_NAME stands for the name of a feed, list or MMDB file."""
    info: FieldInfo

    @property
    def variable(self) -> str:
        """The environment variable."""
        return variable_of(self.path)

    @property
    def meaning(self) -> str:
        """The description, on one line."""
        return " ".join((self.info.description or "").split())


def variable_of(path: tuple[str, ...]) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + "__".join(path).upper()


@cache
def catalogue() -> tuple[Setting, ...]:
    """Return all settings in the order of the documentation."""
    return tuple(_settings(Settings, ()))


def _settings(model: type[BaseModel], above: tuple[str, ...]) -> Iterator[Setting]:
    for name, info in model.model_fields.items():
        path = (*above, info.alias or name)
        group: Any = info.annotation
        if not above and name in NAMED_GROUPS:
            group, path = NAMED_GROUPS[name], (*path, ANY_NAME)
        if isinstance(group, type) and issubclass(group, BaseModel):
            yield from _settings(group, path)
        else:
            yield Setting(path, info)


def unit_of(info: FieldInfo) -> str:
    """Return the unit of a setting's value, empty if it has none."""
    found = [text for text in info.metadata if isinstance(text, str)]
    for part in typing.get_args(info.annotation):  # of an optional value
        if typing.get_origin(part) is typing.Annotated:
            found += [text for text in typing.get_args(part)[1:] if isinstance(text, str)]
    return found[0] if found else ""


def default_text(info: FieldInfo) -> str:
    """Return the default as one writes it, empty if there is none."""
    value: Any = info.default
    if value is None or value is PydanticUndefined or value in ([], {}):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(map(str, value))
    return f"{value:.15g}" if isinstance(value, float) else str(value)

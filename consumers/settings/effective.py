"""The settings in effect, as rows that anybody may see: secrets are left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined

from consumers.settings.catalogue import variable_of
from consumers.settings.load import load_settings
from consumers.settings.origins import DEFAULT, contributions, source_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SET = "(set)"
"""Shown instead of a secret."""
_SECRET_IN_TEXT = re.compile(
    r"(?i)(?P<name>\b\w*(?:key|password|passwd|pwd|secret|signature|token|sig)\s*=\s*)[^;&\s]+"
)
_CREDENTIALS_IN_URL = re.compile(r"://[^/@\s]*@")


class Effective(NamedTuple):
    """A setting in effect."""

    path: tuple[str, ...]
    value: Any
    is_default: bool


def setting_rows(config: Path | None, *, everything: bool = False) -> list[dict[str, Any]]:
    """Return the settings that differ from their default, or *everything*, without secrets.

    Keys: ``setting`` (the variable), ``value`` and ``source``. Raise ConfigurationError for
    invalid settings.
    """
    settings = load_settings(config)
    found, _ = contributions(config)
    key_file = settings.crowdsec.api_key_file
    rows = []
    for setting in _effective(settings, ()):
        source = source_of(setting.path, found)
        if setting.path == ("crowdsec", "api_key") and key_file is not None:
            source = f"secret file {key_file}"
        if everything or not setting.is_default:
            name, value = variable_of(setting.path), shown(setting.value)
            rows.append({"setting": name, "value": value, "source": source})
    return rows


def number_set(config: Path | None) -> int:
    """Return how many settings some source sets. ConfigurationError for invalid settings."""
    rows = setting_rows(config, everything=True)
    return sum(row["source"] != DEFAULT for row in rows)


def shown(value: Any) -> Any:
    """Return a value for JSON, with ``(set)`` instead of every secret in it."""
    if isinstance(value, SecretStr):
        return SET
    if isinstance(value, dict):
        return {key: shown(part) for key, part in value.items()}
    if isinstance(value, list):
        return [shown(part) for part in value]
    if isinstance(value, str | Path):
        text = _SECRET_IN_TEXT.sub(rf"\g<name>{SET}", str(value))
        return _CREDENTIALS_IN_URL.sub(f"://{SET}@", text)
    return value


def _effective(group: BaseModel, above: tuple[str, ...]) -> Iterator[Effective]:
    for name, info in type(group).model_fields.items():
        value, path = getattr(group, name), (*above, info.alias or name)
        if isinstance(value, BaseModel):
            yield from _effective(value, path)
        elif name == "own_tables":
            for label, columns in value.items():
                yield Effective((*path, label), columns, is_default=False)
        elif isinstance(value, dict):
            for label, named in value.items():
                yield from _effective(named, (*path, label))
        else:
            default = info.default
            yield Effective(path, value, default is not PydanticUndefined and value == default)

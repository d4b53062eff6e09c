"""The kinds of values that settings have, and how each is checked."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, SecretStr
from pydantic_settings import NoDecode

from consumers.settings.urls import checked_url

if TYPE_CHECKING:
    from pathlib import Path


def _split_commas(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def visible_secret(secret: SecretStr) -> SecretStr | None:
    """Return the secret without surrounding space, None if empty. ValueError: other characters."""
    text = secret.get_secret_value().strip()
    if any(not 33 <= ord(character) <= 126 for character in text):
        raise ValueError("must be visible ASCII without spaces")
    return SecretStr(text) if text else None


def _stripped_secret(secret: SecretStr) -> SecretStr | None:
    """Return the secret without surrounding space, as copied from a portal; None if empty."""
    text = secret.get_secret_value().strip()
    return SecretStr(text) if text else None


def pem_file(path: Path) -> Path:
    """Return the path of a readable file of PEM certificates."""
    try:
        if b"CERTIFICATE-----" in path.read_bytes():
            return path
    except OSError:
        pass
    raise ValueError("must be a readable file of PEM certificates")


def password_way(text: str) -> str:
    """Check how a feed's password is sent."""
    kind, _, name = text.strip().partition(":")
    kind, name = kind.strip().lower(), name.strip()
    if kind == "header" and re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", name):
        return f"header:{name}"
    if kind in ("basic", "bearer") and not name:
        return kind
    raise ValueError("must be basic, bearer or header:NAME")


def _network(text: str) -> str:
    return str(ip_network(text, strict=False))


def checked_container(name: str) -> str:
    """Check a blob container's name (Azure Storage, naming of containers)."""
    if name and (len(name) > 63 or not re.fullmatch(r"[a-z0-9](-?[a-z0-9]){2,}", name)):
        raise ValueError("must have 3 to 63 lower-case letters, digits and single hyphens")
    return name


Seconds = Annotated[float, "seconds"]
Url = Annotated[str, AfterValidator(checked_url)]
Secret = Annotated[SecretStr, AfterValidator(_stripped_secret)]
ApiKey = Annotated[SecretStr, AfterValidator(visible_secret)]
Texts = Annotated[list[str], NoDecode, BeforeValidator(_split_commas)]
CidrList = Annotated[
    list[Annotated[str, AfterValidator(_network)]], NoDecode, BeforeValidator(_split_commas)
]


class SettingsGroup(BaseModel):
    """A group of settings."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )

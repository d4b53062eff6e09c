"""The TOML file with the settings that a first user needs, all of them commented out."""

from __future__ import annotations

import json
import textwrap
import typing
from typing import TYPE_CHECKING, Any

from consumers.settings.catalogue import ANY_NAME, Setting, catalogue, default_text, unit_of

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH = 98
HEAD = """\
# Settings of signinwatch.
#
# A line that begins with # and a space is explanation. To set something, remove the # in front of
# its line. Each line stands for itself, in any order.
# Environment variables win: crowdsec.monthly_quota is SIGNINWATCH_CROWDSEC__MONTHLY_QUOTA.
# docs/configuration.md has all settings. Test this file without connecting to anything:
#
#   signinwatch --config FILE config check
"""
GROUPS: dict[str, tuple[str, ...]] = {
    "Lookups in CrowdSec": (
        "crowdsec.api_key_file",
        "crowdsec.monthly_quota",
        "crowdsec.reset_day",
        "state.dir",
    ),
    "What is checked": ("trusted_networks", "tables"),
    "Feeds, lists and MMDB files: sources on this machine, without a quota": (
        "feeds.sekoia.password",
        "feeds.example.url",
        "feeds.example.collection",
        "feeds.example.username",
        "feeds.example.password",
        "lists.tor.preset",
        "lists.example.url",
        "lists.example.reputation",
        "mmdb.anonymous.file",
    ),
    "The service: where sign-ins come from, and its state": (
        "eventhub.namespace",
        "eventhub.name",
        "eventhub.consumer_group",
        "eventhub.transport",
        "checkpoint.account_url",
        "checkpoint.container",
        "state.account_url",
        "http.port",
    ),
    "Microsoft Sentinel: where findings go, and what export reads": (
        "logs.endpoint",
        "logs.rule_id",
        "sentinel.workspace_id",
        "cloud",
    ),
    "Networks with TLS inspection": ("ca_bundle",),
}
"""The keys of each group. ``sekoia``, ``example``, ``tor`` and ``anonymous`` are names."""


def starter_file() -> str:
    """Return the text of the file."""
    known = {setting.path: setting for setting in catalogue()}
    parts = [HEAD]
    for title, keys in GROUPS.items():
        rule = "-" * (WIDTH - len(title) - 6)
        parts.append(f"# --- {title} {rule}\n")
        parts += ["\n".join(_lines(key, _setting_of(key, known))) + "\n" for key in keys]
    return "\n".join(parts)


def _setting_of(key: str, known: dict[tuple[str, ...], Setting]) -> Setting:
    path = tuple(key.split("."))
    return known.get(path) or known[(path[0], ANY_NAME, *path[2:])]


def _lines(key: str, setting: Setting) -> Iterator[str]:
    unit, default = unit_of(setting.info), default_text(setting.info)
    text = setting.meaning
    text += f" Unit: {unit}." if unit else ""
    text += f" Default: {default}." if default else ""
    for line in textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False):
        yield f"# {line}"
    yield f"#{key} = {_toml(_example(key, setting))}"


def _example(key: str, setting: Setting) -> Any:
    """Return the documented example, else the default, else the first allowed value."""
    info = setting.info
    if info.examples:
        return info.examples[0]
    if info.default is not None:
        return info.default
    allowed = [value for part in typing.get_args(info.annotation) for value in _literals(part)]
    label = key.split(".")[1] if ANY_NAME in setting.path else ""
    return label if label in allowed else allowed[0]


def _literals(part: Any) -> tuple[Any, ...]:
    return typing.get_args(part) if typing.get_origin(part) is typing.Literal else ()


def _toml(value: Any) -> str:
    """Return a text or number as TOML; JSON's texts are TOML's."""
    return json.dumps(value, ensure_ascii=False)

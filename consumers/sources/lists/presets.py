"""Builds lists from the settings: fills in presets and reports missing settings.

Sources: the Tor Project's bulk exit list; Apple's "Prepare your network for iCloud Private Relay";
AWS, "AWS IP address ranges"; Google Cloud, "Where can I find Compute Engine IP ranges"; Microsoft,
"Azure IP Ranges and Service Tags" (a weekly file, whose address changes); CrowdSec, "Blocklist
integrations" (Basic authentication, one pull in 24 hours on the community plan).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consumers.sources.crowdsec.lapi import LAPI
from schemas.durations import DAY_SECONDS, HOUR_SECONDS
from schemas.errors import ConfigurationError
from schemas.intel.verdicts import CROWDSEC, ENTRA, REPLICA, STORIES_SOURCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pydantic import SecretStr

    from consumers.settings import ListSettings

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_RESERVED = (CROWDSEC, REPLICA, LAPI, ENTRA, STORIES_SOURCE)


@dataclass(frozen=True, slots=True)
class ListPreset:
    """What is the same for everybody who uses a list."""

    url: str | None = None
    reputation: str | None = None
    address_class: str | None = None
    interval: float = DAY_SECONDS
    paged: bool = False


LIST_PRESETS = {
    "tor": ListPreset(
        "https://check.torproject.org/torbulkexitlist", None, "tor", interval=HOUR_SECONDS
    ),
    "private-relay": ListPreset("https://mask-api.icloud.com/egress-ip-ranges.csv", None, "relay"),
    "aws": ListPreset("https://ip-ranges.amazonaws.com/ip-ranges.json", None, "hosting"),
    "gcp": ListPreset("https://www.gstatic.com/ipranges/cloud.json", None, "hosting"),
    "azure": ListPreset(None, None, "hosting", interval=7 * DAY_SECONDS),
    "crowdsec-blocklist": ListPreset(None, "malicious", None, paged=True),
}


@dataclass(frozen=True, slots=True)
class ListPlan:
    """The complete settings of one list."""

    name: str
    url: str | None
    file: Path | None
    username: str | None
    password: SecretStr | None
    reputation: str | None
    address_class: str | None
    interval: float
    paged: bool

    @property
    def identity(self) -> str:
        """Return a hash of where the list is and what it says. It changes if the list changes."""
        text = f"{self.url} {self.file} {self.reputation} {self.address_class}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def list_plans(lists: Mapping[str, ListSettings], feeds: Iterable[str] = ()) -> list[ListPlan]:
    """Return the configured lists. ConfigurationError names a missing or invalid setting.

    *feeds* are the names of feeds, which no list may have.
    """
    taken = {name.lower() for name in feeds}
    plans = []
    for name, settings in sorted(lists.items()):
        low = name.lower()
        if not _NAME.fullmatch(low) or low in _RESERVED or low in taken:
            raise ConfigurationError(
                f"SIGNINWATCH_LISTS__{name.upper()[:40]}: invalid name; use up to 40 letters, "
                "digits, - and _, and no name of a feed or another source"
            )
        taken.add(low)
        plans.append(_plan(low, settings))
    return plans


def _plan(name: str, settings: ListSettings) -> ListPlan:
    prefix = f"SIGNINWATCH_LISTS__{name.upper()}"
    preset = LIST_PRESETS.get(settings.preset or name) if settings.preset != "none" else None
    preset = preset or ListPreset()
    url = settings.url or (None if settings.file else preset.url)
    if url is None and settings.file is None:
        raise ConfigurationError(f"{prefix}__URL: not set; set it, or {prefix}__FILE")
    if url is not None and settings.file is not None:
        raise ConfigurationError(f"{prefix}__FILE: set together with {prefix}__URL; remove one")
    reputation = settings.reputation or preset.reputation
    address_class = settings.class_ or preset.address_class
    if reputation is None and address_class is None:
        raise ConfigurationError(
            f"{prefix}__REPUTATION: not set; set it to malicious or suspicious, or set "
            f"{prefix}__CLASS to what kind of network the list names"
        )
    return ListPlan(
        name,
        url,
        settings.file,
        settings.username,
        settings.password,
        reputation,
        address_class,
        settings.interval or preset.interval,
        preset.paged,
    )

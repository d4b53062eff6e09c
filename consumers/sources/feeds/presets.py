"""Feeds by their settings: what a preset knows is filled in, and what is missing is named.

Facts: Sekoia.io's documentation, "TAXII" (API root, the id of the feed that everybody has, any
user name with an API key as password); CrowdSec's, "TAXII server" (API root, collection).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from consumers.enrichment.local_sources import REPLICA
from consumers.sources.feeds.matcher import FeedRules
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

    from consumers.settings import FeedSettings

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class Preset:
    """What is the same for all who read a provider's feed."""

    url: str
    collection: str
    filters: Mapping[str, str] = field(default_factory=dict)


PRESETS = {
    "sekoia": Preset(
        "https://app.sekoia.io/api/v2/inthreat/taxii-server",
        "d6092c37-d8d7-45c3-8aff-c4dc26030608",
        {"match[spec_version]": "2.1"},
    ),
    "crowdsec": Preset("https://taxii.cti.api.crowdsec.net/v1/cti", "real-time-feeds"),
}
USER = "signinwatch"
"""The user name where any will do."""


@dataclass(frozen=True, slots=True)
class FeedPlan:
    """One feed, ready to be read."""

    name: str
    url: str
    collection: str
    username: str
    password: SecretStr | None
    filters: Mapping[str, str]
    interval: float
    page_size: int
    rules: FeedRules
    to_sentinel: bool

    @property
    def identity(self) -> str:
        """Return what tells this feed from another one of its name."""
        text = f"{self.url} {self.collection} {sorted(self.filters.items())}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def feed_plans(feeds: Mapping[str, FeedSettings]) -> list[FeedPlan]:
    """Return the feeds of the settings; ConfigurationError names what is missing or wrong."""
    plans = [_plan(name, settings) for name, settings in sorted(feeds.items())]
    names = [plan.name for plan in plans]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(
                f"SIGNINWATCH_FEEDS__{name.upper()}: two feeds are called so, in other letters"
            )
    return plans


def _plan(name: str, settings: FeedSettings) -> FeedPlan:
    prefix = f"SIGNINWATCH_FEEDS__{name.upper()}"
    low = name.lower()
    if not _NAME.fullmatch(low) or low == REPLICA:
        raise ConfigurationError(
            f"{prefix[:60]}: a feed's name is up to 40 letters, digits, - and _, and is not "
            f"{REPLICA}"
        )
    preset = PRESETS.get(settings.preset or low) if settings.preset != "none" else None
    url = settings.url or (preset.url if preset else None)
    collection = settings.collection or (preset.collection if preset else None)
    if url is None:
        raise ConfigurationError(
            f"{prefix}__URL: the API root of the TAXII server, or {prefix}__PRESET: "
            f"{' or '.join(PRESETS)}"
        )
    if collection is None:
        raise ConfigurationError(f"{prefix}__COLLECTION: the id of the collection to read")
    if settings.url is None and settings.password is None:
        raise ConfigurationError(f"{prefix}__PASSWORD: the API key; the feed is not open to all")
    return FeedPlan(
        name=low,
        url=url,
        collection=collection,
        username=settings.username or USER,
        password=settings.password,
        filters=preset.filters if preset else {},
        interval=settings.interval,
        page_size=settings.page_size,
        rules=FeedRules(settings.min_confidence, settings.max_age),
        to_sentinel=settings.to_sentinel,
    )

"""Builds feeds from the settings: fills in presets and reports missing settings.

Sources: Sekoia.io's documentation, "TAXII" (API root, id of the default feed, any user name with an
API key as password); CrowdSec's documentation, "TAXII server" (API root, collection).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from consumers.sources.feeds.matcher import FeedRules
from schemas.errors import ConfigurationError
from schemas.intel.verdicts import REPLICA

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pydantic import SecretStr

    from consumers.settings import FeedSettings

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class Preset:
    """The settings that are the same for all customers of a provider."""

    url: str
    collection: str
    filters: Mapping[str, str] = field(default_factory=dict)
    from_created: bool = False
    """See :class:`FeedRules`."""


PRESETS = {
    "sekoia": Preset(
        "https://app.sekoia.io/api/v2/inthreat/taxii-server",
        "d6092c37-d8d7-45c3-8aff-c4dc26030608",
        {"match[spec_version]": "2.1"},
    ),
    "crowdsec": Preset(
        "https://taxii.cti.api.crowdsec.net/v1/cti", "real-time-feeds", from_created=True
    ),
}
USER = "signinwatch"
"""The user name for servers that accept any."""


@dataclass(frozen=True, slots=True)
class FeedPlan:
    """The complete settings of one feed."""

    name: str
    url: str
    collection: str
    username: str | None
    password: SecretStr | None
    filters: Mapping[str, str]
    interval: float
    page_size: int
    rules: FeedRules
    to_sentinel: bool
    auth: str
    """``basic``, ``bearer`` or ``header:NAME``."""
    client_certificate: Path | None

    @property
    def identity(self) -> str:
        """Return a hash of the URL, collection and filters. It changes if the feed changes."""
        text = f"{self.url} {self.collection} {sorted(self.filters.items())}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def feed_plans(feeds: Mapping[str, FeedSettings]) -> list[FeedPlan]:
    """Return the configured feeds. ConfigurationError names a missing or invalid setting."""
    plans = [_plan(name, settings) for name, settings in sorted(feeds.items())]
    names = [plan.name for plan in plans]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(
                f"SIGNINWATCH_FEEDS__{name.upper()}: feed names differ only in case; rename one"
            )
    return plans


def _plan(name: str, settings: FeedSettings) -> FeedPlan:
    prefix = f"SIGNINWATCH_FEEDS__{name.upper()}"
    low = name.lower()
    if not _NAME.fullmatch(low) or low == REPLICA:
        raise ConfigurationError(
            f"{prefix[:60]}: invalid feed name; use up to 40 letters, digits, - and _, but not "
            f"{REPLICA}"
        )
    preset = PRESETS.get(settings.preset or low) if settings.preset != "none" else None
    url = settings.url or (preset.url if preset else None)
    collection = settings.collection or (preset.collection if preset else None)
    if url is None:
        raise ConfigurationError(
            f"{prefix}__URL: not set; set it to the API root of the TAXII server, or set "
            f"{prefix}__PRESET to {' or '.join(PRESETS)}"
        )
    if collection is None:
        raise ConfigurationError(f"{prefix}__COLLECTION: not set; set it to a collection id")
    if settings.url is None and settings.password is None:
        raise ConfigurationError(f"{prefix}__PASSWORD: not set; set it to the API key")
    if settings.auth != "basic" and settings.password is None:
        raise ConfigurationError(f"{prefix}__PASSWORD: not set; {prefix}__AUTH sends it")
    return FeedPlan(
        name=low,
        url=url,
        collection=collection,
        username=settings.username,
        password=settings.password,
        filters=preset.filters if preset else {},
        interval=settings.interval,
        page_size=settings.page_size,
        rules=FeedRules(
            settings.min_confidence,
            settings.max_age,
            widest=settings.widest,
            from_created=preset is not None and preset.from_created,
        ),
        to_sentinel=settings.to_sentinel,
        auth=settings.auth,
        client_certificate=settings.client_certificate,
    )

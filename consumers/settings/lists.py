"""Settings of lists of addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from consumers.settings.fields import Seconds, Secret, SettingsGroup, Texts, Url
from schemas.durations import DAY_SECONDS

DEFAULT_CLASS_FIELDS = (
    "is_tor_exit_node=tor",
    "is_anonymous_vpn=vpn",
    "is_public_proxy=proxy",
    "is_residential_proxy=proxy",
    "is_hosting_provider=hosting",
)
"""The fields of GeoIP2 Anonymous IP (MaxMind's documentation of its databases)."""


class MmdbSettings(SettingsGroup):
    """A MaxMind DB file that says what kind of network an address belongs to."""

    file: Path = Field(examples=["/var/lib/GeoIP/GeoIP2-Anonymous-IP.mmdb"])
    """The file. It is opened again when it changes."""
    class_fields: Texts = Field(list(DEFAULT_CLASS_FIELDS), examples=["usage_type:DCH=hosting"])
    """Fields and their classes, `FIELD=CLASS` for fields that are true or `FIELD:VALUE=CLASS`; the
    first that fits counts. `a.b` is field `b` of `a`."""


class ListSettings(SettingsGroup):
    """A list of addresses and networks. The group's name, in lower case, is shown in `Sources`."""

    preset: (
        Literal["tor", "private-relay", "aws", "gcp", "azure", "crowdsec-blocklist", "none"] | None
    ) = None
    """Known list that fills in what is not set. A list of that name has its preset already; `none`
    disables it."""
    url: Url | None = Field(None, examples=["https://lists.example.net/bad.txt"])
    """Where the list is read: text or CSV with an address or network a line, or the JSON of a cloud
    provider's ranges."""
    file: Path | None = Field(None, examples=["/etc/signinwatch/partners.csv"])
    """A local file, instead of a URL."""
    username: str | None = Field(None, examples=["reader"])
    """User name for Basic authentication."""
    password: Secret | None = Field(None, examples=["(a password)"])
    """Password for Basic authentication."""
    reputation: Literal["malicious", "suspicious"] | None = None
    """What the list says of its addresses. Not set: nothing, only their class."""
    class_: Literal["tor", "vpn", "proxy", "relay", "hosting", "residential", "mobile"] | None = (
        Field(None, alias="class")
    )
    """The kind of network that the list names."""
    interval: Annotated[Seconds | None, "seconds"] = Field(None, gt=0, examples=[3_600])
    """Time between two reads. Not set: that of the preset, or a day."""

    @property
    def reads_every(self) -> float:
        """The interval without a preset."""
        return self.interval or DAY_SECONDS

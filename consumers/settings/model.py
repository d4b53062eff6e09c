"""What can be configured. The text below each field is its meaning in ``docs/configuration.md``.

Variables start with ``SIGNINWATCH_`` and nest with ``__``; a TOML file holds the same keys.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    FilePath,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from consumers.settings.fields import (
    ApiKey,
    CidrList,
    Seconds,
    Secret,
    SettingsGroup,
    Texts,
    Url,
    checked_container,
    password_way,
    pem_file,
)
from consumers.settings.lists import ListSettings, MmdbSettings
from schemas.durations import DAY_SECONDS, HOUR_SECONDS

PREFIX = "SIGNINWATCH_"
ENV_FILE_VARIABLE = "SIGNINWATCH_ENV_FILE"


class EventHubSettings(SettingsGroup):
    """The event hubs that sign-in events come from."""

    connection_string: Secret | None = Field(
        None, examples=["Endpoint=sb://NAME.servicebus.windows.net/;SharedAccessKeyName=…"]
    )
    """Connection string of the namespace; an emulator's works too. Replaces `NAMESPACE`."""
    namespace: str | None = Field(None, examples=["NAME.servicebus.windows.net"])
    """Host name of the namespace. The connection is authenticated with Microsoft Entra ID."""
    name: Texts = Field([], examples=["insights-activity-logs,am-signinlogs"])
    """Event hubs to read, comma-separated."""
    consumer_group: str = "$Default"
    """Consumer group. All instances of one deployment share it; no other reader may use it."""
    prefetch: Annotated[int, "messages"] = Field(40, ge=1, le=10_000)
    """How many messages to buffer ahead for each partition. Up to three times as many, of up to
    1 MB each, are in memory. More than 800 messages a second of a partition need more."""
    balance_interval: Seconds = Field(10.0, gt=0)
    """How often instances renew and balance their ownership of partitions."""
    ownership_expiry: Seconds = Field(60.0, gt=0)
    """How long a partition stays with an instance that stopped renewing its ownership."""
    transport: Literal["amqp", "websocket"] = "amqp"
    """`amqp` uses port 5671; `websocket` uses port 443 and passes through HTTPS proxies."""
    endpoint: str | None = Field(None, examples=["gateway.example.net"])
    """Host to connect to instead of the namespace, such as an application gateway."""


class CheckpointSettings(SettingsGroup):
    """The blob container for checkpoints and the quarantine."""

    connection_string: Secret | None = Field(
        None, examples=["DefaultEndpointsProtocol=https;AccountName=…"]
    )
    """Connection string of the storage account. Replaces `ACCOUNT_URL`."""
    account_url: Url | None = Field(None, examples=["https://ACCOUNT.blob.core.windows.net"])
    """Blob endpoint of the storage account. Authenticated with Microsoft Entra ID."""
    container: Annotated[str, AfterValidator(checked_container)] | None = Field(
        None, examples=["signinwatch"]
    )
    """Container of the checkpoints; the quarantine lies beside them."""
    create: bool = False
    """`true` creates the container if it does not exist. Needs more rights than running does."""


class StateSettings(SettingsGroup):
    """The ledger: verdicts, waiting sign-ins, the lookup count and ranking history."""

    dir: Path | None = Field(None, examples=["/var/lib/signinwatch"])
    """Directory of an embedded ledger, for one process on one machine."""
    connection_string: Secret | None = Field(
        None, examples=["DefaultEndpointsProtocol=https;AccountName=…"]
    )
    """Connection string of the storage account of a shared ledger. Replaces `ACCOUNT_URL`."""
    account_url: Url | None = Field(None, examples=["https://ACCOUNT.table.core.windows.net"])
    """Table endpoint of a shared ledger, for any number of instances."""
    table: str = "signinwatch"
    """Table of a shared ledger. With feeds or the replica, a second table with the suffix
    `recent` is used."""
    scratch: Path | None = Field(None, examples=["/tmp/signinwatch"])  # noqa: S108 - an example
    """Directory for local copies of feeds and the replica beside a shared ledger.
    Not set: a temporary directory."""


class LapiSettings(SettingsGroup):
    """The decisions of a CrowdSec Security Engine (LAPI) as a local source, `crowdsec-lapi`."""

    url: Url | None = Field(None, examples=["https://crowdsec.example.net:8080"])
    """URL of the local API."""
    api_key: Secret | None = Field(None, examples=["(cscli bouncers add signinwatch)"])
    """Key of a bouncer."""
    interval: Seconds = Field(60.0, gt=0)
    """Time between two reads."""


class CrowdSecSettings(SettingsGroup):
    """CrowdSec CTI: the paid lookup API and the replica."""

    api_key: ApiKey | None = Field(None, examples=["(Console: Settings, CTI API keys)"])
    """Key of the CTI API. Without a key only local sources are used."""
    api_key_file: Path | None = Field(None, examples=["/run/secrets/crowdsec"])
    """File with the key. A running service reads it again within seconds of a change."""
    url: Url = "https://cti.api.crowdsec.net/v2"
    """Base URL of the CTI API."""
    batch_size: Annotated[int, "addresses"] = Field(100, ge=1, le=100)
    """IP addresses in a lookup request. A key without batch access falls back to single lookups."""
    monthly_quota: Annotated[int, "lookups"] = Field(120, ge=0)
    """Lookups per month, never exceeded: 120 for a free key, 1500 for Premium. 0: no lookups."""
    reset_day: Annotated[int, "day of the month"] = Field(1, ge=1, le=28)
    """When the monthly quota starts again. The CrowdSec console shows the date."""
    manual_share: Annotated[float, "share, 0 to 1"] = Field(0.05, ge=0, lt=1)
    """Part of the quota that the service leaves for `signinwatch lookup`."""
    replica: bool = False
    """`true` downloads the CrowdSec database daily and uses it instead of the lookup API."""
    replica_dataset: str | None = Field(None, examples=["fire"])
    """Dataset of the replica. Not set: the usual one."""
    look_up_beyond_replica: bool = False
    """`true` looks up addresses that the replica does not contain, within the quota."""
    timeout: Seconds = Field(10.0, gt=0, le=120)
    """Time limit for a lookup request. A request that times out may have been counted."""
    concurrency: Annotated[int, "requests"] = Field(16, ge=1, le=64)
    """Lookup requests in flight at a time."""
    lapi: LapiSettings = LapiSettings()
    """Decisions of an engine of your own."""


class GuardSettings(SettingsGroup):
    """What no feed may cause."""

    never_named: CidrList = Field([], examples=["203.0.113.0/24"])
    """Networks that no feed may call bad, beside the shipped list: public resolvers, Microsoft's
    sign-in and relay addresses, shared egress of large networks. Comma-separated CIDRs."""
    known_accounts: Annotated[int, "accounts"] = Field(20, ge=2, le=100)
    """An indicator that names an address or network from which this many accounts have succeeded
    on earlier days makes findings of at most Low until a person decides. See `KNOWN_DAYS`."""
    known_days: Annotated[int, "days"] = Field(3, ge=1, le=31)
    """On how many earlier days accounts must have succeeded from there."""


class LogsSettings(SettingsGroup):
    """The Logs Ingestion API, which writes findings to Log Analytics."""

    endpoint: Url | None = Field(None, examples=["https://NAME.REGION.ingest.monitor.azure.com"])
    """Ingestion endpoint of the data collection rule or endpoint."""
    rule_id: str | None = Field(None, examples=["dcr-0123456789abcdef0123456789abcdef"])
    """Immutable id of the data collection rule."""
    retry_limit: Seconds = Field(HOUR_SECONDS, gt=0)
    """How long a command such as `replay` retries an upload before it fails. `run` has no limit."""


class FeedSettings(SettingsGroup):
    """A TAXII 2.1 feed. The group's name, in lower case, is shown in `Sources`."""

    preset: Literal["sekoia", "crowdsec", "none"] | None = None
    """Known feed that fills in URL and collection. A feed named `sekoia` or `crowdsec` has its
    preset already; `none` disables it."""
    url: Url | None = Field(None, examples=["https://taxii.example.net/api-root"])
    """TAXII API root."""
    collection: str | None = Field(None, examples=["9cfa669c-ee94-4ece-afd2-f8edac37d8fd"])
    """Id of the collection."""
    username: str | None = Field(None, examples=["reader"])
    """User name for Basic authentication. Not needed where the password is an API key."""
    password: Secret | None = Field(None, examples=["(an API key)"])
    """Password or API key for Basic authentication."""
    auth: Annotated[str, AfterValidator(password_way)] = Field(
        "basic", examples=["header:X-Api-Key"]
    )
    """How the password is sent: `basic` with the user name, `bearer` as a token, or `header:NAME`
    in a header of that name."""
    client_certificate: Annotated[FilePath, AfterValidator(pem_file)] | None = Field(
        None, examples=["/run/secrets/feed.pem"]
    )
    """PEM file with a client certificate and its private key, unencrypted."""
    interval: Seconds = Field(HOUR_SECONDS, gt=0)
    """Time between two reads of the feed."""
    min_confidence: Annotated[int, "STIX confidence"] = Field(0, ge=0, le=100)
    """Indicators with less confidence are ignored. Indicators without a confidence are used."""
    max_age: Seconds = Field(365 * DAY_SECONDS, gt=0)
    """How long an indicator without an end date is valid, from its last change."""
    widest: Annotated[int, "prefix length"] = Field(16, ge=8, le=32)
    """Shortest prefix of an IPv4 network that the feed may name; twice that for IPv6. Wider
    networks of the feed are ignored and reported."""
    trusted_too: bool = False
    """`true` believes the feed about `TRUSTED_NETWORKS`. Otherwise what it alone names there is at
    most Informational."""
    page_size: Annotated[int, "objects"] = Field(2_000, ge=1, le=10_000)
    """Objects to request in a page."""
    to_sentinel: bool = False
    """`true` uploads the feed's indicators to Sentinel threat intelligence."""


class SentinelSettings(SettingsGroup):
    """Sentinel's workspace: `export` reads it, and indicators are uploaded. Off until it is set."""

    workspace_id: str | None = Field(None, examples=["00000000-0000-0000-0000-000000000000"])
    """Id of the Log Analytics workspace that Sentinel runs on."""
    url: Url | None = Field(None, examples=["https://api.ti.sentinel.azure.com"])
    """Base URL of the upload API. Not set: that of the cloud."""
    query_url: Url | None = Field(None, examples=["https://api.loganalytics.io"])
    """Base URL of the Logs query API, which `export` reads. Not set: that of the cloud."""
    upload_malicious: bool = True
    """`false` does not upload addresses with a malicious CrowdSec verdict."""
    valid_for: Seconds = Field(7 * DAY_SECONDS, ge=HOUR_SECONDS, le=90 * DAY_SECONDS)
    """How long an uploaded indicator is valid. It is renewed while its verdict lasts."""
    source: str = "signinwatch"
    """Source system that Sentinel shows for the indicators."""


class PolicySettings(SettingsGroup):
    """Lifetimes of verdicts, limits, and policy lines."""

    malicious_lifetime: Seconds = Field(7 * DAY_SECONDS, gt=0)
    """How long a malicious verdict is used before the address is looked up again."""
    suspicious_lifetime: Seconds = Field(7 * DAY_SECONDS, gt=0)
    """The same for a suspicious verdict."""
    benign_lifetime: Seconds = Field(14 * DAY_SECONDS, gt=0)
    """The same for a benign verdict."""
    unknown_lifetime: Seconds = Field(7 * DAY_SECONDS, gt=0)
    """The same for an address that CrowdSec does not know."""
    waiting_limit: Seconds = Field(DAY_SECONDS, gt=0)
    """How long a sign-in waits for the lookup of its address. It then expires and is counted in the
    metric `dropped`."""
    waiting_per_address: Annotated[int, "sign-ins"] = Field(200, ge=1)
    """Sign-ins of an address that may wait in each instance; successes take precedence. The rest is
    only counted."""
    findings_per_hour: Annotated[int, "findings"] = Field(100, ge=1)
    """Findings per hour for the same address, account, table and outcome before the rest is
    aggregated into a counted row. Successful sign-ins are never aggregated."""
    late_match: Seconds = Field(DAY_SECONDS, ge=0, le=14 * DAY_SECONDS)
    """How far back new indicators are matched against recent sign-ins. 0 disables it."""
    stories: bool = True
    """`false` tells no stories of sign-ins, which saves CPU time. Policy lines switch single
    stories off."""
    lines: list[dict[str, Any]] = Field([], examples=["(see docs/findings.md)"])
    """Policy lines that are evaluated before the shipped ones."""


class ServiceSettings(SettingsGroup):
    """How `run` behaves."""

    drain: Seconds = Field(25.0, gt=0)
    """Time to finish work after SIGTERM. Keep it below the platform's grace period."""
    checkpoint_interval: Seconds = Field(5.0, gt=0)
    """Time between two checkpoints of a partition. After a kill this much is read again."""
    report_interval: Seconds = Field(300.0, gt=0)
    """Time between two sets of rows in the health table."""
    unreadable_share: Annotated[float, "share, 0 to 1"] = Field(0.9, gt=0, le=1)
    """If at least this share of messages is unreadable, reading slows to a batch a minute: the hub
    is probably the wrong one."""
    instance: str | None = Field(None, examples=["signinwatch-0"])
    """Name of this instance in the health table. Not set: host name and process id."""
    telemetry: Secret | None = Field(None, examples=["InstrumentationKey=…"])
    """Connection string of Application Insights. Needs the extra `telemetry`."""


class HttpSettings(SettingsGroup):
    """The service's own health endpoints and metrics."""

    host: str = "0.0.0.0"  # noqa: S104 - probes come from outside the container
    """Address to listen on."""
    port: int = Field(8080, ge=0, le=65_535)
    """Port to listen on. 0 picks a free port."""
    details: bool = False
    """`true` shows names and the texts of problems on the status page to every client. Otherwise
    only a browser on the same machine sees them."""


class Settings(BaseSettings):
    """All settings, parsed once."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    eventhub: EventHubSettings = EventHubSettings()
    """The event hubs that sign-in events come from."""
    checkpoint: CheckpointSettings = CheckpointSettings()
    """The blob container for checkpoints and the quarantine."""
    state: StateSettings = StateSettings()
    """The ledger: verdicts, waiting sign-ins, the lookup count and ranking history."""
    crowdsec: CrowdSecSettings = CrowdSecSettings()
    """CrowdSec CTI: the paid lookup API and the replica."""
    logs: LogsSettings = LogsSettings()
    """The Logs Ingestion API, which writes findings to Log Analytics."""
    feeds: dict[str, FeedSettings] = {}
    """TAXII feeds, by name."""
    lists: dict[str, ListSettings] = {}
    """Lists of addresses, by name."""
    mmdb: dict[str, MmdbSettings] = {}
    """MaxMind DB files, by name."""
    """TAXII 2.1 feeds by name."""
    guard: GuardSettings = GuardSettings()
    """What no feed may cause."""
    sentinel: SentinelSettings = SentinelSettings()
    """Upload of indicators to Sentinel threat intelligence."""
    policy: PolicySettings = PolicySettings()
    """Lifetimes of verdicts, limits, and policy lines."""
    http: HttpSettings = HttpSettings()
    """The service's own health endpoints and metrics."""
    service: ServiceSettings = ServiceSettings()
    """How `run` behaves."""
    cloud: Literal["public", "usgov"] | None = None
    """The Azure cloud: `public`, or `usgov` for Azure Government. Not set: that of the
    endpoints."""
    ca_bundle: Annotated[FilePath, AfterValidator(pem_file)] | None = Field(
        None, examples=["/etc/ssl/certs/company.pem"]
    )
    """PEM file of the certificate authorities to trust, for networks with TLS inspection."""
    tables: Texts | None = Field(None, examples=["SigninLogs,AADNonInteractiveUserSignInLogs"])
    """Log Analytics tables to check, comma-separated, or `all`. Not set: the sign-in and logon
    tables; activity tables are off."""
    own_tables: dict[str, dict[str, Any]] = Field({}, examples=["(see docs/findings.md)"])
    """Custom tables: which columns hold the address, account, time and result."""
    trusted_networks: CidrList = Field([], examples=["203.0.113.0/24,2001:db8::/32"])
    """The company's own egress, comma-separated CIDRs. No lookup is spent on these addresses."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, which comes as the constructor's arguments."""
        del dotenv_settings, file_secret_settings
        env_file = os.environ.get(ENV_FILE_VARIABLE)
        if env_file is None:
            return env_settings, init_settings
        of_file = DotEnvSettingsSource(settings_cls, env_file=env_file, env_file_encoding="utf-8")
        return env_settings, of_file, init_settings

"""The settings: the one place that reads the environment and the configuration file.

Variables start with ``SIGNINWATCH_`` and nest with ``__``; the file holds the same keys as TOML.
The environment wins. Every error is one line that names the setting and never shows its value.
"""

from __future__ import annotations

import os
import re
import tomllib
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from schemas.errors import ConfigurationError

PREFIX = "SIGNINWATCH_"
CONFIG_VARIABLE = "SIGNINWATCH_CONFIG"
ENV_FILE_VARIABLE = "SIGNINWATCH_ENV_FILE"
NO_SETTINGS = (CONFIG_VARIABLE, ENV_FILE_VARIABLE, "SIGNINWATCH_REDACT_KEY")
"""Variables of ours that are read elsewhere."""
DIRECT = ("localhost", "127.0.0.1", "::1", "169.254.169.254")
"""Hosts that are never behind a proxy: this machine, and where Azure's machines ask for tokens."""
HOUR = 3_600.0
DAY = 24 * HOUR


def is_loopback(url: str) -> bool:
    """Tell whether *url* names this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _split_commas(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _safe_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a https:// URL")
    if parts.scheme == "http" and not is_loopback(url):
        raise ValueError("http:// is allowed on loopback only; use https://")
    if parts.port == 0:  # reading it raises for what is no port
        raise ValueError("must have a port from 1 to 65535, or none")
    if parts.username or parts.password:
        raise ValueError("must not hold a user name or password")
    if "?" in url or "#" in url:
        raise ValueError("must not hold a query or a fragment (? or #)")
    return url.rstrip("/")


def _bare_secret(secret: SecretStr) -> SecretStr | None:
    text = secret.get_secret_value().strip()
    if any(not 33 <= ord(character) <= 126 for character in text):
        raise ValueError("must be visible ASCII without spaces")
    return SecretStr(text) if text else None


def _pem(path: Path) -> Path:
    try:
        if b"CERTIFICATE-----" in path.read_bytes():
            return path
    except OSError:
        pass
    raise ValueError("must name a file of certificates in PEM that can be read")


def _network(text: str) -> str:
    return str(ip_network(text, strict=False))


def _container(name: str) -> str:
    """Check a blob container's name (Azure Storage, naming of containers)."""
    if name and (len(name) > 63 or not re.fullmatch(r"[a-z0-9](-?[a-z0-9]){2,}", name)):
        raise ValueError("must have 3 to 63 lower-case letters, digits and single hyphens")
    return name


Url = Annotated[str, AfterValidator(_safe_url)]
Key = Annotated[SecretStr, AfterValidator(_bare_secret)]
Texts = Annotated[list[str], NoDecode, BeforeValidator(_split_commas)]
CidrList = Annotated[
    list[Annotated[str, AfterValidator(_network)]], NoDecode, BeforeValidator(_split_commas)
]


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class EventHubSettings(_Group):
    """Where events come from."""

    connection_string: SecretStr | None = None
    namespace: str | None = None
    name: Texts = []
    consumer_group: str = "$Default"
    prefetch: int = Field(300, ge=1, le=10_000)
    balance_interval: float = Field(10.0, gt=0)
    ownership_expiry: float = Field(60.0, gt=0)
    transport: Literal["amqp", "websocket"] = "amqp"
    endpoint: str | None = None


class CheckpointSettings(_Group):
    """Where positions are kept."""

    connection_string: SecretStr | None = None
    account_url: Url | None = None
    container: Annotated[str, AfterValidator(_container)] | None = None
    create: bool = False


class StateSettings(_Group):
    """Where the ledger is kept."""

    dir: Path | None = None
    connection_string: SecretStr | None = None
    account_url: Url | None = None
    table: str = "signinwatch"
    scratch: Path | None = None


class CrowdSecSettings(_Group):
    """The CrowdSec CTI API."""

    api_key: Key | None = None
    api_key_file: Path | None = None
    url: Url = "https://cti.api.crowdsec.net/v2"
    batch_size: int = Field(100, ge=1, le=100)
    monthly_quota: int = Field(120, ge=0)
    reset_day: int = Field(1, ge=1, le=28)
    peoples_share: float = Field(0.05, ge=0, lt=1)
    replica: bool = False
    replica_dataset: str | None = None
    ask_beyond_replica: bool = False
    timeout: float = Field(10.0, gt=0, le=120)
    concurrency: int = Field(16, ge=1, le=64)


class LogsSettings(_Group):
    """The Logs Ingestion API."""

    endpoint: Url | None = None
    rule_id: str | None = None
    patience: float = Field(HOUR, gt=0)


class FeedSettings(_Group):
    """One TAXII 2.1 feed. A feed called like a preset, or naming one, needs a password alone."""

    preset: Literal["sekoia", "crowdsec", "none"] | None = None
    url: Url | None = None
    collection: str | None = None
    username: str | None = None
    password: SecretStr | None = None
    interval: float = Field(HOUR, gt=0)
    min_confidence: int = Field(0, ge=0, le=100)
    max_age: float | None = Field(None, gt=0)
    page_size: int = Field(2_000, ge=1, le=10_000)
    to_sentinel: bool = False


class SentinelSettings(_Group):
    """Indicators into Sentinel's threat intelligence, off until a workspace is named."""

    workspace_id: str | None = None
    url: Url = "https://api.ti.sentinel.azure.com"
    judged: bool = True
    valid: float = Field(7 * DAY, ge=HOUR, le=90 * DAY)
    source: str = "signinwatch"


class PolicySettings(_Group):
    """Thresholds, lifetimes of verdicts, and policy lines. Times are seconds."""

    malicious_lifetime: float = Field(7 * DAY, gt=0)
    suspicious_lifetime: float = Field(7 * DAY, gt=0)
    benign_lifetime: float = Field(14 * DAY, gt=0)
    unknown_lifetime: float = Field(7 * DAY, gt=0)
    waiting_limit: float = Field(DAY, gt=0)
    waiting_per_address: int = Field(200, ge=1)
    findings_per_hour: int = Field(100, ge=1)
    late_match: float = Field(DAY, ge=0, le=14 * DAY)
    lines: list[dict[str, Any]] = []


class ServiceSettings(_Group):
    """How ``run`` behaves. Times are seconds."""

    drain: float = Field(25.0, gt=0)
    checkpoint_interval: float = Field(5.0, gt=0)
    report_interval: float = Field(300.0, gt=0)
    unreadable_share: float = Field(0.9, gt=0, le=1)
    instance: str | None = None
    telemetry: SecretStr | None = None


class HttpSettings(_Group):
    """Our own health endpoints."""

    host: str = "0.0.0.0"  # noqa: S104 - probes come from outside the container
    port: int = Field(8080, ge=0, le=65_535)


class Settings(BaseSettings):
    """All settings, parsed once."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    eventhub: EventHubSettings = EventHubSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    state: StateSettings = StateSettings()
    crowdsec: CrowdSecSettings = CrowdSecSettings()
    logs: LogsSettings = LogsSettings()
    feeds: dict[str, FeedSettings] = {}
    sentinel: SentinelSettings = SentinelSettings()
    policy: PolicySettings = PolicySettings()
    http: HttpSettings = HttpSettings()
    service: ServiceSettings = ServiceSettings()
    ca_bundle: Annotated[FilePath, AfterValidator(_pem)] | None = None
    tables: Texts | None = None
    own_tables: dict[str, dict[str, Any]] = {}
    trusted_networks: CidrList = []

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over what the file says (the constructor's arguments)."""
        del dotenv_settings, file_secret_settings
        env_file = os.environ.get(ENV_FILE_VARIABLE)
        if env_file is None:
            return env_settings, init_settings
        of_file = DotEnvSettingsSource(settings_cls, env_file=env_file, env_file_encoding="utf-8")
        return env_settings, of_file, init_settings


def keep_telemetry_to_ourselves() -> None:
    """Switch off what the exporter of telemetry would tell its maker about itself.

    It can be told so by the environment only, before it is made.
    """
    os.environ.setdefault("APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL", "true")
    os.environ.setdefault("APPLICATIONINSIGHTS_SDKSTATS_DISABLED", "true")


def proxy_for(url: str) -> str | None:
    """Return the URL of the proxy that the environment names for *url*, if it names one."""
    parts = urlsplit(url)
    if is_loopback(url) or proxy_bypass(parts.hostname or ""):
        return None
    proxy = getproxies().get(parts.scheme)
    return _proxy_url(parts.scheme, proxy) if proxy else None


def _proxy_url(scheme: str, proxy: str) -> str:
    """Return a proxy as a URL. Libraries would pass over in silence what they do not support."""
    url = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(url)
        sound = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise ConfigurationError(
            f"{scheme.upper()}_PROXY: must be http://HOST:PORT, with USER:PASSWORD@ before the "
            "host if the proxy asks for them; TLS towards the proxy itself is not supported"
        )
    return url


def settle_proxies() -> None:
    """Make the proxies of our environment mean the same to all libraries, which read it as well.

    Some know no proxy without ``http://``, no ``*.`` in NO_PROXY, and ask a proxy for this machine.
    ConfigurationError names the variable that is wrong, and never shows its value.
    """
    proxies = getproxies()
    named = {scheme: proxies[scheme] for scheme in ("http", "https") if proxies.get(scheme)}
    for scheme, proxy in named.items():
        os.environ[f"{scheme}_proxy"] = _proxy_url(scheme, proxy)  # lower case wins everywhere
    hosts = [part.strip() for part in proxies.get("no", "").split(",") if part.strip()]
    if named and "*" not in hosts:
        direct = [host.removeprefix("*") for host in hosts] + list(DIRECT)
        os.environ["no_proxy"] = ",".join(dict.fromkeys(direct))
    elif named:
        os.environ["no_proxy"] = "*"


def load_settings(config: Path | None = None) -> Settings:
    """Read the file (*config*, else the one that ``SIGNINWATCH_CONFIG`` names) and environment.

    The proxies of the environment are settled with it, see :func:`settle_proxies`.
    ConfigurationError names the setting that is wrong.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    path = config or (Path(named) if named else None)
    from_file = _read_file(path) if path else {}
    _refuse_unknown_variables()
    settle_proxies()
    env_file = os.environ.get(ENV_FILE_VARIABLE)
    if env_file and not Path(env_file).is_file():
        raise ConfigurationError(f"{ENV_FILE_VARIABLE} {env_file}: no such file")
    try:
        return _with_key_from_file(Settings(**from_file))
    except ValidationError as error:
        raise ConfigurationError(_first_problem(error)) from None
    except SettingsError as error:  # its text names the field alone, never the value
        raise ConfigurationError(f"{PREFIX}…: {error}; JSON was expected") from None


def _with_key_from_file(settings: Settings) -> Settings:
    """Read the CrowdSec key from the file that holds it, such as a mounted secret."""
    path = settings.crowdsec.api_key_file
    if path is None:
        return settings
    try:
        text = path.read_text("utf-8").strip()
        key = _bare_secret(SecretStr(text))
    except (OSError, ValueError):
        raise ConfigurationError(
            f"{PREFIX}CROWDSEC__API_KEY_FILE: {path} cannot be read, or holds no key"
        ) from None
    crowdsec = settings.crowdsec.model_copy(update={"api_key": key})
    return settings.model_copy(update={"crowdsec": crowdsec})


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"--config {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--config {path}: not TOML: {error}") from None


def _refuse_unknown_variables() -> None:
    known = {name.upper() for name in Settings.model_fields}
    for variable in os.environ:
        name = variable.upper()
        if name.startswith(PREFIX) and name not in NO_SETTINGS:
            first = name.removeprefix(PREFIX).split("__")[0]
            if first not in known:
                raise ConfigurationError(
                    f"{variable}: there is no such setting; known start with "
                    + ", ".join(f"{PREFIX}{one}" for one in sorted(known))
                )


def _first_problem(error: ValidationError) -> str:
    """Name the first wrong setting the way its variable is called. Never shows a value."""
    problem = error.errors(include_input=False, include_context=False, include_url=False)[0]
    place = "__".join(part.upper() for part in problem["loc"] if isinstance(part, str))
    text = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        text = "there is no such setting"
    return f"{PREFIX}{place}: {text}"

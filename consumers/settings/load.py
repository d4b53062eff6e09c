"""Load the settings: the configuration file, then the environment, which wins.

Every error is one line that names the setting and never shows its value.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr, ValidationError
from pydantic_settings import SettingsError

from consumers.settings.clouds import cloud_of
from consumers.settings.fields import visible_secret
from consumers.settings.model import ENV_FILE_VARIABLE, PREFIX, Settings
from consumers.settings.proxies import normalise_proxies
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

CONFIG_VARIABLE = "SIGNINWATCH_CONFIG"
NOT_SETTINGS = (CONFIG_VARIABLE, ENV_FILE_VARIABLE, "SIGNINWATCH_REDACT_KEY")
"""Variables with our prefix that are read elsewhere."""
RENAMED = {
    "CROWDSEC__PEOPLES_SHARE": "CROWDSEC__MANUAL_SHARE",
    "CROWDSEC__ASK_BEYOND_REPLICA": "CROWDSEC__LOOK_UP_BEYOND_REPLICA",
    "LOGS__PATIENCE": "LOGS__RETRY_LIMIT",
    "SENTINEL__JUDGED": "SENTINEL__UPLOAD_MALICIOUS",
    "SENTINEL__VALID": "SENTINEL__VALID_FOR",
}
"""Former names of settings. They are refused with the new name, never ignored."""


def load_settings(config: Path | None = None) -> Settings:
    """Read the file (*config*, else the one in ``SIGNINWATCH_CONFIG``) and the environment.

    Also normalises the proxies of the environment, see :func:`normalise_proxies`.
    ConfigurationError names the setting that is wrong.
    """
    path = _config_path(config)
    from_file = _read_file(path) if path else {}
    _refuse_unknown_variables()
    normalise_proxies()
    env_file = os.environ.get(ENV_FILE_VARIABLE)
    if env_file and not Path(env_file).is_file():
        raise ConfigurationError(f"{ENV_FILE_VARIABLE} {env_file}: no such file")
    try:
        settings = _with_key_from_file(Settings(**from_file))
    except ValidationError as error:
        raise ConfigurationError(_first_problem(error)) from None
    except SettingsError as error:  # its text names the field alone, never the value
        raise ConfigurationError(f"{PREFIX}…: {error}; JSON was expected") from None
    cloud_of(settings)
    return settings


def files_of_settings(config: Path | None = None) -> list[Path]:
    """Return the files that :func:`load_settings` reads, except for a key's own."""
    env_file = os.environ.get(ENV_FILE_VARIABLE)
    named = (_config_path(config), Path(env_file) if env_file else None)
    return [path for path in named if path is not None]


def _config_path(config: Path | None) -> Path | None:
    from_variable = os.environ.get(CONFIG_VARIABLE)
    return config or (Path(from_variable) if from_variable else None)


def disable_exporter_statistics() -> None:
    """Stop the telemetry exporter from sending statistics about itself to its vendor.

    The exporter reads these variables once, before it is created; there is no other switch.
    """
    os.environ.setdefault("APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL", "true")
    os.environ.setdefault("APPLICATIONINSIGHTS_SDKSTATS_DISABLED", "true")


def _with_key_from_file(settings: Settings) -> Settings:
    """Read the CrowdSec key from its file, such as a mounted secret."""
    path = settings.crowdsec.api_key_file
    if path is None:
        return settings
    try:
        key = visible_secret(SecretStr(path.read_text("utf-8").strip()))
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
        if name.startswith(PREFIX) and name not in NOT_SETTINGS:
            group = name.removeprefix(PREFIX).split("__")[0]
            if group not in known:
                raise ConfigurationError(
                    f"{variable}: no such setting; settings start with "
                    + ", ".join(f"{PREFIX}{group}" for group in sorted(known))
                )


def _first_problem(error: ValidationError) -> str:
    """Describe the first wrong setting under the name of its variable. Never shows a value."""
    problem = error.errors(include_input=False, include_context=False, include_url=False)[0]
    name = "__".join(part.upper() for part in problem["loc"] if isinstance(part, str))
    name = name.removeprefix(PREFIX)  # an unknown group in a file of variables keeps it
    return f"{PREFIX}{name}: {_problem_text(name, problem)}"


def _problem_text(name: str, problem: ErrorDetails) -> str:
    if problem["type"] != "extra_forbidden":
        return problem["msg"].removeprefix("Value error, ")
    if name in RENAMED:
        return f"was renamed; set {PREFIX}{RENAMED[name]} instead"
    return "no such setting"

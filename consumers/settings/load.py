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
from consumers.settings.wrong_names import (
    CONFIG_VARIABLE,
    problem_lines,
    unknown_keys,
    unknown_variables,
)
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator


def load_settings(config: Path | None = None) -> Settings:
    """Read the file (*config*, else the one in ``SIGNINWATCH_CONFIG``) and the environment.

    Also normalises the proxies of the environment, see :func:`normalise_proxies`.
    ConfigurationError names the setting that is wrong.
    """
    path = config_path(config)
    from_file = read_toml(path) if path else {}
    for problem in names_not_known(from_file):
        raise ConfigurationError(problem)
    normalise_proxies()
    require_env_file()
    try:
        settings = with_key_from_file(Settings(**from_file))
    except ValidationError as error:
        raise ConfigurationError(problem_lines(error, from_file)[0]) from None
    except SettingsError as error:  # its text names the field alone, never the value
        raise ConfigurationError(f"{PREFIX}…: {error}; JSON was expected") from None
    cloud_of(settings)
    return settings


def files_of_settings(config: Path | None = None) -> list[Path]:
    """Return the files that :func:`load_settings` reads, except for a key's own."""
    return [path for path in (config_path(config), env_file_path()) if path is not None]


def config_path(config: Path | None) -> Path | None:
    """Return the TOML file: *config*, else what the environment names, if any."""
    from_variable = os.environ.get(CONFIG_VARIABLE)
    return config or (Path(from_variable) if from_variable else None)


def env_file_path() -> Path | None:
    """Return the file of variables that the environment names, if any."""
    env_file = os.environ.get(ENV_FILE_VARIABLE)
    return Path(env_file) if env_file else None


def require_env_file() -> None:
    """Raise ConfigurationError if the file of variables is named and cannot be read."""
    path = env_file_path()
    if path is None:
        return
    if not path.is_file():
        raise ConfigurationError(f"{ENV_FILE_VARIABLE} {path}: no such file")
    try:
        path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{ENV_FILE_VARIABLE} {path}: must be UTF-8 text") from None
    except OSError as error:
        raise ConfigurationError(f"{ENV_FILE_VARIABLE} {path}: {error.strerror}") from None


def disable_exporter_statistics() -> None:
    """Stop the telemetry exporter from sending statistics about itself to its vendor.

    The exporter reads these variables once, before it is created; there is no other switch.
    """
    os.environ.setdefault("APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL", "true")
    os.environ.setdefault("APPLICATIONINSIGHTS_SDKSTATS_DISABLED", "true")


def with_key_from_file(settings: Settings) -> Settings:
    """Read the CrowdSec key from its file, such as a mounted secret. ConfigurationError."""
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


def read_toml(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds. ConfigurationError if it cannot be read."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"--config {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--config {path}: not TOML: {error}") from None


def names_not_known(from_file: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each variable of the environment and key of the file without meaning."""
    yield from unknown_variables(os.environ)
    yield from unknown_keys(from_file)

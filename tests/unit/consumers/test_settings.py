"""Settings: who wins, and how a wrong name is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from consumers.settings import load_settings
from consumers.settings.load import RENAMED
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


def toml_of(variable: str, value: str = "1") -> str:
    """Return the TOML file that sets *variable*, named as in the environment without prefix."""
    group, name = variable.lower().split("__")
    return f"[{group}]\n{name} = {value}\n"


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_former_name_is_refused_with_the_new_one(
    old: str, new: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In the environment and in the file; the new name exists."""
    wanted = f"^SIGNINWATCH_{old}: was renamed; set SIGNINWATCH_{new} instead$"
    config = tmp_path / "settings.toml"
    config.write_text(toml_of(old), "utf-8")
    with pytest.raises(ConfigurationError, match=wanted):
        load_settings(config)
    monkeypatch.setenv(f"SIGNINWATCH_{old}", "1")
    with pytest.raises(ConfigurationError, match=wanted):
        load_settings()
    monkeypatch.delenv(f"SIGNINWATCH_{old}")
    group, name = new.lower().split("__")
    assert hasattr(getattr(load_settings(), group), name)


def test_the_environment_wins_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """For the same key; other keys of the file stay."""
    config = tmp_path / "settings.toml"
    config.write_text("[crowdsec]\nmonthly_quota = 10\nreset_day = 3\n", "utf-8")
    monkeypatch.setenv("SIGNINWATCH_CROWDSEC__MONTHLY_QUOTA", "20")
    crowdsec = load_settings(config).crowdsec
    assert (crowdsec.monthly_quota, crowdsec.reset_day) == (20, 3)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("CROWDSEC__API_KEYS", "CROWDSEC__API_KEYS: no such setting"),
        ("CROWDSECS", "CROWDSECS: no such setting; settings start with"),
        ("CROWDSEC__URL", "CROWDSEC__URL: must be an https:// URL"),
    ],
)
def test_an_error_names_the_setting_and_hides_its_value(
    variable: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The value may be a secret under a misspelt name."""
    monkeypatch.setenv(f"SIGNINWATCH_{variable}", "s3cret")
    with pytest.raises(ConfigurationError, match=text) as caught:
        load_settings()
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("SIGNINWATCH_CROWDSECS__X=s3cret", "SIGNINWATCH_CROWDSECS__X: no such setting"),
        (
            "SIGNINWATCH_LOGS__PATIENCE=s3cret",
            "SIGNINWATCH_LOGS__PATIENCE: was renamed; set SIGNINWATCH_LOGS__RETRY_LIMIT instead",
        ),
    ],
)
def test_a_file_of_variables_is_checked_in_the_same_way(
    line: str, text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An unknown or former name in it is never ignored."""
    file = tmp_path / "variables.env"
    file.write_text(f"{line}\n", "utf-8")
    monkeypatch.setenv("SIGNINWATCH_ENV_FILE", str(file))
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert str(caught.value) == text

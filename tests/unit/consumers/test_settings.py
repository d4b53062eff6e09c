"""Settings: who wins, and how a wrong name is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from consumers.settings import SettingsReader, load_settings
from consumers.settings.wrong_names import RENAMED
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from consumers.settings import Settings


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
        ("CROWDSECS", r"CROWDSECS: no such setting; did you mean SIGNINWATCH_CROWDSEC__…\?"),
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
        (
            "SIGNINWATCH_CROWDSECS__X=s3cret",
            "SIGNINWATCH_CROWDSECS__X: no such setting; did you mean SIGNINWATCH_CROWDSEC__…?",
        ),
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


def test_a_file_of_variables_that_is_no_text_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """None of its bytes are shown."""
    file = tmp_path / "variables"
    file.write_bytes(b"SIGNINWATCH_CROWDSEC__API_KEY=\xff\n")
    monkeypatch.setenv("SIGNINWATCH_ENV_FILE", str(file))
    with pytest.raises(ConfigurationError, match=r"variables: must be UTF-8 text$"):
        load_settings()


def test_settings_are_read_again_after_a_change_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of the file, of the file of variables, or of a mounted key; half a file is tried again."""
    config, variables, key = (tmp_path / name for name in ("settings.toml", "variables", "key"))
    config.write_text(f'[crowdsec]\napi_key_file = "{key}"\n', "utf-8")
    variables.write_text("SIGNINWATCH_CROWDSEC__RESET_DAY=3\n", "utf-8")
    key.write_text("first", "utf-8")
    monkeypatch.setenv("SIGNINWATCH_ENV_FILE", str(variables))
    reader = SettingsReader(config)
    assert reader.read().crowdsec.reset_day == 3
    assert reader.read_if_changed() is None
    variables.write_text("SIGNINWATCH_CROWDSEC__RESET_DAY=12\n", "utf-8")
    changed = reader.read_if_changed()
    assert changed is not None
    assert changed.crowdsec.reset_day == 12
    other = tmp_path / "other"
    other.write_text("later", "utf-8")  # of the same length
    other.replace(key)
    changed = reader.read_if_changed()
    assert changed is not None
    assert changed.crowdsec.api_key is not None
    assert changed.crowdsec.api_key.get_secret_value() == "later"
    complete = config.read_text("utf-8")
    config.write_text(complete[:-3], "utf-8")
    for _ in range(2):
        with pytest.raises(ConfigurationError):
            reader.read_if_changed()
    config.write_text(complete, "utf-8")
    assert reader.read_if_changed() is not None
    assert reader.read_if_changed() is None


def test_a_key_that_changes_while_it_is_read_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also when the settings are read for the first time."""
    config, key = tmp_path / "settings.toml", tmp_path / "key"
    config.write_text(f'[crowdsec]\napi_key_file = "{key}"\n', "utf-8")
    key.write_text("first", "utf-8")
    later = iter(range(9))

    def load_and_replace(path: Path | None) -> Settings:
        settings = load_settings(path)
        key.write_text(f"key-{next(later)}", "utf-8")
        return settings

    reader = SettingsReader(config)
    with monkeypatch.context() as patched:
        patched.setattr("consumers.settings.reader.load_settings", load_and_replace)
        reader.read()
    changed = reader.read_if_changed()
    assert changed is not None
    assert changed.crowdsec.api_key is not None
    assert changed.crowdsec.api_key.get_secret_value() == key.read_text("utf-8")


def test_secrets_lose_the_space_around_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they come from a portal or a mounted file; one of space alone is none."""
    for name in ("EVENTHUB", "CHECKPOINT", "STATE"):
        monkeypatch.setenv(f"SIGNINWATCH_{name}__CONNECTION_STRING", " a text \r\n")
    monkeypatch.setenv("SIGNINWATCH_FEEDS__A__PASSWORD", "a pass word\n")
    monkeypatch.setenv("SIGNINWATCH_SERVICE__TELEMETRY", " \n")
    settings = load_settings()
    groups = (settings.eventhub, settings.checkpoint, settings.state)
    secrets = [group.connection_string for group in groups]
    assert [secret and secret.get_secret_value() for secret in secrets] == ["a text"] * 3
    password = settings.feeds["a"].password
    assert password is not None
    assert password.get_secret_value() == "a pass word"
    assert settings.service.telemetry is None

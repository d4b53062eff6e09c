"""Wrong names of settings: the usual slips are answered with the right one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from consumers.settings import load_settings
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "s3cret"
VARIABLES = {
    "CROWDSEC_API_KEY": "CROWDSEC__API_KEY",
    "CROWDSEC__APIKEY": "CROWDSEC__API_KEY",
    "CROWDSEC__KEY": "CROWDSEC__API_KEY",
    "CROWDZEC__API_KEY": "CROWDSEC__API_KEY",
    "API_KEY": "CROWDSEC__API_KEY",
    "_CROWDSEC__API_KEY": "CROWDSEC__API_KEY",
    "MONTHLY_QUOTA": "CROWDSEC__MONTHLY_QUOTA",
    "CROWDSEC__LAPI_URL": "CROWDSEC__LAPI__URL",
    "STATE_DIR": "STATE__DIR",
    "EVENT_HUB__NAME": "EVENTHUB__NAME",
    "CHECKPOINT__URL": "CHECKPOINT__ACCOUNT_URL",
    "TABLE": "TABLES",
    "TRUSTED__NETWORKS": "TRUSTED_NETWORKS",
    "TRUSTED_NETWORKS__X": "TRUSTED_NETWORKS",
    "FEED__SEKOIA__URL": "FEEDS__SEKOIA__URL",
    "FEEDS_SEKOIA_PASSWORD": "FEEDS__SEKOIA__PASSWORD",
    "FEEDS__SEKOIA__PASWORD": "FEEDS__SEKOIA__PASSWORD",
    "FEEDS__PASSWORD": "FEEDS__<NAME>__PASSWORD",
    "LISTS_MY_LIST_FILE": "LISTS__MY_LIST__FILE",
    "CROWDSECS": "CROWDSEC__…",
    "CROWDSECS__X": "CROWDSEC__…",
}
KEYS = {
    "crowdsec.api-key": "crowdsec.api_key",
    "crowdsec.API_KEY": "crowdsec.api_key",
    "CrowdSec.api_key": "crowdsec",
    "crowdsec_api_key": "crowdsec.api_key",
    "crowdsec__api_key": "crowdsec.api_key",
    "SIGNINWATCH_CROWDSEC__API_KEY": "crowdsec.api_key",
    '"crowdsec.api_key"': "crowdsec.api_key",
    "api_key": "crowdsec.api_key",
    "crowdsec.lapi.apikey": "crowdsec.lapi.api_key",
    "trusted-networks": "trusted_networks",
    "feed.sekoia.url": "feeds",
    "feeds.Sekoia.pasword": "feeds.Sekoia.password",
    "feeds.password": "feeds.<NAME>.password",
    "lists.a.class_": "lists.a.class",
}


def problem(config: Path | None = None) -> str:
    """Return the line of the error."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(config)
    text = str(caught.value)
    assert SECRET not in text
    assert len(text.splitlines()) == 1
    return text


@pytest.mark.parametrize(("wrong", "right"), VARIABLES.items())
def test_a_wrong_variable_is_answered_with_the_right_one(
    wrong: str, right: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One underscore, none, another word for it, no group, a misspelt group."""
    monkeypatch.setenv(f"SIGNINWATCH_{wrong}", SECRET)
    expected = f"SIGNINWATCH_{wrong}: no such setting; did you mean SIGNINWATCH_{right}?"
    assert problem() == expected


@pytest.mark.parametrize(("wrong", "right"), KEYS.items())
def test_a_wrong_key_is_answered_with_the_right_one(wrong: str, right: str, tmp_path: Path) -> None:
    """As in TOML. Keys of TOML are in lower case, on every level."""
    config = tmp_path / "settings.toml"
    config.write_text(f'{wrong} = "{SECRET}"\n', "utf-8")
    key = wrong if right.count(".") or "." not in wrong else wrong.split(".")[0]
    assert problem(config) == f"{key}: no such setting in the TOML file; did you mean {right}?"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            "CROWDSEC__API_KEY",
            "CROWDSEC__API_KEY: no such setting in the file of variables; "
            "did you mean SIGNINWATCH_CROWDSEC__API_KEY?",
        ),
        (
            "SIGNINWATCH_CROWDSEC_API_KEY",
            "SIGNINWATCH_CROWDSEC_API_KEY: no such setting; "
            "did you mean SIGNINWATCH_CROWDSEC__API_KEY?",
        ),
    ],
)
def test_a_file_of_variables_has_the_same_hints(
    line: str, text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also where the prefix is missing."""
    file = tmp_path / "variables"
    file.write_text(f"{line}={SECRET}\n", "utf-8")
    monkeypatch.setenv("SIGNINWATCH_ENV_FILE", str(file))
    assert problem() == text


@pytest.mark.parametrize(
    ("variable", "end"),
    [
        ("XYZ", "SIGNINWATCH_TRUSTED_NETWORKS"),
        ("CROWDSEC__FOO", "CROWDSEC__FOO: no such setting"),
        ("FEEDS__A_LONG_NAME_OF_A_FEED__FOO", "__FOO: no such setting"),
    ],
)
def test_nothing_is_suggested_where_nothing_is_near(
    variable: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown group is answered with all groups."""
    monkeypatch.setenv(f"SIGNINWATCH_{variable}", SECRET)
    text = problem()
    assert text.endswith(end)
    assert "did you mean" not in text


def test_a_wrong_name_comes_before_what_it_leaves_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is missing because the name is wrong."""
    monkeypatch.setenv("SIGNINWATCH_MMDB__A__PATH", SECRET)
    assert problem() == "SIGNINWATCH_MMDB__A__PATH: no such setting"


def test_columns_of_an_own_table_nest_in_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are no settings that anybody could list."""
    monkeypatch.setenv("SIGNINWATCH_OWN_TABLES__VPN_CL__ADDRESS", "Ip")
    assert load_settings().own_tables == {"vpn_cl": {"address": "Ip"}}

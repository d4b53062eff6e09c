"""``signinwatch config``: what is in effect, a file to begin with, all problems at once."""

from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from consumers.settings import load_settings
from consumers.settings.catalogue import catalogue
from consumers.settings.effective import SET, setting_rows, shown
from consumers.settings.problems import read_with_problems
from consumers.settings.starter import starter_file
from schemas.errors import ConfigurationError
from tests.support.command import Ran, signinwatch

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "s3cret"
NO_PROBLEM = "no problems; 'signinwatch check' tests the connections"


def example_lines() -> list[str]:
    """Return the lines of the file that set something, without the ``#``."""
    return [line[1:] for line in starter_file().splitlines() if re.match(r"#\w", line)]


def toml(tmp_path: Path, text: str) -> Path:
    """Write a TOML file."""
    path = tmp_path / "settings.toml"
    path.write_text(text, "utf-8")
    return path


def rows_of(ran: Ran) -> dict[str, tuple[Any, str]]:
    """Return value and source by setting, without the prefix."""
    assert ran.status == 0, ran.err
    rows = [orjson.loads(line) for line in ran.out.splitlines()]
    assert all(list(row) == ["setting", "value", "source"] for row in rows)
    return {
        row["setting"].removeprefix("SIGNINWATCH_"): (row["value"], row["source"]) for row in rows
    }


async def test_show_says_what_is_set_and_where_it_comes_from(tmp_path: Path) -> None:
    """The environment wins over the file of variables, and that over the TOML file."""
    key, variables = tmp_path / "key", tmp_path / "variables"
    key.write_text(SECRET, "utf-8")
    variables.write_text(
        "SIGNINWATCH_CROWDSEC__MONTHLY_QUOTA=30\nSIGNINWATCH_CROWDSEC__RESET_DAY=4\n", "utf-8"
    )
    config = toml(
        tmp_path,
        f"""
        trusted_networks = ["192.0.2.0/24"]
        crowdsec = {{api_key_file = "{key}", monthly_quota = 20, reset_day = 3, batch_size = 2}}
        feeds.Sekoia.password = "{SECRET}"
        http.port = 8080
        own_tables.Vpn_CL = {{address = "Ip"}}
        """,
    )
    ran = await signinwatch(
        *("--config", config, "config", "show", "--json"),
        settings={
            "ENV_FILE": str(variables),
            "CROWDSEC__MONTHLY_QUOTA": "40",
            "POLICY": '{"stories": false}',
            "STATE__CONNECTION_STRING": f"AccountKey={SECRET}",
        },
    )
    file = f"TOML file {config}"
    assert rows_of(ran) == {
        "TRUSTED_NETWORKS": (["192.0.2.0/24"], file),
        "CROWDSEC__API_KEY": (SET, f"secret file {key}"),
        "CROWDSEC__API_KEY_FILE": (str(key), file),
        "CROWDSEC__BATCH_SIZE": (2, file),
        "CROWDSEC__MONTHLY_QUOTA": (40, "environment variable"),
        "CROWDSEC__RESET_DAY": (4, f"environment file {variables}"),
        "FEEDS__SEKOIA__PASSWORD": (SET, file),
        "POLICY__STORIES": (False, "environment variable, SIGNINWATCH_POLICY"),
        "STATE__CONNECTION_STRING": (SET, "environment variable"),
        "OWN_TABLES__VPN_CL": ({"address": "Ip"}, file),
    }
    assert SECRET.encode() not in ran.out


async def test_show_all_has_every_setting(tmp_path: Path) -> None:
    """Those that have their default, too, and their source even if it sets the default."""
    config = toml(tmp_path, "http.port = 8080\nlists.tor = {}\n")
    rows = rows_of(await signinwatch("--config", config, "config", "show", "--all", "--json"))
    single = {
        setting.variable.removeprefix("SIGNINWATCH_")
        for setting in catalogue()
        if "<NAME>" not in setting.path
    }
    assert single - {"OWN_TABLES"} <= set(rows)
    assert rows["HTTP__PORT"] == (8080, f"TOML file {config}")
    assert rows["CROWDSEC__MONTHLY_QUOTA"] == (120, "default")
    assert rows["LISTS__TOR__CLASS"] == (None, "default")


async def test_the_table_shows_no_secret_and_no_control_character(tmp_path: Path) -> None:
    """Also where a secret is in a setting that is none."""
    config = toml(
        tmp_path,
        f"""
        eventhub.endpoint = "amqps://user:{SECRET}@host/;SharedAccessKey={SECRET};x"
        sentinel.source = "a\\u001b[31mb"
        policy.lines = [{{name = "x", severity = "Low", why = "token={SECRET}"}}]
        """,
    )
    for options in ((), ("--all",), ("--json",)):
        ran = await signinwatch("--config", config, "config", "show", *options)
        assert ran.status == 0
        assert SECRET.encode() not in ran.out
        assert b"\x1b[31m" not in ran.out
    assert (await signinwatch("config", "show")).out == (
        b"Every setting has its default; --all shows them.\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        f"Endpoint=sb://x/;SharedAccessKeyName=a;SharedAccessKey={SECRET}",
        f"InstrumentationKey={SECRET};IngestionEndpoint=https://x/",
        f"https://user:{SECRET}@example.net/a",
        f"https://example.net/a?sv=1&sig={SECRET}",
        f"password = {SECRET}",
    ],
)
def test_secrets_in_texts_are_left_out(text: str) -> None:
    """Of connection strings and URLs; in lists and objects, too."""
    assert SECRET not in str(shown([{"a": text}]))
    assert SET in shown(text)


async def test_init_writes_a_file_that_loads_and_keeps_what_is_there(tmp_path: Path) -> None:
    """Readable by its owner alone; overwritten with --force alone."""
    path = tmp_path / "new.toml"
    ran = await signinwatch("config", "init", path)
    assert (ran.status, ran.err) == (0, "")
    assert path.read_text("utf-8") == starter_file()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    checked = await signinwatch("--config", path, "config", "check")
    assert (checked.status, checked.out.decode()) == (0, f"0 settings, {NO_PROBLEM}\n")
    path.write_text("http.port = 1", "utf-8")
    refused = await signinwatch("config", "init", path)
    assert (refused.status, len(refused.err.splitlines())) == (2, 1)
    assert "--force" in refused.err
    assert path.read_text("utf-8") == "http.port = 1"
    assert (await signinwatch("config", "init", "--force", path)).status == 0
    assert path.read_text("utf-8") == starter_file()
    nowhere = await signinwatch("config", "init", tmp_path / "no" / "file")
    assert (nowhere.status, len(nowhere.err.splitlines())) == (2, 1)


async def test_init_writes_to_standard_output_and_has_a_default_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``-`` creates no file."""
    monkeypatch.chdir(tmp_path)
    ran = await signinwatch("config", "init", "-")
    assert ran.out.decode() == starter_file()
    assert list(tmp_path.iterdir()) == []
    assert (await signinwatch("config", "init")).status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["signinwatch.toml"]


NEEDS_A_FILE = {"crowdsec.api_key_file", "ca_bundle"}
NEEDS_ANOTHER = {
    "feeds.example.url": "COLLECTION",
    "feeds.example.collection": "URL",
    "feeds.example.username": "URL",
    "feeds.example.password": "URL",
    "lists.example.url": "REPUTATION",
    "lists.example.reputation": "URL",
}


@pytest.mark.parametrize("line", example_lines())
async def test_each_example_is_accepted(line: str, tmp_path: Path) -> None:
    """Alone, after its ``#`` is removed; or ``config check`` names what it needs besides."""
    config = toml(tmp_path, starter_file().replace(f"#{line}\n", f"{line}\n"))
    key = line.split(" = ")[0]
    name = f"SIGNINWATCH_{key.upper().replace('.', '__')}"
    if key in NEEDS_A_FILE:
        with pytest.raises(ConfigurationError, match=name):
            load_settings(config)
        return
    load_settings(config)
    ran = await signinwatch("--config", config, "config", "check")
    if key in NEEDS_ANOTHER:
        assert (ran.status, len(ran.err.splitlines())) == (2, 1)
        assert f"{name.rpartition('__')[0]}__{NEEDS_ANOTHER[key]}: not set" in ran.err
    else:
        assert (ran.status, ran.out.decode()) == (0, f"1 setting, {NO_PROBLEM}\n"), ran.err


def test_all_examples_are_accepted_together(tmp_path: Path) -> None:
    """But for the files that are not there."""
    lines = [line for line in example_lines() if line.split(" = ")[0] not in NEEDS_A_FILE]
    assert len(lines) > 25
    read = read_with_problems(toml(tmp_path, "\n".join(lines)))
    assert read.problems == []


def test_what_is_checked_is_what_is_in_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every source in its order; a variable of a setting wins over the JSON of its group."""
    variables = tmp_path / "variables"
    variables.write_text(
        "SIGNINWATCH_CROWDSEC__RESET_DAY=4\nSIGNINWATCH_CROWDSEC__BATCH_SIZE=4\n", "utf-8"
    )
    config = toml(
        tmp_path,
        """
        crowdsec = {reset_day = 3, batch_size = 3, timeout = 3}
        feeds.sekoia = {password = "x", interval = 3}
        trusted_networks = ["192.0.2.0/24"]
        """,
    )
    for name, value in {
        "ENV_FILE": str(variables),
        "CROWDSEC__BATCH_SIZE": "5",
        "FEEDS__SEKOIA__INTERVAL": "5",
        "TRUSTED_NETWORKS": "198.51.100.0/24",
        "POLICY": '{"stories": false, "late_match": 1}',
        "POLICY__LATE_MATCH": "5",
        "OWN_TABLES__VPN_CL__ADDRESS": "Ip",
    }.items():
        monkeypatch.setenv(f"SIGNINWATCH_{name}", value)
    read = read_with_problems(config)
    assert read.problems == []
    assert read.settings == load_settings(config)
    sources = {row["setting"].removeprefix("SIGNINWATCH_"): row for row in setting_rows(config)}
    assert sources["POLICY__LATE_MATCH"]["source"] == "environment variable"
    assert sources["CROWDSEC__TIMEOUT"]["source"] == f"TOML file {config}"
    assert sources["CROWDSEC__RESET_DAY"]["source"] == f"environment file {variables}"


async def test_check_counts_what_is_set(tmp_path: Path) -> None:
    """Also what is set to its default."""
    config = toml(tmp_path, "http.port = 8080\ntrusted_networks = '192.0.2.0/24'\n")
    ran = await signinwatch(
        *("--config", config, "config", "check"), settings={"CROWDSEC__RESET_DAY": "2"}
    )
    assert (ran.status, ran.out.decode()) == (0, f"3 settings, {NO_PROBLEM}\n")


async def test_check_reports_all_problems_at_once(tmp_path: Path) -> None:
    """From every source and every stage, a line each, without a value."""
    variables = tmp_path / "variables"
    variables.write_text(
        f"SIGNINWATCH_CROWDSECS__X={SECRET}\nCROWDSEC__URL={SECRET}\n"
        f"SIGNINWATCH_CROWDSEC__RESET_DAY={SECRET}\n",
        "utf-8",
    )
    config = toml(
        tmp_path,
        f"""
        tables = "SigninLogs,Signin,Nothing"
        feed.sekoia.url = "{SECRET}"
        crowdsec.api-key = "{SECRET}"
        crowdsec.batch_size = 1000
        crowdsec.url = "http://{SECRET}.net"
        crowdsec.lapi.url = "https://example.net"
        feeds.a = {{url = "{SECRET}", collection = "x"}}
        feeds.sekoia = {{pasword = "{SECRET}"}}
        lists.b.url = "https://example.net"
        mmdb.c = {{file = "/x", class_fields = "x=unheard-of"}}
        policy.lines = [{{name = "x", severity = "Low", why = "y"}}, {{severity = "{SECRET}"}}]
        own_tables.Vpn_CL.account = "x"
        logs.endpoint = "https://example.azure.cn"
        """,
    )
    ran = await signinwatch(
        *("--config", config, "config", "check"),
        settings={
            "ENV_FILE": str(variables),
            "CROWDSEC_API_KEY": SECRET,
            "TRUSTED_NETWORKS__X": SECRET,
            "POLICY__STORIES": SECRET,
            "SERVICE": f"{{{SECRET}",
            "HTTP__PORT": "99999",
            "CROWDSEC__API_KEY_FILE": str(tmp_path / "nowhere"),
        },
    )
    assert ran.status == 2
    assert ran.out == b""
    lines = [line.removeprefix("signinwatch: ") for line in ran.err.splitlines()]
    names = [line.removeprefix("SIGNINWATCH_").split(":")[0].split(" is not")[0] for line in lines]
    assert sorted(names) == sorted(
        [
            "SERVICE",
            "CROWDSEC_API_KEY",
            "TRUSTED_NETWORKS__X",
            "feed",
            "CROWDSECS__X",
            "CROWDSEC__URL",
            "CROWDSEC__URL",
            "crowdsec.api-key",
            "feeds.sekoia.pasword",
            "CROWDSEC__BATCH_SIZE",
            "CROWDSEC__RESET_DAY",
            "FEEDS__A__URL",
            "POLICY__STORIES",
            "HTTP__PORT",
            "CROWDSEC__API_KEY_FILE",
            "LOGS__ENDPOINT",
            "FEEDS__SEKOIA__PASSWORD",
            "LISTS__B__REPUTATION",
            "MMDB__C__CLASS_FIELDS",
            "CROWDSEC__LAPI__API_KEY",
            "TABLES",
            "TABLES",
            "OWN_TABLES.Vpn_CL.address",
            "POLICY.LINES[1]",
        ]
    ), ran.err
    assert SECRET not in ran.err.replace(f"'{SECRET}'", "")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("not toml", "not TOML"),
        ("http.port = 'x'", "SIGNINWATCH_HTTP__PORT: "),
        ("Crowdsec.reset_day = 2", "Crowdsec: no such setting"),
        ("feeds = 3", "SIGNINWATCH_FEEDS: "),
        ("mmdb.a = {}", "SIGNINWATCH_MMDB__A__FILE: "),
        ("policy.lines = [3]", "SIGNINWATCH_POLICY__LINES: "),
    ],
)
async def test_check_finds_what_other_commands_refuse(
    text: str, named: str, tmp_path: Path
) -> None:
    """In the same words."""
    config = toml(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(config)
    ran = await signinwatch("--config", config, "config", "check")
    assert (ran.status, ran.err) == (2, f"signinwatch: {caught.value}\n")
    assert named in ran.err


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("policy.lines = [3, 3, 3, 3]", 1),
        ("mmdb = {a = {x = 1, y = 2}, b = {}}", 4),
        ("crowdsec = {x = 1, y = 2, lapi = {z = 3}}\nfeeds = 1\nx = 1", 5),
        ("feeds.a.url.x = 1\nfeeds.a.y = 1", 2),
    ],
)
async def test_check_survives_several_problems_of_a_group(
    text: str, number: int, tmp_path: Path
) -> None:
    """A line for each, and settings that are left out once."""
    read = read_with_problems(toml(tmp_path, text))
    assert len(read.problems) == number, read.problems


async def test_check_reports_files_that_are_not_there(tmp_path: Path) -> None:
    """Each of them."""
    ran = await signinwatch(
        *("--config", tmp_path / "no.toml", "config", "check"),
        settings={"ENV_FILE": str(tmp_path / "no.env"), "HTTP__PORT": "x"},
    )
    assert ran.status == 2
    assert [name in ran.err for name in ("no.toml", "no.env", "HTTP__PORT")] == [True] * 3


async def test_settings_that_nobody_can_read_are_not_shown(tmp_path: Path) -> None:
    """``config show`` ends as every command does."""
    config = toml(tmp_path, f"http.port = '{SECRET}'")
    ran = await signinwatch("--config", config, "config", "show")
    assert (ran.status, ran.out, len(ran.err.splitlines())) == (2, b"", 1)
    assert SECRET not in ran.err

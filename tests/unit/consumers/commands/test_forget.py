"""Whom ``forget`` means, what mentions them, and where it looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from consumers.commands.forget import ErasureStores, notes_on
from consumers.commands.forget_matching import BodyMatcher, DataSubjects, canonical
from consumers.settings import Settings
from schemas.errors import ConfigurationError
from tests.support.sign_ins import message, record, row

ADA = "ada@example.net"
V4, V6 = "81.2.69.160", "2a02:8108::5"


def mentions(who: str, body: bytes | str) -> bool:
    """Tell whether *body* mentions *who*."""
    return BodyMatcher(DataSubjects.of([who])).matches(
        body.encode() if isinstance(body, str) else body
    )


def test_accounts_and_addresses_are_told_apart() -> None:
    """Accounts in lower case, addresses in their canonical form, each once."""
    texts = [
        *("Ada@Example.NET", ADA, "svc-backup", "CORP\\ada", "12345", "a/b", "ärger@example.net"),
        *(V4, f"{V4}:443", f"::ffff:{V4}", "2A02:8108:0:0::5", "[2a02:8108::5]:1", "10.1.1.1"),
        *("::ffff:10.1.1.1", "fe80::1%eth0", "192.0.2.1:8080"),
    ]
    assert DataSubjects.of(texts) == DataSubjects(
        (ADA, "svc-backup", "corp\\ada", "12345", "a/b", "ärger@example.net"),
        (V4, V6, "10.1.1.1", "fe80::1", "192.0.2.1"),
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("-", "empty"),
        ("<null>", "empty"),
        ("Ada Lovelace", "space"),
        ("ada\t", "space"),
        ("ada\x1b[31m@example.net", "space"),
        ("81.2.69.0/24", "network"),
        ("2a02:8108::/32", "network"),
        ("81.2.69", "not a valid IP address"),
        ("81.2.69.256", "not a valid IP address"),
        ("81.2.69.1600", "not a valid IP address"),
        ("2a02:8108::5::1", "not a valid IP address"),
        ("2a02:8108", "not a valid IP address"),
    ],
)
def test_what_is_neither_is_refused(text: str, why: str) -> None:
    """A slip of the pen must not look like an account of which nothing is kept."""
    with pytest.raises(ConfigurationError, match=why) as refused:
        DataSubjects.of([ADA, text])
    assert str(refused.value).startswith("argument 2: ")
    assert not text.strip() or text not in str(refused.value)


@pytest.mark.parametrize(
    "body",
    [
        message(row(V4, "ADA@Example.net")),
        message(row(V4, "bo@example.net"), record(V4, ADA)),
        orjson.dumps({"records": [{"properties": orjson.dumps({"upn": ADA}).decode()}]}),
        orjson.dumps([{ADA: 1}]),
        b'{"upn":"ada\\u0040example.net"}',
        b'{"upn":"ada\\u0040example.net"} trailing',
        b'{"records":[{"UserPrincipalName":"Ada@example.net","IPAdd',
        b'\xef\xbb\xbf{"upn":"ada@example.net"',
        b"\xff\xfe" + f'{{"upn":"{ADA}"}}'.encode("utf-16-le"),
        b'{"a":1}\n{"upn":"ada@example.net"}\n{"cut',
        b'{"note":"failed:\\nada@example.net","x',
        b'{"x":"{\\"upn\\":\\"ada\\u0040example.net',
        b"user=ada%40example.net&x=1",
        b"Sign-in of ada@example.net.",
        b"<ada@example.net>, i:0#.f|membership|ada@example.net",
    ],
)
def test_bodies_that_mention_an_account(body: bytes) -> None:
    """However it is written, readable or not."""
    assert mentions(ADA, body)
    assert mentions("ADA@example.NET", body)
    assert not mentions("eve@example.net", body)


@pytest.mark.parametrize(
    "text",
    [
        *("nada@example.net", "x.ada@example.net", "x-ada@example.net", "x+ada@example.net"),
        *("ada@example.network", "ada@example.net.evil.example", "ada@example-net", "ada"),
        *("", "\x00", "{}", "null"),
    ],
)
def test_bodies_that_mention_somebody_else(text: str) -> None:
    """A longer name is another account, in JSON and out of it."""
    assert not mentions(ADA, text)
    assert not mentions(ADA, message(row(V4, text)))


def test_numbers_may_be_accounts() -> None:
    """An employee's number is written without quotes by some."""
    assert mentions("12345", b'{"user":12345}')
    assert not mentions("12345", b'{"user":123456}')


@pytest.mark.parametrize(
    ("address", "text"),
    [
        *((V4, text) for text in (V4, f"{V4}:443", f"::ffff:{V4}", "::FFFF:5102:45A0")),
        (V4, f"from {V4}, twice"),
        (V4, f"src:{V4}."),
        (V4, f"face:{V4}"),
        (V4, "64:ff9b::5102:45a0"),
        *((V6, text) for text in (V6, "2A02:8108:0:0:0:0:0:5", "2a02:8108:0000::0005")),
        (V6, "[2a02:8108::5]:443"),
        (V6, "2a02:8108::5%eth0"),
        (V6, "from 2a02:8108::5: refused."),
        (V6, "addr:2a02:8108::5"),
        (V6, "ip=2a02%3A8108%3A%3A5"),
        ("10.1.1.1", "10.1.1.1"),
        ("10.1.1.1", "::ffff:10.1.1.1"),
    ],
)
def test_bodies_that_mention_an_address(address: str, text: str) -> None:
    """In any spelling, as a value, within a text, and in what is no JSON."""
    assert mentions(address, orjson.dumps({"ip": text}))
    assert mentions(address, orjson.dumps({"inner": orjson.dumps({"ip": text}).decode()}))
    assert mentions(address, orjson.dumps({"ip": text})[:-1])
    assert mentions(address, text)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        *(("10.1.1.1", text) for text in ("10.1.1.11", "210.1.1.1", "10.1.1.1.1", "1.10.1.1.1")),
        ("10.1.1.1", "10.1.1.10:1"),
        ("10.1.1.1", "10.1.1"),
        *((V6, text) for text in ("2a02:8108::51", "2a02:8108::5:1", "12a02:8108::5")),
        (V6, "2a02:8108::"),
    ],
)
def test_bodies_that_mention_another_address(address: str, text: str) -> None:
    """Digits before or after make it another one."""
    assert not mentions(address, orjson.dumps({"ip": text}))
    assert not mentions(address, text)


def test_hostile_bodies_take_no_time() -> None:
    """A megabyte of what looks like an address, a name or an escape is read once; see timeout."""
    wanted = BodyMatcher(DataSubjects.of([ADA, V4, V6]))
    for part in (b"f", b"1.", b":", b"\\", b"a", b"ada@", b"%41", b"[", b'{"a":', b"81.2.69."):
        assert not wanted.matches(part * (1_000_000 // len(part)))


def test_canonical_is_none_for_what_is_no_address() -> None:
    """Never raises."""
    for text in ("", "-", "1.2.3", "1.2.3.4/8", "::g", "[", "[]", "%", ":", "1:2", "a" * 70):
        assert canonical(text) is None


def settings(**groups: Any) -> Settings:
    """Return settings of which these are set."""
    return Settings(**groups)


TABLE = {"state": {"connection_string": "x"}}
BESIDE = {"checkpoint": {"connection_string": "x", "container": "spare"}}


def test_where_it_looks(tmp_path: Path) -> None:
    """``--state`` is meant alone if said; else all that the settings name."""
    own, kept = tmp_path / "own", tmp_path / "kept"
    own.mkdir()
    kept.mkdir()
    folder = {"state": {"dir": kept}}
    assert ErasureStores.of(settings(**folder, **BESIDE), own) == ErasureStores(own, (own,))
    assert ErasureStores.of(settings(**TABLE, **BESIDE), own) == ErasureStores(own, (own,))
    assert ErasureStores.of(settings(**folder), None) == ErasureStores(kept, (kept,))
    assert ErasureStores.of(settings(**folder, **BESIDE), None) == ErasureStores(kept, (kept, None))
    table = ErasureStores.of(settings(**TABLE, **BESIDE), None)
    assert table == ErasureStores(None, (None,))
    assert table.names(settings(**BESIDE)) == [
        "the ledger's table signinwatch",
        "the quarantine in container spare",
    ]
    assert ["restart" in " ".join(notes_on(one)) for one in (table, ErasureStores(own, ()))] == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("groups", "state", "words"),
    [
        ({}, None, "STATE__DIR"),
        (BESIDE, None, "STATE__DIR"),
        ({"state": {"dir": "/", "connection_string": "x"}}, None, "either"),
        ({"state": {"dir": "/not/there"}}, None, "STATE__DIR: /not/there: no such directory"),
        ({}, Path("/not/there"), "--state /not/there: no such directory"),
    ],
)
def test_what_cannot_be_found_is_named(
    groups: dict[str, Any], state: Path | None, words: str
) -> None:
    """The setting, or the option."""
    with pytest.raises(ConfigurationError, match=words):
        ErasureStores.of(settings(**groups), state)

"""A MaxMind DB file as a source of address classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from consumers.service.health import Health
from consumers.settings.lists import DEFAULT_CLASS_FIELDS
from consumers.sources.mmdb import MmdbClasses
from schemas.errors import ConfigurationError
from schemas.intel.verdicts import AddressClass
from tests.recorded import OTHER_V4, V4, V6
from tests.servers.replica import mmdb
from tests.support.command import findings_in, replay, signinwatch
from tests.support.sign_ins import lines, message, row

if TYPE_CHECKING:
    from pathlib import Path

RECORDS: dict[str, Any] = {
    f"{V4}/32": {"is_tor_exit_node": True},
    "93.184.216.0/24": {"traits": {"usage": "DCH"}, "is_hosting_provider": False},
    f"{V6}/128": {"is_anonymous_vpn": True, "is_hosting_provider": True},
}


class Now:
    """A clock that a test sets."""

    time = 0.0

    def __call__(self) -> float:
        """Return what was set."""
        return self.time


def classes(path: Path, now: Now, *fields: str, health: Health | None = None) -> MmdbClasses:
    """Open a file."""
    return MmdbClasses(
        "geo", path, fields or DEFAULT_CLASS_FIELDS, health=health or Health(), now=now
    )


def class_of(source: MmdbClasses, address: str) -> AddressClass:
    """Return the class of an address."""
    found = source.class_verdicts(address, None)
    assert bool(found) is (address in source.matching([address]))
    return found[0].address_class if found else AddressClass.UNKNOWN


def test_classes_by_fields(tmp_path: Path) -> None:
    """The first field that fits; a value at a path; false is not true."""
    path = tmp_path / "a.mmdb"
    path.write_bytes(mmdb(RECORDS))
    source = classes(path, Now())
    assert class_of(source, V4) is AddressClass.TOR
    assert class_of(source, V6) is AddressClass.VPN
    assert class_of(source, OTHER_V4) is AddressClass.UNKNOWN
    assert class_of(source, "9.9.9.10") is AddressClass.UNKNOWN
    source.close()
    source = classes(path, Now(), "traits.usage:dch=hosting")
    assert class_of(source, OTHER_V4) is AddressClass.HOSTING
    source.close()


async def test_a_new_file_is_opened_and_a_broken_one_is_told(tmp_path: Path) -> None:
    """The last good one stays in use."""
    path, now, health = tmp_path / "a.mmdb", Now(), Health()
    source = classes(path, now, health=health)
    assert health.reasons(), "missing"
    path.write_bytes(mmdb(RECORDS))
    await source.refresh_if_due()
    assert class_of(source, V4) is AddressClass.UNKNOWN, "not before a minute has passed"
    now.time = 60.0
    await source.refresh_if_due()
    assert class_of(source, V4) is AddressClass.TOR
    assert not health.reasons()
    path.write_bytes(b"<html>" * 100)
    now.time = 120.0
    await source.refresh_if_due()
    assert "cannot be read" in health.reasons()[0]["detail"]
    assert class_of(source, V4) is AddressClass.TOR
    source.close()


def test_a_field_that_cannot_be_read(tmp_path: Path) -> None:
    """It is named."""
    with pytest.raises(ConfigurationError, match=r"is_castle=castle.*tor, vpn"):
        classes(tmp_path / "a.mmdb", Now(), "is_castle=castle")


async def test_a_success_through_tor_by_a_file(tmp_path: Path) -> None:
    """Medium, without a lookup; a wrong setting is exit status 2."""
    path, found = tmp_path / "a.mmdb", tmp_path / "found.jsonl"
    path.write_bytes(mmdb(RECORDS))
    recording = tmp_path / "recording.ndjson"
    recording.write_bytes(lines(message(row(V4, Id="a"), row(V6, Id="b"))))
    settings = {"MMDB__GEO__FILE": str(path)}
    ran = await replay(recording, "--findings", found, "--quota", "0", **settings)
    assert ran.status == 0, ran.err
    (finding,) = findings_in(found)
    assert (finding["EventId"], finding["Severity"]) == ("a", "Medium")
    assert (finding["AddressClass"], finding["Sources"]) == ("tor", ["geo"])
    settings["MMDB__GEO__CLASS_FIELDS"] = "x=y"
    ran = await signinwatch("feeds", "sync", "--state", tmp_path, settings=settings)
    assert ran.status == 2
    assert "CLASS_FIELDS" in ran.err

"""``signinwatch redact`` from outside: what is shared replays like what was recorded."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import sys
from collections import Counter
from importlib import resources
from typing import TYPE_CHECKING, Any

import fastavro
import orjson
import pytest

from schemas.events.decode import Decoder
from schemas.events.tables import load_tables
from tests.bench.company.__main__ import RECORDING, generate
from tests.properties.strategies import EVERY
from tests.recorded import details_of, encoded
from tests.support.command import replay, signinwatch
from tests.support.service_process import until
from tests.support.sign_ins import lines, message, record, row

if TYPE_CHECKING:
    from pathlib import Path

KEY = "a key of these tests alone"
FIGURES = (
    *("messages", "records", "rejected", "skipped", "signins", "distinct_ips", "unanswered"),
    "skipped_by_reason",
)


def _demo(folder: Path) -> Path:
    path = folder / "demo.ndjson.gz"
    shipped = resources.files("producers").joinpath("demo", "recording.ndjson.gz")
    path.write_bytes(shipped.read_bytes())
    return path


def _company(folder: Path) -> Path:
    generate(folder, "software", 1, 50, 2)
    return folder / RECORDING


def _recorded(folder: Path) -> Path:
    path = folder / "recorded.ndjson"
    bodies = [encoded({"records": [case.record]}) for case in EVERY]
    bodies += [b"no JSON, zquux", encoded([case.record for case in EVERY]), b"null", b"[null, 5]"]
    path.write_bytes(lines(*bodies))
    return path


def _read(path: Path) -> tuple[list[tuple[str, str]], Counter[int], Counter[int], set[str]]:
    """Return tables and outcomes in order, sign-ins by account and by address, and the addresses.

    The counters hold how many accounts, or addresses, have how many sign-ins.
    """
    raw = path.read_bytes()
    text = gzip.decompress(raw) if path.suffix == ".gz" else raw
    decoder = Decoder(load_tables(["all"]))
    details = [
        details_of(one)
        for line in text.splitlines()
        if line.strip()
        for one in decoder.decode(line).signins
    ]
    accounts = Counter(one.account for one in details)
    addresses = Counter(address for one in details for address, _ in one.addresses)
    told = [(one.table, one.outcome.value) for one in details]
    return told, Counter(accounts.values()), Counter(addresses.values()), set(addresses)


@pytest.mark.parametrize("make", [_demo, _company, _recorded])
async def test_it_replays_like_the_original(tmp_path: Path, make: Any) -> None:
    """The same figures; as many accounts and addresses with as many sign-ins; no address of old."""
    path, new = make(tmp_path), tmp_path / "shared.ndjson.gz"
    ran = await signinwatch("redact", path, "--out", new)
    assert (ran.status, ran.out) == (0, b""), ran.err
    before, after = [
        (await replay(one, "--quota", "0", TABLES="all")).summary for one in (path, new)
    ]
    assert {name: after[name] for name in FIGURES} == {name: before[name] for name in FIGURES}
    assert f"{before['messages']:,} messages with {before['records']:,} records" in ran.err
    *told, old_addresses = _read(path)
    *told_after, new_addresses = _read(new)
    assert told == told_after
    assert len(old_addresses & new_addresses) <= len(old_addresses) // 100


async def test_all_kinds_of_recordings_become_one(tmp_path: Path) -> None:
    """NDJSON, gzip, Capture Avro and standard input, in their order; a message stays one line."""
    packed, capture, out = tmp_path / "a.gz", tmp_path / "b.avro", tmp_path / "c.ndjson"
    packed.write_bytes(gzip.compress(lines(message(row("81.2.69.160")))))
    fields = [{"name": "Body", "type": "bytes"}]
    several = [orjson.dumps(row("81.2.69.161")) + b"\n" + orjson.dumps(record("81.2.69.162")), b""]
    with capture.open("wb") as file:
        schema = {"type": "record", "name": "EventData", "fields": fields}
        fastavro.writer(file, schema, [{"Body": one} for one in several])
    stdin = lines(message(record("81.2.69.163"), None))
    ran = await signinwatch("redact", packed, capture, "-", "--out", out, stdin=stdin)
    assert ran.status == 0, ran.err
    bodies = out.read_bytes().splitlines()
    assert [len(orjson.loads(body)["records"]) for body in bodies if body[:1] == b"{"] == [1, 2, 2]
    assert bodies[2] == b"unreadable message"
    assert "4 messages with 6 records redacted" in ran.err
    assert "1 messages were unreadable" in ran.err
    assert b"ada@example.net" not in out.read_bytes()


async def test_the_key_makes_runs_alike_and_is_never_shown(tmp_path: Path) -> None:
    """From the environment or the option; random without one."""
    path = tmp_path / "a.ndjson"
    path.write_bytes(lines(message(row("81.2.69.160"), record("81.2.69.161"))))
    runs = [
        await signinwatch("redact", path, "--out", "-", settings={"REDACT_KEY": KEY}),
        await signinwatch("redact", path, "--out", "-", "--key", KEY),
        await signinwatch("redact", path, "--out", "-"),
        await signinwatch("redact", path, "--out", "-"),
    ]
    assert [ran.status for ran in runs] == [0] * 4
    assert runs[0].out == runs[1].out
    assert len({ran.out for ran in runs}) == 3
    assert not any(KEY in ran.err or KEY.encode() in ran.out for ran in runs)
    assert orjson.loads(runs[0].out)["records"][0]["Type"] == "SigninLogs"


async def test_the_same_recording_and_key_give_the_same_bytes(tmp_path: Path) -> None:
    """Packed ones as well: no name and no time goes in."""
    path = _demo(tmp_path)
    outs = [tmp_path / "one.gz", tmp_path / "other.gz"]
    for out in outs:
        assert (await signinwatch("redact", path, "--out", out, "--key", KEY)).status == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert b"one" not in outs[0].read_bytes()[:32]


async def test_names_of_columns_that_stay_are_told(tmp_path: Path) -> None:
    """Somebody must look through them; tables of one's own come from --config."""
    config, path = tmp_path / "own.toml", tmp_path / "a.ndjson"
    config.write_text('[own_tables.Vpn_CL]\naddress = "Ip"\nresult = "Act"\nsuccess = ["up"]\n')
    one = {"Type": "Vpn_CL", "Ip": "81.2.69.160", "Act": "up", "Vorpal_s": "zquux"}
    path.write_bytes(lines(message(one)))
    ran = await signinwatch("--config", config, "redact", path, "--out", "-")
    (new,) = orjson.loads(ran.out)["records"]
    assert (new["Type"], new["Act"]) == ("Vpn_CL", "up")
    assert "please review: Vorpal_s." in ran.err
    ran = await signinwatch("redact", path, "--out", "-")
    assert b"Vpn_CL" not in ran.out


async def test_a_recording_that_is_cut_off_is_redacted_so_far(tmp_path: Path) -> None:
    """Status 1, the file is there, and a replay counts the same."""
    path, out = tmp_path / "a.ndjson.gz", tmp_path / "b.ndjson"
    whole = gzip.compress(lines(*(message(row(f"81.2.{n >> 8}.{n & 255}")) for n in range(5_000))))
    path.write_bytes(whole[: len(whole) // 2])
    ran = await signinwatch("redact", path, "--out", out)
    assert ran.status == 1
    assert "unreadable after line" in ran.err
    before, after = [(await replay(one, "--quota", "0")).summary for one in (path, out)]
    assert {name: after[name] for name in FIGURES} == {name: before[name] for name in FIGURES}


USAGE = [
    (("a.ndjson", "--out", "a.ndjson"), "--out a.ndjson"),
    (("a.ndjson", "--out", "a.ndjson", "--force"), "is also an input file"),
    (("a.ndjson", "--out", "link.ndjson", "--force"), "is also an input file"),
    (("a.ndjson", "--out", "there.ndjson"), "--force"),
    (("a.ndjson", "--out", "."), "--out ."),
    (("a.ndjson", "--out", "nowhere/b.ndjson"), "--out nowhere"),
    (("nowhere.ndjson", "--out", "b.ndjson"), "nowhere.ndjson"),
    (("a.ndjson", "--out", "b.ndjson", "--key", "short secret"), "--key"),
    (("a.ndjson",), "--out"),
]


@pytest.mark.parametrize(("arguments", "named"), USAGE)
async def test_bad_usage_is_told_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], named: str
) -> None:
    """Exit status 2; one line names what is wrong."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    (tmp_path / "a.ndjson").write_bytes(b"{}\n")
    (tmp_path / "link.ndjson").hardlink_to(tmp_path / "a.ndjson")
    (tmp_path / "there.ndjson").write_bytes(b"precious")
    ran = await signinwatch("redact", *arguments)
    assert ran.status == 2, ran.err
    assert named in ran.err.splitlines()[-1]
    assert "short secret" not in ran.err
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert left == {"a.ndjson": b"{}\n", "link.ndjson": b"{}\n", "there.ndjson": b"precious"}


async def test_force_overwrites(tmp_path: Path) -> None:
    """When the new recording is whole; also through a link to a file, which stays a link."""
    path, out, link = (tmp_path / name for name in ("a.ndjson", "b.ndjson", "c.ndjson"))
    path.write_bytes(lines(message(row("81.2.69.160"))))
    out.write_bytes(b"old")
    link.symlink_to(out)
    ran = await signinwatch("redact", path, "--out", link, "--force")
    assert ran.status == 0, ran.err
    assert link.is_symlink()
    assert out.read_bytes().startswith(b'{"records"')
    assert len(list(tmp_path.iterdir())) == 3


async def test_a_full_disk_is_one_line() -> None:
    """Exit status 1; the line names the output."""
    ran = await signinwatch("redact", "-", "--out", "/dev/full", stdin=b"{}\n" * 100_000)
    assert ran.status == 1
    assert ran.err.splitlines() == ["signinwatch: --out /dev/full: No space left on device"]


async def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    """No half of a recording takes the name of a whole one."""
    out = tmp_path / "b.ndjson"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "consumers.cli", "redact", "-", "--out", out),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(lines(message(row("81.2.69.160"))) * 100)
    await until(lambda: any(tmp_path.iterdir()), "the file is begun")
    process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []

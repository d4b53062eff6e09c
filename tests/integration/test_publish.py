"""``signinwatch publish`` into a broker."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING

import fastavro
import orjson
import pytest

from tests.servers.eventhub import Broker
from tests.servers.eventhub_frames import DATA, decode, sections
from tests.servers.eventhub_state import UNAUTHORIZED, Key, Matching
from tests.support.command import findings_in, replay, signinwatch
from tests.support.service_process import Running, until
from tests.support.sign_ins import address, lines, message, record, row
from tests.support.site import open_site

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.servers.azurite import Azurite
    from tests.support.command import Ran

HUB = "signins"
SENDING = Matching(kind="send")
LIMIT = 1024 * 1024


def _settings(broker: Broker, **more: str) -> dict[str, str]:
    return {
        "EVENTHUB__CONNECTION_STRING": broker.connection_string(),
        "EVENTHUB__NAME": HUB,
        **more,
    }


async def _publish(broker: Broker, *arguments: str | Path, stdin: bytes = b"") -> Ran:
    return await signinwatch(
        "publish", *arguments, "--summary", "-", stdin=stdin, settings=_settings(broker)
    )


def _arrived(broker: Broker, partition: int) -> list[tuple[int, bytes]]:
    """Return enqueued times, in milliseconds, and bodies."""
    log = broker.partition(HUB, partition)
    found = []
    for _, enqueued, stored in log.read(0, log.next):
        data = [
            decode(stored.sections, value)[0]
            for descriptor, _, value, _ in sections(stored.sections)
            if descriptor == DATA
        ]
        found.append((enqueued, b"".join(bytes(one) for one in data)))
    return found


def _bodies(broker: Broker, partitions: int) -> list[list[bytes]]:
    return [[body for _, body in _arrived(broker, n)] for n in range(partitions)]


def _count(broker: Broker) -> int:
    return broker.received.accepted.total()


def _has(broker: Broker, publishing: asyncio.Task[Ran], count: int) -> bool:
    assert not publishing.done(), publishing.result().err
    return _count(broker) >= count


def _numbered(count: int, size: int = 200) -> list[bytes]:
    return [b'{"n":%07d,"pad":"%s"}' % (n, b"x" * size) for n in range(count)]


async def test_every_body_arrives_once_and_in_order(tmp_path: Path) -> None:
    """As recorded, byte for byte, in all partitions in turn; the summary adds up."""
    bodies = [message(row(address(n)), record(address(n))) for n in range(300)]
    bodies += [b"not JSON", b'{"spaces" : "stay",  "as": 1.50}', *_numbered(4_000, 900)]
    path, told = tmp_path / "a.ndjson", tmp_path / "told.json"
    path.write_bytes(lines(*bodies))
    async with Broker({HUB: 4}) as broker:
        ran = await signinwatch("publish", path, "--summary", told, settings=_settings(broker))
        found = _bodies(broker, 4)
    assert (ran.status, ran.out) == (0, b""), ran.err
    assert all(found), "every partition has its turn"
    assert sorted(body for one in found for body in one) == sorted(bodies)
    place = {body: number for number, body in enumerate(bodies)}
    for one in found:
        assert [place[body] for body in one] == sorted(place[body] for body in one)
    summary = orjson.loads(told.read_bytes())
    expected = {
        "messages": len(bodies), "records": len(bodies) + 300, "bytes": sum(map(len, bodies)),
        "split": 0, "too_large": 0, "retries": 0, "unconfirmed": 0, "complete": True,
    }  # fmt: skip
    assert {name: summary[name] for name in expected} == expected
    assert summary["messages_per_second"] > 0
    assert f"{len(bodies):,} messages" in ran.err


async def test_all_kinds_of_recordings(tmp_path: Path) -> None:
    """Gzip, Capture Avro, standard input, several at once, and one partition for all."""
    packed, capture = tmp_path / "a.ndjson.gz", tmp_path / "b.avro"
    bodies = _numbered(30)
    packed.write_bytes(gzip.compress(lines(*bodies[:10])))
    schema = {
        "type": "record",
        "name": "EventData",
        "fields": [{"name": "Body", "type": "bytes"}],
    }
    several_lines = b'{"a":\n1}'
    with capture.open("wb") as file:
        fastavro.writer(file, schema, [{"Body": one} for one in [*bodies[10:20], several_lines]])
    async with Broker({HUB: 3}) as broker:
        ran = await _publish(
            broker, packed, capture, "-", "--partition", "2", stdin=lines(*bodies[20:])
        )
        found = _bodies(broker, 3)
    assert (ran.status, ran.summary["messages"]) == (0, 31), ran.err
    assert found == [[], [], [*bodies[:20], several_lines, *bodies[20:]]]


async def test_too_large_is_split_by_records_or_told_of(tmp_path: Path) -> None:
    """Both envelopes come apart; one huge record and huge text are told of, the rest is sent."""
    rows = [row(address(n), note="x" * 2_000) for n in range(1_500)]
    huge = row(address(1), note="x" * (LIMIT + 1))
    bodies = [
        message(*rows),
        orjson.dumps(rows),
        message(*rows[:3], huge, *rows[3:6]),
        b'"' + b"x" * LIMIT + b'"',
        message(rows[0]),
    ]
    path = tmp_path / "large.ndjson"
    path.write_bytes(lines(*bodies))
    async with Broker({HUB: 1}) as broker:
        ran = await _publish(broker, path)
        found = [orjson.loads(body) for body in _bodies(broker, 1)[0]]
    assert ran.status == 1
    wrapped = [one["records"] for one in found if isinstance(one, dict)]
    bare = [one for one in found if isinstance(one, list)]
    assert [one for group in wrapped for one in group] == [*rows, *rows[:6], rows[0]]
    assert [one for group in bare for one in group] == rows
    assert len(bare) in (3, 4), "as few parts as can be"
    assert (ran.summary["split"], ran.summary["too_large"]) == (3, 2)
    assert ran.summary["records"] == 2 * 1_500 + 7
    third, fourth = ran.err.splitlines()[-2:]
    assert f"signinwatch: {path}:3: not sent: " in third
    assert f"signinwatch: {path}:4: not sent: " in fourth
    assert "a record cannot be split" in third
    assert "cannot be split" in fourth


@pytest.mark.parametrize(("rate", "count"), [(20, 50), (1_000, 3_000)])
async def test_a_rate_is_kept_evenly(tmp_path: Path, rate: int, count: int) -> None:
    """By the times at which the hub got them: over all, and never much faster for a moment."""
    path = tmp_path / "a.ndjson"
    path.write_bytes(lines(*_numbered(count)))
    async with Broker({HUB: 1}) as broker:
        ran = await _publish(broker, path, "--rate", str(rate))
        times = [enqueued / 1_000 for enqueued, _ in _arrived(broker, 0)]
    assert (ran.status, len(times)) == (0, count), ran.err
    taken = times[-1] - times[0]
    assert count / rate * 0.85 < taken < count / rate * 1.4 + 1
    half = rate // 2
    fastest = min(late - soon for soon, late in zip(times, times[half:], strict=False))
    assert fastest > 0.1, "half a second of messages does not come at once"


def _wrong_key(broker: Broker) -> Mapping[str, str]:
    return {"EVENTHUB__CONNECTION_STRING": broker.connection_string(key="wrong")}


def _no_right(broker: Broker) -> Mapping[str, str]:
    return {"EVENTHUB__CONNECTION_STRING": broker.connection_string(name="listener")}


def _other_hub(_: Broker) -> Mapping[str, str]:
    return {"EVENTHUB__NAME": "sigins"}


@pytest.mark.parametrize(
    ("wrong", "named"),
    [(_wrong_key, "Send right"), (_no_right, "Send right"), (_other_hub, "EVENTHUB__NAME")],
)
async def test_a_refusal_is_one_line_that_says_how_to_mend(wrong: object, named: str) -> None:
    """At once: to try again would change nothing. No key is shown."""
    assert callable(wrong)
    keys = {"k": Key("v"), "listener": Key("secret", send=False)}
    async with Broker({HUB: 1}, keys=keys) as broker:
        ran = await signinwatch(
            "publish", "-", stdin=b"{}\n", settings=_settings(broker, **wrong(broker))
        )
        assert broker.received.attaches[HUB] + broker.received.refused[HUB] <= 3
        assert broker.received.tokens.total() <= 4
        assert _count(broker) == 0
    assert (ran.status, ran.out, len(ran.err.splitlines())) == (1, b"", 1), ran.err
    assert named in ran.err
    assert "secret" not in ran.err


USAGE = [
    (("-",), {"EVENTHUB__NAME": "a,b"}, "--hub"),
    (("-", "--hub", "c"), {"EVENTHUB__NAME": "a,b"}, "--hub"),
    (("-",), {"EVENTHUB__NAME": ""}, "EVENTHUB__NAME"),
    (("-",), {"EVENTHUB__CONNECTION_STRING": ""}, "EVENTHUB__CONNECTION_STRING"),
    (("-",), {"EVENTHUB__CONNECTION_STRING": "nonsense"}, "EVENTHUB__CONNECTION_STRING"),
    (("-",), {"EVENTHUB__NAMESPACE": "x.servicebus.windows.net"}, "EVENTHUB__NAMESPACE"),
    (("-", "--partition", "7"), {}, "--partition"),
    (("-", "--rate", "nan"), {}, "--rate"),
    (("nowhere.ndjson",), {}, "nowhere.ndjson"),
    (("-", "--summary", "/nowhere/x"), {}, "--summary"),
]


@pytest.mark.parametrize(("arguments", "settings", "named"), USAGE)
async def test_one_line_names_what_is_wrong(
    arguments: tuple[str, ...], settings: dict[str, str], named: str
) -> None:
    """Exit status 2, and nothing is sent."""
    async with Broker({HUB: 2}) as broker:
        ran = await signinwatch(
            "publish", *arguments, stdin=b"{}\n", settings=_settings(broker, **settings)
        )
        assert _count(broker) == 0
    assert (ran.status, len(ran.err.splitlines())) == (2, 1), ran.err
    assert named in ran.err


async def test_one_of_several_hubs_is_chosen() -> None:
    """By --hub, also where no setting names any."""
    async with Broker({HUB: 1, "other": 1}) as broker:
        for names in (f"other,{HUB}", ""):
            settings = _settings(broker, EVENTHUB__NAME=names)
            ran = await signinwatch("publish", "-", "--hub", HUB, stdin=b"{}\n", settings=settings)
            assert ran.status == 0, ran.err
        assert broker.received.accepted == {f"{HUB}/0": 2}


async def test_lost_connections_lose_nothing(tmp_path: Path) -> None:
    """Cut off four times on the way, busy once: everything arrives at least once, in order."""
    bodies = _numbered(2_000)
    path = tmp_path / "a.ndjson"
    path.write_bytes(lines(*bodies))
    async with Broker({HUB: 1}) as broker:
        publishing = asyncio.create_task(_publish(broker, path, "--rate", "500"))
        for wanted in (200, 500, 800, 1_100):
            await until(partial(_has, broker, publishing, wanted), f"{wanted} messages")
            assert broker.drop_connections()
        await until(partial(_has, broker, publishing, 1_400), "more messages")
        busy = broker.refuse_links(SENDING, "com.microsoft:server-busy", "Please wait.")
        refused = broker.received.refused[HUB]
        broker.drop_connections()
        await until(lambda: broker.received.refused[HUB] > refused + 1, "tries while busy")
        broker.allow_links(busy)
        ran = await publishing
        (found,) = _bodies(broker, 1)
    assert (ran.status, ran.summary["messages"]) == (0, len(bodies)), ran.err
    assert list(dict.fromkeys(found)) == bodies, "each is there, and first comes in its turn"
    assert ran.summary["retries"] >= 1
    assert "is busy" in ran.err


async def test_a_right_that_is_withdrawn_ends_it_and_tells_what_was_sent(tmp_path: Path) -> None:
    """Both what the hub has confirmed and what may have arrived; then how to mend it."""
    path = tmp_path / "a.ndjson"
    path.write_bytes(lines(*_numbered(20_000)))
    async with Broker({HUB: 1}) as broker:
        publishing = asyncio.create_task(_publish(broker, path, "--rate", "500"))
        await until(partial(_has, broker, publishing, 200), "messages")
        broker.refuse_links(SENDING, UNAUTHORIZED, "'Send' claim(s) are required.")
        broker.drop_connections()
        ran = await publishing
        told, sent = ran.summary, _count(broker)
    assert (ran.status, told["complete"]) == (1, False), ran.err
    assert told["messages"] <= sent <= told["messages"] + told["unconfirmed"]
    assert "Send right" in ran.err.splitlines()[-1]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
async def test_an_interruption_tells_what_was_sent(sent: signal.Signals) -> None:
    """Even while it waits for a pipe; what came before has gone out without filling a batch."""
    async with Broker({HUB: 1}) as broker:
        settings = {f"SIGNINWATCH_{name}": one for name, one in _settings(broker).items()}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-m", "consumers.cli"),
            *("publish", "-", "--summary", "-"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **settings},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(lines(*_numbered(5)))
        await until(lambda: _count(broker) == 5, "what is in the pipe", 30)
        process.send_signal(sent)
        status = await asyncio.wait_for(process.wait(), 20)
        out, err = await process.stdout.read(), (await process.stderr.read()).decode()
        process.stdin.close()
    summary = orjson.loads(out)
    assert status == 130
    # The hub may have had them before its word on it came back.
    assert summary["messages"] + summary["unconfirmed"] == 5
    assert summary["complete"] is False
    assert "5 " in err
    assert err.splitlines()[-1] == "signinwatch: interrupted"


async def test_a_broken_recording_is_sent_as_far_as_it_goes(tmp_path: Path) -> None:
    """The others are sent whole; exit status 1 and a word on it."""
    broken, whole = tmp_path / "a.gz", tmp_path / "b.ndjson"
    broken.write_bytes(
        gzip.compress(lines(*[os.urandom(500).hex().encode() for _ in range(900)]))[:-9_000]
    )
    whole.write_bytes(lines(*_numbered(10)))
    async with Broker({HUB: 1}) as broker:
        ran = await _publish(broker, broken, whole)
        (found,) = _bodies(broker, 1)
    assert ran.status == 1
    assert found[-10:] == _numbered(10)
    assert len(found) > 800
    assert f"signinwatch: {broken}: unreadable after line {len(found) - 10}" in ran.err


async def test_what_is_published_is_judged_as_if_replayed(tmp_path: Path, azurite: Azurite) -> None:
    """The same FindingIds by way of the hub, of a split message as well."""
    rows = [row(address(n), note="x" * 2_000) for n in range(900)]
    bodies = [message(*rows[:600]), *(message(*rows[n : n + 10]) for n in range(600, 900, 10))]
    path, found = tmp_path / "a.ndjson", tmp_path / "found.jsonl"
    path.write_bytes(lines(*bodies))
    async with open_site(azurite.connection_string, tmp_path / "state") as site:
        site.crowdsec.serve_bad(*(address(n) for n in range(0, 900, 9)))
        replayed = await replay(path, "--findings", found, **site.settings)
        assert replayed.status == 0, replayed.err
        wanted = {one["FindingId"] for one in findings_in(found)}
        assert len(wanted) == 100
        ran = await signinwatch("publish", path, settings=site.settings)
        assert ran.status == 0, ran.err
        async with Running(site.settings) as service:
            await until(
                lambda: wanted <= {one["FindingId"] for one in site.ingestion.rows}, "findings"
            )
            assert await service.terminate() == 0
        assert {one["FindingId"] for one in site.ingestion.rows} == wanted

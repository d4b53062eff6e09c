"""Messages that once stopped the service, and a service that starts before its surroundings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest
from azure.storage.blob.aio import ContainerClient

from tests.servers.crowdsec import CrowdSec
from tests.support.command import crowdsec_at, replay, signinwatch
from tests.support.service_process import Running, free_port, until
from tests.support.sign_ins import address, lines, message, row
from tests.support.site import open_site

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.azurite import Azurite

END = "9999-12-31T23:59:59.9999999Z"


def poison(deep: int = 971) -> bytes:
    """Return a message that nests, beside a number that no double holds."""
    inner = orjson.dumps(row(address(9_999)))[:-1]
    nested = b"[" * deep + b"]" * deep
    return b'{"records":[' + inner + b',"x":1e400,"y":' + nested + b"}]}"


@pytest.mark.parametrize("ledger", ["directory", "table"])
async def test_a_poison_message_among_a_thousand(
    ledger: str, azurite: Azurite, tmp_path: Path
) -> None:
    """It alone is set aside; all other findings are delivered, and all is checkpointed."""
    state = tmp_path / "state" if ledger == "directory" else None
    async with open_site(azurite.connection_string, state) as site:
        site.publish(bad=200, good=800, each=1)
        for partition in range(4):
            site.broker.publish("signins", partition, poison())
        site.publish(bad=5, good=0, start=5_000, each=1)
        async with Running(site.settings) as service:
            await until(site.found, "all findings")
            await until(site.all_checkpointed, "checkpoints")
            assert await service.metric("rejected") == 4
            assert await service.metric("quarantined") == 4
            assert await service.terminate() == 0
        assert site.one_id_each()


async def test_readiness_depends_on_nothing_outside(azurite: Azurite, tmp_path: Path) -> None:
    """A role that spreads, or a hub that is away, must not keep an old revision for ever."""
    async with open_site(azurite.connection_string, tmp_path / "state") as site:
        away = f"Endpoint=sb://127.0.0.1:{free_port()};SharedAccessKeyName=k;SharedAccessKey=YQ=="
        site.settings["EVENTHUB__CONNECTION_STRING"] = away + ";UseDevelopmentEmulator=true"
        async with Running(site.settings) as service:

            async def ready() -> bool:
                return (await service.get("/readyz"))[0] == 200

            await until(ready, "readiness")

            async def told() -> bool:
                return "hub-unreachable" in await service.reasons()

            await until(told, "the hub that is away")
            status, body = await service.get("/readyz")
            answer = orjson.loads(body)
            assert (status, answer["ready"], answer["healthy"]) == (200, True, False)
            assert (await service.get("/healthz"))[0] == 200
            assert await service.metric("ready") == 0
            assert await service.terminate() == 0


@pytest.mark.parametrize("kind", ["checkpoint", "ownership"])
async def test_one_spoilt_blob_is_told_and_costs_its_own_position(
    kind: str, azurite: Azurite, tmp_path: Path
) -> None:
    """After a restart all partitions are read; `check` names the blob; it is mended by itself."""
    async with open_site(azurite.connection_string, tmp_path / "state") as site:
        site.publish(bad=8, good=32, each=1)
        async with Running(site.settings) as service:
            await until(site.all_checkpointed, "checkpoints")
            service.kill()
        container = ContainerClient.from_connection_string(
            site.storage, site.settings["CHECKPOINT__CONTAINER"]
        )
        async with container:
            names = [blob.name async for blob in container.list_blobs()]
            (spoilt,) = [one for one in names if one.endswith(f"/{kind}/2")]
            await container.upload_blob(spoilt, b"", overwrite=True)  # without metadata
        checked = await signinwatch("check", settings=site.settings)
        assert checked.status == 1
        assert b"checkpoint-unreadable" in checked.out
        site.publish(bad=8, good=32, start=1_000, each=1)
        async with Running(site.settings) as service:
            await until(site.found, "findings of every partition")
            await until(site.all_checkpointed, "checkpoints")

            async def mended() -> bool:
                return await service.ready() and not await service.reasons()

            await until(mended, "nothing to be told any more")
            assert "checkpoint-unreadable" in service.errors
            repeated = await service.metric("messages")
            assert await service.metric("partitions", hub="signins") == 4
            assert await service.metric("partitions_unowned", hub="signins") == 0
            assert await service.terminate() == 0
        assert repeated == (50 if kind == "checkpoint" else 40), "the spoilt position alone"
        assert site.one_id_each()


def _recording(path: Path, *times: str) -> list[str]:
    rows = [row(address(n), TimeGenerated=time) for n, time in enumerate(times)]
    path.write_bytes(lines(*map(message, rows)))
    return [one["Id"] for one in rows]


MINUTES = [f"2026-03-02T08:{minute:02}:00Z" for minute in range(40)]


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param([], id="none"),
        pytest.param(["1970-01-01T00:00:00Z"], id="a first one of 1970"),
        pytest.param(["2019-05-01T00:00:00Z"], id="a first one of 2019"),
        pytest.param(["2031-05-01T00:00:00Z"], id="a first one of 2031"),
        pytest.param(["0001-01-01T00:00:00Z"] * 8, id="eight of year 1"),
        pytest.param([END, END], id="the end of the calendar"),
    ],
)
@pytest.mark.parametrize("place", ["first", "second", "last"])
async def test_odd_times_change_nothing_for_the_others(
    odd: list[str], place: str, tmp_path: Path
) -> None:
    """As many are answered with the free key's quota, in seconds; and none of the odd is lost."""
    at = {"first": 0, "second": 1, "last": len(MINUTES)}[place]
    times = [*MINUTES[:at], *odd, *MINUTES[at:]]
    recording, findings = tmp_path / "recording.ndjson", tmp_path / "findings.jsonl"
    expected = _recording(recording, *times)
    crowdsec = CrowdSec()
    crowdsec.serve_bad(*(address(n) for n in range(len(times))))
    async with crowdsec.server() as server:
        ran = await replay(
            recording, "--findings", findings, "--quota", "120", **crowdsec_at(server.url)
        )
    assert ran.status == 0, ran.err
    assert ran.summary["unanswered"] == 0
    assert ran.summary["seconds"] < 10
    found = {orjson.loads(line)["EventId"] for line in findings.read_bytes().splitlines()}
    assert found == set(expected)

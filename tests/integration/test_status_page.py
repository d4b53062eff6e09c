"""What a running service says of itself: its first line in the log, and its status page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import aiohttp
import orjson

from tests.servers.taxii import TaxiiServer, indicator
from tests.support.feed_commands import feed_at
from tests.support.html_page import Page
from tests.support.service_process import Running, until
from tests.support.sign_ins import address
from tests.support.site import open_site

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.azurite import Azurite


async def _page(service: Running, host: str | None = None) -> str:
    """Return the text of the status page, as asked for under the name *host*."""
    headers = {"Host": host} if host is not None else {}
    url = f"http://127.0.0.1:{service.port}/"
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        assert response.status == 200
        return " ".join(Page(await response.text()).texts)


async def test_a_running_service_shows_how_it_is(azurite: Azurite, tmp_path: Path) -> None:
    """Figures for everybody, names on this machine; no address, account or URL for anybody."""
    taxii = TaxiiServer()
    taxii.add(indicator(address(500)))
    async with (
        open_site(azurite.connection_string, tmp_path / "state") as site,
        taxii.server() as server,
    ):
        site.publish(bad=4, good=36)
        settings = {**site.settings, **feed_at(server, INTERVAL="0.5")}
        async with Running(settings) as service:
            await until(site.found, "findings")
            await until(service.ready, "ready")

            async def figures_shown() -> bool:
                text = await _page(service)
                return "95% within" in text and "over the last" in text and "(4 partitions)" in text

            await until(figures_shown, "figures of the last minutes")
            own, foreign = await _page(service), await _page(service, "status.example.net")
            assert await service.terminate() == 0
            log = service.errors
    for text in (own, foreign):
        assert "Healthy: sign-ins are judged." in text
        assert re.search(r"[\d.]+ sign-ins a second .* 40 sign-ins, 4 findings, 40 lookups", text)
        assert "Findings since the start 4:" in text
        assert not re.search(r"\d+\.\d+\.\d+\.\d+|@|https?://", text)
    assert "sekoia" in own
    assert "signins/0" in own
    assert "signins (4 partitions)" in own
    assert "sekoia" not in foreign
    assert "signins/0" not in foreign
    _check_first_line(log, service.port)


def _check_first_line(log: str, port: int) -> None:
    entries = [orjson.loads(line) for line in log.splitlines() if line.startswith("{")]
    (first,) = [entry for entry in entries if entry["event"] == "started"]
    assert first["level"] == "info"
    assert first["hubs"] == {"signins": 4}
    assert first["sources"] == ["crowdsec", "sekoia"]
    assert first["sink"] == "table SignInWatchFindings_CL"
    assert first["port"] == port
    assert re.match(r"\d+\.\d+", first["version"])


async def test_what_is_wrong_is_shown_with_its_remedy(azurite: Azurite, tmp_path: Path) -> None:
    """The text on this machine, or for everybody if the settings say so; the code always."""
    for details in ("false", "true"):
        state = tmp_path / f"state-{details}"
        async with open_site(azurite.connection_string, state) as site:
            site.settings |= {"CROWDSEC__API_KEY": "a-bad-key", "HTTP__DETAILS": details}
            site.publish(bad=1, good=0)
            async with Running(site.settings) as service:

                async def refused(service: Running = service) -> bool:
                    return "key-refused" in await service.reasons()

                await until(refused, "the refusal")
                own, foreign = await _page(service), await _page(service, "status.example.net")
                assert await service.terminate() == 0
        for text in (own, foreign):
            assert "Blocked:" in text
            assert "key-refused" in text
            assert "a-bad-key" not in text
        assert "CROWDSEC__API_KEY" in own
        assert ("CROWDSEC__API_KEY" in foreign) == (details == "true")

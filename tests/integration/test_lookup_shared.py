"""``lookup`` beside the service: from the ledger that instances share."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import orjson

from tests.servers.crowdsec import CrowdSec
from tests.servers.taxii import TaxiiServer, indicator
from tests.support.command import Ran, crowdsec_at, signinwatch
from tests.support.feed_commands import feed_at

if TYPE_CHECKING:
    from tests.servers.azurite import Azurite

BAD, OTHER = "81.2.69.160", "81.2.69.161"


async def test_people_ask_within_the_shared_budget(azurite: Azurite) -> None:
    """What is asked is counted and kept there: nobody asks again, and the quota is one."""
    crowdsec = CrowdSec()
    crowdsec.serve_bad(BAD)
    async with crowdsec.server() as server:
        settings = {
            **crowdsec_at(server.url),
            "CROWDSEC__MONTHLY_QUOTA": "1",
            "STATE__CONNECTION_STRING": azurite.connection_string,
            "STATE__TABLE": f"t{uuid.uuid4().hex[:12]}",
        }

        async def lookup(*arguments: str) -> Ran:
            return await signinwatch("lookup", *arguments, "--json", settings=settings)

        first = await lookup(BAD)
        assert first.status == 0, first.err
        again = await lookup(BAD, "--explain")
        cached = await lookup(BAD, "--cached")
        spent = await lookup(OTHER)
    told = orjson.loads(again.out)
    assert (told["Verdict"], told["Cached"]) == ("malicious", True)
    assert orjson.loads(cached.out)["Verdict"] == "malicious"
    assert (spent.status, orjson.loads(spent.out)["Reason"]) == (1, "quota spent")
    assert crowdsec.asked == {BAD: 1}


async def test_feeds_that_instances_share_are_followed(azurite: Azurite) -> None:
    """What one has read into the shared ledger costs nobody a lookup."""
    taxii, crowdsec = TaxiiServer(), CrowdSec()
    taxii.add(indicator(BAD))
    async with taxii.server() as feed, crowdsec.server() as server:
        settings = {
            **crowdsec_at(server.url),
            **feed_at(feed),
            "STATE__CONNECTION_STRING": azurite.connection_string,
            "STATE__TABLE": f"t{uuid.uuid4().hex[:12]}",
            "CHECKPOINT__CONNECTION_STRING": azurite.connection_string,
            "CHECKPOINT__CONTAINER": f"c{uuid.uuid4().hex[:12]}",
            "CHECKPOINT__CREATE": "true",
        }
        synced = await signinwatch("feeds", "sync", settings=settings)
        assert synced.status == 0, synced.err
        ran = await signinwatch("lookup", BAD, "--json", settings=settings)
    told = orjson.loads(ran.out)
    assert (ran.status, told["Verdict"], told["Sources"]) == (0, "malicious", ["sekoia"])
    assert crowdsec.asked.total() == 0

"""``lookup`` beside the service: from the ledger that instances share."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import orjson

from tests.command import Ran, crowdsec_at, signinwatch
from tests.servers.crowdsec import CrowdSec

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

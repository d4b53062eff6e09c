"""The test of the CrowdSec key."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from pydantic import SecretStr

from consumers.clock import WallClock
from consumers.commands.check.attempt import CheckFailed
from consumers.ledger.cache import VerdictCache
from consumers.wiring.lookups import LookupOptions, make_lookup_queue, make_source, paid_key
from schemas.errors import KeyRefused, SourceFailed
from schemas.events.times import iso_of
from schemas.health import Problem
from schemas.intel.verdicts import Reputation, Unanswered, Verdict, WhyUnanswered

if TYPE_CHECKING:
    from consumers.settings import Settings
    from schemas.ledger_ports import Ledger

PROBE_ADDRESS = "9.9.9.9"
"""The only IP address that is looked up in CrowdSec: a public resolver, no user's client IP."""
TESTED_KEY = "check crowdsec"
"""Under this name the ledger keeps which key was tested last, as a hash."""
_WRONG_KEY = "signinwatch-check-this-key-is-wrong"


async def try_key(settings: Settings, ledger: Ledger) -> str:
    """Look up one address within the budget, unless the ledger has its verdict by this key.

    The verdict is stored like any other. Raises CheckFailed and KeyRefused.
    """
    clock = WallClock()
    cache = VerdictCache(ledger, clock)
    quota = settings.crowdsec.monthly_quota
    lookups = make_lookup_queue(settings, ledger, cache, clock, LookupOptions(quota))
    if lookups is None:
        return "CROWDSEC__MONTHLY_QUOTA is 0: no lookups, so the key was not tested"
    try:
        known = (await ledger.get_verdicts([PROBE_ADDRESS])).get(PROBE_ADDRESS)
        if isinstance(known, Verdict) and await ledger.get_value(TESTED_KEY) == _tested(settings):
            return (
                f"worked at {iso_of(known.time)}; no lookup spent, because the ledger knows "
                f"{PROBE_ADDRESS} until {iso_of(known.expires)}"
            )
        [result] = await lookups.look_up_all([PROBE_ADDRESS])
        left = await lookups.paid_lookup.budget.remaining()
    finally:
        await lookups.close()
    answer = result.answer
    if isinstance(answer, Unanswered):
        quota_spent = answer.why is WhyUnanswered.QUOTA
        code = Problem.QUOTA_SPENT if quota_spent else Problem.SOURCE_DOWN
        raise CheckFailed(
            code, f"no verdict: {answer.why.value}; check CROWDSEC__URL and the network"
        )
    if answer.reputation is Reputation.UNKNOWN:
        await _require_key_check(settings)
    await ledger.put_value(TESTED_KEY, _tested(settings))
    spent = lookups.counts.lookups
    return f"valid; {spent} lookup spent on {PROBE_ADDRESS}, {left:,} of {quota:,} left"


def _tested(settings: Settings) -> str:
    """Return a hash of the URL and the key."""
    key = paid_key(settings)
    text = f"{settings.crowdsec.url}\n{key.get_secret_value() if key else ''}"
    return hashlib.sha256(text.encode()).hexdigest()


async def _require_key_check(settings: Settings) -> None:
    """Raise CheckFailed unless a wrong key is refused.

    "Nothing is known" proves nothing if every key gets it. A refused request costs nothing.
    """
    wrong = settings.crowdsec.model_copy(update={"api_key": SecretStr(_WRONG_KEY)})
    source = make_source(settings.model_copy(update={"crowdsec": wrong}))
    if source is None:
        return
    try:
        await source.look_up([PROBE_ADDRESS])
    except KeyRefused:
        return
    except SourceFailed as error:
        raise CheckFailed(Problem.SOURCE_DOWN, f"the key could not be tested: {error}") from None
    finally:
        await source.close()
    raise CheckFailed(
        Problem.SOURCE_DOWN,
        f"CROWDSEC__URL: what is there knows nothing of {PROBE_ADDRESS} and accepts any key; set "
        "it to the URL of the CTI API",
    )

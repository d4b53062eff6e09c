"""What Entra ID itself detected about a sign-in, as a source. It costs no lookup. Pure.

The detections are those of Identity Protection (``riskEventTypes_v2``, the risk event tables), the
text of result 50053, and the anonymous proxies of Defender for Cloud Apps. They are about the
user's sign-in. Two are about the address itself, and hold for others behind it as well, for a day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.durations import DAY_SECONDS
from schemas.intel.verdicts import ENTRA, AddressClass, Intel, Reputation, Verdict

if TYPE_CHECKING:
    from schemas.events.sign_in import Details

ADDRESS_DETECTIONS = frozenset(("maliciousipaddress", "nationstateip"))
_ANONYMOUS = frozenset(("anonymizedipaddress", "riskyipaddress", "anonymousproxy"))
_NO_DETECTION = frozenset(("", "none", "hidden", "generic", "unknownfuturevalue"))
"""Words that say nothing: Entra ID writes them without a licence, or without a risk."""
_OVER = frozenset(("dismissed", "remediated", "confirmedsafe"))
"""States of a risk that somebody or something has cleared up."""
_OVER_DETAILS = ("dismiss", "safe", "userperformed", "userpassedmfa", "securedpassword")
_BLOCKED_ADDRESS = "ip address with malicious activity"
RISK_TABLES = frozenset(("AADUserRiskEvents", "AADServicePrincipalRiskEvents"))


def detections_of(details: Details) -> tuple[str, ...]:
    """Return what Entra ID detected and has not taken back."""
    state = (details.risk_state or "").lower()
    detail = (details.risk_detail or "").lower()
    if state in _OVER or any(word in detail for word in _OVER_DETAILS):
        return ()
    found = [name for name in details.detections if name.lower() not in _NO_DETECTION]
    if details.result_code == "50053" and _names_blocked_address(details.result_description):
        found.append("blockedIPAddress")
    return tuple(dict.fromkeys(found))


def _names_blocked_address(text: str | None) -> bool:
    low = (text or "").lower()
    return _BLOCKED_ADDRESS in low and "locked" not in low.replace("blocked", "")


def entra_verdict(details: Details) -> Verdict | None:
    """Return Entra ID's word on a sign-in, or None if it says nothing."""
    found = detections_of(details)
    if not found:
        return None
    words = {name.lower() for name in found}
    bad_address = not words.isdisjoint(ADDRESS_DETECTIONS)
    time = details.event_time.timestamp()
    return Verdict(
        reputation=Reputation.MALICIOUS if bad_address else Reputation.SUSPICIOUS,
        source=ENTRA,
        time=time,
        expires=time + DAY_SECONDS,
        address_class=AddressClass.UNKNOWN if words.isdisjoint(_ANONYMOUS) else AddressClass.PROXY,
        intel=Intel(raw_reputation=", ".join(found)),
    )


def holds_for_others(verdict: Verdict) -> bool:
    """Return True if Entra ID's word is about the address, for whoever uses it."""
    return verdict.source == ENTRA and verdict.reputation is Reputation.MALICIOUS

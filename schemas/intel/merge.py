"""Several words on one address, joined: the worst counts, and each source keeps its own.

A feed's word is told from CrowdSec's own (its API, its replica) by the indicator it comes with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import fields

from schemas.intel.verdicts import AddressClass, Intel, Reputation, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_MERGED_NAMES = 50
_BADNESS = {
    Reputation.MALICIOUS: 0,
    Reputation.SUSPICIOUS: 1,
    Reputation.BENIGN: 2,
    Reputation.UNKNOWN: 3,
}


class MergedVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What all sources together say of one address."""

    reputation: Reputation
    sources: tuple[str, ...]
    """Those that know it, the worst word first; of all that were asked if none does."""
    address_class: AddressClass
    false_positive: bool
    """CrowdSec says that its own reports mean no harm, and no feed calls the address bad."""
    intel: Intel
    evidence: dict[str, dict[str, Any]]
    """What each source says, by its name."""
    looked_up: float | None
    """When CrowdSec's word was given; None if only feeds speak."""
    expires: float
    """When the first of the words ends."""

    @property
    def reason(self) -> str:
        """Return who says what, in a line."""
        words = self.evidence.items()
        told = [f"{name} says {one.get('reputation', 'nothing is known')}" for name, one in words]
        return ", ".join(told)


def false_positive(intel: Intel) -> bool:
    """Tell whether the source itself says that its reports of the address mean no harm."""
    return bool(intel.false_positives) or any(
        name.startswith("scanner:") for name in intel.classifications
    )


def merge_verdicts(words: Sequence[Verdict]) -> MergedVerdict:
    """Join one or more words on an address.

    The worst reputation wins. Where CrowdSec calls an address harmless (benign, safe, a false
    positive, a benign scanner) that a feed calls malicious, it counts as suspicious: the two
    disagree, and a person should look.
    """
    ordered = sorted(words, key=lambda one: (_BADNESS[one.reputation], bool(one.intel.indicator)))
    worst = ordered[0].reputation
    of_crowdsec = [one for one in ordered if not one.intel.indicator]
    fed = any(one.reputation.bad for one in ordered if one.intel.indicator)
    excused = any(false_positive(one.intel) for one in of_crowdsec)
    harmless = excused or any(one.reputation is Reputation.BENIGN for one in of_crowdsec)
    if fed and harmless and worst is Reputation.MALICIOUS:
        worst = Reputation.SUSPICIOUS
    known = [one for one in ordered if one.reputation is not Reputation.UNKNOWN] or ordered
    classes = [*(one.address_class for one in of_crowdsec), *(one.address_class for one in ordered)]
    return MergedVerdict(
        reputation=worst,
        sources=tuple(dict.fromkeys(one.source for one in known)),
        address_class=next(
            (one for one in classes if one is not AddressClass.UNKNOWN), AddressClass.UNKNOWN
        ),
        false_positive=excused and not fed,
        intel=ordered[0].intel if len(ordered) == 1 else _joined([one.intel for one in ordered]),
        evidence=_evidence(ordered),
        looked_up=max((one.time for one in of_crowdsec), default=None),
        expires=min(one.expires for one in ordered),
    )


def _joined(several: Sequence[Intel]) -> Intel:
    """Join what sources tell: lists together, of single values the first that is told."""
    joined: dict[str, Any] = {}
    for field in fields(Intel):
        told = [value for one in several if _told_of(value := getattr(one, field.name))]
        if told and isinstance(told[0], tuple):
            names = dict.fromkeys(name for names in told for name in names)
            joined[field.name] = tuple(names)[:MAX_MERGED_NAMES]
        elif told:
            joined[field.name] = told[0]
    return Intel(**joined)


def _told_of(value: object) -> bool:
    """Tell whether a value is one; a number may be 0."""
    return bool(value) or (isinstance(value, int) and not isinstance(value, bool))


def _evidence(words: Sequence[Verdict]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    crowdsec = {one.source for one in words if not one.intel.indicator}
    for word in words:
        namesake = word.intel.indicator and word.source in crowdsec
        told = found.setdefault(f"{word.source} feed" if namesake else word.source, {})
        if word.intel.indicator:
            told.setdefault("reputation", word.reputation.value)
            told.setdefault("indicators", []).append(word.intel.indicator)
        else:
            told.update(_told(word.intel))
    return found


def _told(intel: Intel) -> dict[str, Any]:
    told = {
        "reputation": intel.raw_reputation,
        "attackDetails": list(intel.attack_details),
        "references": list(intel.references),
        "targetCountries": intel.target_countries,
        "scores": intel.scores,
        "proxyOrVpn": intel.proxy_or_vpn or None,
        "city": intel.city,
        "rangeScore": intel.ip_range_score,
        "range24": intel.ip_range_24,
        "range24Reputation": intel.ip_range_24_reputation,
        "range24Score": intel.ip_range_24_score,
    }
    return {name: value for name, value in told.items() if value not in (None, [], {})}

"""Merges the verdicts of all sources on an address; the most severe verdict wins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import fields

from schemas.intel.verdicts import REPORT_PAGES, AddressClass, Intel, Reputation, Verdict

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
    """The combined verdict of all sources on an address."""

    reputation: Reputation
    sources: tuple[str, ...]
    """Sources that know the address, most severe first; all sources if none knows it."""
    address_class: AddressClass
    false_positive: bool
    """True if a source that rates addresses excuses this one, or a feed does that calls it bad, and
    no other feed calls it bad."""
    intel: Intel
    evidence: dict[str, dict[str, Any]]
    """Details of each source, by name."""
    rated: float | None
    """Time of the latest verdict of a source that rates addresses; None if only feeds know it."""
    report_page: tuple[str, str] | None
    """Publisher and prefix of the public page on the address; see ``REPORT_PAGES``."""
    expires: float
    """Time at which the first of the verdicts expires."""

    @property
    def reason(self) -> str:
        """The verdict of each source, in one line."""
        return ", ".join(
            f"{name}: {details.get('reputation', 'no reputation')}"
            for name, details in self.evidence.items()
        )


NO_VERDICT = MergedVerdict(
    reputation=Reputation.UNKNOWN,
    sources=(),
    address_class=AddressClass.UNKNOWN,
    false_positive=False,
    intel=Intel(),
    evidence={},
    rated=None,
    report_page=None,
    expires=0.0,
)
"""For an address of which no source has said anything."""


def false_positive(intel: Intel) -> bool:
    """Return True if the source itself lists the address as a false positive or benign scanner."""
    return bool(intel.false_positives) or any(
        name.startswith("scanner:") for name in intel.classifications
    )


def merge_verdicts(verdicts: Sequence[Verdict]) -> MergedVerdict:
    """Merge one or more verdicts on an address.

    The most severe reputation wins. Exception: an address that a feed calls malicious and a source
    that rates addresses calls harmless (benign, a false positive, a benign scanner) counts as
    suspicious. The sources disagree, so an analyst should decide.
    """
    ordered = sorted(verdicts, key=lambda verdict: (_BADNESS[verdict.reputation], verdict.listed))
    worst = ordered[0].reputation
    ratings = [verdict for verdict in ordered if not verdict.listed]
    fed = any(
        verdict.reputation.bad and not false_positive(verdict.intel)
        for verdict in ordered
        if verdict.listed
    )
    excused = any(
        false_positive(verdict.intel)
        for verdict in ordered
        if not verdict.listed or verdict.reputation.bad
    )
    harmless = excused or any(verdict.reputation is Reputation.BENIGN for verdict in ratings)
    if fed and harmless and worst is Reputation.MALICIOUS:
        worst = Reputation.SUSPICIOUS
    known = [
        verdict for verdict in ordered if verdict.reputation is not Reputation.UNKNOWN
    ] or ordered
    classes = [
        *(verdict.address_class for verdict in ratings),
        *(verdict.address_class for verdict in ordered),
    ]
    return MergedVerdict(
        reputation=worst,
        sources=tuple(dict.fromkeys(verdict.source for verdict in known)),
        address_class=next(
            (verdict for verdict in classes if verdict is not AddressClass.UNKNOWN),
            AddressClass.UNKNOWN,
        ),
        false_positive=excused and not fed,
        intel=ordered[0].intel
        if len(ordered) == 1
        else _joined([verdict.intel for verdict in ordered]),
        evidence=_evidence(ordered),
        rated=max((verdict.time for verdict in ratings), default=None),
        report_page=next(
            (REPORT_PAGES[verdict.source] for verdict in ratings if verdict.source in REPORT_PAGES),
            None,
        ),
        expires=min(verdict.expires for verdict in ordered),
    )


def _joined(intels: Sequence[Intel]) -> Intel:
    """Combine the intelligence: lists are joined, of other values the first present wins."""
    joined: dict[str, Any] = {}
    for field in fields(Intel):
        values = [value for intel in intels if _is_present(value := getattr(intel, field.name))]
        if values and isinstance(values[0], tuple):
            names = dict.fromkeys(name for listed in values for name in listed)
            joined[field.name] = tuple(names)[:MAX_MERGED_NAMES]
        elif values:
            joined[field.name] = values[0]
    return Intel(**joined)


def _is_present(value: object) -> bool:
    """Return True if a value is verdict; a number may be 0."""
    return bool(value) or (isinstance(value, int) and not isinstance(value, bool))


def _evidence(verdicts: Sequence[Verdict]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    rating = {verdict.source for verdict in verdicts if not verdict.listed}
    for verdict in verdicts:
        namesake = verdict.listed and verdict.source in rating
        details = found.setdefault(f"{verdict.source} feed" if namesake else verdict.source, {})
        if verdict.listed:
            details.setdefault("reputation", verdict.reputation.value)
            details.setdefault("indicators", []).append(verdict.intel.indicator)
        else:
            details.update(_details(verdict.intel))
    return found


def _details(intel: Intel) -> dict[str, Any]:
    details = {
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
    return {name: value for name, value in details.items() if value not in (None, [], {})}

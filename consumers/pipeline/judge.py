"""Combines sign-ins and verdicts into findings. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace

from consumers.enrichment.entra import detections_of
from consumers.pipeline.second_opinion import SecondOpinions
from schemas.durations import HOUR_SECONDS
from schemas.events.addresses import Networks
from schemas.events.times import iso
from schemas.intel.address_class import class_of_network
from schemas.intel.merge import NO_VERDICT, MergedVerdict, false_positive, merge_verdicts
from schemas.intel.verdicts import (
    CROWDSEC,
    ENTRA,
    REPLICA,
    STORIES_SOURCE,
    AddressClass,
    Reputation,
    Verdict,
)
from schemas.rows.context import NO_CONTEXT, SignInContext
from schemas.rows.findings import FindingRow, finding_id, finding_row
from schemas.rows.policy import Line, Policy, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from schemas.events.sign_in import Details


class Judge:
    """Applies a policy and aggregates frequent findings. Its only state is bounded counts."""

    def __init__(
        self,
        policy: Policy,
        *,
        origin: str,
        most_per_hour: int,
        late_origin: str = "late",
        own_egress: OwnEgress | None = None,
    ) -> None:
        """*late_origin* marks findings of sign-ins that waited for their verdict."""
        self._own_egress = own_egress or OwnEgress()
        self.second_opinions = SecondOpinions()
        self._policy = policy
        self._origin = origin
        self._late_origin = late_origin
        self._aggregator = Aggregator(most_per_hour)
        self.aggregates = 0
        """Number of aggregated sign-ins, reported only by the row of their hour."""
        self._deduplicator = Deduplicator()

    def cannot_alert(self, verdict: Verdict) -> bool:
        """Return True if this verdict alone cannot make a finding of any sign-in."""
        return self._policy.harmless(
            verdict.address_class, verdict.reputation, false_positive(verdict.intel)
        )

    def judge(
        self,
        details: Details,
        address: str,
        verdicts: Sequence[Verdict],
        *,
        wall: datetime,
        now: float,
        accounts: int | None = None,
        late: bool = False,
        doubt: str | None = None,
        context: SignInContext = NO_CONTEXT,
    ) -> FindingRow | None:
        """Return the finding; None if the policy wants none, or it is a repeat or aggregated.

        *verdicts* are those of all sources, perhaps none if *context* has stories. *wall* is the
        row's timestamp. *now* is the pipeline clock's time, for the delay. *accounts* is the number
        of accounts seen from the address. *late* is true if the sign-in waited for its verdict.
        *doubt* is why the finding is of at most Low severity.
        """
        merged = merge_verdicts(verdicts) if verdicts else NO_VERDICT
        if merged.address_class is AddressClass.UNKNOWN:
            network = class_of_network(details.sign_in_as_number)
            merged = replace(merged, address_class=network)
        decision = self._policy.decide(
            merged.address_class,
            details.outcome,
            merged.reputation,
            merged.false_positive,
            context,
        )
        if decision.severity is Severity.NONE:
            return None
        if self._own_egress.is_doubtful(address, verdicts) and not detections_of(details):
            decision = _OWN_EGRESS
        elif _is_of_others(details, verdicts) and merged.address_class is AddressClass.MOBILE:
            decision = _CARRIER
        elif context.stories:
            pass  # no source alone decides
        elif doubt is not None and decision.severity.rank > Severity.LOW.rank:
            decision = Line(name="familiar-address", severity=Severity.LOW, why=doubt)
        elif decision.severity is Severity.HIGH and self.second_opinions.caps(
            address, details, verdicts
        ):
            decision = _UNCONFIRMED
        if not merged.reputation.bad:
            merged = _without_bad_verdict(merged, decision)
        row = finding_row(
            details=details,
            address=address,
            merged=merged,
            line=decision,
            origin=self._late_origin if late else self._origin,
            accounts=accounts,
            wall=wall,
            context=context,
            delay=max(0.0, now - details.event_time.timestamp()),
        )
        if self._deduplicator.is_repeat(
            row["FindingId"], decision.severity.rank, details.outcome.rank
        ):
            return None
        emitted = self._aggregator.take(row, details)
        self.aggregates += emitted is None
        return emitted

    def close_aggregates(self, before: float | None, wall: datetime) -> list[FindingRow]:
        """Return the aggregates of hours that ended before *before*; of all hours if None."""
        return self._aggregator.close(before, wall)


def _without_bad_verdict(merged: MergedVerdict, line: Line) -> MergedVerdict:
    """Return what a finding says of its sources where none calls the address bad."""
    if line.stories:
        return replace(merged, reputation=Reputation.UNKNOWN, sources=(STORIES_SOURCE,))
    return replace(merged, reputation=Reputation.SUSPICIOUS)


def _is_of_others(details: Details, verdicts: Sequence[Verdict]) -> bool:
    """Return True if Entra ID's word on somebody else is all that is known."""
    bad = {verdict.source for verdict in verdicts if verdict.reputation.bad}
    return bad == {ENTRA} and not detections_of(details)


_CARRIER = Line(
    name="entra-carrier",
    severity=Severity.LOW,
    why="Entra ID calls an address bad that a mobile carrier shares among many users",
)
_OWN_EGRESS = Line(
    name="own-egress",
    severity=Severity.INFORMATIONAL,
    why="a local source alone names an address of TRUSTED_NETWORKS",
)


_UNCONFIRMED = Line(
    name="one-feed-alone",
    severity=Severity.MEDIUM,
    why="one feed alone names what several accounts used; the address is being looked up",
)


class OwnEgress:
    """The company's own egress, about which one local source alone is not believed."""

    def __init__(
        self,
        networks: Iterable[str] = (),
        *,
        believed: Iterable[str] = (),
        vendors: Mapping[str, str] | None = None,
    ) -> None:
        """*believed* sources are believed alone. *vendors* names the vendors of sources.

        Sources of one vendor agree with each other, so they count as one.
        """
        self._networks = Networks(networks)
        self._believed = frozenset(believed)
        self._vendors = {REPLICA: CROWDSEC, **(vendors or {})}

    def is_doubtful(self, address: str, verdicts: Sequence[Verdict]) -> bool:
        """Return True if a local source of one vendor alone calls an own address bad."""
        if address not in self._networks:
            return False
        bad = [verdict for verdict in verdicts if verdict.reputation.bad]
        local = {
            verdict.source
            for verdict in bad
            if verdict.listed or verdict.source in (REPLICA, ENTRA)
        }
        vendors = {self._vendors.get(verdict.source, verdict.source) for verdict in bad}
        return bool(local) and len(vendors) == 1 and self._believed.isdisjoint(local)


_OUTCOME_RANKS = 8
"""More than there are ranks of outcomes, so that both ranks fit in one number."""


class Deduplicator:
    """Remembers recent findings, so that an event delivered twice gives one row.

    Memory is bounded: a forgotten finding is reported again, with the same FindingId.
    """

    def __init__(self, max_findings: int = 100_000) -> None:
        self._half = max_findings // 2
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}

    def is_repeat(self, finding: str, severity: int, outcome: int) -> bool:
        """Return True if *finding* was made with at least this severity and outcome; remember it.

        *severity* and *outcome* are ranks. One sign-in with MFA is several records with one id:
        the first says that the password was accepted, the last that the sign-in succeeded.
        """
        known = self._young.get(finding) or self._old.get(finding, 0)
        severity_before, outcome_before = divmod(known, _OUTCOME_RANKS)
        highest = max(severity, severity_before), max(outcome, outcome_before)
        self._young[finding] = highest[0] * _OUTCOME_RANKS + highest[1]
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        return highest == (severity_before, outcome_before)


class Aggregator:
    """Passes a limited number of findings per hour for an address, account, table and outcome.

    Further findings become one row with a count when the hour ends. Successes are never aggregated.
    """

    def __init__(self, most_per_hour: int, max_keys: int = 50_000) -> None:
        self._max_per_hour = most_per_hour
        self._max_keys = max_keys
        self._counts: dict[tuple[str, ...], int] = {}
        self._rows: dict[tuple[str, ...], FindingRow] = {}
        self._unreported: set[tuple[str, ...]] = set()

    def take(self, row: FindingRow, details: Details) -> FindingRow | None:
        """Return *row*, or None if it was aggregated."""
        if details.outcome.succeeded:
            return row
        hour = int(details.event_time.timestamp() // HOUR_SECONDS)
        key = (row["IPAddress"], row["Account"], row["SourceTable"], row["Outcome"], str(hour))
        count = self._counts.get(key, 0) + 1
        if count == 1 and len(self._counts) >= self._max_keys:
            self._counts.clear()
        self._counts[key] = count
        if count <= self._max_per_hour:
            return row
        self._add(key, row)
        return None

    def _add(self, key: tuple[str, ...], row: FindingRow) -> None:
        counted = self._rows.get(key)
        if counted is None:
            counted = self._rows[key] = _counted_row(key, row)
        aggregate = counted["Evidence"]["folded"]
        aggregate["signIns"] += 1
        if row["EventTime"] is not None:
            aggregate["first"] = min(aggregate["first"] or row["EventTime"], row["EventTime"])
            aggregate["last"] = max(aggregate["last"] or row["EventTime"], row["EventTime"])
        counted["DelaySeconds"] = row["DelaySeconds"]
        self._unreported.add(key)

    def close(self, before: float | None, wall: datetime) -> list[FindingRow]:
        """Return the changed rows whose hour ended before *before*; all changed rows if None.

        If sign-ins of a reported hour arrive later, its row is reported again with the full count.
        """
        ended = [
            key
            for key in self._unreported
            if before is None or (int(key[-1]) + 1) * HOUR_SECONDS <= before
        ]
        self._unreported.difference_update(ended)
        rows = [self._aggregate_row(self._rows[key], wall) for key in sorted(ended)]
        while len(self._rows) > self._max_keys and not self._unreported:
            del self._rows[next(iter(self._rows))]
        return rows

    @staticmethod
    def _aggregate_row(row: FindingRow, wall: datetime) -> FindingRow:
        aggregate = dict(row["Evidence"]["folded"])
        return {
            **row,
            "TimeGenerated": iso(wall),
            "MatchReason": f"{row['MatchReason']}; {aggregate['signIns']} more like it within the "
            "hour, aggregated",
            "Evidence": {**row["Evidence"], "folded": aggregate},
        }


_SINGLE_EVENT_COLUMNS = (
    "CorrelationId SessionId UniqueTokenIdentifier SourceIPAddress UserAgent DeviceId "
    "DeviceCompliant RiskLevel RiskState AuthenticationProtocol AuthenticationMethods "
    "IncomingTokenType"
).split()


def _counted_row(key: tuple[str, ...], row: FindingRow) -> FindingRow:
    """Return an aggregate row; its ID depends only on what it aggregates."""
    address, account, table, outcome, hour = key
    start = datetime.fromtimestamp(int(hour) * HOUR_SECONDS, UTC)
    event_id = f"folded:{account}:{outcome}:{iso(start)}"
    return {
        **row,
        **dict.fromkeys(_SINGLE_EVENT_COLUMNS),
        "EventId": event_id,
        "FindingId": finding_id(table, event_id, address),
        "EventTime": iso(start) if row["EventTime"] is not None else None,
        "Evidence": {
            **row["Evidence"],
            "folded": {"signIns": 0, "first": row["EventTime"], "last": row["EventTime"]},
        },
    }

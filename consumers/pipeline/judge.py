"""Joining sign-ins and verdicts to findings. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from schemas.durations import HOUR_SECONDS
from schemas.events.times import iso
from schemas.intel.address_class import class_of_network
from schemas.intel.merge import false_positive, merge_verdicts
from schemas.intel.verdicts import AddressClass, Reputation, Verdict
from schemas.rows.findings import FindingRow, finding_id, finding_row
from schemas.rows.policy import Policy, Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.events.sign_in import Details


class Judge:
    """Applies a policy, and folds what repeats too often. Keeps only counts, within bounds."""

    def __init__(
        self, policy: Policy, *, origin: str, most_per_hour: int, late_origin: str = "late"
    ) -> None:
        """*late_origin* is that of sign-ins that had to wait for their verdict."""
        self._policy = policy
        self._origin = origin
        self._late_origin = late_origin
        self._fold = Aggregator(most_per_hour)
        self.aggregates = 0
        """Sign-ins that were folded: told of by the row of their hour alone."""
        self._repeats = Deduplicator()

    def cannot_alert(self, verdict: Verdict) -> bool:
        """Tell whether no sign-in can become a finding by this word alone."""
        return self._policy.harmless(
            verdict.address_class, verdict.reputation, false_positive(verdict.intel)
        )

    def judge(
        self,
        details: Details,
        address: str,
        words: Sequence[Verdict],
        *,
        wall: datetime,
        now: float,
        accounts: int | None = None,
        late: bool = False,
    ) -> FindingRow | None:
        """Return the finding; None where the policy wants none, or it was told or folded before.

        *words* are those of all sources, one at least; *wall* stamps the row; *now* is our
        clock's time, from which the delay is counted;
        *accounts* were seen from the address; *late* tells that the sign-in had to wait.
        """
        told = merge_verdicts(words)
        address_class = told.address_class
        if address_class is AddressClass.UNKNOWN:
            address_class = class_of_network(details.sign_in_as_number)
        line = self._policy.decide(
            address_class, details.outcome, told.reputation, told.false_positive
        )
        if line.severity is Severity.NONE:
            return None
        reputation = told.reputation if told.reputation.bad else Reputation.SUSPICIOUS
        row = finding_row(
            details=details,
            address=address,
            told=told,
            line=line,
            reputation=reputation,
            address_class=address_class,
            origin=self._late_origin if late else self._origin,
            accounts=accounts,
            wall=wall,
            delay=max(0.0, now - details.event_time.timestamp()),
        )
        if self._repeats.is_repeat(row["FindingId"], line.severity.rank):
            return None
        taken = self._fold.take(row, details)
        self.aggregates += taken is None
        return taken

    def close_aggregates(self, before: float | None, wall: datetime) -> list[FindingRow]:
        """Return the counted rows of the hours that ended before *before*; of all for None."""
        return self._fold.close(before, wall)


class Deduplicator:
    """Remembers the findings made lately, so that an event delivered twice gives one row.

    Bounded: what is forgotten is told again, with the same FindingId.
    """

    def __init__(self, most: int = 100_000) -> None:
        self._half = most // 2
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}

    def is_repeat(self, finding: str, rank: int) -> bool:
        """Tell whether *finding* was made before and has not got worse; remember it."""
        before = max(self._young.get(finding, 0), self._old.get(finding, 0))
        self._young[finding] = max(before, rank)
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        return before >= rank


class Aggregator:
    """Lets so many findings an hour through for one address, account, table and outcome.

    The rest is counted and becomes one row when the hour is over. Successes are never folded.
    """

    def __init__(self, most_per_hour: int, most_keys: int = 50_000) -> None:
        self._most_per_hour = most_per_hour
        self._most_keys = most_keys
        self._counts: dict[tuple[str, ...], int] = {}
        self._rows: dict[tuple[str, ...], FindingRow] = {}
        self._untold: set[tuple[str, ...]] = set()

    def take(self, row: FindingRow, details: Details) -> FindingRow | None:
        """Return *row*, or None when it was folded."""
        if details.outcome.succeeded:
            return row
        hour = int(details.event_time.timestamp() // HOUR_SECONDS)
        key = (row["IPAddress"], row["Account"], row["SourceTable"], row["Outcome"], str(hour))
        count = self._counts.get(key, 0) + 1
        if count == 1 and len(self._counts) >= self._most_keys:
            self._counts.clear()
        self._counts[key] = count
        if count <= self._most_per_hour:
            return row
        self._add(key, row)
        return None

    def _add(self, key: tuple[str, ...], row: FindingRow) -> None:
        counted = self._rows.get(key)
        if counted is None:
            counted = self._rows[key] = _counted_row(key, row)
        told = counted["Evidence"]["folded"]
        told["signIns"] += 1
        told["first"] = min(told["first"], row["EventTime"])
        told["last"] = max(told["last"], row["EventTime"])
        counted["DelaySeconds"] = row["DelaySeconds"]
        self._untold.add(key)

    def close(self, before: float | None, wall: datetime) -> list[FindingRow]:
        """Return the rows that changed and whose hour ended before *before*, or all that changed.

        A row that was told is told again, with the whole count, when its hour goes on after all.
        """
        over = [
            key
            for key in self._untold
            if before is None or (int(key[-1]) + 1) * HOUR_SECONDS <= before
        ]
        self._untold.difference_update(over)
        rows = [self._told(self._rows[key], wall) for key in sorted(over)]
        while len(self._rows) > self._most_keys and not self._untold:
            del self._rows[next(iter(self._rows))]
        return rows

    @staticmethod
    def _told(row: FindingRow, wall: datetime) -> FindingRow:
        folded = dict(row["Evidence"]["folded"])
        return {
            **row,
            "TimeGenerated": iso(wall),
            "MatchReason": f"{row['MatchReason']}; {folded['signIns']} more like it within the "
            "hour, folded",
            "Evidence": {**row["Evidence"], "folded": folded},
        }


_OF_ONE_EVENT = (
    "CorrelationId SessionId UniqueTokenIdentifier SourceIPAddress UserAgent DeviceId "
    "DeviceCompliant RiskLevel RiskState"
).split()


def _counted_row(key: tuple[str, ...], row: FindingRow) -> FindingRow:
    """Return a row that stands for many; its id depends on nothing but what it stands for."""
    address, account, table, outcome, hour = key
    moment = datetime.fromtimestamp(int(hour) * HOUR_SECONDS, UTC)
    event_id = f"folded:{account}:{outcome}:{iso(moment)}"
    return {
        **row,
        **dict.fromkeys(_OF_ONE_EVENT),
        "EventId": event_id,
        "FindingId": finding_id(table, event_id, address),
        "EventTime": iso(moment),
        "Evidence": {
            **row["Evidence"],
            "folded": {"signIns": 0, "first": row["EventTime"], "last": row["EventTime"]},
        },
    }

"""Which findings are shown: by time, account, address, severity, outcome and table. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from schemas.events.times import parse_time
from schemas.rows.policy import Severity

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from schemas.events.addresses import Networks
    from schemas.rows.findings import FindingRow


@dataclass(frozen=True, slots=True)
class FindingFilter:
    """What a finding must have. Without values, all pass."""

    since: datetime | None = None
    until: datetime | None = None
    """The first time that is not shown any more."""
    accounts: tuple[str, ...] = ()
    """Names or object ids in lower case, with ``*`` and ``?`` as wildcards."""
    networks: Networks | None = None
    min_severity: str | None = None
    outcomes: Collection[str] = ()
    table: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether all findings pass."""
        return self == FindingFilter()

    def accepts(self, row: FindingRow) -> bool:
        """Return True if a finding is shown. One without a time is in no period."""
        return (
            self._in_period(row)
            and self._of_account(row)
            and (self.networks is None or str(row["IPAddress"]) in self.networks)
            and (
                self.min_severity is None
                or Severity(row["Severity"]).rank >= Severity(self.min_severity).rank
            )
            and (not self.outcomes or row["Outcome"] in self.outcomes)
            and (self.table is None or str(row["SourceTable"]).lower() == self.table.lower())
        )

    def _in_period(self, row: FindingRow) -> bool:
        if self.since is None and self.until is None:
            return True
        time = parse_time(row["EventTime"])
        if time is None:
            return False
        return (self.since is None or time >= self.since) and (
            self.until is None or time < self.until
        )

    def _of_account(self, row: FindingRow) -> bool:
        names = [str(row[name] or "").lower() for name in ("Account", "AccountObjectId")]
        return not self.accounts or any(
            fnmatchcase(name, pattern) for name in names for pattern in self.accounts
        )

"""How a recording looks: ``python -m tests.bench.company.look DIR…``.

Tells what share of the malicious successful sign-ins has each simple property, what share of all
successful ones, and, which is what a budget is about, how many addresses have a success with it.
No property alone may tell them apart, or the recording is too kind.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console
from rich.table import Table

from tests.bench.company.__main__ import RECORDING, TRUTH
from tests.bench.company.oracle import read_truth, records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.company.oracle import KnownTruth

HOSTING = frozenset(
    {8075, 9009, 12876, 13335, 14061, 14618, 16276, 16509, 20473, 24940, 36352, 44477, 45102,
     47583, 51167, 53667, 60068, 60781, 62240, 63949, 136787, 200019, 203020, 210644, 212238,
     215540, 396982, 8560}
)  # fmt: skip


def _object(value: Any) -> dict[str, Any]:
    told: dict[str, Any] = orjson.loads(value) if isinstance(value, str) else value or {}
    return told


def _part(one: dict[str, Any], name: str) -> Any:
    """Return a field of either envelope, by its name in a row."""
    inner = one.get("properties")
    if inner is None:
        return one.get(name)
    if name == "IPAddress":
        return one["callerIpAddress"]
    if name == "ResultType":
        return one["resultType"]
    return inner.get("location" if name == "LocationDetails" else name[0].lower() + name[1:])


class Looker:
    """Sees sign-ins in order of arrival, and tells what a simple program would notice."""

    def __init__(self) -> None:
        self._countries: defaultdict[str, set[str]] = defaultdict(set)
        self._addresses: defaultdict[str, set[str]] = defaultdict(set)
        self._networks: defaultdict[str, set[int]] = defaultdict(set)
        self._accounts: defaultdict[str, set[str]] = defaultdict(set)
        self._failed: defaultdict[str, set[str]] = defaultdict(set)

    def noticed(self, one: dict[str, Any]) -> Iterator[str]:
        """Yield the properties of a successful sign-in; learn from any."""
        address, asn = _part(one, "IPAddress"), _part(one, "AutonomousSystemNumber")
        account = _part(one, "UserPrincipalName") or _part(one, "ServicePrincipalName")
        country = _object(_part(one, "LocationDetails")).get("countryOrRegion", "")
        device = _object(_part(one, "DeviceDetail"))
        if str(_part(one, "ResultType")) != "0":
            self._failed[address].add(account)
            return
        yield "all"
        if _part(one, "RiskLevelDuringSignIn") in ("low", "medium", "high"):
            yield "risky at sign-in"
        if _part(one, "RiskLevelAggregated") in ("low", "medium", "high"):
            yield "risky, aggregated"
        if asn in HOSTING:
            yield "hosting or cloud network"
        if not device.get("deviceId"):
            yield "device unknown"
        if not device.get("isCompliant"):
            yield "device not compliant"
        yield "interactive" if _part(one, "IsInteractive") else "not interactive"
        yield from self._new(address, asn, account, country)

    def _new(self, address: str, asn: int, account: str, country: str) -> Iterator[str]:
        strange = address not in self._addresses[account]
        if strange:
            yield "address new for the account"
        if asn not in self._networks[account]:
            yield "network new for the account"
        if country not in self._countries[account]:
            yield "country new for the account"
        if self._accounts[address] <= {account}:
            yield "no other account succeeded from it"
        if len(self._failed[address]) >= 2:
            yield "two or more accounts failed from it"
        elif self._failed[address] - {account}:
            yield "another account failed from it"
        if strange and asn in HOSTING and country not in self._countries[account]:
            yield "new address, hosting, new country"
        self._addresses[account].add(address)
        self._networks[account].add(asn)
        self._countries[account].add(country)
        self._accounts[address].add(account)


def look(folder: Path, truth: KnownTruth) -> tuple[Counter[str], Counter[str], dict[str, int]]:
    """Count the properties of malicious successes, of all, and the addresses that have them."""
    taken = {one.id for one in truth.taken}
    looker = Looker()
    bad: Counter[str] = Counter()
    every: Counter[str] = Counter()
    where: defaultdict[str, set[str]] = defaultdict(set)
    for one in records(folder / RECORDING):
        names = list(looker.noticed(one))
        every.update(names)
        for name in names:
            where[name].add(_part(one, "IPAddress"))
        if names and _part(one, "Id") in taken:
            bad.update(names)
    return bad, every, {name: len(addresses) for name, addresses in where.items()}


def main() -> int:
    """Print a table for each recording."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+")
    for folder in parser.parse_args().folders:
        truth = read_truth(folder / TRUTH)
        bad, every, where = look(folder, truth)
        about = truth.about
        table = Table(title=f"{about['personality']}, seed {about['seed']}", title_justify="left")
        for name in ("property", "of malicious successes", "of all successes", "addresses"):
            table.add_column(name, justify="left" if name == "property" else "right")
        for name in sorted(every, key=lambda one: -bad[one]):
            table.add_row(
                name, f"{bad[name] / max(1, bad['all']):.0%}", f"{every[name] / every['all']:.2%}",
                f"{where[name]:,}",
            )  # fmt: skip
        console = Console(width=None if sys.stdout.isatty() else 110)
        console.print(table)
        kinds = Counter(one.kind for one in truth.taken)
        never = sum(one.address not in truth.listed_from for one in truth.taken)
        console.print(f"take-overs by kind: {dict(kinds)}; from addresses never listed: {never}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""All goals, one table: ``python -m tests.bench``."""

from __future__ import annotations

import sys

from rich.console import Console

from tests.bench.goals import (
    goal1_decode,
    goal2_verdict,
    goal3_lookups,
    goal4_ledger,
    goal5_upload,
    goal7_service,
    goal8_shared,
    goal10_idle,
)
from tests.bench.measure import print_outcomes

GOALS = (
    goal1_decode,
    goal2_verdict,
    goal3_lookups,
    goal4_ledger,
    goal5_upload,
    goal7_service,
    goal8_shared,
    goal10_idle,
)


def main() -> int:
    """Run the goals one after the other; 1 when one is not met."""
    outcomes, notes = [], []
    for goal in GOALS:
        Console(stderr=True).print(f"{goal.__name__} …", highlight=False)
        told, noted = goal.run()
        outcomes += told
        notes += noted
    return print_outcomes(outcomes, notes)


if __name__ == "__main__":
    sys.exit(main())

"""Goal 1: a body to typed sign-ins with canonical addresses, against ``orjson.loads`` alone.

Fair, because orjson is the fastest general parser for Python and is not asked to do more than
parse: no field is read, no address looked at. Ours decodes, checks each record's table, and gives
canonical public addresses. Bodies differ from each other within a measurement, so that nothing
profits from seeing the same bytes again. CPU time.
"""

from __future__ import annotations

import orjson

from schemas.events.decode import Decoder
from schemas.events.tables import load_tables
from tests.bench.measure import Outcome, interleaved, print_outcomes
from tests.bench.measurements.data import addresses, messages, repeated

RECORDS = 4_000
"""In all bodies of one measurement."""
DISTINCT = 240
"""Addresses among them: as many for each sign-in as in goal 2."""
WANTED = {"flat": 1.5, "nested": 2.5}


def run() -> tuple[list[Outcome], list[str]]:
    """Measure both forms at both sizes, and with an address of its own for each record."""
    often = repeated(addresses(DISTINCT), RECORDS)
    outcomes = []
    notes = []
    for kind, wanted in WANTED.items():
        for size in (20, 100):
            bodies = [one.body for one in messages(kind, often, size)]
            notes.append(f"{kind}, {size} a body: {sum(map(len, bodies)) / RECORDS:,.0f} B each")
            outcomes.append(measured(f"{kind}, {size} a body", bodies, wanted))
        bodies = [one.body for one in messages(kind, addresses(RECORDS), 100)]
        outcomes.append(measured(f"{kind}, 100 a body, every address new", bodies, None))
    return outcomes, notes


def measured(what: str, bodies: list[bytes], wanted: float | None) -> Outcome:
    """Measure one set of bodies. Without a goal, each run starts with nothing remembered."""
    tables = load_tables()
    service = Decoder(tables)

    def ours() -> None:
        decode = (service if wanted else Decoder(tables)).decode
        for body in bodies:
            assert decode(body).signins

    def parsed() -> None:
        for body in bodies:
            assert orjson.loads(body)

    assert sum(len(service.decode(body).signins) for body in bodies) == RECORDS
    cost, alone = interleaved(ours, parsed, rounds=25)
    each = 1e6 / RECORDS
    return Outcome("1 decode", what, cost * each, alone * each, "us", wanted)


if __name__ == "__main__":
    print_outcomes(*run())

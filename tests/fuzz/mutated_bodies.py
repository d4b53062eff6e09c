"""Mutated recorded events, alone and among others, through decode and details.

``python -m tests.fuzz.mutated_bodies --bodies 1000000`` looks for a body that raises, and for a
record whose reading depends on its neighbours or its envelope. Exit status 1 shows what it found.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from schemas.events.decode import Decoder
from schemas.events.ranking_signals import signals_of
from schemas.events.sign_in import is_risky
from schemas.events.tables import load_tables
from tests.properties.strategies import EVERY
from tests.recorded import FALLBACK, encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schemas.events.decode import Decoded

DEEPEST = 1_100
MOST_RECORDS = 4
BODIES_A_JOB = 20_000

_EVENTS = [(case.record, encoded(case.record)) for case in EVERY]
_ODD_VALUES = (
    *(b"null", b"true", b"0", b"-0", b"NaN", b"Infinity", b"1e400", b"-1e999", b"01", b"", b"'x'"),
    *(b"18446744073709551616", b"9" * 500, b'""', b'"\\ud83d"', b'"\\udc00\\ud83d"', b'"\\q"'),
    *(b'"a\tb"', b'"\xff\xfe"', b'"caf\xe9"', b'"\\u0000"', b'"' + b"[" * 201 + b'"', b"[]", b"{}"),
    *(
        b'"' + b"]" * 201 + b'"',
        b'"' + b"}{" * 150 + b'"',
        b'"{\\"a\\":1}"',
        b'"{\\"a\\":"',
        b"[{}]",
    ),
    *(
        b'"0001-01-01T00:00:00Z"',
        b'"9999-12-31T23:59:59.9999999Z"',
        b'"81.2.69.160"',
        b'"10.0.0.1"',
    ),
)
_MEMBERS = (
    *(b'"records":[]', b'"records":[{"a":1}]', b'"Records":{}', b'"Type":"SigninLogs"'),
    *(b'"type":"OfficeActivity"', b'"category":"SignInLogs"', b'"TYPE":5', b'"x":{"records":[1]}'),
)
_SEPARATORS = (b",", b" , ", b",\n", b"\n,\t")
_BROKEN = (b'"', b"\\", b"[", b"]", b"{", b"}", b",", b":", b"\x00", b"\n", b"\xc3", b"e9")


def nested(dice: random.Random) -> bytes:
    """Return a value that nests up to :data:`DEEPEST` deep, around something odd or nothing."""
    depth = dice.choice((1, 7, 199, 200, 201, 250, dice.randint(900, 1_030), DEEPEST))
    opening, closing = dice.choice(
        ((b"[", b"]"), (b'{"a":', b"}"), (b"[[0],", b"]"), (b"[ ", b" ]"))
    )
    return opening * depth + (dice.choice(_ODD_VALUES) or b"0") + closing * depth


def mutated_record(dice: random.Random) -> bytes:
    """Return a record whose ends can still be told, however odd it is inside."""
    record, text = dice.choice(_EVENTS)
    members = [encoded(name) + b":" + encoded(value) for name, value in record.items()]
    for _ in range(dice.choice((0, 1, 1, 2, 3))):
        place = dice.randrange(len(members))
        name, _, _ = members[place].partition(b":")
        match dice.randrange(7):
            case 0:
                members[place] = name + b":" + dice.choice(_ODD_VALUES)
            case 1:
                members[place] = name + b":" + nested(dice)
            case 2:
                members.append(b'"y":' + nested(dice))
            case 3:
                members[place] = (
                    dice.choice((name.upper(), name.lower())) + members[place][len(name) :]
                )
            case 4:
                members.insert(place, dice.choice(_MEMBERS))
            case 5:
                members.append(dice.choice(members))
            case _:
                members.append(b'"x":' + dice.choice(_ODD_VALUES))
    if dice.random() < 0.3:
        dice.shuffle(members)
    return text if not members else b"{" + dice.choice(_SEPARATORS[:2]).join(members) + b"}"


def envelopes(records: Sequence[bytes], dice: random.Random) -> list[bytes]:
    """Return the same records in every envelope that they may come in."""
    joined = dice.choice(_SEPARATORS).join(records)
    half = len(records) // 2
    first, second = b",".join(records[:half]), b",".join(records[half:])
    return [
        b"[" + joined + b"]",
        b'{"records":[' + joined + b"]}",
        b'\xef\xbb\xbf { "records" : [ ' + joined + b" ] } ",
        b'{"Records":[' + joined + b"]}",
        b'{"time":"2031-05-06T07:08:09Z","records":[' + joined + b'],"more":{"records":[]}}',
        b'[{"records":[' + first + b']},{"records":[' + second + b"]}]",
        b'{"records":[' + first + b']}\n{"records":[' + second + b"]}",
        b'{"records":[' + first + b']}{"records":[' + second + b"]}",
        b'{"records":[\n' + b",\n".join(records) + b"\n]}",
    ]


def broken(body: bytes, dice: random.Random) -> bytes:
    """Return a body that is damaged anywhere: its records may no longer be told apart."""
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(len(body) + 1)
        match dice.randrange(4):
            case 0:
                body = body[:place] + dice.choice(_BROKEN) + body[place:]
            case 1:
                body = body[:place] + body[place + dice.randint(1, 20) :]
            case 2:
                body = body[:place]
            case _:
                body = body[:place] + bytes([dice.randrange(256)]) + body[place + 1 :]
    return body


@dataclass(slots=True)
class Read:
    """What a body holds, as far as it can be compared."""

    signins: list[tuple[Any, ...]] = field(default_factory=list)
    skips: Counter[str] = field(default_factory=Counter)
    rejects: list[tuple[str, bytes]] = field(default_factory=list)

    def __add__(self, other: Read) -> Read:
        return Read(
            self.signins + other.signins, self.skips + other.skips, self.rejects + other.rejects
        )


def read(decoder: Decoder, body: bytes) -> Read:
    """Decode *body* and read everything in it."""
    found: Decoded = decoder.decode(body)
    signins = []
    for signin in found.signins:
        details = signin.details(enqueued=None, fallback_time=FALLBACK)
        risky, signals = is_risky(signin.risk), signals_of(signin)
        signins.append((signin.addresses, risky, signin.record_time(), repr(details), signals))
    rejects = [(reject.reason, reject.body.strip()) for reject in found.rejects]
    return Read(signins, found.skips, rejects)


def differences(decoder: Decoder, dice: random.Random) -> tuple[int, list[bytes]]:
    """Return how many bodies were read, and those read otherwise than record by record."""
    records = [mutated_record(dice) for _ in range(dice.randint(1, MOST_RECORDS))]
    expected = Read()
    bodies = 0
    odd = []
    for record in records:
        alone = read(decoder, record)
        for envelope in (b"[" + record + b"]", b'{"records":[' + record + b"]}"):
            bodies += 1
            if read(decoder, envelope) != alone:
                odd.append(envelope)
        expected += alone
    several = envelopes(records, dice)
    for body in several:
        bodies += 1
        if read(decoder, body) != expected:
            odd.append(body)
    for body in several[:3]:
        bodies += 1
        read(decoder, broken(body, dice))
    return bodies, odd


def search(seed: int, bodies: int) -> tuple[int, list[bytes]]:
    """Read about *bodies* bodies; the seed says which."""
    dice = random.Random(seed)
    decoders: list[Callable[[], Decoder]] = [
        lambda: Decoder(load_tables(["all"])),
        lambda: Decoder(load_tables(["all"], with_late_columns=True)),
        lambda: Decoder(load_tables()),
    ]
    decoder = decoders[seed % 3]()
    done, odd = 0, []
    while done < bodies:
        state = dice.getstate()
        try:
            count, found = differences(decoder, dice)
        except Exception:
            dice.setstate(state)
            records = [mutated_record(dice) for _ in range(dice.randint(1, MOST_RECORDS))]
            print(f"raised in round of seed {seed} after {done} bodies: {records!r:.3000}")
            raise
        done += count
        odd += found
    return done, odd


def main() -> int:
    """Search, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bodies", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + -(-options.bodies // BODIES_A_JOB))
    started, done, odd = time.monotonic(), 0, []
    with ProcessPoolExecutor(options.jobs) as pool:
        for count, found in pool.map(search, seeds, [BODIES_A_JOB] * len(seeds)):
            done += count
            odd += found
            for body in found[:3]:
                print(f"read otherwise than its records alone: {body!r:.3000}")
    seconds = time.monotonic() - started
    print(f"{done:,} bodies in {seconds:,.0f} s, {len(odd):,} read otherwise, none raised")
    return 1 if odd else 0


if __name__ == "__main__":
    sys.exit(main())

"""Makes the recording that ships with the package: three and a half days of an invented company.

``python -m tests.bench.demo_recording.recording`` writes the files below ``producers/demo``. They
depend on nothing but this code and its siblings: no clock, no network, one seed. Another build of
zlib may compress the recording to other bytes; what it holds is the same.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.demo_recording import events as events
from tests.bench.demo_recording.actors import items, truth
from tests.bench.demo_recording.company import Company, Dice
from tests.bench.demo_recording.days import MINUTE, Delivery, Recorder, ordinary_days
from tests.bench.demo_recording.stories import all_stories

if TYPE_CHECKING:
    from collections.abc import Iterator

SEED = 20260302
FOLDER = Path(__file__).resolve().parents[3] / "producers" / "demo"


def _messages(deliveries: list[Delivery], dice: Dice) -> Iterator[bytes]:
    """Pack events into messages of 5 to 20, in the order in which they are emitted."""
    packs: dict[tuple[str, str], list[Delivery]] = {}
    size = 20
    for one in sorted(deliveries, key=lambda delivery: delivery.emitted):
        packs.setdefault(one.lane, []).append(one)
        for lane, pack in list(packs.items()):
            waited = one.emitted - pack[0].emitted
            if len(pack) >= size or (len(pack) >= 5 and waited > 40 * MINUTE):
                yield _message(packs.pop(lane))
                size = dice.randint(14, 20)
    left = [one for _, pack in sorted(packs.items()) for one in pack]
    yield from (_message(left[start : start + 20]) for start in range(0, len(left), 20))


def _message(pack: list[Delivery]) -> bytes:
    return events.compact({"records": [one.event for one in pack]}).encode()


def _with_unreadable(messages: list[bytes]) -> list[bytes]:
    """Put in a message that broke off, before its whole second delivery, and a gateway's error."""
    third = len(messages) // 3
    broken = messages[third][: len(messages[third]) * 3 // 5]
    gateway = b"<html><body>502 Bad Gateway: upstream closed the connection</body></html>"
    return [
        *messages[:third],
        broken,
        *messages[third : 2 * third],
        gateway,
        *messages[2 * third :],
    ]


def _recording() -> bytes:
    dice = Dice(SEED)
    recorder = Recorder(dice, Company(dice))
    ordinary_days(recorder)
    all_stories(recorder)
    return b"\n".join([*_with_unreadable(list(_messages(recorder.deliveries, dice))), b""])


def _gzipped(content: bytes) -> bytes:
    """Compress without a time in the header, so that the bytes are the same every time."""
    packer = zlib.compressobj(level=9, wbits=31, memLevel=9)
    return packer.compress(content) + packer.flush()


def build() -> dict[str, bytes]:
    """Return the files by name; the same bytes every time."""
    return {
        "recording.ndjson.gz": _gzipped(_recording()),
        "crowdsec.json": f"{events.compact(items())}\n".encode(),
        "truth.json": f"{events.compact(truth())}\n".encode(),
    }


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, content in build().items():
        (FOLDER / name).write_bytes(content)
        print(f"{FOLDER / name}: {len(content)} bytes")


if __name__ == "__main__":
    main()

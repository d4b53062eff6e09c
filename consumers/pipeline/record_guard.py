"""Isolates bugs: an error in reading, scoring or evaluating a record affects only that record."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

import msgspec
import structlog

from schemas.errors import SigninwatchError
from schemas.events.decode import Decoded
from schemas.events.sign_in import SignIn
from schemas.ports import QuarantineItem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from consumers.pipeline.stats import PipelineCounts
    from schemas.events.decode import Decoder, Reject
    from schemas.events.sign_in import Details
    from schemas.ledger_ports import PendingSignIn
    from schemas.ports import Message, Position, Quarantine

log = structlog.get_logger()

MAX_BODY_ON_LOOP_BYTES = 256 * 1024
"""Bytes of a malformed body that is decoded on the event loop, which takes some milliseconds."""
MAX_REMEMBERED_RECORDS = 1_000
PENDING = "pending"
"""Kind of a quarantined sign-in that was pending in the ledger."""


class RecordGuard:
    """Quarantines and counts a record that triggers a bug; re-raises the errors of this project.

    ``with guard.around(signin): ...`` must not await. :meth:`flush` quarantines what was caught;
    call it before the batch completes.
    """

    def __init__(self, counts: PipelineCounts, quarantine: Quarantine) -> None:
        self.counts = counts
        self._quarantine = quarantine
        self._caught: dict[int, tuple[object, QuarantineItem]] = {}
        self._subject: SignIn | PendingSignIn | Details | None = None
        self.caught: deque[bytes] = deque(maxlen=MAX_REMEMBERED_RECORDS)
        """The last quarantined records."""

    async def decode(self, decoder: Decoder, message: Message) -> Decoded:
        """Decode a message; reject the whole message if the decoder raises.

        A large malformed one is decoded in a thread: other partitions go on meanwhile.
        """
        body = message.body
        try:
            decoded = decoder.decode_quickly(body)
            if decoded is not None:
                return decoded
            if len(body) <= MAX_BODY_ON_LOOP_BYTES:
                return decoder.decode_slowly(body)
            return await asyncio.to_thread(decoder.decode_slowly, body)
        except Exception as error:  # noqa: BLE001 - the guard: no message may end the stream
            decoded = Decoded()
            decoded.reject(_reason("decoded", error), message.body)
            return decoded

    def around(self, subject: SignIn | PendingSignIn | Details) -> Self:
        """Guard the processing of one sign-in in the following ``with`` block."""
        self._subject = subject
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is None:
            return False
        if not isinstance(error, Exception) or isinstance(error, SigninwatchError):
            return False
        subject = self._subject
        if subject is not None and id(subject) not in self._caught:
            self._catch(subject, error)
        return True

    def _catch(self, subject: SignIn | PendingSignIn | Details, error: Exception) -> None:
        reason = _reason("judged", error)
        log.warning("record quarantined", why=reason)
        timestamp = datetime.now(UTC)
        if isinstance(subject, SignIn):
            body = _bytes_of(subject)
            self.caught.append(body)
            item = QuarantineItem("message", reason, subject.table, body, timestamp)
            self.counts.signins -= 1
        else:
            item = QuarantineItem(PENDING, reason, "", msgspec.json.encode(subject), timestamp)
            self.counts.records += 1
        self.counts.rejected += 1
        self._caught[id(subject)] = subject, item

    async def set_aside(self, items: Sequence[QuarantineItem]) -> None:
        """Put items into quarantine."""
        await self._quarantine.put(items)

    async def reject(self, position: Position, rejects: Iterable[Reject]) -> None:
        """Put the unreadable parts of the message at *position* into quarantine."""
        origin = f"{position.source}:{position.number}"
        timestamp = datetime.now(UTC)
        await self.set_aside(
            [
                QuarantineItem("message", reject.reason, origin, reject.body, timestamp)
                for reject in rejects
            ]
        )

    async def flush(self) -> None:
        """Put what was caught since the last flush into quarantine."""
        if self._caught:
            caught, self._caught = self._caught, {}
            await self.set_aside([item for _, item in caught.values()])


def _bytes_of(signin: SignIn) -> bytes:
    """Return the bytes of a record; empty if it cannot be located in its body."""
    try:
        return signin.source.raw(signin.index)
    except LookupError:
        return b""


def _reason(action: str, error: Exception) -> str:
    """Name the error and the function that raised it; the error's text may hold personal data."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    location = "" if trace is None else f" in {trace.tb_frame.f_code.co_qualname}"
    return f"could not be {action}: {type(error).__name__}{location}"

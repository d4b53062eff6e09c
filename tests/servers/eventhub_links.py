"""The links of a broker's connection: readers, producers, and those that ask and are answered."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.servers.eventhub_frames import (
    ACCEPTED,
    ANNOTATIONS,
    DELIVERY_ANNOTATIONS,
    DETACH,
    DISPOSITION,
    FLOW,
    TRANSFER,
    Described,
    Long,
    Symbol,
    Timestamp,
    UInt,
    ULong,
    error,
    frame,
    section,
)
from tests.servers.eventhub_log import Partition, Stored, now_ms, offset_of, read_transfer

if TYPE_CHECKING:
    from tests.servers.eventhub_connection import Connection
    from tests.servers.eventhub_state import Node

WINDOW = 65_536
PRODUCER_CREDIT = 300
CHUNK_BYTES = 256 * 1024
CHUNK_MESSAGES = 1_000

_HEAD = struct.Struct(">IBBH6s BI BI 2sQ 8s 4sII 24sq 22sq 16s13s")
_PERFORMATIVE = b"\x00\x53\x14\xc0\x1d\x0b"
_TAG = b"\xa0\x08"
_SETTLED = b"\x43\x41\x42\x40\x40\x42\x42\x42"
_MAP = b"\x00\x53\x72\xd1"
_NUMBER = b"\xa3\x15x-opt-sequence-number\x81"
_ENQUEUED = b"\xa3\x13x-opt-enqueued-time\x83"
_OFFSET = b"\xa3\x0cx-opt-offset\xa1\x0d"
_KEY = b"\xa3\x13x-opt-partition-key"
_MAP_SIZE = 4 + 24 + 8 + 22 + 8 + 16 + 13


@dataclass(eq=False)
class Session:
    """A session: what it may send, and its links by handle."""

    connection: Connection
    channel: int
    next_in: int
    window: int
    next_out: int = 0
    deliveries: int = 0
    links: dict[int, Link] = field(default_factory=dict)

    def send(self, performative: int, *fields: Any) -> None:
        """Send a frame on the session's channel."""
        self.connection.write(frame(self.channel, performative, *fields))

    def flow(self, *link: Any) -> None:
        """Tell the client of the windows and, if any, of a link's credit."""
        numbers = (self.next_in, WINDOW, self.next_out, WINDOW)
        self.send(FLOW, *map(UInt, numbers), *link)

    def on_flow(self, fields: list[Any]) -> None:
        """Learn how much the client takes."""
        self.window = (fields[0] or 0) + fields[1] - self.next_out
        links = self.links.values() if fields[4] is None else [self.links.get(fields[4])]
        for link in list(links):
            if link is not None:
                link.on_flow(fields)
        if fields[9] and fields[4] is None:
            self.flow()


@dataclass(eq=False)
class Link:
    """A link by the client's name, handle and address."""

    session: Session
    name: str
    handle: int
    node: Node
    address: str

    def start(self) -> None:
        """Begin, once the client knows that the link is there."""

    def close(self) -> None:
        """Let go of what the link holds; may be called twice."""
        self.session.links.pop(self.handle, None)

    def detach(self, condition: str, description: str) -> None:
        """Close the link with an error."""
        self.close()
        self.session.send(DETACH, UInt(self.handle), True, error(condition, description))

    def on_flow(self, fields: list[Any]) -> None:
        """Hear of credit."""

    def on_message(self, payload: bytes, message_format: int) -> None:
        """Hear of a whole message."""


@dataclass(eq=False)
class Incoming(Link):
    """A client's sending link: puts transfers together, accepts them, and gives credit."""

    count: int = 0
    parts: list[bytes] = field(default_factory=list)
    delivery: int = 0
    message_format: int = 0
    unsettled: bool = True

    def start(self) -> None:
        """Give credit."""
        self._give_credit()

    def _give_credit(self) -> None:
        numbers = (self.handle, self.count, PRODUCER_CREDIT)
        self.session.flow(*map(UInt, numbers))

    def on_transfer(self, fields: list[Any], payload: bytes) -> None:
        """Take a frame; the last one of a message hands it on."""
        if not self.parts:
            self.delivery, self.message_format = fields[1], fields[3] or 0
            self.unsettled = not fields[4]
        self.parts.append(payload)
        if fields[5]:
            return
        message, self.parts = b"".join(self.parts), []
        self.on_message(message, self.message_format)
        self.count += 1
        if self.unsettled:
            first, state = UInt(self.delivery), Described(ULong(ACCEPTED), [])
            self.session.send(DISPOSITION, True, first, first, True, state, False)
        if self.count % (PRODUCER_CREDIT // 3) == 0:
            self._give_credit()


@dataclass(eq=False)
class Producer(Incoming):
    """Appends what is sent to a partition, or to the one of its key, or to each in turn."""

    partition: Partition | None = None

    def on_message(self, payload: bytes, message_format: int) -> None:
        """Append a message or a batch, which stays together."""
        messages = read_transfer(payload, message_format)
        state = self.session.connection.state
        key = messages[0].key if messages else None
        hub = state.hubs[self.node.hub]
        partition = self.partition or hub.choose(key)
        state.received.accepted[f"{hub.name}/{hub.partitions.index(partition)}"] += len(messages)
        partition.append(messages)


@dataclass(eq=False)
class Questions(Incoming):
    """Requests to a node such as ``$cbs``; the connection answers."""

    def on_message(self, payload: bytes, message_format: int) -> None:  # noqa: ARG002
        """Have the connection answer."""
        self.session.connection.ask(self, payload)


@dataclass(eq=False)
class Outgoing(Link):
    """A client's receiving link: knows its credit."""

    credit: int = 0
    sent: int = 0

    def on_flow(self, fields: list[Any]) -> None:
        """Learn the credit; drain and echo are obeyed."""
        if fields[4] is not None:
            self.credit = (fields[5] or 0) + (fields[6] or 0) - self.sent
        self.pump()
        if fields[4] is not None and fields[8]:
            self.sent, self.credit = self.sent + self.credit, 0
        if fields[4] is not None and (fields[8] or fields[9]):
            self.session.flow(*map(UInt, (self.handle, self.sent, self.credit)))

    def pump(self) -> None:
        """Send what there is, as far as credit, window and the socket let it."""

    def spend(self, frames: int = 1) -> None:
        """Count one delivery of so many frames."""
        session = self.session
        self.credit, self.sent = self.credit - 1, self.sent + 1
        session.deliveries += 1
        session.next_out += frames
        session.window -= frames

    def message(self, payload: bytes) -> tuple[bytes, int]:
        """Return a settled delivery as frames, and how many they are."""
        room = self.session.connection.max_frame - 128
        frames = []
        for start in range(0, len(payload), room):
            more = start + room < len(payload)
            tag = struct.pack(">Q", self.session.deliveries)
            head = UInt(self.handle), UInt(self.session.deliveries), tag, UInt(0), True, more
            part = payload[start : start + room]
            last = (None, None, False, False, False)
            frames.append(frame(self.session.channel, TRANSFER, *head, *last, payload=part))
        return b"".join(frames), len(frames)


@dataclass(eq=False)
class Answers(Outgoing):
    """Answers of a node such as ``$cbs``, kept until there is credit."""

    waiting: list[bytes] = field(default_factory=list)

    def answer(self, message: bytes) -> None:
        """Send a message as soon as possible."""
        self.waiting.append(message)
        self.pump()

    def pump(self) -> None:
        """Send what waits."""
        while self.waiting and self.credit > 0:
            data, frames = self.message(self.waiting.pop(0))
            self.spend(frames)
            self.session.connection.write(data)


@dataclass(eq=False)
class Consumer(Outgoing):
    """Delivers a partition from a number on."""

    partition: Partition = field(default_factory=Partition)
    next: int = 0
    epoch: int | None = None
    metric: bool = False
    counted: str = ""
    scheduled: bool = False

    def start(self) -> None:
        """Wait for credit and messages."""
        self.partition.readers.add(self.wake)

    def close(self) -> None:
        """Stop delivering, and make room for others."""
        super().close()
        self.partition.readers.discard(self.wake)
        self.session.connection.state.leave(self.node, self)

    def wake(self) -> None:
        """Look for messages soon; many wakes make one look."""
        if not self.scheduled:
            self.scheduled = True
            self.session.connection.loop.call_soon(self._look)

    def _look(self) -> None:
        self.scheduled = False
        self.pump()

    def pump(self) -> None:
        """Send a chunk, and the next one when others had their turn."""
        session, partition = self.session, self.partition
        connection = session.connection
        self.next = max(self.next, partition.first)
        limit = min(self.credit, session.window, CHUNK_MESSAGES, partition.next - self.next)
        if limit <= 0 or connection.paused or partition.silent:
            return
        if session.links.get(self.handle) is not self:
            return
        parts, size = [], 0
        for number, enqueued, stored in partition.read(self.next, limit):
            data, frames = self._delivery(number, enqueued, stored)
            parts += data
            self.spend(frames)
            size += len(stored.sections)
            self.next = number + 1
            if size > CHUNK_BYTES or session.window <= 0:
                break
        connection.state.received.delivered[self.counted] += len(parts) // 2
        connection.write(b"".join(parts))
        self.wake()

    def _delivery(self, number: int, enqueued: int, stored: Stored) -> tuple[list[bytes], int]:
        body, session = stored.sections, self.session
        if self.metric or len(body) + 1024 > session.connection.max_frame:
            data, frames = self.message(self._annotated(number, enqueued, stored))
            return [data, b""], frames
        extra = b""
        if stored.key is not None:
            key = stored.key.encode()
            extra = _KEY + b"\xb1" + struct.pack(">I", len(key)) + key
        head = _HEAD.pack(
            _HEAD.size + len(extra) + len(body), 2, 0, session.channel, _PERFORMATIVE,
            0x70, self.handle, 0x70, session.deliveries, _TAG, session.deliveries, _SETTLED,
            _MAP, _MAP_SIZE + len(extra), 8 if extra else 6,
            _NUMBER, number, _ENQUEUED, enqueued, _OFFSET, b"%d" % offset_of(number),
        )  # fmt: skip
        return [head + extra, body], 1

    def _annotated(self, number: int, enqueued: int, stored: Stored) -> bytes:
        annotations = {
            Symbol("x-opt-sequence-number"): Long(number),
            Symbol("x-opt-enqueued-time"): Timestamp(enqueued),
            Symbol("x-opt-offset"): str(offset_of(number)),
        }
        if stored.key is not None:
            annotations[Symbol("x-opt-partition-key")] = stored.key
        payload = section(ANNOTATIONS, annotations) + stored.sections
        return (section(DELIVERY_ANNOTATIONS, self._metric()) if self.metric else b"") + payload

    def _metric(self) -> dict[str, object]:
        number, offset, enqueued = self.partition.last()
        return {
            Symbol("last_enqueued_sequence_number"): Long(number),
            Symbol("last_enqueued_offset"): offset,
            Symbol("last_enqueued_time_utc"): Timestamp(enqueued),
            Symbol("runtime_info_retrieval_time_utc"): Timestamp(now_ms()),
        }

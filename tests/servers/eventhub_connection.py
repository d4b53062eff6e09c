"""One client's connection to a broker: handshake, sessions, and links attached or refused."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Any

from tests.servers.eventhub_frames import (
    AMQP_HEADER,
    APPLICATION_PROPERTIES,
    ATTACH,
    BEGIN,
    CLOSE,
    DETACH,
    END,
    FLOW,
    OPEN,
    PROPERTIES,
    SASL_HEADER,
    SASL_INIT,
    SASL_MECHANISMS,
    SASL_OUTCOME,
    SOURCE,
    TARGET,
    TRANSFER,
    VALUE,
    Array,
    Described,
    Frame,
    Symbol,
    UByte,
    UInt,
    ULong,
    UShort,
    decode,
    frame,
    read_frame,
    section,
    sections,
)
from tests.servers.eventhub_links import (
    WINDOW,
    Answers,
    Consumer,
    Incoming,
    Link,
    Outgoing,
    Producer,
    Questions,
    Session,
)
from tests.servers.eventhub_log import PositionError
from tests.servers.eventhub_state import Node, Refused, position_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.eventhub_state import Key, State

MAX_FRAME = 1024 * 1024
MAX_MESSAGE = 1024 * 1024
HIGH_WATER = 1024 * 1024
ARGUMENT_ERROR = "com.microsoft:argument-error"
METRIC = "com.microsoft:enable-receiver-runtime-metric"


class Connection(asyncio.Protocol):
    """Speaks the server's side; removes itself from *connections* when it ends."""

    def __init__(self, state: State, connections: set[Connection]) -> None:
        self.state = state
        self.loop = asyncio.get_running_loop()
        self.claims: dict[str, Key] = {}
        self.sessions: dict[int, Session] = {}
        self.max_frame = MAX_FRAME
        self.paused = False
        self._connections = connections
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._on: dict[int, Callable[[Frame], None]] = {
            SASL_INIT: self._on_sasl_init, OPEN: self._on_open, BEGIN: self._on_begin,
            ATTACH: self._on_attach, FLOW: self._on_flow, TRANSFER: self._on_transfer,
            DETACH: self._on_detach, END: self._on_end, CLOSE: self._on_close,
        }  # fmt: skip

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection."""
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=HIGH_WATER)
        self._transport = transport
        self._connections.add(self)
        self.state.received.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Let go of all links."""
        self._connections.discard(self)
        self._close_links()

    def pause_writing(self) -> None:
        """Stop delivering."""
        self.paused = True

    def resume_writing(self) -> None:
        """Deliver again."""
        self.paused = False
        for link in self.links():
            if isinstance(link, Outgoing):
                link.pump()

    def links(self) -> list[Link]:
        """Return the links that are attached."""
        return [link for one in self.sessions.values() for link in one.links.values()]

    def write(self, data: bytes) -> None:
        """Send bytes; those to a lost connection are lost."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def reset(self) -> None:
        """End the connection the hard way, with a TCP reset."""
        if self._transport is None:
            return
        raw = self._transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()
        self._close_links()

    def _close_links(self) -> None:
        for link in self.links():
            link.close()
        self.sessions.clear()

    def data_received(self, data: bytes) -> None:
        """Take bytes as they come."""
        self._buffer += data
        while len(self._buffer) >= 8:
            if self._buffer.startswith(b"AMQP"):
                size = 8
            else:
                size = int.from_bytes(self._buffer[:4], "big")
            if len(self._buffer) < size:
                return
            one = bytes(self._buffer[:size])
            del self._buffer[:size]
            if one.startswith(b"AMQP"):
                self._on_header(one)
            elif (found := read_frame(one)) is not None and found.performative in self._on:
                self._on[found.performative](found)

    def _on_header(self, header: bytes) -> None:
        self.write(header if header == SASL_HEADER else AMQP_HEADER)
        if header == SASL_HEADER:
            names = ("MSSBCBS", "PLAIN", "ANONYMOUS", "EXTERNAL")
            self.write(frame(0, SASL_MECHANISMS, Array(map(Symbol, names))))

    def _on_sasl_init(self, found: Frame) -> None:
        code = 0 if found.fields[0] in ("ANONYMOUS", "MSSBCBS") else 1
        self.write(frame(0, SASL_OUTCOME, UByte(code)))

    def _on_open(self, found: Frame) -> None:
        self.max_frame = min(found.fields[2] or MAX_FRAME, MAX_FRAME)
        self.write(frame(0, OPEN, "broker", None, UInt(MAX_FRAME), UShort(65_535)))

    def _on_begin(self, found: Frame) -> None:
        next_in, window = found.fields[1] or 0, found.fields[2] or 0
        session = Session(self, found.channel, next_in, window)
        self.sessions[found.channel] = session
        numbers = (0, WINDOW, WINDOW, 255)
        session.send(BEGIN, UShort(found.channel), *map(UInt, numbers))

    def _on_flow(self, found: Frame) -> None:
        session = self.sessions.get(found.channel)
        if session is not None:
            session.on_flow(found.fields)

    def _on_transfer(self, found: Frame) -> None:
        session = self.sessions.get(found.channel)
        if session is None:
            return
        session.next_in += 1
        link = session.links.get(found.fields[0])
        if isinstance(link, Incoming):
            link.on_transfer(found.fields, found.payload)

    def _on_detach(self, found: Frame) -> None:
        session = self.sessions.get(found.channel)
        link = session.links.get(found.fields[0]) if session else None
        if session is not None and link is not None:
            link.close()
            session.send(DETACH, UInt(found.fields[0]), bool(found.fields[1]))

    def _on_end(self, found: Frame) -> None:
        session = self.sessions.pop(found.channel, None)
        if session is not None:
            for link in list(session.links.values()):
                link.close()
            session.send(END)

    def _on_close(self, found: Frame) -> None:  # noqa: ARG002
        self._close_links()
        self.write(frame(0, CLOSE))
        if self._transport is not None:
            self._transport.close()

    def _on_attach(self, found: Frame) -> None:
        session = self.sessions.get(found.channel)
        if session is None:
            return
        fields = found.fields
        reads = bool(fields[2])
        terminus = fields[5] if reads else fields[6]
        address = str(terminus.value[0]) if isinstance(terminus, Described) else ""
        node = Node.of(address)
        name = _named(node)
        try:
            link = self._link(session, fields, node, address)
        except Refused as refused:
            self.state.received.refused[name] += 1
            self._answer(session, fields, attached=False)
            told = Link(session, fields[0], fields[1], node, address)
            told.detach(refused.condition, refused.description)
            return
        self.state.received.attaches[name] += 1
        session.links[fields[1]] = link
        self._answer(session, fields, attached=True)
        link.start()

    def _link(self, session: Session, fields: list[Any], node: Node, address: str) -> Link:
        base = session, str(fields[0]), int(fields[1]), node
        if address in ("$cbs", "$management"):
            if not fields[2]:
                return Questions(*base, address)
            target = fields[6].value[:1] if isinstance(fields[6], Described) else []
            return Answers(*base, str(target[0]) if target else "")
        partition = self.state.check(node, self.claims)
        if not fields[2]:
            return Producer(*base, address, partition=partition)
        if partition is None:
            raise Refused("amqp:invalid-field", "A reader names its partition")
        selector, properties = _selector(fields[5]), fields[13] or {}
        try:
            first = partition.find(position_of(selector))
        except PositionError as problem:
            raise Refused(ARGUMENT_ERROR, str(problem)) from None
        consumer = Consumer(
            *base, address, partition=partition, next=first,
            epoch=properties.get("com.microsoft:epoch"), metric=METRIC in _listed(fields[12]),
            counted=f"{node.hub}/{node.partition}",
        )  # fmt: skip
        self.state.admit(node, consumer)
        return consumer

    def _answer(self, session: Session, fields: list[Any], *, attached: bool) -> None:
        reads = bool(fields[2])
        source, target = (_padded(fields[5], SOURCE, 11), _padded(fields[6], TARGET, 7))
        ends = (source, target) if attached else (None, None)
        settle = UByte(1 if reads else 0), UByte(0)
        count = UInt(0) if reads else None
        session.send(
            ATTACH, fields[0], UInt(fields[1]), not reads, *settle, *ends, None, False, count,
            ULong(MAX_MESSAGE),
        )  # fmt: skip

    def ask(self, link: Questions, message: bytes) -> None:
        """Answer a request on the session's link from the same node."""
        found = {code: decode(message, value)[0] for code, _, value, _ in sections(message)}
        asked = found.get(APPLICATION_PROPERTIES) or {}
        properties = [*(found.get(PROPERTIES) or []), *[None] * 13]
        body: dict[str, Any] | None = None
        if link.address == "$cbs":
            token = found.get(VALUE)
            status, text, key = self.state.put_token(asked, str(token))
            if key is not None:
                self.claims[Node.of(str(asked.get("name", ""))).hub] = key
        else:
            status, text, body = self.state.manage(asked, self.claims)
        told = {"status-code": status, "status-description": text}
        answer = section(PROPERTIES, [None] * 5 + [properties[0]] + [None] * 7)
        answer += section(APPLICATION_PROPERTIES, told) + section(VALUE, body)
        for other in link.session.links.values():
            if isinstance(other, Answers) and _is_for(other, link.address, properties[4]):
                other.answer(answer)
                return


def _is_for(link: Answers, node: str, reply_to: str | None) -> bool:
    return link.node.hub == node and (reply_to is None or link.address in (reply_to, node))


def _named(node: Node) -> str:
    return "/".join(one for one in node if one)


def _padded(terminus: Any, code: int, size: int) -> Described:
    fields = terminus.value if isinstance(terminus, Described) else []
    return Described(ULong(code), [*fields, *[None] * (size - len(fields))])


def _listed(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


def _selector(source: Any) -> str | None:
    filters = source.value[7] if len(source.value) > 7 else None
    for value in (filters or {}).values():
        return str(value.value if isinstance(value, Described) else value)
    return None

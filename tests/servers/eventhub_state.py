"""What a broker knows apart from its connections: hubs, keys, faults on request, and counters."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import parse_qsl, unquote_plus

from tests.servers.eventhub_frames import Array, Long, Timestamp
from tests.servers.eventhub_log import Hub, Partition, Position

if TYPE_CHECKING:
    from collections.abc import Mapping

NOT_FOUND, UNAUTHORIZED = "amqp:not-found", "amqp:unauthorized-access"
STOLEN, LIMIT = "amqp:link:stolen", "amqp:resource-limit-exceeded"
MOST_READERS = 5
_SELECTOR = re.compile(
    r"amqp\.annotation\.x-opt-(offset|sequence-number|enqueued-?time)(?:utc)? (>=?) '([^']*)'"
)


class Refused(Exception):
    """A link the broker does not want: an AMQP condition and what to say."""

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(f"{condition}: {description}")
        self.condition = condition
        self.description = description


@dataclass(frozen=True, slots=True)
class Key:
    """A shared access key and what it is good for."""

    secret: str
    listen: bool = True
    send: bool = True


class Node(NamedTuple):
    """What a link is attached to; without a group a producer sends to it."""

    hub: str
    group: str | None = None
    partition: str | None = None

    @staticmethod
    def of(address: str) -> Node:
        """Read an address, with or without scheme and host."""
        path = re.sub(r"^[a-z]+://[^/]*/", "", address).strip("/")
        hub, *rest = path.split("/")
        words = {name.lower(): value for name, value in zip(rest[::2], rest[1::2], strict=False)}
        return Node(hub.lower(), words.get("consumergroups"), words.get("partitions"))


def _same(wanted: int | str | None, there: str | None) -> bool:
    return wanted is None or str(wanted).lower() == (there or "").lower()


@dataclass(frozen=True, slots=True)
class Matching:
    """Which links a fault is about: None stands for any; ``kind`` is read or send."""

    hub: str | None = None
    partition: int | str | None = None
    group: str | None = None
    kind: str = "read"

    def has(self, node: Node) -> bool:
        """Say whether a link to this node is meant."""
        return (
            (self.kind == "read") == (node.group is not None)
            and _same(self.hub, node.hub)
            and _same(self.partition, node.partition)
            and _same(self.group, node.group)
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """Links refused on request."""

    matching: Matching
    condition: str
    description: str


@dataclass
class Received:
    """Counters. Links are named ``hub/group/partition``, partitions ``hub/partition``."""

    connections: int = 0
    tokens: Counter[int] = field(default_factory=Counter)
    attaches: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    delivered: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return vars(self).copy()


class Reader(Protocol):
    """A consumer's link, as far as the rules of epochs go."""

    epoch: int | None

    def detach(self, condition: str, description: str) -> None:
        """Close the link with an error."""


def position_of(selector: str | None) -> Position | None:
    """Read a position filter; none is the start."""
    if selector is None:
        return None
    found = _SELECTOR.fullmatch(selector.strip())
    if found is None:
        raise Refused("amqp:invalid-field", f"The filter {selector!r} is not understood")
    by = "enqueued-time" if found[1].startswith("enqueued") else found[1]
    return Position(by, found[3], found[2] == ">=")


@dataclass
class State:
    """Hubs by lower-case name, who may use them, and who reads."""

    hubs: dict[str, Hub]
    keys: dict[str, Key]
    bearers: dict[str, Key] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    received: Received = field(default_factory=Received)
    readers: dict[Node, list[Reader]] = field(default_factory=dict)

    def check(self, node: Node, claims: Mapping[str, Key]) -> Partition | None:
        """Return the partition of a link, if it names one; raises if the link is refused."""
        for refusal in self.refusals:
            if refusal.matching.has(node):
                raise Refused(refusal.condition, refusal.description)
        claim, right = claims.get(node.hub), "Send" if node.group is None else "Listen"
        if claim is None or not (claim.send if node.group is None else claim.listen):
            text = f"Unauthorized access. '{right}' claim(s) are required. Resource: '{node.hub}'"
            raise Refused(UNAUTHORIZED, text)
        hub = self.hubs.get(node.hub)
        if hub is None or (node.group is not None and node.group.lower() not in hub.groups):
            name = "/".join(one for one in (node.hub, node.group) if one)
            raise Refused(NOT_FOUND, f"The messaging entity '{name}' could not be found")
        if node.partition is None:
            return None
        if not (node.partition.isdecimal() and int(node.partition) < len(hub.partitions)):
            raise Refused("com.microsoft:argument-error", "The partition does not exist")
        return hub.partitions[int(node.partition)]

    def admit(self, node: Node, reader: Reader) -> None:
        """Add a reader by the rules of epochs: it may be refused, or others lose their links."""
        there = self.readers.setdefault(node._replace(group=(node.group or "").lower()), [])
        highest = max((one.epoch for one in there if one.epoch is not None), default=None)
        if reader.epoch is None:
            if highest is not None:
                text = "At least one receiver for the endpoint is created with epoch of "
                more = f"'{highest}', and so non-epoch receiver is not allowed."
                raise Refused(STOLEN, text + more)
            if len(there) >= MOST_READERS:
                raise Refused(LIMIT, f"Exceeded the maximum number of {MOST_READERS} receivers")
        elif highest is not None and highest > reader.epoch:
            raise Refused(STOLEN, f"Receiver with a higher epoch '{highest}' already exists.")
        else:
            text = f"New receiver with higher epoch of '{reader.epoch}' is created hence "
            for one in list(there):
                one.detach(STOLEN, text + "current receiver is getting disconnected.")
        there.append(reader)

    def leave(self, node: Node, reader: Reader) -> None:
        """Forget a reader; one that is not there is no error."""
        there = self.readers.get(node._replace(group=(node.group or "").lower()), [])
        if reader in there:
            there.remove(reader)

    def put_token(self, asked: Mapping[str, Any], token: str) -> tuple[int, str, Key | None]:
        """Judge a token: status, what to say, and what it is good for."""
        key = self._shared(token) if token.startswith("Shared") else self.bearers.get(token)
        hub = Node.of(str(asked.get("name", ""))).hub
        if key is None:
            status, text = 401, "InvalidSignature: The token has an invalid signature."
        elif hub not in self.hubs:
            status, text = 404, f"The messaging entity '{hub}' could not be found"
        else:
            status, text = 202, "Accepted"
        self.received.tokens[status] += 1
        return status, text, key if status == 202 else None

    def _shared(self, token: str) -> Key | None:
        parts = dict(parse_qsl(token.partition(" ")[2], keep_blank_values=True))
        raw = dict(one.partition("=")[::2] for one in token.partition(" ")[2].split("&"))
        key = self.keys.get(unquote_plus(raw.get("skn", "")))
        if key is None or float(parts.get("se", 0)) < time.time():
            return None
        signed = f"{raw.get('sr', '')}\n{raw['se']}".encode()
        digest = hmac.new(key.secret.encode(), signed, hashlib.sha256).digest()
        return key if parts.get("sig") == base64.b64encode(digest).decode() else None

    def manage(
        self, asked: Mapping[str, Any], claims: Mapping[str, Key]
    ) -> tuple[int, str, dict[str, Any]]:
        """Answer a READ: status, what to say, and the properties."""
        name, kind = str(asked.get("name", "")).lower(), asked.get("type")
        hub = self.hubs.get(name)
        if hub is None:
            return 404, f"The messaging entity '{name}' could not be found", {}
        if name not in claims:
            return 401, "Unauthorized access", {}
        if asked.get("operation") != "READ":
            return 400, "The operation is not known", {}
        if kind == "com.microsoft:eventhub":
            return 200, "OK", _about_hub(hub)
        partition = str(asked.get("partition"))
        if not (partition.isdecimal() and int(partition) < len(hub.partitions)):
            return 404, "The partition could not be found", {}
        return 200, "OK", _about_partition(hub, partition)


def _about_hub(hub: Hub) -> dict[str, Any]:
    return {
        "name": hub.name,
        "type": "com.microsoft:eventhub",
        "created_at": Timestamp(hub.created),
        "partition_count": len(hub.partitions),
        "partition_ids": Array([str(n) for n in range(len(hub.partitions))]),
    }


def _about_partition(hub: Hub, name: str) -> dict[str, Any]:
    partition = hub.partitions[int(name)]
    number, offset, enqueued = partition.last()
    return {
        "name": hub.name,
        "type": "com.microsoft:partition",
        "partition": name,
        "begin_sequence_number": Long(partition.first if partition.next else -1),
        "last_enqueued_sequence_number": Long(number),
        "last_enqueued_offset": offset,
        "last_enqueued_time_utc": Timestamp(enqueued),
        "is_partition_empty": partition.first == partition.next,
    }

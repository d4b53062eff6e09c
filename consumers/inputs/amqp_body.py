"""The body of an AMQP message as bytes of text.

Azure sends data sections. Other senders put a text or bytes into an AMQP value (OASIS AMQP 1.0,
3.2.8); the SDK decodes all three forms.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from azure.eventhub.amqp import AmqpMessageBodyType

from schemas.events.decode import Reject

if TYPE_CHECKING:
    from azure.eventhub import EventData


def body_of(event: EventData) -> bytes | Reject:
    """Return the body: data sections, or an AMQP value of text or bytes. Reject anything else.

    A rejected body is kept whole, as JSON.
    """
    try:
        body = event.body
    except ValueError:
        return Reject("the message has no body", b"")
    if event.body_type is AmqpMessageBodyType.DATA:
        return body if isinstance(body, bytes) else b"".join(body)  # type: ignore[arg-type] # bytes
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode("utf-8", "surrogatepass")
    if event.body_type is AmqpMessageBodyType.SEQUENCE:
        body = list(body)  # type: ignore[arg-type] # an iterator of lists
    kind = event.body_type.value
    return Reject(f"the body is an AMQP {kind} of type {type(body).__name__}", _as_json(body))


def _as_json(value: object) -> bytes:
    try:
        return json.dumps(_plain(value)).encode()  # orjson has no integers beyond 64 bits
    except RecursionError:
        return b""


def _plain(value: object) -> object:
    """Return a value as JSON can hold it. The SDK returns text as bytes."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)

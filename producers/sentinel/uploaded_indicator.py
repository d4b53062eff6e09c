"""The record of an upload of an address, as stored in the ledger's history."""

from __future__ import annotations

import math

import msgspec

from schemas.errors import LedgerFailed


class UploadedIndicator(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The last upload of an address. Times are seconds since the epoch, by our clock."""

    time: float
    """Time of the decision."""
    until: float
    """End of validity; 0 if the indicator was withdrawn."""
    first: float
    """Time of the first upload of the address."""


NEVER_UPLOADED = UploadedIndicator(0.0, 0.0, math.inf)


def merged(key: str, mine: bytes, theirs: bytes) -> bytes:
    """Merge the uploads of two instances: the later decision wins, at equal times the longer one.

    Commutative and idempotent.
    """
    own, other = decoded_upload(key, mine), decoded_upload(key, theirs)
    last = max(own, other, key=lambda upload: (upload.time, upload.until))
    joined = msgspec.structs.replace(last, first=min(own.first, other.first))
    return msgspec.msgpack.encode(joined)


def decoded_upload(key: str, body: bytes) -> UploadedIndicator:
    """Return a stored upload. LedgerFailed if it cannot be decoded."""
    try:
        return msgspec.msgpack.decode(body, type=UploadedIndicator)
    except msgspec.MsgspecError as error:
        raise LedgerFailed(f"the ledger entry {key[:3]}… is unreadable: {error}") from None

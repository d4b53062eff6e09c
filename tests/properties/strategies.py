"""What is generated: odd values, records that are nearly real, bodies, and damage to them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.recorded import OTHER_V4, V4, V6, encoded
from tests.recorded.entra import RECORDS as ENTRA
from tests.recorded.others import RECORDS as OTHERS
from tests.recorded.providers import RECORDS as PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY = [*ENTRA, *OTHERS, *PROVIDERS]

THOROUGH = settings(
    deadline=None,
    max_examples=200,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

ADDRESSES = st.sampled_from(
    [
        *(
            V4,
            OTHER_V4,
            V6,
            f"{V4}:443",
            f"[{V6}]:443",
            f"::ffff:{V4}",
            "10.0.0.1",
            "::1",
            "0.0.0.0",  # noqa: S104 - an address that events carry
        ),
        *("", "-", "<null>", None, "192.0.2.0/24", "ae1e2e3e-0000-4000-8000-000000000000"),
    ]
)
NAMES = sorted(
    {
        part
        for case in EVERY
        for form in (case.record, case.record.get("properties"))
        if isinstance(form, dict)
        for part in form
    }
)
HOT = [
    *("resultType", "ResultType", "status", "Status", "category", "Type", "properties", "time"),
    *("callerIpAddress", "ipAddress", "IPAddress", "RemoteIP", "id", "Id", "ReportId", "uuid"),
    *("autonomousSystemNumber", "isInteractive", "createdDateTime", "TimeGenerated", "userId"),
]
"""The names that matter most."""
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**80), 2**80)
    | st.floats()
    | st.text(max_size=40)
    | st.text(st.characters(), max_size=40)
    | st.text("-05 .", max_size=4)
    | st.text("-0123456789. ", max_size=8)
    | ADDRESSES
    | st.sampled_from(
        ["0", "50126", "Success", "--5", "5/6/2031 3:03:58 PM", "2031-05-06T07:08:09Z"]
    )
    | st.sampled_from([case.form.split(":")[1] for case in EVERY])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8) | st.sampled_from([*HOT, *NAMES]), inner, max_size=5)
        | inner.map(json.dumps)
    ),
    max_leaves=12,
)


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    """Return a recorded event with some fields changed, added or taken away."""
    record = dict(draw(st.sampled_from(EVERY)).record)
    inside = record.get("properties")
    target = dict(inside) if isinstance(inside, dict) and draw(st.booleans()) else record
    for name in draw(st.lists(st.sampled_from(HOT) | st.sampled_from(NAMES), max_size=4)):
        target[name] = draw(VALUES)
    for name in draw(st.lists(st.sampled_from(sorted(target)), max_size=2)):
        target.pop(name, None)
    if target is not record:
        record["properties"] = target
    return record


@st.composite
def cased(draw: st.DrawFn, value: Any) -> Any:
    """Return *value* with its names in another order, and its outer and inner ones in any case."""
    if not isinstance(value, dict):
        return value
    names = draw(st.permutations(list(value)))
    changes: list[Callable[[str], str]] = [str.lower, str.upper, str.swapcase, str.strip]
    change = draw(st.sampled_from(changes))
    return {change(name): draw(cased(value[name])) for name in names}


ITEMS = records() | VALUES


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Return a body in any envelope, of nearly real records and of anything else."""
    items = draw(st.lists(ITEMS, max_size=5))
    match draw(st.integers(0, 5)):
        case 0:
            return encoded_ascii({"records": items})
        case 1:
            return encoded_ascii(items)
        case 2:
            return b"\n".join(map(encoded_ascii, items))
        case 3:
            return encoded_ascii([{"records": items}, *items])
        case 4:
            return encoded_ascii(items[0] if items else None)
        case _:
            return encoded_ascii({"before": "x" * 300, "Records": items})


def encoded_ascii(value: Any) -> bytes:
    """Write *value* with escapes, so that halves of characters can be written."""
    return json.dumps(value).encode()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return a real body, cut off or with some bytes changed."""
    chosen = draw(st.lists(st.sampled_from(EVERY), min_size=1, max_size=3))
    body = bytearray(encoded({"records": [case.record for case in chosen]}))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(body) - 1))
        match draw(st.integers(0, 2)):
            case 0:
                body[place] = draw(st.integers(0, 255))
            case 1:
                body[place : place + 1] = draw(st.binary(max_size=6))
            case _:
                body[place:place] = draw(st.sampled_from([b'"', b"{", b"]", b"\\", b",", b"\n"]))
    return bytes(body[: draw(st.integers(0, len(body)))] if draw(st.booleans()) else body)

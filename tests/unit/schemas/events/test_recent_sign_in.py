"""What is noted of a sign-in is what all of it tells: the quick way and the long one agree."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events.decode import Decoder
from schemas.events.outcomes import Outcome
from schemas.events.recent_sign_in import RecentSegment, RecentSignIn
from schemas.events.tables import load_tables
from tests.properties.strategies import EVERY, THOROUGH, bodies, encoded_ascii, records
from tests.recorded import FALLBACK, V4, encoded
from tests.recorded.entra import diagnostic, user

if TYPE_CHECKING:
    from schemas.events.sign_in import SignIn

WITH, WITHOUT = load_tables(["all"], with_late_columns=True), load_tables(["all"])
ENQUEUED = datetime(2031, 5, 6, 13, 0, tzinfo=UTC)


def signins(body: bytes, *, with_late_columns: bool = True) -> list[SignIn]:
    """Decode a body."""
    return Decoder(WITH if with_late_columns else WITHOUT).decode(body).signins


def late_values_of(signins: list[SignIn], enqueued: datetime | None = None) -> RecentSegment:
    """Note sign-ins together, each from all its addresses."""
    both = [(address, signin) for signin in signins for address in signin.addresses]
    notes = RecentSegment()
    notes.add(
        [address for address, _ in both],
        [signin for _, signin in both],
        [enqueued] * len(both),
        FALLBACK,
    )
    return notes


def assert_as_in_details(signins: list[SignIn], enqueued: datetime | None = None) -> None:
    """See that what is noted for each address is what the details tell."""
    notes = late_values_of(signins, enqueued)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(notes), type=RecentSegment) == notes
    left = iter(notes)
    for signin in signins:
        details = signin.details(enqueued=enqueued, fallback_time=FALLBACK)
        for address in signin.addresses:
            noted = next(left)
            assert noted == RecentSignIn(
                address,
                details.table,
                details.event_id,
                details.account,
                details.outcome,
                noted.time,
                details.event_time_source,
            )
            if isinstance(noted.time, str):
                assert noted.details().event_time == details.event_time
            else:
                assert noted.time == details.event_time.timestamp()
    assert next(left, None) is None


@pytest.mark.parametrize("with_late_columns", [True, False])
@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.name)
def test_recorded_events(case: Any, with_late_columns: bool) -> None:
    """All of them, with the columns decoded and without."""
    for body in (encoded({"records": [case.record]}), encoded(case.record)):
        made = signins(body, with_late_columns=with_late_columns)
        assert len(made) == 1
        assert_as_in_details(made)
        assert_as_in_details(made, ENQUEUED)


@given(record=records())
@settings(THOROUGH, max_examples=1_000)
def test_nearly_real_records(record: dict[str, Any]) -> None:
    """With fields that are odd, missing, or there twice in other letters."""
    for with_late_columns in (True, False):
        assert_as_in_details(
            signins(encoded_ascii({"records": [record]}), with_late_columns=with_late_columns)
        )


@given(body=bodies())
@settings(THOROUGH, max_examples=300)
def test_any_bodies(body: bytes) -> None:
    """In any envelope."""
    assert_as_in_details(signins(body), ENQUEUED)


@given(some=st.lists(records(), min_size=2, max_size=12))
@settings(THOROUGH, max_examples=300)
def test_odd_ones_among_plain_ones(some: list[dict[str, Any]]) -> None:
    """What is odd is read whole, in its place, whatever stands beside it."""
    plain = [case.record for case in EVERY if case.expected.table == "SigninLogs"]
    mixed = [one for pair in zip(plain * len(some), some, strict=False) for one in pair]
    assert_as_in_details([signin for one in mixed for signin in signins(encoded_ascii(one))])


ODD: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    50126,
    50126.0,
    50126.5,
    1e300,
    -0.0,
    2**70,
    "",
    " ",
    "-",
    "0",
    "00",
    " 0 ",
    "0\n",
    "٥",
    "50126",
    "Success",
    "<null>",
    " a b ",
    " ab",
    "ab ",
    "a b",
    "a\tb",
    "a\u202eb",
    "A\u0130",
    "x" * 199,
    "x" * 200,
    "x" * 1_024,
    "x" * 1_025,
    "x" * 3_000,
    "5/6/2031 3:03:58 PM",
    "2031-05-06T07:08:09Z",
    "2031-05-06T07:08:09.1234567+02:00",
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2031-13-06T07:08:09Z",
    [],
    ["a"],
    {},
    {"a": 1},
]


@pytest.mark.parametrize(
    "place", ["resultType", "id", "userPrincipalName", "createdDateTime", "time", "status"]
)
@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:30])
def test_odd_values(place: str, value: Any) -> None:
    """At the places that are decoded for noting, in records of Entra ID, and beside them."""
    made = []
    for inside in ({place: value}, {}):
        inner = {**user("an-id"), **inside}
        made.append(diagnostic("SignInLogs", inner, **({} if inside else {place: value})))
    missing = user("an-id")
    missing.pop(place, None)
    made.append(diagnostic("SignInLogs", missing))
    for record in made:
        found = signins(encoded_ascii({"records": [record]}))
        assert_as_in_details(found)
        assert_as_in_details(found, ENQUEUED)


@pytest.mark.parametrize(
    "place", ["ResultType", "Id", "UserPrincipalName", "CreatedDateTime", "TimeGenerated"]
)
@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:30])
def test_odd_values_of_rows(place: str, value: Any) -> None:
    """The same in rows of data export."""
    record = {**EXPORTED, place: value}
    assert_as_in_details(signins(encoded_ascii({"records": [record]})))


EXPORTED = next(
    case.record for case in EVERY if case.expected.table == "SigninLogs" and "Type" in case.record
)


def test_the_quick_way_is_taken() -> None:
    """Where the columns were decoded and are plain, the record is not read again."""
    (signin,) = signins(encoded({"records": [EXPORTED]}))
    assert signin.late_columns is not None

    class Unread:
        """Tells nothing."""

        size = 0

        def record(self, index: int) -> dict[str, Any]:
            """Fail."""
            raise AssertionError(index)

        def raw(self, index: int) -> bytes:
            """Fail."""
            raise AssertionError(index)

    odd = {**EXPORTED, "UserPrincipalName": " x ", "Id": "odd"}
    (odd_one,) = signins(encoded({"records": [odd]}))
    expected = list(late_values_of([signin, signin, odd_one, signin]))
    signin.source = Unread()
    assert list(late_values_of([signin, signin, odd_one, signin])) == expected
    assert [one.account for one in expected].count("x") == 1


def noted(**more: Any) -> RecentSignIn:
    """Return what is noted of a sign-in."""
    values: dict[str, Any] = {
        "address": V4,
        "table": "SigninLogs",
        "event_id": "e",
        "account": "ada",
        "outcome": Outcome.SUCCESS,
        "time": FALLBACK.timestamp(),
    }
    return RecentSignIn(**(values | more))


def test_details_of_what_was_noted() -> None:
    """What is known of it, to the microsecond; all else is unknown."""
    moment = datetime(2031, 5, 6, 7, 8, 9, 123_457, tzinfo=UTC)
    details = noted(time=moment.timestamp()).details()
    assert (details.table, details.event_id, details.account) == ("SigninLogs", "e", "ada")
    assert (details.event_time, details.outcome) == (moment, Outcome.SUCCESS)
    assert details.addresses == ((V4, V4),)
    assert (details.user_agent, details.enqueued) == (None, None)


@pytest.mark.parametrize(
    "text",
    [
        "0001-01-01T00:00:00Z",
        "1969-12-31T23:59:59.999999Z",
        "9999-12-31T23:59:59.9999999Z",
    ],
)
def test_the_first_and_last_moments(text: str) -> None:
    """Services write them where there is no time."""
    record = diagnostic("SignInLogs", user("an-id", createdDateTime=text))
    (signin,) = signins(encoded({"records": [record]}))
    whole = signin.details(enqueued=None, fallback_time=FALLBACK)
    found = next(iter(late_values_of([signin]))).details()
    assert abs((found.event_time - whole.event_time).total_seconds()) < 0.001

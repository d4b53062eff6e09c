"""Which tables count, and tables of the user's own."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import ConfigurationError
from schemas.events.decode import TABLE_OFF, UNKNOWN_TABLE
from schemas.events.outcomes import Outcome
from schemas.events.tables import Tables, load_tables, table_names
from tests.recorded import (
    OTHER_V4,
    V4,
    Record,
    at,
    decoded,
    details_of,
    encoded,
    lowered,
    only,
    read,
)
from tests.recorded.entra import diagnostic, user

VPN = {
    "address": "SrcIp",
    "account": ["User", "Login"],
    "event_id": "Gateway+Session",
    "result": "Action",
    "success": ["Up", "0"],
    "failure": ["Auth-Fail"],
}
VPN_ROW: Record = {
    "TimeGenerated": "2031-05-06T07:08:09.1234567Z",
    "SrcIp": f"{V4}:500",
    "User": "",
    "Login": "Ada",
    "Gateway": "gw1",
    "Session": 17,
    "Action": "up",
    "_ItemId": "item-1",
    "Type": "MyVpn_CL",
}


def _vpn(**more: Any) -> Tables:
    return load_tables(own={"MyVpn_CL": {**VPN, **more}})


def test_a_table_of_the_users_own_is_read() -> None:
    """Configured in the words of the shipped tables, and told by its Type."""
    details = read(VPN_ROW, _vpn())
    assert details.table == "MyVpn_CL"
    assert details.addresses == ((V4, f"{V4}:500"),)
    assert (details.account, details.event_id) == ("ada", "gw1:17")
    assert (details.outcome, details.result_code) == (Outcome.SUCCESS, "up")
    assert details.event_time == at(7, 8, 9, 123456)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("UP", Outcome.SUCCESS),
        (0, Outcome.SUCCESS),
        ("auth-fail", Outcome.FAILURE),
        ("Denied", Outcome.FAILURE),
        ("renegotiated", Outcome.UNKNOWN),
        (None, Outcome.UNKNOWN),
    ],
)
def test_its_own_words_go_before_the_known_ones(action: object, expected: Outcome) -> None:
    """Own words in any case, then the shipped ones, else unknown."""
    assert read({**VPN_ROW, "Action": action}, _vpn()).outcome is expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [({}, "gw1:17"), ({"Session": None}, "item-1"), ({"Gateway": ""}, "item-1")],
)
def test_an_id_of_two_parts_needs_both(change: Record, expected: str) -> None:
    """Else the delivered row's id stands in."""
    assert read({**VPN_ROW, **change}, _vpn()).event_id == expected


def test_both_ways_read_an_own_table_alike() -> None:
    """Names in another case change nothing, not even the name of the table."""
    quick = read(VPN_ROW, _vpn())
    assert read(lowered(VPN_ROW), _vpn()) == quick
    assert read({**VPN_ROW, "Type": "myvpn_cl"}, _vpn()) == quick


def test_an_own_table_beside_shipped_ones_in_one_body() -> None:
    """Records of several tables in one wrapper are each read by their own layout."""
    body = encoded({"records": [VPN_ROW, diagnostic("SignInLogs", user("x")), VPN_ROW]})
    found = decoded(body, _vpn())
    assert [signin.table for signin in found.signins] == ["MyVpn_CL", "SigninLogs", "MyVpn_CL"]


@pytest.mark.parametrize(
    ("chosen", "counts"),
    [
        (None, True),
        (["all"], True),
        (["myvpn_cl"], True),
        ([" MyVpn_CL ", ""], True),
        (["SigninLogs"], False),
    ],
)
def test_an_own_table_counts_unless_it_is_left_out(chosen: list[str] | None, counts: bool) -> None:
    """It was configured to be read; only a choice without it turns it off."""
    tables = load_tables(chosen, {"MyVpn_CL": VPN})
    found = decoded(encoded(VPN_ROW), tables)
    assert (len(found.signins), found.skips[TABLE_OFF]) == ((1, 0) if counts else (0, 1))


@pytest.mark.parametrize(
    ("columns", "row", "expected"),
    [
        pytest.param(
            {"address": "Client.Ip"}, {"Client": {"Ip": V4}}, (V4,), id="inside an object"
        ),
        pytest.param(
            {"address": "Client.Ip"}, {"Client": f'{{"Ip":"{V4}"}}'}, (V4,), id="inside a text"
        ),
        pytest.param(
            {"address": [["Client.Ip"]]}, {"Client.Ip": V4}, (V4,), id="a name with a dot"
        ),
        pytest.param(
            {"address": ["A", "B"]}, {"A": V4, "B": OTHER_V4}, (V4, OTHER_V4), id="two columns"
        ),
        pytest.param(
            {"address": ["Client", "Client.Ip"]}, {"Client": {"Ip": V4}}, (V4,), id="text or object"
        ),
        pytest.param(
            {"address": ["Client", "Client.Ip"]}, {"Client": V4}, (V4,), id="object or text"
        ),
    ],
)
def test_where_an_own_address_may_lie(
    columns: Record, row: Record, expected: tuple[str, ...]
) -> None:
    """Any place that a layout can name, on the fast way as on the slow one."""
    tables = load_tables(own={"MyVpn_CL": columns})
    for record in ({**row, "Type": "MyVpn_CL"}, lowered({**row, "Type": "MyVpn_CL"})):
        assert only(decoded(encoded([record]), tables)).addresses == expected


def test_a_result_that_is_an_object_is_no_text() -> None:
    """What cannot be a value never becomes one."""
    tables = _vpn(result=["Status.Value", "Status"])
    assert read({**VPN_ROW, "Status": {"Other": 1}}, tables).result_code is None
    assert read({**VPN_ROW, "Status": "up"}, tables).result_code == "up"


def test_an_own_table_may_name_a_diagnostic_category() -> None:
    """Its records have no Type; the table's name stands in the findings."""
    tables = load_tables(
        own={
            "MyVpn_CL": {
                "address": "properties.ip",
                "account": "properties.user",
                "event_time": "time",
                "result": "properties.state",
                "category": "VpnLogs",
                "password_accepted": ["Half"],
            }
        }
    )
    record = {
        "category": "VPNLogs",
        "time": "2031-05-06T07:08:09Z",
        "properties": {"ip": V4, "user": "Ada", "state": "half"},
    }
    details = read(record, tables)
    assert (details.table, details.account) == ("MyVpn_CL", "ada")
    assert details.outcome is Outcome.PASSWORD_ACCEPTED


@pytest.mark.parametrize("outcome", ["code", "word", "status", "none"])
@pytest.mark.parametrize("result", [None, "Action", ["Action", "Session"]])
def test_every_kind_of_outcome_works_for_an_own_table(outcome: str, result: object) -> None:
    """A kind that is accepted at the start never fails later."""
    tables = _vpn(outcome=outcome, result=result)
    assert read(VPN_ROW, tables).outcome in Outcome


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        pytest.param({"account": "User"}, "address", id="no address"),
        pytest.param({**VPN, "addres": "SrcIp"}, "addres", id="unknown column"),
        pytest.param({**VPN, "outcome": "guess"}, "guess", id="unknown outcome"),
        pytest.param({**VPN, "outcome": "audit"}, "audit", id="outcome of shipped tables"),
        pytest.param({**VPN, "address": "SrcIp+Port"}, "address", id="joined address"),
        pytest.param({**VPN, "address": []}, "address", id="no place"),
        pytest.param({**VPN, "success": [0]}, "success", id="number among the words"),
        pytest.param({**VPN, "success": "Up"}, "success", id="text for a list"),
        pytest.param({**VPN, "account": 7}, "account", id="number for a place"),
        pytest.param({**VPN, "category": 7}, "category", id="number for a category"),
        pytest.param({**VPN, "interrupted": "x"}, "interrupted", id="text for another list"),
    ],
)
def test_a_wrong_own_table_is_named(spec: Record, told: str) -> None:
    """ConfigurationError names the table and what is wrong with it."""
    with pytest.raises(ConfigurationError, match=rf"MyVpn_CL.*{told}"):
        load_tables(own={"MyVpn_CL": spec})


def test_an_unknown_table_in_the_choice_is_named() -> None:
    """And the known ones are listed."""
    with pytest.raises(ConfigurationError, match=r"NoLogs.*SigninLogs"):
        load_tables(["SigninLogs", "NoLogs"])


def test_sign_in_tables_are_on_and_activity_tables_off() -> None:
    """What counts when nobody chooses."""
    off = {name for name, on in table_names().items() if not on}
    assert off == {
        "MicrosoftServicePrincipalSignInLogs",
        "CloudAppEvents",
        "MicrosoftGraphActivityLogs",
        "OfficeActivity",
        "AuditLogs",
        "AzureActivity",
        "CommonSecurityLog",
        "AWSCloudTrail",
    }


def test_microsofts_own_principals_are_known_and_off() -> None:
    """A category of sign-ins that the reference names is no unknown table."""
    record = diagnostic("MicrosoftServicePrincipalSignInLogs", user("x"))
    found = decoded(encoded([record]), load_tables())
    assert dict(found.skips) == {TABLE_OFF: 1}


def test_a_type_in_any_case_is_known() -> None:
    """A thousand unknown names do not displace the known ones."""
    rows = [{"Type": f"T{number}", "IPAddress": V4} for number in range(1500)]
    rows.append({"Type": "SIGNINLOGS", "IPAddress": V4, "Id": "x"})
    found = decoded(encoded({"records": [{"Type": "SigninLogs", "IPAddress": V4}, *rows]}))
    assert (len(found.signins), found.skips[UNKNOWN_TABLE]) == (2, 1500)
    assert {details_of(signin).table for signin in found.signins} == {"SigninLogs"}


def test_the_table_that_was_meant_is_named() -> None:
    """Custom tables, too."""
    with pytest.raises(ConfigurationError, match=r"'Signin'; did you mean SigninLogs\? known"):
        load_tables(["Signin"])
    with pytest.raises(ConfigurationError, match=r"'MyVpn'; did you mean MyVpn_CL\?"):
        load_tables(["MyVpn"], {"MyVpn_CL": VPN})

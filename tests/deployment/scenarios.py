"""Sign-ins to try the rules on: what each rule must say of them in two runs that follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tests.deployment.rows import at, finding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.rows.findings import FindingRow

RUNS = (at("12:00"), at("12:05"))
"""Two runs that follow each other: they take what was ingested from 11:54 and from 11:59."""
FIRST, SECOND = at("11:56"), at("12:01")


class Scenario(NamedTuple):
    """Rows from an address of their own, and the severities that each rule alerts with."""

    rows: list[FindingRow]
    expected: Mapping[str, tuple[str, str]]
    """By rule: the severity of its alert in each of the two runs; empty for no alert."""
    exceptions: list[FindingRow]


SCENARIOS: dict[str, Scenario] = {}
_NEVER = {"Expires": "2099-01-01", "Action": "mute"}


def _address() -> str:
    return f"198.18.{len(SCENARIOS)}.7"


def _account() -> str:
    return f"person{len(SCENARIOS)}@contoso.com"


def _scenario(
    name: str,
    rows: list[FindingRow],
    exceptions: list[FindingRow] | None = None,
    **expected: tuple[str, str],
) -> None:
    assert name not in SCENARIOS
    SCENARIOS[name] = Scenario(rows, expected, exceptions or [])


def _success(ingested: Any = FIRST, **columns: Any) -> FindingRow:
    return finding(_address(), _account(), ingested, **columns)


def _failures(count: int, ingested: Any, *, first: int = 0, **columns: Any) -> list[FindingRow]:
    """Return failures of *count* accounts from the scenario's address."""
    columns = {"Outcome": "Failure", "Severity": "Low", **columns}
    event = columns.pop("event", ingested.isoformat())
    return [
        finding(
            _address(),
            f"victim{first + one}@contoso.com",
            ingested,
            event=f"{event} {one}",
            **columns,
        )
        for one in range(count)
    ]


_scenario("success", [_success()], SuspiciousSignIn=("High", ""))
_scenario("next run", [_success(SECOND)], SuspiciousSignIn=("", "High"))
_scenario("begin of a slice", [_success(at("11:54"))], SuspiciousSignIn=("High", ""))
_scenario("end of a slice", [_success(at("11:59"))], SuspiciousSignIn=("", "High"))
_scenario("after both", [_success(at("12:04"))])
_scenario("before both", [_success(at("11:53:59"))])
_scenario(
    "told twice",
    [_success(FIRST, event="twice"), _success(SECOND, event="twice")],
    SuspiciousSignIn=("High", ""),
)
_scenario(
    "told twice within a run",
    [_success(FIRST, event="both"), _success(at("11:57"), event="both")],
    SuspiciousSignIn=("High", ""),
)
_scenario(
    "got worse",
    [_success(FIRST, event="worse", Severity="Medium"), _success(SECOND, event="worse")],
    SuspiciousSignIn=("Medium", "High"),
)
_scenario(
    "got better",
    [_success(FIRST, event="better"), _success(SECOND, event="better", Severity="Low")],
    SuspiciousSignIn=("High", ""),
)
_scenario(
    "right password, then a success",
    [
        _success(FIRST, event="mfa", Outcome="PasswordAccepted"),
        _success(SECOND, event="mfa"),
    ],
    PasswordAccepted=("High", ""),
    SuspiciousSignIn=("", "High"),
)
_scenario(
    "a success whose first half arrives later",
    [
        _success(FIRST, event="turned", told=at("11:50")),
        _success(SECOND, event="turned", Outcome="PasswordAccepted"),
    ],
    SuspiciousSignIn=("High", ""),
)
_scenario(
    "a success with a lower severity than its first half",
    [
        _success(FIRST, event="mixed", Outcome="PasswordAccepted"),
        _success(SECOND, event="mixed", Severity="Medium"),
    ],
    PasswordAccepted=("High", ""),
    SuspiciousSignIn=("", "High"),
)
_scenario("ingested late", [_success(SECOND, told=at("06:00"))], SuspiciousSignIn=("", "High"))
_scenario(
    "ingested almost two days late",
    [_success(SECOND, told=at("14:00", days=-2))],
    SuspiciousSignIn=("", "High"),
)
_scenario(
    "told yesterday",
    [_success(at("14:01", days=-2), event="yesterday"), _success(FIRST, event="yesterday")],
)
_scenario(
    "judged late",
    [_success(FIRST, Origin="late", happened=at("12:30", days=-1))],
    SuspiciousSignIn=("High", ""),
)
_scenario("replayed", [_success(Origin="replay")])
_scenario("tested", [_success(Origin="test")])
_scenario(
    "replayed, then live",
    [_success(at("11:00"), event="again", Origin="replay"), _success(FIRST, event="again")],
    SuspiciousSignIn=("High", ""),
)
_scenario("informational", [_success(Severity="Informational")])
_scenario("low", [_success(Severity="Low")], SuspiciousSignIn=("Low", ""))
_scenario(
    "several sign-ins",
    [_success(event=str(one)) for one in range(3)],
    SuspiciousSignIn=("High", ""),
)
_scenario("IPv6", [finding("2001:db8:5::7", _account(), FIRST)], SuspiciousSignIn=("High", ""))
_scenario("right password", [_success(Outcome="PasswordAccepted")], PasswordAccepted=("High", ""))
_scenario("one failure", [_success(Outcome="Failure", Severity="Low")])
_scenario("interrupted", [_success(Outcome="Interrupted", Severity="Low")])
_scenario(
    "unknown outcome",
    [_success(Outcome="Unknown", Severity="Medium")],
    UnclearSignIn=("Medium", ""),
)
_scenario(
    "token",
    [_success(SourceTable="AADNonInteractiveUserSignInLogs")],
    BackgroundSignIn=("High", ""),
)
_scenario(
    "service principal",
    [_success(SourceTable="AADServicePrincipalSignInLogs", Outcome="Unknown")],
    BackgroundSignIn=("High", ""),
)
_scenario("four accounts", _failures(4, FIRST))
_scenario(
    "fifth account",
    _failures(4, FIRST) + _failures(1, SECOND, first=4),
    ManyAccountsFailing=("", "Medium"),
)
_scenario(
    "fifty accounts",
    _failures(5, FIRST) + _failures(45, SECOND, first=5),
    ManyAccountsFailing=("Medium", "High"),
)
_scenario(
    "spray goes on",
    _failures(9, FIRST) + _failures(9, SECOND, first=9),
    ManyAccountsFailing=("Medium", ""),
)
_scenario("same accounts again", _failures(4, FIRST, event="1") + _failures(4, SECOND, event="2"))
_scenario(
    "suspicious spray",
    _failures(5, FIRST, Reputation="suspicious", Severity="Informational"),
    ManyAccountsFailing=("Low", ""),
)
_scenario(
    "success after failures",
    [*_failures(3, at("11:00")), _success(FIRST)],
    FirstSuccessAfterFailures=("High", ""),
)
_scenario(
    "second success after failures",
    [*_failures(3, at("11:00")), _success(FIRST), _success(SECOND)],
    FirstSuccessAfterFailures=("High", ""),
    SuspiciousSignIn=("", "High"),
)
_scenario(
    "success after two failures",
    [*_failures(2, at("11:00")), _success(FIRST)],
    SuspiciousSignIn=("High", ""),
)
_scenario(
    "success before failures",
    [_success(FIRST, happened=at("10:00")), *_failures(3, at("11:00"))],
    SuspiciousSignIn=("High", ""),
)
_scenario(
    "failures long ago",
    [*_failures(3, at("22:00", days=-1)), _success(FIRST)],
    SuspiciousSignIn=("High", ""),
)
_scenario(
    "failures ingested later",
    [_success(FIRST), *_failures(3, SECOND, happened=at("11:00"))],
    SuspiciousSignIn=("High", ""),
)


def _muted(name: str, exception: Mapping[str, str], **columns: Any) -> None:
    line = {"SearchKey": name, **_NEVER, **exception}
    _scenario(f"muted by {name}", [_success(**columns)], [line])


def _not_muted(name: str, exception: Mapping[str, str], severity: str = "High") -> None:
    line = {"SearchKey": name, **_NEVER, **exception}
    _scenario(name, [_success()], [line], SuspiciousSignIn=(severity, ""))


_muted("address", {"Address": _address()})
_muted("prefix", {"Address": f"{_address()[:-1]}128/24"})
_muted("mapped address", {"Address": f" ::FFFF:{_address()} "})
_scenario(
    "muted by IPv6 prefix in another spelling",
    [finding("2001:db8:ab::7", _account(), FIRST)],
    [{"SearchKey": "six", **_NEVER, "Address": "2001:0DB8:00AB::/48"}],
)
_muted("account", {"Account": _account().upper()})
_muted("object id", {"Account": "0B6C"}, AccountObjectId="0b6c")
_muted("application", {"Application": "the portal"}, Application="The Portal")
_muted("AS of the sign-in", {"AsNumber": "AS64501"}, SignInAsNumber=64_501)
_muted("AS of the source", {"AsNumber": "64502"}, SignInAsNumber=1, IntelAsNumber=64_502)
_muted("two conditions", {"Address": _address(), "Account": _account(), "Action": " Mute "})
_muted("no end", {"Address": _address(), "Expires": ""})
_not_muted("one condition of two", {"Address": _address(), "Account": "somebody@contoso.com"})
_not_muted("another AS", {"Address": _address(), "AsNumber": "64503"})
_not_muted("AS that is no number", {"Address": _address(), "AsNumber": "ACME"})
_not_muted("exception that ended", {"Address": _address(), "Expires": "2026-01-02"})
_not_muted("end that cannot be read", {"Address": _address(), "Expires": "next year"})
_not_muted("exception without condition", {})
_not_muted("address that cannot be read", {"Address": "198.18.x.7"})
_not_muted("mask that cannot be read", {"Address": f"{_address()}/240"})
_not_muted("unknown action", {"Address": _address(), "Action": "ignore"})
_not_muted("cap", {"Address": _address(), "Action": "cap", "SeverityCap": "Low"}, "Low")
_not_muted("cap that is no word", {"Address": _address(), "Action": "cap", "SeverityCap": "Tiny"})
_scenario(
    "cap to informational",
    [_success()],
    [
        {
            "SearchKey": "quiet",
            **_NEVER,
            "Action": "cap",
            "SeverityCap": "Informational",
            "Address": _address(),
        }
    ],
)
_scenario(
    "cap never raises",
    [_success(Severity="Low")],
    [
        {
            "SearchKey": "up",
            **_NEVER,
            "Action": "cap",
            "SeverityCap": "Medium",
            "Address": _address(),
        }
    ],
    SuspiciousSignIn=("Low", ""),
)
_scenario(
    "got worse above its cap",
    [_success(FIRST, event="cap", Severity="Medium"), _success(SECOND, event="cap")],
    [
        {
            "SearchKey": "flat",
            **_NEVER,
            "Action": "cap",
            "SeverityCap": "Medium",
            "Address": _address(),
        }
    ],
    SuspiciousSignIn=("Medium", ""),
)


def _capped(name: str, cap: str, **conditions: str) -> list[FindingRow]:
    line = {"SearchKey": name, **_NEVER, "Action": "cap", "SeverityCap": cap}
    return [{**line, "Address": _address(), **conditions}]


_scenario(
    "slow spray, fifth account",
    _failures(4, at("10:00", days=-1)) + _failures(1, FIRST, first=4),
    ManyAccountsFailing=("Medium", ""),
)
_scenario(
    "slow spray goes on",
    [
        *_failures(5, at("11:54", days=-1)),
        *_failures(1, FIRST, event="again"),
        *_failures(1, SECOND, first=1, event="again"),
    ],
)
_scenario(
    "spray of which one account is capped",
    _failures(60, FIRST),
    _capped("of many", "Informational", Account="victim7@contoso.com"),
    ManyAccountsFailing=("High", ""),
)
_scenario(
    "spray of which one application is capped",
    [*_failures(60, FIRST), *_failures(1, at("11:57"), Application="Printer", event="printer")],
    _capped("printer", "Low", Application="Printer"),
    ManyAccountsFailing=("High", ""),
)
_scenario(
    "spray of accounts that are capped at one application of two",
    [*_failures(5, FIRST), *_failures(5, at("11:57"), Application="Printer", event="printer")],
    _capped("one of two", "Low", Application="Printer"),
    ManyAccountsFailing=("Medium", ""),
)
_scenario(
    "spray of which a few accounts are not capped",
    [*_failures(55, FIRST, Application="Printer"), *_failures(6, FIRST, first=55, event="own")],
    _capped("printers", "Low", Application="Printer"),
    ManyAccountsFailing=("Medium", ""),
)
_scenario(
    "spray capped to medium but for a few accounts",
    [*_failures(55, FIRST, Application="Printer"), *_failures(4, FIRST, first=55, event="own")],
    _capped("medium", "Medium", Application="Printer"),
    ManyAccountsFailing=("Medium", ""),
)
_scenario(
    "spray of four accounts and one capped to informational",
    _failures(5, FIRST),
    _capped("fifth", "Informational", Account="victim4@contoso.com"),
)
_scenario("spray capped to informational", _failures(60, FIRST), _capped("all", "Informational"))
_scenario(
    "muted spray", _failures(9, FIRST), [{"SearchKey": "spray", **_NEVER, "Address": _address()}]
)
_scenario(
    "capped spray",
    _failures(9, FIRST),
    [
        {
            "SearchKey": "spray",
            **_NEVER,
            "Action": "cap",
            "SeverityCap": "Low",
            "Address": _address(),
        }
    ],
    ManyAccountsFailing=("Low", ""),
)
_scenario(
    "muted by name, though a record names the object id alone",
    [
        finding(_address(), "0c7d", FIRST, AccountObjectId="0c7d"),
        _success(at("10:00"), AccountObjectId="0c7d"),
    ],
    [{"SearchKey": "by name", **_NEVER, "Account": _account()}],
)
_scenario(
    "no time in the record",
    [_success(EventTime=None, EventTimeSource="none")],
    SuspiciousSignIn=("High", ""),
)

"""The policy and the classes of networks."""

from __future__ import annotations

from itertools import product

import pytest

from schemas.errors import ConfigurationError
from schemas.events.outcomes import Outcome
from schemas.intel.address_class import class_of_intel, class_of_network
from schemas.intel.verdicts import AddressClass, Intel, Reputation
from schemas.rows.context import SignInContext, Story
from schemas.rows.policy import Policy, Severity, shipped_lines

MOVED = Story("session-moved", "it moved")
PROGRAM = Story("workload-new-network", "a new network")
CONTEXTS = {
    "none": SignInContext(),
    "alone": SignInContext(stories=(MOVED,), signs=frozenset({"session-moved"})),
    "supported": SignInContext(
        stories=(MOVED,), signs=frozenset({"session-moved", "new country"}), new_country=True
    ),
    "program": SignInContext(stories=(PROGRAM,), signs=frozenset({"workload-new-network"})),
    "only new": SignInContext(signs=frozenset(), new_country=True, new_network=True),
}
EVERY = list(product(AddressClass, Outcome, Reputation, (False, True)))


def test_every_combination_is_decided() -> None:
    """No sign-in falls through, whatever is known of it."""
    policy = Policy()
    assert all(policy.decide(*one).severity in Severity for one in EVERY)


@pytest.mark.parametrize("name", [line.name for line in shipped_lines()])
def test_every_shipped_line_decides_something(name: str) -> None:
    """A line that never decides is a mistake."""
    policy = Policy()
    assert any(
        policy.decide(*one, context).name == name for one in EVERY for context in CONTEXTS.values()
    )


def test_names_of_shipped_lines_are_unique_and_explained() -> None:
    """MatchReason names the line, so names must tell lines apart."""
    lines = shipped_lines()
    assert len({line.name for line in lines}) == len(lines)
    assert all(line.why for line in lines)


@pytest.mark.parametrize(
    ("address_class", "outcome", "reputation", "false_positive", "expected"),
    [
        ("unknown", "Success", "malicious", False, "High"),
        ("unknown", "PasswordAccepted", "malicious", False, "High"),
        ("unknown", "Unknown", "malicious", False, "Medium"),
        ("unknown", "Failure", "malicious", False, "Low"),
        ("mobile", "Success", "malicious", False, "Medium"),
        ("relay", "Success", "malicious", False, "Low"),
        ("relay", "Failure", "malicious", False, "Informational"),
        ("relay", "Success", "benign", False, "none"),
        ("tor", "Success", "malicious", False, "High"),
        ("tor", "Success", "benign", False, "Medium"),
        ("tor", "Success", "unknown", True, "Medium"),
        ("tor", "Failure", "unknown", False, "none"),
        ("vpn", "PasswordAccepted", "suspicious", False, "Medium"),
        ("unknown", "Success", "suspicious", False, "Medium"),
        ("unknown", "Unknown", "suspicious", False, "Low"),
        ("unknown", "Failure", "suspicious", False, "Informational"),
        ("unknown", "Success", "malicious", True, "none"),
        ("unknown", "Success", "benign", False, "none"),
        ("unknown", "Success", "unknown", False, "none"),
    ],
)
def test_shipped_decisions(
    address_class: str, outcome: str, reputation: str, false_positive: bool, expected: str
) -> None:
    """What the shipped policy says of the cases that matter."""
    line = Policy().decide(
        AddressClass(address_class), Outcome(outcome), Reputation(reputation), false_positive
    )
    assert line.severity.value == expected


@pytest.mark.parametrize(
    ("address_class", "reputation", "context", "expected"),
    [
        ("unknown", "unknown", "alone", "Low"),
        ("unknown", "benign", "alone", "Low"),
        ("unknown", "unknown", "supported", "Medium"),
        ("hosting", "unknown", "alone", "Medium"),
        ("vpn", "benign", "alone", "Medium"),
        ("tor", "unknown", "alone", "Medium"),
        ("hosting", "unknown", "program", "Low"),
        ("relay", "unknown", "supported", "Low"),
        ("unknown", "malicious", "alone", "High"),
        ("unknown", "suspicious", "alone", "High"),
        ("unknown", "unknown", "only new", "none"),
        ("mobile", "malicious", "alone", "High"),
    ],
)
def test_decisions_with_stories(
    address_class: str, reputation: str, context: str, expected: str
) -> None:
    """Alone Low, supported or from a network that hides people Medium, with a bad verdict High."""
    line = Policy().decide(
        AddressClass(address_class),
        Outcome.SUCCESS,
        Reputation(reputation),
        False,
        CONTEXTS[context],
    )
    assert line.severity.value == expected


def test_a_line_may_switch_a_story_off_or_ask_for_what_is_new() -> None:
    """The words are checked by their types; a custom line comes first."""
    off = Policy([{"name": "no travel", "stories": ["session-moved"], "severity": "none"}])
    given = (AddressClass.HOSTING, Outcome.SUCCESS, Reputation.UNKNOWN, False)
    assert off.decide(*given, CONTEXTS["alone"]).severity is Severity.NONE
    assert off.decide(*given, CONTEXTS["program"]).severity is Severity.LOW
    abroad = Policy([{"name": "abroad", "context": ["new country"], "severity": "Medium"}])
    assert abroad.decide(*given, CONTEXTS["only new"]).severity is Severity.MEDIUM
    assert abroad.decide(*given).severity is Severity.NONE
    for line in ({"stories": ["no-such-story"]}, {"context": ["new moon"]}):
        with pytest.raises(ConfigurationError, match=r"LINES\[0\].*allowed values are"):
            Policy([{"name": "wrong", "severity": "Low", **line}])


@pytest.mark.parametrize("one", [one for one in EVERY if one[1] is Outcome.FAILURE])
def test_success_is_never_milder_than_failure(
    one: tuple[AddressClass, Outcome, Reputation, bool],
) -> None:
    """Of two sign-ins from one address the one that got further weighs at least as much."""
    policy = Policy()
    address_class, failure, *rest = one
    success = policy.decide(address_class, Outcome.SUCCESS, *rest)  # type: ignore[arg-type]
    assert success.severity.rank >= policy.decide(address_class, failure, *rest).severity.rank  # type: ignore[arg-type]


def test_an_own_line_goes_first() -> None:
    """And only where its conditions hold."""
    own = {"name": "mine", "class": ["hosting"], "outcome": ["Success"], "severity": "Low"}
    policy = Policy([own])
    args = (Reputation.MALICIOUS, False)
    assert policy.decide(AddressClass.HOSTING, Outcome.SUCCESS, *args).name == "mine"
    assert policy.decide(AddressClass.HOSTING, Outcome.FAILURE, *args).name == "malicious-other"
    assert policy.decide(AddressClass.VPN, Outcome.SUCCESS, *args).name == "malicious-success"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ({"name": "x"}, "severity"),
        ({"severity": "Low"}, "name"),
        ({"name": "x", "severity": "low"}, "low"),
        ({"name": "x", "severity": "Low", "class": ["moon"]}, "moon"),
        ({"name": "x", "severity": "Low", "outcome": ["success"]}, "success"),
        ({"name": "x", "severity": "Low", "reputations": ["benign"]}, "reputations"),
        ({"name": "x", "severity": "Low", "class": "tor"}, "class"),
    ],
)
def test_a_wrong_own_line_is_named(line: dict[str, object], told: str) -> None:
    """By its number and by what is wrong with it."""
    with pytest.raises(ConfigurationError, match=rf"POLICY\.LINES\[1\].*{told}"):
        Policy([{"name": "fine", "severity": "none"}, line])


@pytest.mark.parametrize("one", [one for one in EVERY if one[1] is Outcome.SUCCESS])
def test_harmless_means_no_outcome_makes_a_finding(
    one: tuple[AddressClass, Outcome, Reputation, bool],
) -> None:
    """A sign-in is let go unread only if none like it could become a finding."""
    policy = Policy()
    address_class, _, reputation, false_positive = one
    severities = {
        policy.decide(address_class, outcome, reputation, false_positive).severity
        for outcome in Outcome
    }
    harmless = policy.harmless(address_class, reputation, false_positive)
    assert not harmless or severities == {Severity.NONE}
    if address_class is not AddressClass.UNKNOWN:
        assert harmless == (severities == {Severity.NONE})


def test_an_own_line_can_make_unknown_addresses_count() -> None:
    """``harmless`` asks the lines in force, not the shipped ones."""
    own = {"name": "hosts", "class": ["hosting"], "outcome": ["Success"], "severity": "Low"}
    assert Policy().harmless(AddressClass.UNKNOWN, Reputation.UNKNOWN, False)
    assert not Policy([own]).harmless(AddressClass.UNKNOWN, Reputation.UNKNOWN, False)


@pytest.mark.parametrize(
    ("intel", "expected"),
    [
        pytest.param(Intel(), "unknown", id="nothing"),
        pytest.param(Intel(classifications=("proxy:tor",)), "tor", id="Tor"),
        pytest.param(
            Intel(classifications=("proxy:vpn", "proxy:tor")), "tor", id="the most telling first"
        ),
        pytest.param(Intel(classifications=("proxy:vpn",)), "vpn", id="VPN"),
        pytest.param(Intel(classifications=("crowdsec:ai_vpn_proxy",)), "vpn", id="VPN, guessed"),
        pytest.param(
            Intel(classifications=("proxy:icloud-private-relay",)), "relay", id="private relay"
        ),
        pytest.param(
            Intel(false_positives=("corporate-proxy:example",)), "relay", id="corporate proxy"
        ),
        pytest.param(Intel(classifications=("proxy:residential",)), "proxy", id="other proxy"),
        pytest.param(Intel(proxy_or_vpn=True), "proxy", id="flag alone"),
        pytest.param(Intel(proxy_or_vpn=True, as_number=24940), "proxy", id="flag before number"),
        pytest.param(Intel(classifications=("range:data_center",)), "hosting", id="data centre"),
        pytest.param(
            Intel(classifications=("connection-type:residential",)), "residential", id="home"
        ),
        pytest.param(Intel(classifications=("connection-type:mobile",)), "mobile", id="mobile"),
        pytest.param(Intel(as_number=24940), "hosting", id="hosting by number"),
        pytest.param(Intel(as_number=21928), "mobile", id="mobile by number"),
        pytest.param(
            Intel(classifications=("connection-type:mobile",), as_number=24940),
            "mobile",
            id="name before number",
        ),
        pytest.param(Intel(as_number=3209), "unknown", id="other number"),
        pytest.param(Intel(classifications=("profile:likely_botnet",)), "unknown", id="other name"),
    ],
)
def test_the_class_of_an_address(intel: Intel, expected: str) -> None:
    """By classification, else by flag, else by AS number."""
    assert class_of_intel(intel).value == expected


def test_an_unknown_network_has_no_class() -> None:
    """Missing numbers and zero hint at nothing."""
    assert class_of_network(None) is class_of_network(0) is AddressClass.UNKNOWN

"""What Entra ID detected, as a source."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from consumers.enrichment.entra import detections_of, entra_verdict, holds_for_others
from schemas.events.outcomes import Outcome
from schemas.events.sign_in import Details
from schemas.intel.verdicts import AddressClass, Reputation

A = "81.2.69.160"


def details(**given: Any) -> Details:
    """Return a success of Ada's."""
    return Details(
        **{
            "table": "SigninLogs",
            "event_id": "1",
            "event_time": datetime(2026, 5, 6, tzinfo=UTC),
            "addresses": ((A, A),),
            "account": "ada@example.net",
            "outcome": Outcome.SUCCESS,
            **given,
        }
    )


@pytest.mark.parametrize(
    ("words", "reputation", "for_all"),
    [
        (("unfamiliarFeatures",), Reputation.SUSPICIOUS, False),
        (("anonymizedIPAddress",), Reputation.SUSPICIOUS, False),
        (("maliciousIPAddress",), Reputation.MALICIOUS, True),
        (("unfamiliarFeatures", "nationStateIP"), Reputation.MALICIOUS, True),
    ],
)
def test_detections_are_verdicts(
    words: tuple[str, ...], reputation: Reputation, for_all: bool
) -> None:
    """Two are about the address, all others about the user's sign-in."""
    verdict = entra_verdict(details(detections=words))
    assert verdict is not None
    assert verdict.reputation is reputation
    assert holds_for_others(verdict) is for_all


def test_an_anonymous_address_has_a_class() -> None:
    """A proxy of some kind, Tor among them."""
    verdict = entra_verdict(details(detections=("anonymizedIPAddress",)))
    assert verdict is not None
    assert verdict.address_class is AddressClass.PROXY


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"detections": ("none",)},
        {"detections": ("hidden",)},
        {"detections": ("maliciousIPAddress",), "risk_state": "dismissed"},
        {"detections": ("maliciousIPAddress",), "risk_state": "remediated"},
        {"detections": ("maliciousIPAddress",), "risk_state": "confirmedSafe"},
        {"detections": ("leakedCredentials",), "risk_detail": "adminDismissedAllRiskForUser"},
        {"detections": ("leakedCredentials",), "risk_detail": "aiConfirmedSigninSafe"},
        {
            "detections": ("leakedCredentials",),
            "risk_detail": "userPassedMFADrivenByRiskBasedPolicy",
        },
        {"result_code": "50053", "result_description": "The account is locked, too many tries."},
        {
            "result_code": "50053",
            "result_description": "The account is locked or the sign-in came from an IP address "
            "with malicious activity.",
        },
        {
            "result_code": "50126",
            "result_description": "from an IP address with malicious activity",
        },
    ],
)
def test_what_says_nothing(given: dict[str, Any]) -> None:
    """No licence, taken back, cleared up, or a text that may mean something else."""
    assert detections_of(details(**given)) == ()
    assert entra_verdict(details(**given)) is None


def test_the_text_of_a_blocked_address() -> None:
    """Result 50053 means two things; one of them is about the address."""
    given = {
        "result_code": "50053",
        "result_description": "Sign-in was blocked because it came from an IP address with "
        "malicious activity.",
        "outcome": Outcome.FAILURE,
    }
    assert detections_of(details(**given)) == ("blockedIPAddress",)
    verdict = entra_verdict(details(**given))
    assert verdict is not None
    assert not holds_for_others(verdict)

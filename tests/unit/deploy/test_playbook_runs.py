"""Runs of the playbook against peers that answer as they please."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.deploy.logic_app import Answer, Run
from tests.unit.deploy.test_playbook import WORKSPACE, query, workflow

if TYPE_CHECKING:
    from collections.abc import Mapping

INCIDENT = f"{WORKSPACE}/providers/Microsoft.SecurityInsights/Incidents/7"
KEY = "a-crowdsec-key"


class Peers:
    """Everything that the playbook calls. *crowdsec* answers in turn."""

    def __init__(self, rows: list[list[Any]], *crowdsec: Answer, key: int = 200) -> None:
        self.rows, self.crowdsec, self.key = rows, list(crowdsec), key
        self.calls: list[str] = []
        self.asked: list[str] = []
        self.comments: list[str] = []

    def __call__(self, name: str, inputs: Mapping[str, Any]) -> Answer:
        """Answer one HTTP action."""
        self.calls.append(name)
        match name:
            case "Query_verdicts":
                return Answer(200, {"tables": [{"rows": self.rows}]})
            case "Get_API_key":
                return Answer(self.key, {"value": KEY} if self.key == 200 else {"error": {}})
            case "Look_up_in_CrowdSec":
                assert inputs["headers"]["x-api-key"] == KEY
                self.asked.append(
                    inputs["uri"].removeprefix("https://cti.api.crowdsec.net/v2/smoke/")
                )
                return self.crowdsec.pop(0)
            case "Add_comment":
                assert inputs["method"] == "PUT"
                assert inputs["uri"].startswith(f"https://management.azure.com{INCIDENT}/comments/")
                self.comments.append(inputs["body"]["properties"]["message"])
                return Answer(201, {})
        raise AssertionError(name)


def _play(peers: Peers, share: int = 5, entities: Any = ()) -> Run:
    app = workflow()
    given = {name: one["value"] for name, one in app["parameters"].items()}
    given["maxLookupsPerIncident"] = share
    trigger = {"object": {"id": INCIDENT, "properties": {"relatedEntities": entities}}}
    run = Run(app["definition"], given, trigger, peers)
    assert run.start() == "Succeeded"
    return run


def _known(address: str, verdict: str = "malicious") -> list[Any]:
    return [address, verdict, "score 5, confidence high", "signinwatch, crowdsec"]


def _open(*addresses: str) -> list[list[Any]]:
    return [[one, "", "", ""] for one in addresses]


def _item(reputation: Any, confidence: Any = "high") -> Answer:
    return Answer(200, {"ip": "x", "reputation": reputation, "confidence": confidence})


def test_what_signinwatch_knows_is_not_asked_again() -> None:
    """Neither the key nor CrowdSec is touched."""
    peers = Peers([_known("2.56.10.9")])
    _play(peers)
    assert peers.calls == ["Query_verdicts", "Add_comment"]
    (comment,) = peers.comments
    assert "<td>2.56.10.9</td><td>malicious</td><td>score 5, confidence high</td>" in comment
    assert 'href="https://app.crowdsec.net/cti/2.56.10.9"' in comment
    assert "Not looked up" not in comment


def test_the_rest_is_asked_once_within_the_share() -> None:
    """The comment shows the others as not looked up, with the limit."""
    peers = Peers(
        [*_open("8.8.8.8", "9.9.9.9", "7.7.7.7"), _known("2.56.10.9")],
        _item("suspicious"),
        Answer(404, {"message": "IP address information not found"}),
    )
    _play(peers, share=2)
    assert peers.asked == ["8.8.8.8", "9.9.9.9"]
    (comment,) = peers.comments
    assert "<td>8.8.8.8</td><td>suspicious</td><td>suspicious, confidence high</td>" in comment
    assert comment.count("<td>CrowdSec, live lookup</td>") == 2
    assert "<td>9.9.9.9</td><td>unknown</td><td>no data</td>" in comment
    assert "<td>7.7.7.7</td><td>not looked up</td>" in comment
    assert "Not looked up: 1. The limit is 2 lookups per incident." in comment


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            Answer(429, {"message": "Limit Exceeded"}),
            "The quota of the CrowdSec API key is exhausted",
        ),
        (Answer(429, {"message": "Too Many Requests"}), "CrowdSec rate limit reached"),
        (Answer(429, "<html>limit exceeded"), "The quota of the CrowdSec API key is exhausted"),
        (Answer(403, {"message": "Forbidden"}), "status 403 (API key rejected)"),
        (Answer(503, "<html>"), "CrowdSec lookup failed, status 503."),
        (Answer(None), "CrowdSec lookup failed, status none."),
    ],
)
def test_it_stops_asking_and_says_so(answer: Answer, told: str) -> None:
    """One refusal is enough: the rest is shown as not looked up."""
    peers = Peers(_open("8.8.8.8", "9.9.9.9", "7.7.7.7"), _item("malicious"), answer)
    _play(peers)
    assert peers.asked == ["8.8.8.8", "9.9.9.9"]
    (comment,) = peers.comments
    assert "<td>8.8.8.8</td><td>malicious</td>" in comment
    assert "<td>9.9.9.9</td><td>not looked up</td>" in comment
    assert "Not looked up: 2. " in comment
    assert told in comment


@pytest.mark.parametrize(
    ("reputation", "verdict"),
    [
        ("malicious", "malicious"),
        ("SUSPICIOUS", "suspicious"),
        ("safe", "benign"),
        ("benign", "benign"),
        ("known", "unknown"),
        (None, "unknown"),
        ("<img src=x>", "unknown"),
        ("a|b\x1b[1m", "unknown"),
    ],
)
def test_only_known_words_reach_the_comment(reputation: Any, verdict: str) -> None:
    """Text of CrowdSec is data: what is not expected is *unknown*."""
    peers = Peers(_open("2a02::1"), _item(reputation, "<b>"))
    _play(peers)
    (comment,) = peers.comments
    assert f"<td>2a02::1</td><td>{verdict}</td><td>" in comment
    assert "confidence -" in comment
    for strange in ("<img", "<b>", "|", "\x1b"):
        assert strange not in comment


def test_without_a_key_the_known_ones_are_told_all_the_same() -> None:
    """A vault that refuses costs the answers, not the comment."""
    peers = Peers([*_open("8.8.8.8"), _known("2.56.10.9")], key=403)
    _play(peers)
    assert peers.asked == []
    (comment,) = peers.comments
    assert "malicious" in comment
    assert "Not looked up: 1. The CrowdSec API key cannot be read from the key vault." in comment


def test_a_share_of_nothing_and_an_incident_without_addresses() -> None:
    """The first asks nobody; the second is not commented on."""
    peers = Peers(_open("8.8.8.8"))
    _play(peers, share=0)
    assert peers.calls == ["Query_verdicts", "Add_comment"]
    for entities in (None, [], [{"kind": "Account", "properties": {}}]):
        silent = Peers([])
        _play(silent, entities=entities)
        assert silent.calls == ["Query_verdicts"]


def test_addresses_of_the_incident_are_what_is_asked_about() -> None:
    """Entities of any other kind stay out, and no text of theirs stands in the query."""
    sent: list[str] = []

    def http(name: str, inputs: Mapping[str, Any]) -> Answer:
        if name == "Query_verdicts":
            sent.append(inputs["body"]["query"])
        return Answer(200, {"tables": [{"rows": []}]})

    app = workflow()
    given = {name: one["value"] for name, one in app["parameters"].items()}
    entities = [
        {"kind": "Ip", "properties": {"address": "8.8.8.8"}},
        {"kind": "Account", "properties": {"address": "9.9.9.9"}},
        {"kind": "Ip", "properties": {"address": '") | take 1 //'}},
    ]
    trigger = {"object": {"id": INCIDENT, "properties": {"relatedEntities": entities}}}
    assert Run(app["definition"], given, trigger, http).start() == "Succeeded"
    assert sent == [query("8.8.8.8", '") | take 1 //')]

"""Several words on one address, joined; a single one is what it was before feeds came."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import pytest

from schemas.events.outcomes import Outcome
from schemas.events.sign_in import Details
from schemas.events.times import iso_of
from schemas.intel.indicators import Indicator, verdict_of
from schemas.intel.merge import MAX_MERGED_NAMES, false_positive, merge_verdicts
from schemas.intel.verdicts import AddressClass, Intel, Reputation, Verdict
from schemas.rows.findings import FindingRow, finding_row
from schemas.rows.policy import Policy
from tests.recorded import FALLBACK, V4

MALICIOUS, SUSPICIOUS, BENIGN, UNKNOWN = Reputation
EXCUSES: dict[str, dict[str, Any]] = {
    "": {},
    "false positive": {"false_positives": ("cdn:cloudflare",)},
    "scanner": {"classifications": ("scanner:legit:censys",)},
    "no scanner": {"classifications": ("profile:scanner:x",)},
}
RICH = Intel(
    raw_reputation="malicious",
    confidence="medium",
    score=4,
    background_noise=3,
    behaviors=("http:scan",),
    classifications=("proxy:vpn",),
    attack_details=("a:b",),
    references=("r",),
    target_countries={"DE": 0.5},
    scores={"overall": {"total": 4}},
    proxy_or_vpn=True,
    city="Köln",
    as_number=3209,
    ip_range="81.2.69.0/24",
    ip_range_score=2,
    ip_range_24="81.2.69.0/24",
    ip_range_24_reputation="suspicious",
    ip_range_24_score=1,
)


def crowdsec(reputation: Reputation, source: str = "crowdsec", **more: Any) -> Verdict:
    """Return CrowdSec's word."""
    of_verdict: dict[str, Any] = {
        name: more.pop(name) for name in ("time", "expires", "address_class") if name in more
    }
    intel = more.pop("intel", None) or Intel(raw_reputation=reputation.value, **more)
    values: dict[str, Any] = {"time": 1_000.0, "expires": 5_000.0} | of_verdict
    return Verdict(reputation=reputation, source=source, intel=intel, **values)


def fed(reputation: Reputation = MALICIOUS, source: str = "sekoia", **more: Any) -> Verdict:
    """Return a feed's word."""
    types = ("malicious-activity",) if reputation is MALICIOUS else ()
    values: dict[str, Any] = {"id": "i", "modified": 2_000.0, "types": types, **more}
    return verdict_of(source, V4, Indicator(**values))


@pytest.mark.parametrize(
    ("theirs", "feed", "excuse"), list(product(Reputation, (MALICIOUS, SUSPICIOUS), EXCUSES))
)
def test_all_pairs(theirs: Reputation, feed: Reputation, excuse: str) -> None:
    """The worst counts, but where CrowdSec sees no harm in what a feed calls bad."""
    harmless = theirs is BENIGN or excuse in ("false positive", "scanner")
    worst = MALICIOUS if MALICIOUS in (theirs, feed) else SUSPICIOUS
    words = [crowdsec(theirs, **EXCUSES[excuse]), fed(feed)]
    for ordered in permutations(words):
        told = merge_verdicts(ordered)
        assert told.reputation is (SUSPICIOUS if harmless else worst)
        assert not told.false_positive
        known = {"sekoia"} if theirs is UNKNOWN else {"sekoia", "crowdsec"}
        assert set(told.sources) == known
        assert set(told.evidence) == {"sekoia", "crowdsec"}
        assert (told.rated, told.expires) == (1_000.0, 5_000.0)
        if theirs is not UNKNOWN:
            bad = [MALICIOUS, SUSPICIOUS, BENIGN]
            first = "crowdsec" if bad.index(theirs) <= bad.index(feed) else "sekoia"
            assert told.sources[0] == first


@pytest.mark.parametrize(("theirs", "excuse"), list(product(Reputation, EXCUSES)))
def test_crowdsec_alone_is_what_it_was(theirs: Reputation, excuse: str) -> None:
    """Also of an address that it excuses."""
    word = crowdsec(theirs, **EXCUSES[excuse])
    told = merge_verdicts([word])
    assert (told.reputation, told.sources, told.intel) == (theirs, ("crowdsec",), word.intel)
    assert told.false_positive == false_positive(word.intel)
    assert told.false_positive == (excuse in ("false positive", "scanner"))


@pytest.mark.parametrize("first", Reputation)
@pytest.mark.parametrize("second", Reputation)
def test_crowdsec_twice(first: Reputation, second: Reputation) -> None:
    """Its API and its replica: the worse word counts, no feed contradicts."""
    told = merge_verdicts([crowdsec(first), crowdsec(second, "crowdsec-replica", time=3_000.0)])
    order = list(Reputation)
    assert told.reputation is min(first, second, key=order.index)
    assert told.rated == 3_000.0
    assert set(told.evidence) == {"crowdsec", "crowdsec-replica"}


def test_an_excuse_of_one_of_crowdsecs_words_counts() -> None:
    """Its replica excuses what its API calls malicious; a feed does not."""
    words = [crowdsec(MALICIOUS), crowdsec(BENIGN, "crowdsec-replica")]
    assert merge_verdicts(words).reputation is MALICIOUS
    assert merge_verdicts([*words, fed()]).reputation is SUSPICIOUS


def test_nobody_knows_it() -> None:
    """Then all that were asked are named."""
    told = merge_verdicts([crowdsec(UNKNOWN), crowdsec(UNKNOWN, "crowdsec-replica")])
    assert told.sources == ("crowdsec", "crowdsec-replica")
    assert (told.reputation, told.address_class) == (UNKNOWN, AddressClass.UNKNOWN)


def test_only_feeds_speak() -> None:
    """Nobody was asked; the word ends when the first of them does."""
    told = merge_verdicts([fed(valid_until=9_000.0), fed(SUSPICIOUS, "acme", valid_until=8_000.0)])
    assert (told.rated, told.expires, told.reputation) == (None, 8_000.0, MALICIOUS)
    assert told.sources == ("sekoia", "acme")
    assert merge_verdicts([fed()]).expires == float("inf")


@pytest.mark.parametrize(
    ("theirs", "feeds", "expected"),
    [
        ("unknown", "unknown", "unknown"),
        ("hosting", "tor", "hosting"),
        ("unknown", "tor", "tor"),
        ("relay", "unknown", "relay"),
    ],
)
def test_crowdsecs_class_goes_first(theirs: str, feeds: str, expected: str) -> None:
    """However bad the words are."""
    labels = ("proxy:tor",) if feeds == "tor" else ()
    for reputation in Reputation:
        words = [fed(labels=labels), crowdsec(reputation, address_class=AddressClass(theirs))]
        assert merge_verdicts(words).address_class.value == expected


def test_the_first_class_of_several() -> None:
    """The worst word's."""
    replica = crowdsec(BENIGN, "crowdsec-replica", address_class=AddressClass.MOBILE)
    words = [replica, crowdsec(MALICIOUS, address_class=AddressClass.VPN)]
    assert merge_verdicts(words).address_class is AddressClass.VPN


# --- what is told besides ---


def test_lists_are_joined_and_bounded() -> None:
    """Each name once, the worst word's first."""
    one = crowdsec(SUSPICIOUS, classifications=tuple(f"c{n}" for n in range(30)), cves=("CVE-1",))
    other = fed(labels=tuple(f"c{n}" for n in range(20, 60)))
    told = merge_verdicts([one, other]).intel
    expected = [*(f"c{n}" for n in range(20, 60)), *(f"c{n}" for n in range(10))]
    assert told.classifications == tuple(expected)
    assert len(told.classifications) == MAX_MERGED_NAMES
    assert told.cves == ("CVE-1",)


def test_single_values_are_the_worst_words() -> None:
    """Else the first that is told."""
    word = merge_verdicts([fed(confidence=80), crowdsec(SUSPICIOUS, intel=RICH)]).intel
    assert (word.confidence, word.score, word.city) == ("high", 4, "Köln")
    word = merge_verdicts([fed(SUSPICIOUS, confidence=80), crowdsec(MALICIOUS, intel=RICH)]).intel
    assert (word.confidence, word.raw_reputation) == ("medium", "malicious")
    assert word.indicator["id"] == "i"


def test_a_score_of_nothing_is_told() -> None:
    """As it is of CrowdSec's word alone."""
    word = crowdsec(SUSPICIOUS, score=0, background_noise=0)
    assert (merge_verdicts([word]).intel.score, merge_verdicts([word]).intel.background_noise) == (
        0,
        0,
    )
    joined = merge_verdicts([word, fed()]).intel
    assert (joined.score, joined.background_noise) == (0, 0)


def test_each_source_has_its_evidence() -> None:
    """Feeds their indicators, CrowdSec what it says."""
    word = crowdsec(BENIGN, references=("r",), scores={"x": 1})
    told = merge_verdicts([word, fed(confidence=60), fed(SUSPICIOUS, id="j"), fed(source="acme")])
    assert set(told.evidence) == {"sekoia", "acme", "crowdsec"}
    ids = [one["id"] for one in told.evidence["sekoia"]["indicators"]]
    assert (told.evidence["sekoia"]["reputation"], ids) == ("malicious", ["i", "j"])
    assert told.evidence["crowdsec"] == {
        "reputation": "benign",
        "references": ["r"],
        "scores": {"x": 1},
    }
    assert "sekoia: malicious" in told.reason
    assert "crowdsec: benign" in told.reason


@pytest.mark.parametrize("theirs", Reputation)
def test_crowdsecs_feed_beside_its_api(theirs: Reputation) -> None:
    """They have one name among the sources; what each said is told apart."""
    told = merge_verdicts([fed(source="crowdsec"), crowdsec(theirs, references=("r",))])
    assert told.sources == ("crowdsec",)
    assert told.evidence["crowdsec"] == {"reputation": theirs.value, "references": ["r"]}
    feed = told.evidence["crowdsec feed"]
    assert (feed["reputation"], len(feed["indicators"])) == ("malicious", 1)


def test_crowdsec_knows_nothing() -> None:
    """That is told in words, too."""
    told = merge_verdicts([Verdict(reputation=UNKNOWN, source="crowdsec", time=1.0, expires=2.0)])
    assert (told.evidence, told.reason) == ({"crowdsec": {}}, "crowdsec: no reputation")


# --- rows ---

DETAILS = Details(
    table="SigninLogs",
    event_id="e",
    event_time=FALLBACK,
    addresses=((V4, V4),),
    account="ada@example.net",
    outcome=Outcome.SUCCESS,
)


def finding(*words: Verdict) -> FindingRow:
    """Return the row of a sign-in."""
    told = merge_verdicts(words)
    line = Policy().decide(told.address_class, DETAILS.outcome, MALICIOUS, told.false_positive)
    return finding_row(
        details=DETAILS,
        address=V4,
        merged=told,
        line=line,
        origin="live",
        wall=FALLBACK,
        delay=1.0,
    )


def test_the_row_of_a_single_word_is_what_it_was() -> None:
    """Column by column, as it was written when CrowdSec's API was the only source."""
    row = finding(crowdsec(MALICIOUS, intel=RICH))
    expected = {
        "Sources": ["crowdsec"],
        "Reputation": "malicious",
        "Confidence": "medium",
        "Score": 4,
        "BackgroundNoise": 3,
        "Behaviors": ["http:scan"],
        "Classifications": ["proxy:vpn"],
        "FalsePositives": [],
        "MitreTechniques": [],
        "Cves": [],
        "IntelCountry": None,
        "IntelAsNumber": 3209,
        "IntelAsName": None,
        "IpRange": "81.2.69.0/24",
        "ReverseDns": None,
        "IntelFirstSeen": None,
        "IntelLastSeen": None,
        "VerdictTime": iso_of(1_000.0),
        "ReportUrl": f"https://app.crowdsec.net/cti/{V4}",
        "Evidence": {
            "crowdsec": {
                "reputation": "malicious",
                "attackDetails": ["a:b"],
                "references": ["r"],
                "targetCountries": {"DE": 0.5},
                "scores": {"overall": {"total": 4}},
                "proxyOrVpn": True,
                "city": "Köln",
                "rangeScore": 2,
                "range24": "81.2.69.0/24",
                "range24Reputation": "suspicious",
                "range24Score": 1,
            }
        },
    }
    assert {name: row[name] for name in expected} == expected


def test_a_long_list_of_a_single_word_is_not_cut() -> None:
    """The bound is for what is joined."""
    many = tuple(f"c{n}" for n in range(MAX_MERGED_NAMES + 10))
    assert finding(crowdsec(MALICIOUS, classifications=many))["Classifications"] == list(many)


def test_the_row_of_a_feeds_word_alone() -> None:
    """Nobody was asked, so there is no time of a verdict, and no page of CrowdSec's to show."""
    row = finding(fed(confidence=40))
    assert (row["VerdictTime"], row["ReportUrl"]) == (None, None)
    assert (row["Confidence"], row["Sources"], row["Score"]) == ("medium", ["sekoia"], None)


def test_a_feed_that_excuses_its_own_word() -> None:
    """As the API's does; another feed that calls the address bad is believed."""
    labels = ("malicious", "cdn:cloudflare_exit_node")
    own = verdict_of("crowdsec", V4, _indicator(labels=labels))
    other = verdict_of("sekoia", V4, _indicator(labels=("malicious",)))
    assert merge_verdicts([own]).false_positive
    assert not merge_verdicts([own, other]).false_positive
    assert not merge_verdicts([other]).false_positive


def _indicator(labels: tuple[str, ...]) -> Indicator:
    return Indicator(id="i", modified=5.0, keys=(V4,), types=("malicious-activity",), labels=labels)

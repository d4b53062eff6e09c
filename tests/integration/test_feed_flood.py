"""A careless feed over the demo's four days: nothing above Low, and it is told."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.servers.taxii import TaxiiServer, indicator
from tests.support.command import findings_in, replay
from tests.support.feed_commands import feed_at

RECORDING = Path(__file__).parents[2] / "producers" / "demo" / "recording.ndjson.gz"
EGRESS = "22.48.16.10"
"""The demo company's own: 94 accounts work there every day."""
NAMES = {
    "the egress": f"[ipv4-addr:value = '{EGRESS}']",
    "its /24": "[ipv4-addr:value ISSUBSET '22.48.16.0/24']",
    "one /8": "[ipv4-addr:value ISSUBSET '22.0.0.0/8']",
    "every /8": " OR ".join(f"[ipv4-addr:value ISSUBSET '{n}.0.0.0/8']" for n in range(1, 224)),
    "Microsoft": "[ipv4-addr:value IN ('20.190.128.0/18', '40.126.0.0/18', '151.206.0.0/16')]",
    "resolvers": "[ipv4-addr:value IN ('8.8.8.8', '1.1.1.1', '9.9.9.9', '208.67.222.222')]",
}
TRUSTED = {"TRUSTED_NETWORKS": f"{EGRESS}/32"}


@pytest.mark.parametrize(
    ("named", "settings", "warm", "expected"),
    [
        ("the egress", TRUSTED, False, {"Informational": 1_298}),
        ("the egress", {}, True, {"Low": 1_298}),
        ("its /24", TRUSTED, False, {"Informational": 1_298}),
        ("its /24", {}, True, {"Low": 1_298}),
        ("one /8", {}, False, {}),
        ("every /8", {}, False, {}),
        ("Microsoft", {}, False, {}),
        ("resolvers", {}, False, {}),
    ],
)
async def test_a_careless_feed_floods_nobody(
    tmp_path: Path, named: str, settings: dict[str, str], *, warm: bool, expected: dict[str, int]
) -> None:
    """With the egress configured, or with what was learned of it; without any lookup."""
    taxii, path, state = TaxiiServer(), tmp_path / "found", tmp_path / "state"
    taxii.add(indicator(NAMES[named], valid_from="2020-01-01T00:00:00Z"))
    async with taxii.server() as server:
        feed = feed_at(server) | settings
        if warm:
            ran = await replay(RECORDING, "--warm", "--state", state, **feed)
            assert ran.status == 0, ran.err
        ran = await replay(RECORDING, "--findings", path, "--state", state, **feed)
    assert ran.status == 0, ran.err
    by_feed = [one for one in findings_in(path) if one["Sources"] != ["signinwatch"]]
    assert Counter(one["Severity"] for one in by_feed) == expected
    if named not in ("Microsoft", "resolvers"):  # the recording has no sign-in from there
        assert "not believed" in ran.err or "capped" in ran.err

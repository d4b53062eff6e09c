"""Which known name was probably meant."""

from __future__ import annotations

import pytest

from schemas.spelling import closest

TABLES = ("AADUserRiskEvents", "SigninLogs", "AuditLogs")
SETTINGS = ("CROWDSEC__API_KEY", "CROWDSEC__URL", "STATE__TABLE", "TABLES")


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        pytest.param("signin-logs", TABLES, "SigninLogs", id="case and punctuation"),
        pytest.param("Signin", TABLES, "SigninLogs", id="beginning"),
        pytest.param("API_KEY", SETTINGS, "CROWDSEC__API_KEY", id="end"),
        pytest.param("SignLogs", TABLES, "SigninLogs", id="letters missing"),
        pytest.param("TABLE", SETTINGS, "TABLES", id="the nearest of two"),
        pytest.param("Si", TABLES, None, id="too short to mean anything"),
        pytest.param("NoLogs", TABLES, None, id="nothing near"),
        pytest.param("", TABLES, None, id="empty"),
        pytest.param("Signin", (), None, id="nothing known"),
        pytest.param("-" * 100 + "SigninLogs", TABLES, None, id="the beginning counts alone"),
    ],
)
def test_the_nearest_name_is_meant(name: str, known: tuple[str, ...], meant: str | None) -> None:
    """None unless one is near."""
    assert closest(name, known) == meant

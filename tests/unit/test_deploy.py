"""The files for containers, held against each other and the code. No engine is here to run them.

The composition is read by its lines, as its form matters. The image has tests of its own in
``tests/unit/deploy/test_image.py``, the pages in ``tests/unit/deploy/test_deploy_docs.py``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from azure.eventhub import parse_connection_string

from consumers.settings import load_settings
from consumers.settings.model import PREFIX
from consumers.wiring.replay import make_quarantine
from consumers.wiring.service import require_run_settings
from tests.servers.azurite import KEY

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
COMPOSE = (DEPLOY / "compose.yaml").read_text("utf-8")
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
_DEFAULT = re.compile(r"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)?\}")


def _services() -> dict[str, str]:
    """Return the text of each service."""
    text = COMPOSE.partition("\nservices:\n")[2]
    parts = re.split(r"^  (\w+):\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _environment() -> dict[str, str]:
    """Return the service's variables as they are when only what must be said was said."""
    found = re.findall(rf'^      ({PREFIX}\w+): "(.*)"$', COMPOSE, flags=re.MULTILINE)
    return {name: _DEFAULT.sub(lambda one: one[2] or "said", value) for name, value in found}


def _ports(service: str) -> list[str]:
    return re.findall(r'^      - "127\.0\.0\.1:(\d+:\d+)"', _services()[service], re.MULTILINE)


def test_the_composition_is_plain_yaml() -> None:
    """Even indentation, no tabs, every line an entry, an item or a comment."""
    line_form = re.compile(r"^( {2})*(#.*|- \S.*|[A-Za-z_]+:( [^\s#&*!|>%@`{\'][^\t]*)?)$")
    for line in COMPOSE.splitlines():
        assert not line or line_form.match(line), line
        assert len(re.findall(r'(?<!\\)"', line.partition(" # ")[0])) % 2 == 0, line
    assert list(_services()) == ["azurite", "emulator", "signinwatch"]


def test_the_service_starts_with_these_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each variable exists, is readable, and nothing is missing."""
    assert COMPOSE.count(f"      {PREFIX}") == len(_environment()) > 5
    for name, value in _environment().items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    require_run_settings(settings)
    assert settings.crowdsec.monthly_quota == 120
    assert settings.checkpoint.create
    make_quarantine(settings, None, instance="x", patient=True)


def test_names_and_ports_fit_together() -> None:
    """Hub, group, storage and the endpoints are where the service looks for them."""
    environment = _environment()
    (space,) = orjson.loads((DEPLOY / "eventhubs-emulator.json").read_bytes())["UserConfig"][
        "NamespaceConfig"
    ]
    (hub,) = space["Entities"]
    assert hub["Name"] == environment[f"{PREFIX}EVENTHUB__NAME"]
    assert [one["Name"] for one in hub["ConsumerGroups"]] == [
        environment[f"{PREFIX}EVENTHUB__CONSUMER_GROUP"]
    ]
    assert int(hub["PartitionCount"]) > 0
    there = parse_connection_string(environment[f"{PREFIX}EVENTHUB__CONNECTION_STRING"])
    assert there.fully_qualified_namespace in _services()
    assert _ports("emulator") == ["5672:5672"]
    port = environment[f"{PREFIX}HTTP__PORT"]
    assert _ports("azurite") == [f"{port}:{port}"]
    assert f"EXPOSE {port}\n" in DOCKERFILE
    assert 'network_mode: "service:azurite"' in _services()["signinwatch"]
    for kind, number in (("CHECKPOINT", "Blob"), ("STATE", "Table")):
        text = environment[f"{PREFIX}{kind}__CONNECTION_STRING"]
        place = {"Blob": 10_000, "Table": 10_002}[number]
        assert f"{number}Endpoint=http://127.0.0.1:{place}/devstoreaccount1" in text
        assert KEY in text
    for name in re.findall(r'"\./([^:"]+):/', COMPOSE):
        assert (DEPLOY / name).is_file()


def test_findings_go_to_standard_output_and_no_key_is_kept() -> None:
    """What a person must say themselves is asked for."""
    assert 'command: ["run", "--findings", "-"]' in _services()["signinwatch"]
    for name in ("ACCEPT_EULA", f"{PREFIX}CROWDSEC__API_KEY"):
        assert f'{name}: "${{{name}:?' in COMPOSE


def test_every_builder_leaves_out_the_same() -> None:
    """`az acr build` knows the file at the top alone, and sends nothing else to the registry."""
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    own = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert lines == [*own, "!deploy/Dockerfile"]

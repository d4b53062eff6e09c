"""The steps of deploy/Dockerfile, repeated without an engine: what they make works.

What this cannot show: the base image, the user, the labels, and that an engine reads the file the
same way. Those wait for the first build (see .github/workflows/release.yml, which tries the image).
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from tests.support.service_process import Running, until
from tests.support.site import open_site
from tests.unit.deploy.dockerfile import DOCKERFILE, ROOT, admitted, instructions, stages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.servers.azurite import Azurite


@dataclass(frozen=True)
class Image:
    """What was built: a folder that stands for the root of the image."""

    root: Path

    @property
    def application(self) -> Path:
        """The folder that the last stage copies."""
        return self.root / "opt/signinwatch"

    def environment(self, temporary: Path) -> dict[str, str]:
        """Return what a container has in its environment, and nothing of this machine's."""
        return {
            "PATH": f"{self.application}/bin:/usr/bin:/bin",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": f"{self.root}/home/signinwatch",  # the user has none
            "TMPDIR": str(temporary),
        }

    def files(self) -> dict[str, tuple[int, int]]:
        """Return size and time of each file, to tell whether something was written."""
        return {
            str(path): (path.stat().st_size, path.stat().st_mtime_ns)
            for path in self.application.rglob("*")
            if path.is_file()
        }

    def megabytes(self) -> float:
        """Return how much the files take, each counted once."""
        return sum(size for size, _ in self.files().values()) / 1e6


def _context(target: Path) -> None:
    """Copy what the builder would be sent."""
    for name in admitted():
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / name)


def _copy(context: Path, here: Path, names: list[str]) -> None:
    *sources, target = names
    for name in sources:
        place = here if target == "./" else here / target
        if (context / name).is_dir():
            shutil.copytree(context / name, place)
        else:
            shutil.copy(context / name, place / name)


def _build(root: Path, context: Path, environment: dict[str, str]) -> None:
    """Do what the first stage says, with its absolute paths below *root*."""
    here = root
    for word, rest in stages()[0][1:]:
        match word:
            case "ENV":
                environment |= dict(re.findall(r"(\w+)=(\S+)", rest))
            case "WORKDIR":
                here = root / rest.lstrip("/")
                here.mkdir(parents=True)
            case "COPY":
                _copy(context, here, rest.split())
            case "RUN":
                command = rest.replace("/opt/signinwatch", f"{root}/opt/signinwatch")
                ran = subprocess.run(
                    ["/bin/sh", "-e", "-c", command],  # the file's own commands
                    cwd=here,
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert ran.returncode == 0, f"{rest}\n{ran.stdout}{ran.stderr}"
            case _:
                pytest.fail(f"the test cannot do {word}")


def _built_in(folder: Path, variables: Mapping[str, str]) -> Image:
    """Build it. The package registry of this machine's pip is used, like for `make test`."""
    root, context = folder / "root", folder / "context"
    root.mkdir()
    context.mkdir()
    _context(context)
    path = f"{Path(sys.executable).parent}:{variables['PATH']}"
    keep = {name: value for name, value in variables.items() if not name.startswith("PYTHON")}
    _build(root, context, {**keep, "PATH": path})
    return Image(root)


class Container(Running):
    """``signinwatch run`` from the image, started the way an engine does."""

    def __init__(self, image: Image, home: Path, settings: Mapping[str, str]) -> None:
        super().__init__(settings)
        self.image, self.home = image, home

    def variables(self) -> dict[str, str]:
        """Return its whole environment."""
        own = {"HTTP__HOST": "127.0.0.1", "HTTP__PORT": str(self.port), **self.settings}
        return self.image.environment(self.home) | {
            f"SIGNINWATCH_{name}": value for name, value in own.items()
        }

    async def __aenter__(self) -> Self:
        said = dict(instructions())
        entry, command = json.loads(said["ENTRYPOINT"]), json.loads(said["CMD"])
        self.process = await asyncio.create_subprocess_exec(
            self.image.application / "bin" / entry[0],
            *entry[1:],
            *command,
            cwd=self.home,
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=self.variables(),
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def healthy(self) -> bool:
        """Run the file's health check beside it."""
        command = dict(instructions())["HEALTHCHECK"].partition("CMD ")[2]
        program, *arguments = json.loads(command)
        process = await asyncio.create_subprocess_exec(
            self.image.application / "bin" / program,
            *arguments,
            env={**self.variables(), "http_proxy": "http://127.0.0.1:9"},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        return await process.wait() == 0


async def _judge_a_sign_in(image: Image, azurite: Azurite, tmp_path: Path) -> None:
    """Ready, a finding, checkpointed, drained; what was copied into the image stays untouched."""
    scratch, home = tmp_path / "scratch", tmp_path / "home"
    scratch.mkdir()
    home.mkdir()
    before = image.files()
    async with open_site(azurite.connection_string) as site:
        site.settings["STATE__SCRATCH"] = str(scratch)
        container = Container(image, home, site.settings)
        assert not await container.healthy(), "nobody is there yet"
        site.publish(bad=1, good=2)
        async with container:
            await until(container.ready, "ready")
            await until(site.found, "the finding")
            await until(site.all_checkpointed, "checkpoints")
            assert await container.healthy()
            assert await container.terminate() == 0, container.errors
        assert site.one_id_each()
        assert site.ingestion.rows[0]["Origin"] == "live"
    assert image.files() == before, "the application's folder may be read-only"


def _hold_no_more_than_needed(image: Image, tmp_path: Path) -> None:
    """No installer, no tests, no extras; every module is compiled; the size is what is stated."""
    (packages,) = image.application.glob("lib/python3.*/site-packages")
    names = {path.name for path in packages.iterdir()}
    for absent in ("pip", "setuptools", "tests", "pytest", "duckdb", "opentelemetry", "mypy"):
        assert absent not in names
    assert {"consumers", "producers", "schemas", "aiohttp"} <= names
    own = [
        path
        for one in ("consumers", "producers", "schemas")
        for path in (packages / one).rglob("*.py")
    ]
    for path in own:
        assert list((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc")), path
    stated = re.search(r"about (\d+) MB unpacked", DOCKERFILE.read_text("utf-8"))
    assert stated is not None
    assert abs(image.megabytes() - int(stated[1])) < 15
    told = subprocess.run(
        [image.application / "bin/signinwatch", "--version"],
        env=image.environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr


def test_the_last_stage_copies_what_was_built_and_sets_what_the_test_sets() -> None:
    """The environment above is the file's; only the built folder crosses the stages."""
    first, last = stages()
    built = dict(first)["RUN"]
    assert "/opt/signinwatch" in built
    assert [rest for word, rest in last if word == "COPY"] == [
        "--from=build /opt/signinwatch /opt/signinwatch"
    ]
    (environment,) = (rest for word, rest in last if word == "ENV")
    assert environment.split() == [
        "PATH=/opt/signinwatch/bin:$PATH",
        "PYTHONUNBUFFERED=1",
        "PYTHONDONTWRITEBYTECODE=1",
    ]


def _do_what_the_release_tries(image: Image, tmp_path: Path) -> None:
    """Give the workflow's sign-in and command to what was built."""
    workflow = (ROOT / ".github/workflows/release.yml").read_text("utf-8")
    sign_in = re.search(r"sign_in='(.*)'", workflow)
    command = re.search(r"tried (replay .*) \\\n\s*\| grep -F '(.*)'", workflow)
    assert sign_in is not None
    assert command is not None
    ran = subprocess.run(
        [image.application / "bin/signinwatch", *command[1].split()],
        input=sign_in[1],
        env=image.environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert command[2] in ran.stdout
    assert list(tmp_path.iterdir()) == [], "nothing stays in /tmp"


@pytest.fixture(scope="module")
def variables() -> dict[str, str]:
    """Return this machine's environment, with proxies that the way to the registry may need."""
    return dict(os.environ)


@pytest.mark.timeout(400)
async def test_what_the_steps_make_is_an_image_that_works(
    variables: dict[str, str], azurite: Azurite, tmp_path: Path
) -> None:
    """One test for all that needs it: building takes a quarter of a minute."""
    folders = [tmp_path / name for name in ("image", "service", "content", "try")]
    for folder in folders:
        folder.mkdir()
    image = await asyncio.to_thread(_built_in, folders[0], variables)
    await _judge_a_sign_in(image, azurite, folders[1])
    _hold_no_more_than_needed(image, folders[2])
    _do_what_the_release_tries(image, folders[3])

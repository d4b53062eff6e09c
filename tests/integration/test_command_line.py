"""What belongs to the command line as a whole: completion, the module, the version, its speed."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from shutil import which

import pytest

from tests.support.command import signinwatch

ROOT = Path(__file__).parent.parent.parent
MAX_CPU_SECONDS = 0.4
VERSION = f"signinwatch, version {version('signinwatch')}\n"
COMPLETE_IN_BASH = """\
eval "$(signinwatch completion bash)"
COMP_WORDS=(signinwatch %s)
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_signinwatch_completion signinwatch
printf '%%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("words", "offered"), [("quar", "quarantine"), ("quarantine sh", "show"), ("replay --que", "")]
)
def test_bash_completes(words: str, offered: str) -> None:
    """With the script that the command prints, as a user's shell would."""
    bash = which("bash")
    assert bash is not None
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ran = subprocess.run(
        [bash, "-c", COMPLETE_IN_BASH % words],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == offered, ran.stderr


@pytest.mark.parametrize(
    ("shell", "first"), [("zsh", "#compdef signinwatch"), ("fish", "function _signinwatch_")]
)
async def test_other_shells_have_a_script(shell: str, first: str) -> None:
    """It names the variable that makes the command complete."""
    ran = await signinwatch("completion", shell)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.decode().startswith(first)
    assert b"_SIGNINWATCH_COMPLETE=" in ran.out


async def test_completion_says_how_to_install_it() -> None:
    """And refuses a shell that it does not know."""
    ran = await signinwatch("completion", "--help")
    for line in (b'eval "$(signinwatch completion bash)"', b"~/.zshrc", b"signinwatch.fish"):
        assert line in ran.out
    assert (await signinwatch("completion", "tcsh")).status == 2


@pytest.mark.parametrize(
    "command", [["-m", "signinwatch", "-V"], ["-m", "signinwatch", "--version"]], ids=" ".join
)
def test_the_module_runs_the_command(command: list[str]) -> None:
    """As ``python -m``, under the same name."""
    ran = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout == VERSION


async def test_the_version_has_a_short_option() -> None:
    """``-V`` beside ``--version``."""
    ran = await signinwatch("-V")
    assert (ran.status, ran.out.decode()) == (0, VERSION)


def _cpu_seconds(option: str, environment: dict[str, str]) -> float:
    process = subprocess.Popen(
        [sys.executable, "-m", "signinwatch", option],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize("option", ["--help", "-V"])
def test_help_and_version_come_at_once(option: str, tmp_path: Path) -> None:
    """When the modules are compiled, as they are where the package is installed.

    The best of three: other processes make the same work dearer.
    """
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    _cpu_seconds(option, environment)
    assert min(_cpu_seconds(option, environment) for _ in range(6)) < MAX_CPU_SECONDS


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        (("replay", "file", "--config", "x"), "--config PATH replay"),
        (("replay", "file", "--config=x"), "--config PATH replay"),
        (("lookup", "--verbose", "1.1.1.1"), "--verbose lookup"),
        (("quarantine", "list", "--verbose"), "--verbose quarantine"),
        (("quarantine", "--config", "x", "list"), "--config PATH quarantine"),
        (("check", "-V"), "-V check"),
    ],
)
async def test_a_global_option_after_the_command_is_told_where_it_goes(
    arguments: tuple[str, ...], right: str
) -> None:
    """One line and exit status 2, not the usage."""
    ran = await signinwatch(*arguments)
    option = right.split()[0]
    assert ran.status == 2
    assert ran.err == f"signinwatch: {option}: goes before the command: signinwatch {right}\n", (
        ran.err
    )


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("replays", "file"), "Did you mean 'replay'?"),
        (("replay", "file", "--spent"), "Did you mean '--spend'?"),
    ],
)
async def test_other_wrong_words_have_a_hint(arguments: tuple[str, ...], hint: str) -> None:
    """A command, or an option of one."""
    ran = await signinwatch(*arguments)
    assert (ran.status, hint in ran.err) == (2, True), ran.err

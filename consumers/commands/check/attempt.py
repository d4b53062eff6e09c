"""One test of ``signinwatch check``: its time limit, and what its result is."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.errors import (
    ConfigurationError,
    FeedFailed,
    KeyRefused,
    SigninwatchError,
    SinkHeldBack,
    StateRefused,
)
from schemas.health import Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CHECK_TIMEOUT_SECONDS = 20.0
"""Seconds for each test."""
PROBLEM_RETRY_SECONDS = 3.0
"""Seconds after a first problem for which a test goes on."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Result of one test; ``code`` is None if it passed."""

    name: str
    text: str
    code: Problem | None = None


class ProblemRecorder:
    """Records the last problem that lasts."""

    def __init__(self) -> None:
        self.problem: tuple[Problem, str] | None = None
        self._deadline: asyncio.Timeout | None = None

    def hasten(self, deadline: asyncio.Timeout) -> None:
        """Bring *deadline* forward once there is a problem."""
        self._deadline = deadline

    def report(self, what: Problem, detail: str, *, part: str = "") -> None:
        """Record the problem. What retries for ever gets only a short time more."""
        del part
        if self._deadline is not None and not self._deadline.expired():
            soon = asyncio.get_running_loop().time() + PROBLEM_RETRY_SECONDS
            self._deadline.reschedule(min(self._deadline.when() or soon, soon))
        self.problem = (what, detail)

    def resolve(self, what: Problem, *, part: str = "") -> None:
        """Forget the problem: a retry has succeeded."""
        del part
        if self.problem is not None and self.problem[0] is what:
            self.problem = None


_CODES: tuple[tuple[type[SigninwatchError], Problem], ...] = (
    (KeyRefused, Problem.KEY_REFUSED),
    (StateRefused, Problem.STATE_IN_USE),
    (ConfigurationError, Problem.NOT_CONFIGURED),
    (SinkHeldBack, Problem.FINDINGS_HELD_BACK),
)
_DEFAULT_CODE = Problem.LEDGER_UNREACHABLE

Check = tuple[str, "Callable[[ProblemRecorder], Awaitable[str]]"]
"""A name and its test, which returns a text, reports a problem, or raises."""


class CheckFailed(Exception):
    """A check failed with a specific code."""

    def __init__(self, code: Problem, text: str) -> None:
        super().__init__(text)
        self.code = code


async def attempt(name: str, action: Callable[[ProblemRecorder], Awaitable[str]]) -> CheckResult:
    """Run a test and return its result. Never raises an error of ours."""
    recorder = ProblemRecorder()
    text = ""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS) as deadline:
            recorder.hasten(deadline)
            text = await action(recorder)
    except TimeoutError:
        if recorder.problem is None:
            return CheckResult(
                name, f"no response within {CHECK_TIMEOUT_SECONDS:.0f} s", Problem.NOT_CONFIGURED
            )
    except (CheckFailed, SigninwatchError) as error:
        remedy = f"; {error.remedy}" if isinstance(error, SinkHeldBack) else ""
        return CheckResult(name, f"{error}{remedy}", _code_of(error))
    if recorder.problem is not None:
        return CheckResult(name, recorder.problem[1], recorder.problem[0])
    return CheckResult(name, text)


def _code_of(error: CheckFailed | SigninwatchError) -> Problem:
    """Return the code of an error."""
    if isinstance(error, CheckFailed):
        return error.code
    if isinstance(error, FeedFailed):
        return Problem.FEED_REFUSED if error.refused else Problem.FEED_DOWN
    return next((code for kind, code in _CODES if isinstance(error, kind)), _DEFAULT_CODE)


def without_recorder(
    action: Callable[[], Awaitable[str]],
) -> Callable[[ProblemRecorder], Awaitable[str]]:
    """Return a test that raises and reports no problems."""

    async def test(recorder: ProblemRecorder) -> str:
        del recorder
        return await action()

    return test


def failing(error: ConfigurationError) -> Callable[[ProblemRecorder], Awaitable[str]]:
    """Return a test that fails, because its settings are wrong."""

    async def test(_: ProblemRecorder) -> str:
        raise error

    return test

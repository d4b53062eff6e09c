"""What is known about a sign-in besides the verdicts on its address: its stories, what is new."""

from __future__ import annotations

import msgspec


class Story(msgspec.Struct, frozen=True):
    """Evidence that several sign-ins give together."""

    name: str
    sentence: str
    """What it saw, in one sentence."""


class Reason(msgspec.Struct, frozen=True):
    """A reason for or against the sign-in, with the points that the ranking gives it."""

    code: str
    points: float
    text: str


class SignInContext(msgspec.Struct, frozen=True, kw_only=True):
    """What the history says of a sign-in. The three that are new are None for a new account."""

    stories: tuple[Story, ...] = ()
    signs: frozenset[str] = frozenset()
    """The names of the stories, and of what supports them."""
    new_country: bool | None = None
    new_network: bool | None = None
    new_device: bool | None = None
    session_first_network: str | None = None
    reasons: tuple[Reason, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """The names of the stories."""
        return frozenset(story.name for story in self.stories)


NO_CONTEXT = SignInContext()

"""Every error of the project, typed by what its receiver must do.

::

    SigninwatchError
    ├── ConfigurationError      tell a human and stop: exit status 2, one line naming the setting
    │   ├── KeyRefused          a source's key is bad or expired
    │   └── StateRefused        the state directory cannot be used as asked
    ├── RecordingUnreadable     stop: the recording itself (not one line of it) cannot be read
    ├── LedgerFailed            stop: the state cannot be written, so nothing can be promised
    ├── SourceFailed            a source gave no answer: the address stays unanswered, with a reason
    │   ├── SourceUnavailable   ask again later
    │   ├── BatchRefused        ask one address at a time
    │   ├── QuotaSpent          ask again when the period ends
    │   └── TooFast             ask again soon, with fewer requests at once
    ├── FeedFailed              a feed or replica gave nothing new: what is known stays in use
    ├── HubFailed               an event hub takes no messages: tell a human what to mend, and stop
    ├── SinkHeldBack            keep the findings and try again: a human may have to mend something
    └── SinkRefused             these findings will never be accepted: quarantine them
"""

from __future__ import annotations


class SigninwatchError(Exception):
    """Base of all errors that the project raises on purpose."""


class ConfigurationError(SigninwatchError):
    """A setting is wrong. The text names the setting and how to mend it."""


class KeyRefused(ConfigurationError):
    """A source refused its key."""


class StateRefused(ConfigurationError):
    """The state directory is in use, of another kind of clock, or of a newer version."""


class RecordingUnreadable(SigninwatchError):
    """A recording cannot be opened or stops being readable half-way."""


class LedgerFailed(SigninwatchError):
    """The ledger cannot be read or written."""


class SourceFailed(SigninwatchError):
    """A source gave no answer. ``counted`` tells whether the request may have cost quota."""

    def __init__(
        self, text: str, *, counted: bool = True, retry_after: float | None = None
    ) -> None:
        super().__init__(text)
        self.counted = counted
        self.retry_after = retry_after


class SourceUnavailable(SourceFailed):
    """Out of reach, broken, or answering nonsense."""


class BatchRefused(SourceFailed):
    """The key may not ask of several addresses at once."""


class QuotaSpent(SourceFailed):
    """The period's lookups are used up."""


class TooFast(SourceFailed):
    """Refused for speed alone; the request did not count."""


class FeedFailed(SigninwatchError):
    """A feed, or the CrowdSec replica, cannot be brought up to date; what is known stays in use.

    ``refused`` tells that a human has to mend something: a key, a name, a server's answer that
    cannot be trusted. Else it may pass, after ``retry_after`` seconds if the server says so.
    """

    def __init__(
        self, text: str, *, refused: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(text)
        self.refused = refused
        self.retry_after = retry_after


class HubFailed(SigninwatchError):
    """An event hub takes no messages. The text says how to mend it; ``again`` that it may pass."""

    def __init__(self, text: str, *, again: bool) -> None:
        super().__init__(text)
        self.again = again


class SinkHeldBack(SigninwatchError):
    """The sink cannot take findings now. Nothing is lost; ``mend`` says what a human can do."""

    def __init__(self, text: str, *, mend: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.remedy = mend
        self.retry_after = retry_after


class SinkRefused(SigninwatchError):
    """The sink will never accept this body; ``too_large`` tells that its size is why."""

    def __init__(self, text: str, *, too_large: bool = False) -> None:
        super().__init__(text)
        self.too_large = too_large

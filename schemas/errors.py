"""All errors of the project, one type for each reaction that the caller needs.

::

    SigninwatchError
    ├── ConfigurationError      report and stop: exit status 2, one line that names the setting
    │   ├── KeyRefused          a source's key is bad or expired
    │   └── StateRefused        the state directory cannot be used
    ├── RecordingUnreadable     stop: the recording itself (not one line of it) cannot be read
    ├── LedgerFailed            stop: the state cannot be written, so no guarantee holds
    ├── SourceFailed            a lookup failed: the address stays unanswered, with a reason
    │   ├── SourceUnavailable   retry later
    │   ├── BatchRefused        look up one address at a time
    │   ├── QuotaSpent          retry when the quota period ends
    │   └── TooFast             retry soon, with fewer concurrent requests
    ├── FeedFailed              a feed or replica cannot be updated: the stored version stays in use
    ├── HubFailed               an event hub accepts no messages: report the fix and stop
    ├── WorkspaceFailed         a workspace cannot be read: report it, keep what is complete, stop
    ├── TokenUnavailable        Entra ID gives no token: report why, and retry as the caller does
    ├── SinkHeldBack            keep the findings and retry: an operator may have to fix something
    └── SinkRefused             permanently rejected: quarantine the findings
"""

from __future__ import annotations


class SigninwatchError(Exception):
    """Base class of all errors that the project raises on purpose."""


class ConfigurationError(SigninwatchError):
    """A setting is wrong. The message names the setting and the fix."""


class KeyRefused(ConfigurationError):
    """A source rejected its API key."""


class StateRefused(ConfigurationError):
    """The state directory is in use, or has another kind of clock or a newer version."""


class RecordingRefused(SigninwatchError):
    """A file is no recording. The text says what it is, and what to do."""


class RecordingUnreadable(SigninwatchError):
    """A recording cannot be opened, or cannot be read to its end."""


class LedgerFailed(SigninwatchError):
    """The ledger cannot be read or written."""


class SourceFailed(SigninwatchError):
    """A lookup failed. ``counted`` is True if the request may have cost quota."""

    def __init__(
        self, text: str, *, counted: bool = True, retry_after: float | None = None
    ) -> None:
        super().__init__(text)
        self.counted = counted
        self.retry_after = retry_after


class SourceUnavailable(SourceFailed):
    """The source is unreachable, broken, or sends invalid responses."""


class BatchRefused(SourceFailed):
    """The API key does not permit lookups of several addresses in one request."""


class QuotaSpent(SourceFailed):
    """The lookup quota of the period is spent."""


class TooFast(SourceFailed):
    """The request was rate limited and did not count against the quota."""


class FeedFailed(SigninwatchError):
    """A feed or the CrowdSec replica cannot be updated; the stored version stays in use.

    ``refused`` is True if an operator has to fix something: a key, a name, or a server whose
    responses are invalid. Otherwise retry, after ``retry_after`` seconds if the server says so.
    """

    def __init__(
        self, text: str, *, refused: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(text)
        self.refused = refused
        self.retry_after = retry_after


class HubFailed(SigninwatchError):
    """An event hub accepts no messages. The message names the fix.

    ``again`` is True if a retry may succeed.
    """

    def __init__(self, text: str, *, again: bool) -> None:
        super().__init__(text)
        self.again = again


class WorkspaceFailed(SigninwatchError):
    """A Log Analytics workspace cannot be read.

    ``again`` is True if a retry may succeed, after ``retry_after`` seconds if the service says so.
    """

    def __init__(self, text: str, *, again: bool = False, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.again = again
        self.retry_after = retry_after


class TokenUnavailable(SigninwatchError):
    """Entra ID or a managed identity gives no token. The text says why, and names the fix."""


class SinkHeldBack(SigninwatchError):
    """The sink cannot accept findings now. Nothing is lost; ``remedy`` names the fix."""

    def __init__(self, text: str, *, remedy: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.remedy = remedy
        self.retry_after = retry_after


class SinkRefused(SigninwatchError):
    """The sink permanently rejects this body; ``too_large`` is True if its size is the reason."""

    def __init__(self, text: str, *, too_large: bool = False) -> None:
        super().__init__(text)
        self.too_large = too_large


class CommandInterrupted(SigninwatchError):
    """A person ended the command. The text says what was reached, what is kept, how to go on."""

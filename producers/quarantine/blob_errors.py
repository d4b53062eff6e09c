"""Translates errors of a storage account into messages that name the setting to fix.

Status and codes: Microsoft's "Status and error codes" of the Blob service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.errors import ConfigurationError, LedgerFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

SETTING = "SIGNINWATCH_CHECKPOINT__"
FIRST_BACKOFF_SECONDS = 0.2
MAX_BLOB_BACKOFF_SECONDS = 10.0
MAX_BLOB_RETRY_AFTER_SECONDS = 60.0

_MISSING = ("", "ContainerNotFound", "ResourceNotFound")
_MISNAMED = ("InvalidResourceName", "InvalidUri", "OutOfRangeInput")


class NoResponse(LedgerFailed):
    """The service is unreachable or busy; a retry may help."""

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


def refusal(
    setting: str, status: int, code: str, headers: Mapping[str, str]
) -> ConfigurationError | NoResponse:
    """Return the error for a response. *setting* names how the account is reached."""
    if status == 404 and code in _MISSING:
        return ConfigurationError(f"{SETTING}CONTAINER: there is no such container; create it")
    if code in _MISNAMED:
        return ConfigurationError(f"{SETTING}CONTAINER: is no name for a container")
    if status in (401, 403):
        return denial(setting, f"{status} {code}".strip())
    text = f"{SETTING}{setting}: the storage account answers {status} {code}"
    return NoResponse(text.strip(), _retry_after(headers))


def without_token(setting: str, why: str) -> ConfigurationError:
    """Return the error for an identity that gets no token."""
    return ConfigurationError(f"{SETTING}{setting}: no token could be had: {why}")


def denial(setting: str, what: str) -> ConfigurationError:
    """Return the error for a key or identity without access."""
    remedy = (
        "check its key or signature, and the account's firewall"
        if setting == "CONNECTION_STRING"
        else "give the identity the role Storage Blob Data Contributor on the container (a new "
        "role takes some minutes), and check the account's firewall"
    )
    return ConfigurationError(f"{SETTING}{setting}: access is refused ({what}); {remedy}")


def silence(setting: str, what: str) -> NoResponse:
    """Return the error for a request without a response."""
    return NoResponse(f"{SETTING}{setting}: the storage account does not answer ({what})")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the requested wait, unless it is too short to matter."""
    try:
        seconds = float(headers.get("Retry-After", ""))
    except ValueError:
        return None
    return min(seconds, MAX_BLOB_RETRY_AFTER_SECONDS) if seconds >= FIRST_BACKOFF_SECONDS else None

"""The identity of the process in Entra ID, and why it gets no token.

azure-identity's chain of credentials reports one text without causes. Here its credentials are
tried one by one, so that the cause is known by its type, status and number.

Numbers: Microsoft's "Microsoft Entra authentication and authorization error codes". Answers of
managed identities: "How to use managed identities to get an access token" (400, 404, 410, 429,
5xx).
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, cast

import orjson
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.identity import CredentialUnavailableError
from azure.identity.aio import (
    AzureCliCredential,
    AzureDeveloperCliCredential,
    AzurePowerShellCredential,
    DefaultAzureCredential,
    ManagedIdentityCredential,
)

from schemas.errors import TokenUnavailable
from schemas.network_errors import causes, why_unreached

if TYPE_CHECKING:
    from collections.abc import Sequence

    from azure.core.credentials import AccessToken
    from azure.core.credentials_async import AsyncTokenCredential

# The library warns about each credential of the search; the whole is reported by us.
logging.getLogger("azure.identity").setLevel(logging.ERROR)

_SECRET = "AZURE_CLIENT_SECRET"  # noqa: S105 - the variable's name
_NUMBER = re.compile(r"AADSTS(\d{4,8})")
_ENTRA_REMEDIES = {
    7000222: f"the client secret has expired; create a new one and set {_SECRET}",
    7000215: f"the client secret is wrong; set {_SECRET} to the secret's value, not its ID",
    700016: "the tenant has no such application; check AZURE_CLIENT_ID and AZURE_TENANT_ID",
    7000112: "the application is disabled; enable it in Entra ID",
    900023: "there is no such tenant; check AZURE_TENANT_ID",
    90002: "there is no such tenant; check AZURE_TENANT_ID and CLOUD",
    500011: "the tenant does not know the service; check AZURE_TENANT_ID and CLOUD",
    700027: "the certificate is not that of the application; upload it there, or use another",
    700024: "the federated token has expired, or the clock is wrong",
    70021: "no federated credential of the application matches; check its issuer and subject",
    700211: "no federated credential of the application matches; check its issuer",
    700213: "no federated credential of the application matches; check its subject",
}
_DEVELOPER_TOOLS = (AzureCliCredential, AzurePowerShellCredential, AzureDeveloperCliCredential)
_LOG_IN = "run az login again"
_NOBODY = (
    "there is no credential: no managed identity answers, AZURE_TENANT_ID, AZURE_CLIENT_ID and "
    f"{_SECRET} are not all set, and az login was not run"
)


class IdentityError(TokenUnavailable, ClientAuthenticationError):
    """As Azure's clients expect it: they do not repeat the request."""


class Identity:
    """The default credential of azure-identity, an ``AsyncTokenCredential`` with typed errors."""

    def __init__(self, *, retries: int | None = None, **options: Any) -> None:
        """*options* go to the default credential; *retries* limits those of a token request."""
        if retries is not None:
            options["retry_total"] = retries
        self._default = DefaultAzureCredential(**options)
        parts = self._default.credentials
        self._parts = [cast("AsyncTokenCredential", part) for part in parts]
        self._working: AsyncTokenCredential | None = None

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Return a token for *scopes*. Raises IdentityError.

        Credentials that are not configured here are passed over. One that is refused ends the
        search: no other identity takes its place.
        """
        failed: list[tuple[AsyncTokenCredential, AzureError]] = []
        for part in self._parts if self._working is None else [self._working]:
            try:
                token = await part.get_token(*scopes, **options)
            except AzureError as error:
                failed.append((part, error))
                if not isinstance(error, CredentialUnavailableError) and not isinstance(
                    part, _DEVELOPER_TOOLS
                ):
                    break
            else:
                self._working = part
                return token
        raise IdentityError(_why(failed))

    async def close(self) -> None:
        """Close the connections."""
        await self._default.close()

    async def __aenter__(self) -> Identity:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _why(failed: Sequence[tuple[AsyncTokenCredential, AzureError]]) -> str:
    """Return why none of the credentials gave a token, and the fix."""
    for credential, error in reversed(failed):  # the last one is why the search ended
        if not isinstance(error, CredentialUnavailableError):
            return _why_refused(credential, error)
    for credential, error in failed:
        status = _status(error)
        if isinstance(credential, ManagedIdentityCredential) and status is not None:
            return _why_managed(status)
    return _NOBODY


def _why_refused(credential: AsyncTokenCredential, error: AzureError) -> str:
    status = _status(error)
    if (number := _entra_number(error)) is not None:
        remedy = _ENTRA_REMEDIES.get(number)
        if remedy is None and isinstance(credential, _DEVELOPER_TOOLS):
            remedy = _LOG_IN
        return f"Entra ID answers AADSTS{number}: " + (
            remedy or "the identity gets no token; the number is explained in Microsoft's list"
        )
    if isinstance(credential, ManagedIdentityCredential):
        if status is not None:
            return _why_managed(status)
        return f"the managed identity does not answer: {why_unreached(error)}"
    if status is None:
        return f"Entra ID is unreachable: {why_unreached(error)}"
    if status == 429 or status >= 500:
        return f"Entra ID is busy (HTTP {status}); the request is repeated"
    return (
        f"Entra ID answers HTTP {status}; check AZURE_TENANT_ID, AZURE_CLIENT_ID and {_SECRET}, "
        "and whether a proxy answers in its place"
    )


def _why_managed(status: int) -> str:
    if status in (400, 404):
        return (
            f"the managed identity endpoint answers HTTP {status}: this resource does not have the "
            "identity; assign one, or set AZURE_CLIENT_ID to the one that it has"
        )
    if status in (410, 429) or status >= 500:
        return (
            f"the managed identity endpoint is busy or being updated (HTTP {status}); the request "
            "is repeated"
        )
    return f"the managed identity endpoint answers HTTP {status}; check the resource's identity"


def _status(error: BaseException | None) -> int | None:
    """Return the HTTP status behind an error, None if there was no answer."""
    links = causes(error) if error is not None else ()
    statuses = (link.status_code for link in links if isinstance(link, HttpResponseError))
    return next((status for status in statuses if status is not None), None)


def _entra_number(error: Exception) -> int | None:
    """Return the number of Entra ID's error: of its answer's JSON, else in the command's text."""
    for link in causes(error):
        body = _body(link)
        codes = body.get("error_codes") if isinstance(body, dict) else None
        if isinstance(codes, list) and codes and isinstance(codes[0], int):
            return codes[0]
    found = _NUMBER.search(str(error))
    return int(found[1]) if found else None


def _body(error: BaseException) -> object:
    response = error.response if isinstance(error, HttpResponseError) else None
    if response is None:
        return None
    try:
        return orjson.loads(response.text())
    except (ValueError, AttributeError, TypeError):
        return None

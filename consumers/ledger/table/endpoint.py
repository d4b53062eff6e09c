"""Where a table is and how its requests are signed. ConfigurationError names the invalid setting.

Signatures follow the Shared Key Lite scheme of the table service: HMAC-SHA256 over the date and
the resource. With an identity, requests carry a bearer token instead.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from azure.core.credentials import AccessToken
    from azure.core.credentials_async import AsyncTokenCredential

TOKEN_SCOPE = "https://storage.azure.com/.default"  # noqa: S105
TOKEN_MARGIN_SECONDS = 300.0
"""A token is replaced this long before it expires."""
_EMULATOR = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=Eby8vdM02xNOcqFlqUwJPLlm"
    "EtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "TableEndpoint=http://127.0.0.1:10002/devstoreaccount1"
)
"""Azurite's default, with its published key."""


class RequestSigner(Protocol):
    """Authenticates requests."""

    async def headers(self, path: str, date: str) -> Mapping[str, str]:
        """Return the headers that authenticate a request to an encoded *path* with its *date*."""


@dataclass(frozen=True, slots=True, repr=False)
class SharedKey:
    """Signs with an account's key."""

    account: str
    key: bytes

    async def headers(self, path: str, date: str) -> Mapping[str, str]:
        """Return the signature."""
        text = f"{date}\n/{self.account}{path}".encode()
        signature = base64.b64encode(hmac.digest(self.key, text, hashlib.sha256)).decode()
        return {"Authorization": f"SharedKeyLite {self.account}:{signature}"}


class BearerToken:
    """Uses an identity's token, and replaces it before it expires."""

    def __init__(self, credential: AsyncTokenCredential) -> None:
        self._credential = credential
        self._token: AccessToken | None = None

    async def headers(self, path: str, date: str) -> Mapping[str, str]:
        """Return the token. Raises AzureError if there is none."""
        del path, date
        if self._token is None or self._token.expires_on - time.time() < TOKEN_MARGIN_SECONDS:
            self._token = await self._credential.get_token(TOKEN_SCOPE)
        return {"Authorization": f"Bearer {self._token.token}"}


class SignedUrl:
    """Adds no headers: the URL carries a shared access signature."""

    async def headers(self, path: str, date: str) -> Mapping[str, str]:
        """Return nothing."""
        del path, date
        return {}


@dataclass(frozen=True, slots=True, repr=False)
class TableEndpoint:
    """The table endpoint of an account."""

    url: str
    """Without a slash at the end."""
    signer: RequestSigner
    signature: str = ""
    """A shared access signature: the query of every request."""


def endpoint_by_connection_string(text: str) -> TableEndpoint:
    """Return the endpoint that a storage account's connection string describes."""
    setting = "STATE__CONNECTION_STRING"
    parts = _connection_parts(text)
    if parts.get("usedevelopmentstorage", "").lower() == "true":
        parts = _connection_parts(_EMULATOR)
    account, signature = parts.get("accountname", ""), parts.get("sharedaccesssignature", "")
    url = parts.get("tableendpoint", "")
    if not url and account:
        protocol = parts.get("defaultendpointsprotocol", "https")
        suffix = parts.get("endpointsuffix", "core.windows.net")
        url = f"{protocol}://{account}.table.{suffix}"
    if not _is_url(url, ("https", "http")) or not (
        signature or (account and "accountkey" in parts)
    ):
        raise ConfigurationError(
            f"{setting}: not a storage account's connection string; copy it from the account's "
            "access keys"
        )
    if signature:
        return TableEndpoint(url.rstrip("/"), SignedUrl(), signature.lstrip("?"))
    key = _key(parts["accountkey"])
    if not key:
        raise ConfigurationError(
            f"{setting}: the AccountKey is not valid base64; copy the string again"
        )
    return TableEndpoint(url.rstrip("/"), SharedKey(account, key))


def _connection_parts(text: str) -> dict[str, str]:
    pairs = (part.strip().partition("=") for part in text.split(";"))
    return {name.lower(): value for name, _, value in pairs if name}


def _key(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""


def _is_url(url: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(parts.hostname) and parts.scheme in schemes and not parts.query


def endpoint_by_account_url(url: str, credential: AsyncTokenCredential | None) -> TableEndpoint:
    """Return an account's HTTPS endpoint, used with an identity."""
    if not _is_url(url, ("https",)) or credential is None:
        raise ConfigurationError(
            "STATE__ACCOUNT_URL: not a table endpoint; set it to a URL such as "
            "https://ACCOUNT.table.core.windows.net"
        )
    return TableEndpoint(url.rstrip("/"), BearerToken(credential))

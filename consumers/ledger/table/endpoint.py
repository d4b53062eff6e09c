"""Table clients from the settings. ConfigurationError names the invalid setting."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from azure.data.tables.aio import TableClient

from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from azure.core.credentials_async import AsyncTokenCredential


def client_by_connection_string(text: str, name: str, options: Mapping[str, Any]) -> TableClient:
    """Return a client for the table *name* that uses a connection string's account key."""
    setting = "STATE__CONNECTION_STRING"
    try:
        client = TableClient.from_connection_string(text, name, **options)
    except (ValueError, TypeError):  # its text may contain the key
        raise ConfigurationError(
            f"{setting}: not a storage account's connection string; copy it from the account's "
            "access keys"
        ) from None
    for part in text.split(";"):
        setting_name, _, value = part.strip().partition("=")
        if setting_name.lower() == "accountkey" and not _is_key(value):
            raise ConfigurationError(
                f"{setting}: the AccountKey is not valid base64; copy the string again"
            )
    return client


def _is_key(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except binascii.Error:
        return False


def client_by_account_url(
    url: str, name: str, credential: AsyncTokenCredential | None, options: Mapping[str, Any]
) -> TableClient:
    """Return a client for the table *name* at an account's HTTPS endpoint."""
    setting = "STATE__ACCOUNT_URL"
    try:
        parts = urlsplit(url)
        valid = bool(parts.hostname) and parts.scheme == "https" and not parts.query
    except ValueError:
        valid = False
    if not valid or credential is None:
        raise ConfigurationError(
            f"{setting}: not a table endpoint; set it to a URL such as "
            "https://ACCOUNT.table.core.windows.net"
        )
    try:
        return TableClient(url, name, credential=credential, **options)
    except ValueError:
        raise ConfigurationError(
            f"{setting}: not the URL of a storage account; see its table endpoint"
        ) from None

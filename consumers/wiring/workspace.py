"""Opens the workspace that ``export`` reads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from consumers.inputs.workspace import CLIENT_OPTIONS, WorkspaceClient
from consumers.settings import cloud_of
from consumers.settings.urls import is_loopback
from consumers.wiring.azure import transports
from consumers.wiring.credentials import make_credential
from producers.logs_ingestion import MissingCredential, PlaceholderToken
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from consumers.settings import Settings

_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def open_workspace(settings: Settings, workspace_id: str | None) -> WorkspaceClient:
    """Return the client of a workspace, by default that of the settings."""
    workspace_id = workspace_id or settings.sentinel.workspace_id
    if workspace_id is None or not _GUID.fullmatch(workspace_id):
        raise ConfigurationError(
            "SIGNINWATCH_SENTINEL__WORKSPACE_ID: set it or --workspace to the workspace ID (a GUID)"
        )
    url = settings.sentinel.query_url or cloud_of(settings).query_url
    transport = transports(settings.ca_bundle)(**CLIENT_OPTIONS)
    if is_loopback(url):
        placeholder = PlaceholderToken()
        return WorkspaceClient(
            url,
            workspace_id,
            MissingCredential(),
            transport=transport,
            authentication_policy=placeholder,
        )
    return WorkspaceClient(url, workspace_id, make_credential(settings), transport=transport)

"""The Entra ID credential that a process shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from consumers.settings import authority_of, cloud_of
from consumers.settings.urls import is_loopback
from producers.logs_ingestion import TokenSource

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from consumers.settings import Settings
    from consumers.wiring.identity import Identity


def make_credential(settings: Settings, *, retries: int | None = None) -> Identity:
    """Return the default Entra ID credential, which detects the identity to use.

    AZURE_AUTHORITY_HOST wins over the cloud's. *retries* limits those of a token request.
    """
    from consumers.wiring.identity import Identity

    ca_bundle = settings.ca_bundle
    return Identity(
        retries=retries,
        authority=authority_of(settings),
        connection_verify=str(ca_bundle) if ca_bundle else True,
    )


@dataclass(slots=True)
class Credentials:
    """Creates the credential at first use and closes it with the stack."""

    stack: AsyncExitStack
    settings: Settings
    retries: int | None = None
    """Repeats of a token request; None for the library's own number."""
    made: Identity | None = None

    def get(self) -> Identity:
        """Return the credential."""
        if self.made is None:
            credential = make_credential(self.settings, retries=self.retries)
            self.stack.push_async_callback(credential.close)
            self.made = credential
        return self.made


def ingestion_token(
    settings: Settings, endpoint: str, credentials: Credentials | None = None
) -> TokenSource | None:
    """Return the token for the Logs Ingestion API at *endpoint*; None on loopback.

    Without shared *credentials*, the sink owns its credential.
    """
    if is_loopback(endpoint):
        return None
    credential = credentials.get() if credentials is not None else make_credential(settings)
    owned = credentials is None
    return TokenSource(credential, cloud_of(settings).ingestion_scope, owned=owned)

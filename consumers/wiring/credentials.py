"""One Entra ID credential for everything that a process does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from consumers.wiring.replay import make_credential

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from azure.core.credentials_async import AsyncTokenCredential

    from consumers.settings import Settings


@dataclass(slots=True)
class Credentials:
    """Made when something needs it, and closed with the stack."""

    stack: AsyncExitStack
    settings: Settings
    made: AsyncTokenCredential | None = None

    def get(self) -> AsyncTokenCredential:
        """Return the credential."""
        if self.made is None:
            credential = make_credential(self.settings)
            self.stack.push_async_callback(credential.close)
            self.made = credential
        return self.made

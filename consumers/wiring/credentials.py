"""The Entra ID credential that a process shares."""

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
    """Creates the credential at first use and closes it with the stack."""

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

"""Entra ID's token endpoint, for one client secret."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.servers.loopback import Loopback

TENANT = "00000000-0000-0000-0000-00000000000a"
CLIENT = "00000000-0000-0000-0000-00000000000b"
SECRET = "a-client-secret"
TOKEN = "a-token-of-entra"


@dataclass
class Entra:
    """The state of the service; ``given`` counts tokens by scope."""

    given: Counter[str] = field(default_factory=Counter)
    refusal: tuple[int, dict[str, Any]] | None = None
    """Status and body of every answer, instead of a token."""

    def server(self) -> Loopback:
        """Return a server."""
        return Loopback(self._answer)

    @staticmethod
    def environment(host: str) -> dict[str, str]:
        """Return the variables with which the identity library asks *host* for tokens."""
        return {
            "AZURE_AUTHORITY_HOST": host,
            "AZURE_TENANT_ID": TENANT,
            "AZURE_CLIENT_ID": CLIENT,
            "AZURE_CLIENT_SECRET": SECRET,
        }

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if (request.method, request.path) != ("POST", f"/{TENANT}/oauth2/v2.0/token"):
            return web.json_response({"error": "not_found"}, status=404)
        if self.refusal is not None:
            status, body = self.refusal
            return web.json_response(body, status=status)
        asked = await request.post()
        if (asked.get("client_id"), asked.get("client_secret")) != (CLIENT, SECRET):
            return web.json_response({"error": "invalid_client"}, status=401)
        self.given[str(asked.get("scope"))] += 1
        return web.json_response(
            {"token_type": "Bearer", "expires_in": 3600, "access_token": TOKEN}
        )


def refused_by_entra(number: int, error: str = "invalid_client") -> tuple[int, dict[str, Any]]:
    """Return Entra ID's answer to an identity that it refuses."""
    text = f"AADSTS{number}: a sentence with a-client-secret. Trace ID: x"
    return 401, {"error": error, "error_description": text, "error_codes": [number]}

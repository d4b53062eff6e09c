"""User agents: the program that signs in, without its version, and whether it is a script."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

_SCRIPTS = (
    "python", "aiohttp", "httpx", "axios", "undici", "node", "go-http-client", "fasthttp", "curl",
    "wget", "libwww-perl", "apache-httpclient", "java/", "ruby", "guzzle", "postman", "insomnia",
    "powershell", "headlesschrome", "phantomjs", "selenium", "puppeteer", "playwright", "scrapy",
    "msal.go", "roadtools", "aadinternals", "teamfiltration", "bav2ropc",
)  # fmt: skip
"""Parts of the names of HTTP libraries and tools that no person reads mail with."""
_PROGRAMS = (
    "outlook", "teams", "onedrive", "skype", "onenote", "authentication-provider", "msoffice",
    "microsoft office", "accountservice", "android-mail", "apple-mail", "thunderbird", "dalvik",
    "okhttp", "cfnetwork", "edg", "opr", "firefox", "samsungbrowser", "crios", "chrome", "safari",
    "trident",
)  # fmt: skip
"""Parts of the names of programs; the first that is found names the program."""
_SYSTEMS = (
    "windows",
    "iphone",
    "ipad",
    "android",
    "cros",
    "mac os",
    "macintosh",
    "darwin",
    "linux",
)


class UserAgent(NamedTuple):
    """A program, without its version."""

    name: str
    """Program and operating system; empty if nothing is recorded."""
    script: bool


@lru_cache(maxsize=20_000)
def user_agent_of(text: str) -> UserAgent:
    """Return the program that a ``User-Agent`` names."""
    low = text.lower()
    system = next((name for name in _SYSTEMS if name in low), "")
    script = next((name for name in _SCRIPTS if name in low), None)
    if script is not None:
        return UserAgent(f"script {script}", True)
    program = next((name for name in _PROGRAMS if name in low), None)
    if program is None:
        program = low.split("/")[0].split(" ")[0][:40]
    return UserAgent(f"{program} {system}".strip(), False)

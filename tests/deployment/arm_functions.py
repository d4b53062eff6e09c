"""The functions of Azure Resource Manager that our templates use, as far as they use them.

Names and meaning: Microsoft's "ARM template functions". ``guid`` and ``uniqueString`` give other
texts than Azure's of the same kind and length.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import uuid
from typing import TYPE_CHECKING, Any

from tests.deployment.arm_expressions import ExpressionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SUBSCRIPTION = "99999999-9999-4999-8999-999999999999"
GROUP = "deployment-group"
TENANT = "77777777-7777-4777-8777-777777777777"
REGION = "westeurope"
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


class Later(str):
    """What only Azure knows: a text that tells what it would be read from."""

    __slots__ = ()

    def part(self, name: object) -> Later:
        """Return what it holds under *name*."""
        return Later(f"{self}.{name}")


def resource_id(subscription: str, group: str, kind: str, names: Sequence[str]) -> str:
    """Return the id of a resource of a resource group. ExpressionError where names do not fit."""
    provider, *types = kind.split("/")
    if len(types) != len(names):
        raise ExpressionError(f"resourceId: {kind} takes {len(types)} names, not {len(names)}")
    pairs = "/".join(f"{one}/{name}" for one, name in zip(types, names, strict=True))
    return f"/subscriptions/{subscription}/resourceGroups/{group}/providers/{provider}/{pairs}"


def extension_id(scope: str, kind: str, names: Sequence[str]) -> str:
    """Return the id of a resource that lies on another one."""
    provider, *types = kind.split("/")
    pairs = "/".join(f"{one}/{name}" for one, name in zip(types, names, strict=True))
    return f"{scope}/providers/{provider}/{pairs}"


def own_resource_id(subscription: str, group: str, arguments: Sequence[str]) -> str:
    """Return what ``resourceId`` does: subscription and group may stand before the type."""
    at = next(i for i, one in enumerate(arguments) if "/" in one and not one.startswith("/"))
    before, kind, names = arguments[:at], arguments[at], arguments[at + 1 :]
    subscription = before[0] if len(before) == 2 else subscription
    return resource_id(subscription, before[-1] if before else group, kind, names)


def _unique(*parts: str) -> str:
    digest = hashlib.sha256("|".join(parts).encode()).digest()
    return "".join(_LETTERS[byte % 32] for byte in digest[:13])


def _concat(*parts: Any) -> Any:
    if all(isinstance(part, list) for part in parts):
        return [one for part in parts for one in part]
    if any(isinstance(part, list | dict | bool) or part is None for part in parts):
        raise ExpressionError("concat takes texts, or lists alone")
    return "".join(str(part) for part in parts)


def _object(*parts: Any) -> dict[str, Any]:
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _subnet(prefix: str, length: int, number: int) -> str:
    return str(list(ipaddress.ip_network(prefix).subnets(new_prefix=length))[number])


def _union(*lists: list[Any]) -> list[Any]:
    return list(dict.fromkeys(one for part in lists for one in part))


def _reference(what: str, version: str | None = None, full: str | None = None) -> Later:
    del full
    if version is None:
        raise ExpressionError("reference: say the API version")
    return Later(f"reference({what})")


PLAIN: dict[str, Callable[..., Any]] = {
    "and": lambda *parts: all(parts),
    "concat": _concat,
    "cidrSubnet": _subnet,
    "createArray": lambda *parts: list(parts),
    "createObject": _object,
    "empty": lambda one: not one,
    "equals": lambda one, two: one == two,
    "extensionResourceId": lambda scope, kind, *names: extension_id(scope, kind, names),
    "false": lambda: False,
    "first": lambda one: one[0],
    "greater": lambda one, two: one > two,
    "guid": lambda *parts: str(uuid.uuid5(uuid.NAMESPACE_OID, "|".join(parts))),
    "join": lambda parts, sign: sign.join(parts),
    "json": json.loads,
    "last": lambda one: one[-1],
    "length": len,
    "max": max,
    "min": min,
    "not": lambda one: not one,
    "null": lambda: None,
    "or": lambda *parts: any(parts),
    "reference": _reference,
    "replace": lambda text, old, new: (
        Later(text.replace(old, new)) if isinstance(text, Later) else text.replace(old, new)
    ),
    "split": lambda text, sign: text.split(sign),
    "string": str,
    "take": lambda one, number: one[:number],
    "toLower": str.lower,
    "true": lambda: True,
    "union": _union,
    "uniqueString": _unique,
    "environment": lambda: {
        "name": "AzureCloud",
        "suffixes": {"storage": "core.windows.net", "keyvaultDns": ".vault.azure.net"},
    },
}
"""Those that need nothing but their arguments."""

"""What a template would deploy: its resources with names, ids and bodies, without Azure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.deployment.arm_expressions import (
    Call,
    ExpressionError,
    Literal,
    Part,
    is_expression,
    parse,
)
from tests.deployment.arm_functions import (
    GROUP,
    PLAIN,
    REGION,
    SUBSCRIPTION,
    TENANT,
    Later,
    extension_id,
    own_resource_id,
    resource_id,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.deployment.arm_expressions import Node

DEPLOYMENTS = "Microsoft.Resources/deployments"


@dataclass(slots=True)
class Resource:
    """One resource as it would be deployed."""

    path: str
    """Where it stands in the template, such as ``resources[3]``."""
    id: str
    kind: str
    name: str
    version: str
    body: dict[str, Any]
    """Everything of it, evaluated."""
    deployed: bool
    """Whether its condition holds."""
    needs: list[str]
    """The ids that it waits for."""
    group: int
    """Which template it belongs to: resources can wait for those of their own alone."""
    scope: str | None = None

    @property
    def properties(self) -> dict[str, Any]:
        """Return what its type decides on."""
        found: dict[str, Any] = self.body.get("properties", {})
        return found


@dataclass(slots=True)
class Scope:
    """One template with its parameters' values, and where it deploys to."""

    template: Mapping[str, Any]
    given: Mapping[str, Any]
    subscription: str = SUBSCRIPTION
    group: str = GROUP
    path: str = ""
    variables: dict[str, Any] = field(default_factory=dict)

    def value(self, value: Any) -> Any:
        """Return a JSON value with its expressions evaluated. ExpressionError where one fails."""
        if is_expression(value):
            return self.node(parse(value))
        if isinstance(value, str):
            return value[1:] if value.startswith("[[") else value
        if isinstance(value, list):
            return [self.value(one) for one in value]
        if isinstance(value, dict):
            return {self.value(key): self.value(one) for key, one in value.items()}
        return value

    def node(self, node: Node) -> Any:
        """Return the value of an expression's tree."""
        match node:
            case Literal(value=value):
                return value
            case Part(of=of, key=key):
                return _part(self.node(of), self.node(key))
            case Call(name="if", arguments=(condition, then, otherwise)):
                return self.node(then if self.node(condition) else otherwise)
            case Call(name=name, arguments=arguments):
                return self._call(name, [self.node(one) for one in arguments])

    def _call(self, name: str, arguments: list[Any]) -> Any:
        match name:
            case "parameters":
                return self._parameter(arguments[0])
            case "variables":
                return self._variable(arguments[0])
            case "resourceId":
                return own_resource_id(self.subscription, self.group, arguments)
            case "subscriptionResourceId":
                return extension_id(
                    f"/subscriptions/{self.subscription}", arguments[0], arguments[1:]
                )
            case "resourceGroup":
                whole = f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"
                return {"id": whole, "location": REGION, "name": self.group}
            case "subscription":
                return {"tenantId": TENANT, "subscriptionId": self.subscription}
        if name not in PLAIN:
            raise ExpressionError(f"{name}: a function that nobody here knows")
        try:
            return PLAIN[name](*arguments)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise ExpressionError(f"{name}: {error}") from None

    def _parameter(self, name: str) -> Any:
        known = self.template.get("parameters", {})
        if name not in known:
            raise ExpressionError(f"there is no parameter {name}")
        if name in self.given:
            return self.given[name]
        if "defaultValue" not in known[name]:
            raise ExpressionError(f"parameter {name} has no value")
        return self.value(known[name]["defaultValue"])

    def _variable(self, name: str) -> Any:
        known = self.template.get("variables", {})
        if name not in known:
            raise ExpressionError(f"there is no variable {name}")
        if name not in self.variables:
            self.variables[name] = self.value(known[name])
        return self.variables[name]


def _part(of: Any, key: Any) -> Any:
    if isinstance(of, Later):
        return of.part(key)
    try:
        return of[key]
    except (LookupError, TypeError):
        raise ExpressionError(f"nothing called {key}") from None


def deployed(template: Mapping[str, Any], given: Mapping[str, Any]) -> list[Resource]:
    """Return all resources of a template and of those nested in it, the others included.

    *given* are parameters' values. ExpressionError names the first place that cannot be evaluated.
    """
    return list(_resources(Scope(template, given), [0]))


def _resources(scope: Scope, groups: list[int], outer: bool = True) -> Iterator[Resource]:
    group = groups[0]
    for number, source in enumerate(scope.template["resources"]):
        path = f"{scope.path}resources[{number}]"
        nested = source["properties"]["template"] if source["type"] == DEPLOYMENTS else None
        try:
            one = _resource(scope, source, path, group, outer)
        except ExpressionError as error:
            raise ExpressionError(f"{path}: {error}") from None
        yield one
        if nested is not None:
            groups[0] += 1
            inner = Scope(
                nested,
                {key: entry["value"] for key, entry in one.properties["parameters"].items()},
                one.body.get("subscriptionId", scope.subscription),
                one.body.get("resourceGroup", scope.group),
                f"{path}.template.",
            )
            yield from _resources(inner, groups, outer and one.deployed)


def _resource(
    scope: Scope, source: Mapping[str, Any], path: str, group: int, outer: bool
) -> Resource:
    body = dict(source)
    if source["type"] == DEPLOYMENTS:
        body["properties"] = {
            key: one for key, one in source["properties"].items() if key != "template"
        }
    body = scope.value(body)
    kind, name = body["type"], body["name"]
    on = body.get("scope")
    if on is not None:
        identity = extension_id(on, kind, name.split("/"))
    else:
        identity = resource_id(
            body.get("subscriptionId", scope.subscription),
            body.get("resourceGroup", scope.group),
            kind,
            name.split("/"),
        )
    return Resource(
        path=path,
        id=identity,
        kind=kind,
        name=name,
        version=body["apiVersion"],
        body=body,
        deployed=outer and body.get("condition", True),
        needs=body.get("dependsOn", []),
        group=group,
        scope=on,
    )

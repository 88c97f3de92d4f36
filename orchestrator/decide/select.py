"""Which model answers a request: from its `model` field and the routing table, with the reason."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.values.choice import Choice
from orchestrator.values.policy import RoutingPolicy
from orchestrator.values.routing import Route, RoutingTable
from orchestrator.values.spec import ModelState

AUTO = "auto"
POLICY_PREFIX = "policy/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why no model can answer, for the client.

    `status` is the HTTP status: 404 for a name that means nothing, 400 for a
    model that cannot do what the endpoint asks, 503 where every model that
    could answer is out of order. `code` is OpenAI's `error.code`. `policy` is
    "" where the request named a model.
    """

    status: int
    code: str
    what: str
    fix: str
    policy: str = ""
    passed_over: tuple[tuple[str, str], ...] = ()


def select(requested: str, table: RoutingTable, *, capability: str) -> Choice | Refusal:
    """Choose the model for one request.

    The same arguments always give the same answer. A choice names a model of
    the table that is not absent and has the capability. Where its route has no
    replica, the request has to wait for it: every model that could answer is
    unready then, and this one is the first that may still get ready.

    Args:
        requested: the request's `model`: a model's name, `auto`, or `policy/NAME`.
        table: how the models are reached now.
        capability: what the endpoint needs: chat, completion or embedding.
    """
    policy = named_policy(requested, table)
    if isinstance(policy, Refusal):
        return policy
    if policy is not None:
        return _by_policy(policy, table, capability)
    route = table.routes.get(requested)
    if route is None or route.state is ModelState.ABSENT:
        return unknown(requested, table)
    return _by_name(route, table, capability)


def named_policy(requested: str, table: RoutingTable) -> RoutingPolicy | Refusal | None:
    """Return the policy that `auto` or `policy/NAME` stands for; None for any other name."""
    if requested == AUTO:
        if table.default_policy is not None:
            return table.policies[table.default_policy]
        return Refusal(
            status=404,
            code="model_not_found",
            what="'auto' means the default routing policy, and there is none",
            fix=f"write `default: true` into one file of policies/, or name a model: {_names(table)}",
        )
    if requested.startswith(POLICY_PREFIX):
        return table.policies.get(requested.removeprefix(POLICY_PREFIX)) or unknown(requested, table)
    return None


def unknown(requested: str, table: RoutingTable) -> Refusal:
    """Return the refusal of a name that means nothing, with the nearest name that does."""
    # Policies are compared without their prefix, which would make every one of them alike.
    prefix = POLICY_PREFIX if requested.startswith(POLICY_PREFIX) else ""
    names = list(table.policies) if prefix else [*(r.model for r in _served(table)), AUTO]
    near = difflib.get_close_matches(requested.removeprefix(prefix).lower(), names, n=1)
    return Refusal(
        status=404,
        code="model_not_found",
        what=f"there is no model '{requested}'" + (f"; did you mean '{prefix}{near[0]}'?" if near else ""),
        fix=f"use one of: {_names(table)}",
    )


def _by_name(route: Route, table: RoutingTable, capability: str) -> Choice | Refusal:
    if capability not in route.capabilities:
        able = [r.model for r in _served(table) if capability in r.capabilities]
        return Refusal(
            status=400,
            code="capability_missing",
            what=f"model '{route.model}' does not do {capability}, only {', '.join(route.capabilities)}",
            fix=f"use {' or '.join(able)}" if able else f"no model here has the capability {capability}",
        )
    if route.replica is None and route.stalled:
        return Refusal(
            status=503,
            code="model_unavailable",
            what=f"model '{route.model}' cannot be served: {route.unready}",
            fix=f"see `orchestrator describe {route.model}`",
        )
    return Choice(model=route.model, policy="", why="named by the request")


def _by_policy(policy: RoutingPolicy, table: RoutingTable, capability: str) -> Choice | Refusal:
    passed_over: list[tuple[str, str]] = []
    hopeful: Choice | None = None
    active = able = False
    for name, kind in _candidates(policy):
        route = table.routes.get(name)
        active = active or (route is not None and route.state is ModelState.ACTIVE)
        obstacle = _obstacle(route, capability)
        if route is None or obstacle:
            passed_over.append((name, obstacle))
            continue
        able = True
        why = f"{kind} of policy {policy.name}"
        choice = Choice(model=name, policy=policy.name, why=why, passed_over=tuple(passed_over))
        if route.replica is not None:
            return choice
        passed_over.append((name, f"not ready: {route.unready}"))
        if hopeful is None and not route.stalled:
            hopeful = choice
    if hopeful is not None:
        return hopeful
    # Where no candidate is active, the request asks for nothing wrong: the files do.
    return _nobody(policy, tuple(passed_over), capability, served=able or not active)


def _candidates(policy: RoutingPolicy) -> Iterator[tuple[str, str]]:
    yield from ((name, f"choice {place}") for place, name in enumerate(policy.otherwise, 1))
    rest = (name for name in policy.fallback if name not in policy.otherwise)
    yield from ((name, f"fallback {place}") for place, name in enumerate(rest, 1))


def _obstacle(route: Route | None, capability: str) -> str:
    """Return why a policy may not pick the model, whatever its replicas do; "" where it may."""
    if route is None:
        return "no such model"
    if route.state is not ModelState.ACTIVE:
        return f"its state is {route.state}"
    if capability not in route.capabilities:
        return f"does not do {capability}"
    return ""


def _nobody(
    policy: RoutingPolicy, passed_over: tuple[tuple[str, str], ...], capability: str, *, served: bool
) -> Refusal:
    reasons = "; ".join(f"{name}: {reason}" for name, reason in passed_over)
    if served:
        return Refusal(
            status=503,
            code="model_unavailable",
            what=f"no model of policy '{policy.name}' can be served ({reasons})",
            fix="see `orchestrator status`",
            policy=policy.name,
            passed_over=passed_over,
        )
    return Refusal(
        status=400,
        code="capability_missing",
        what=f"no active model of policy '{policy.name}' does {capability} ({reasons})",
        fix=f"name a model that does, or add one to policies/{policy.name}.yaml",
        policy=policy.name,
        passed_over=passed_over,
    )


def _served(table: RoutingTable) -> Iterator[Route]:
    return (route for route in table.routes.values() if route.state is not ModelState.ABSENT)


def _names(table: RoutingTable) -> str:
    names = [route.model for route in _served(table)]
    names += [POLICY_PREFIX + name for name in table.policies]
    if table.default_policy is not None:
        names.append(AUTO)
    return ", ".join(names) or "(no model is configured: add a file to models.d/)"

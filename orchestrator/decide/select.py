"""Which model answers a request: from its `model` field and the routing table, with the reason."""

import difflib
from collections.abc import Iterator

from orchestrator.decide.pick import Terms, pick
from orchestrator.values.choice import Choice, Refusal
from orchestrator.values.policy import RoutingPolicy, Tier
from orchestrator.values.routing import Route, RoutingTable
from orchestrator.values.spec import ModelState

AUTO = "auto"
POLICY_PREFIX = "policy/"


def select(requested: str, table: RoutingTable, terms: Terms) -> Choice | Refusal:
    """Choose the model for one request.

    The same arguments always give the same answer. A choice names a model of
    the table that is not absent and has the capability; a remote one only if
    egress is on and the policy's tiers say so, or, where the request names the
    model, those of any policy. A policy's models are looked at in the order
    that its rules give (decide/rules.py), and the first that can answer is
    chosen (decide/pick.py). Where the chosen route has no replica, the request
    has to wait for it.

    Args:
        requested: the request's `model`: a model's name, `auto`, or `policy/NAME`.
        table: how the models are reached now.
        terms: what the choice has to keep to.
    """
    policy = named_policy(requested, table)
    if isinstance(policy, Refusal):
        return policy
    if policy is not None:
        return pick(policy, table, terms)
    route = table.routes.get(requested)
    if route is None or route.state is ModelState.ABSENT:
        return unknown(requested, table)
    return _by_name(route, table, terms)


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


def _by_name(route: Route, table: RoutingTable, terms: Terms) -> Choice | Refusal:
    capability = terms.capability
    if capability not in route.capabilities:
        able = [r.model for r in _served(table) if capability in r.capabilities]
        return Refusal(
            status=400,
            code="capability_missing",
            what=f"model '{route.model}' does not do {capability}, only {', '.join(route.capabilities)}",
            fix=f"use {' or '.join(able)}" if able else f"no model here has the capability {capability}",
        )
    if route.remote and not (terms.egress and _in_a_tier(table)):
        return _not_allowed(route, egress=terms.egress)
    if route.replica is None and route.stalled:
        return Refusal(
            status=503,
            code="model_unavailable",
            what=f"model '{route.model}' cannot be served: {route.unready}",
            fix=f"see `orchestrator describe {route.model}`",
        )
    return Choice(model=route.model, policy="", why="named by the request")


def _in_a_tier(table: RoutingTable) -> bool:
    return any(Tier.REMOTE in policy.tiers for policy in table.policies.values())


def _not_allowed(route: Route, *, egress: bool) -> Refusal:
    missing = "no policy has the tier `remote`" if egress else "egress is off"
    return Refusal(
        status=403,
        code="egress_not_allowed",
        what=f"model '{route.model}' is remote, and {missing}: nothing leaves this machine's networks unless "
        "two files say so",
        fix="write `egress: true` into orchestrator.yaml and restart the daemon, and "
        "`tiers: [local, remote]` into a policy",
    )


def _served(table: RoutingTable) -> Iterator[Route]:
    return (route for route in table.routes.values() if route.state is not ModelState.ABSENT)


def _names(table: RoutingTable) -> str:
    names = [route.model for route in _served(table)]
    names += [POLICY_PREFIX + name for name in table.policies]
    if table.default_policy is not None:
        names.append(AUTO)
    return ", ".join(names) or "(no model is configured: add a file to models.d/)"

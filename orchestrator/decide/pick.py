"""Which of a policy's models answers a request, and why none before it did."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from orchestrator.decide.features import NO_FEATURES, Features
from orchestrator.decide.rules import candidates
from orchestrator.values.choice import Choice, Refusal
from orchestrator.values.policy import RoutingPolicy, Tier
from orchestrator.values.routing import Route, RoutingTable
from orchestrator.values.spec import ModelState


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a choice has to keep to.

    `capability` is what the endpoint needs: chat, completion or embedding.
    `features` are what rules see of the request. `egress` says whether the
    settings allow requests to leave the machine's own networks. `without` are
    models that a policy must not choose, each with the reason.
    """

    capability: str
    now: datetime
    features: Features = NO_FEATURES
    egress: bool = False
    without: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def pick(policy: RoutingPolicy, table: RoutingTable, terms: Terms) -> Choice | Refusal:
    """Choose among the policy's models, in the order that its rules give.

    The first that can answer is chosen. One that is loaded on demand can: it
    is waited for in its place, and never passed over for a later one because
    that is loaded already. One that should be loaded and is not, or whose next
    try is held back after a failure, cannot: it is passed over for what can.
    Where none can, the request waits for the first that may get ready, and not
    for one whose next try is held back while there is another.
    """
    passed_over: list[tuple[str, str]] = []
    hopes: list[tuple[bool, Choice]] = []
    for candidate in candidates(policy, terms.features):
        route = table.routes.get(candidate.model)
        if route is None:
            passed_over.append((candidate.model, "no such model"))
            continue
        obstacle = _unfit(route, terms.capability) or _forbidden(route, policy, terms)
        if obstacle:
            passed_over.append((candidate.model, obstacle))
            continue
        choice = Choice(
            model=candidate.model, policy=policy.name, why=candidate.why, passed_over=tuple(passed_over)
        )
        held_back = route.stalled or (route.retry_at is not None and route.retry_at > terms.now)
        if route.replica is not None or (route.on_demand and not held_back):
            return choice
        passed_over.append((candidate.model, f"not ready: {route.unready}"))
        if not route.stalled:
            hopes.append((held_back, choice))
    if hopes:
        return min(hopes, key=lambda hope: hope[0])[1]  # the first of equals
    return _nobody(policy, table, terms, tuple(passed_over))


def _unfit(route: Route, capability: str) -> str:
    """Return why no policy may pick the model, whatever its replicas do; "" where one may."""
    if route.state is not ModelState.ACTIVE:
        return f"its state is {route.state}"
    if capability not in route.capabilities:
        return f"does not do {capability}"
    return ""


def _forbidden(route: Route, policy: RoutingPolicy, terms: Terms) -> str:
    """Return why this request may not go to a model that is fit for it; "" where it may."""
    if route.remote and Tier.REMOTE not in policy.tiers:
        return "it is remote, and the policy's tiers are local only"
    if route.remote and not terms.egress:
        return "it is remote, and egress is off"
    return terms.without.get(route.model, "")


def _nobody(
    policy: RoutingPolicy, table: RoutingTable, terms: Terms, passed_over: tuple[tuple[str, str], ...]
) -> Refusal:
    reasons = "; ".join(f"{name}: {reason}" for name, reason in passed_over)
    routes = [route for name, _ in passed_over if (route := table.routes.get(name))]
    # Where no candidate is active, the request asks for nothing wrong: the files do.
    active = any(route.state is ModelState.ACTIVE for route in routes)
    if not active or any(not _unfit(route, terms.capability) for route in routes):
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
        what=f"no active model of policy '{policy.name}' does {terms.capability} ({reasons})",
        fix=f"name a model that does, or add one to policies/{policy.name}.yaml",
        policy=policy.name,
        passed_over=passed_over,
    )

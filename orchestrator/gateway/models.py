"""GET /v1/models: the names a request can use."""

from collections.abc import Callable
from datetime import datetime

from orchestrator import clock
from orchestrator.decide.select import AUTO, POLICY_PREFIX, named_policy, unknown
from orchestrator.values.choice import Refusal
from orchestrator.values.policy import RoutingPolicy, Tier
from orchestrator.values.routing import Route, RoutingTable
from orchestrator.values.spec import ModelState

Entry = dict[str, object]
Queued = Callable[[str], int]


def listing(table: RoutingTable, created: int, queued: Queued) -> Entry:
    """Return every model that is not absent, in name order, and `auto` where there is a default policy.

    Args:
        table: how the models are reached now.
        created: the Unix time to give for all of them; OpenAI's form wants one.
        queued: how many requests wait for a model.
    """
    entries = [
        _model(route, created, queued)
        for route in table.routes.values()
        if route.state is not ModelState.ABSENT
    ]
    if table.default_policy is not None:
        entries.append(_policy(AUTO, table.policies[table.default_policy], table, created))
    return {"object": "list", "data": entries}


def entry(name: str, table: RoutingTable, created: int, queued: Queued) -> Entry | Refusal:
    """Return one model, `auto` or `policy/NAME`; a refusal with status 404 for any other name."""
    route = table.routes.get(name)
    if route is not None and route.state is not ModelState.ABSENT:
        return _model(route, created, queued)
    policy = named_policy(name, table)
    if isinstance(policy, Refusal):
        return policy
    if policy is None:
        return unknown(name, table)
    return _policy(name if name == AUTO else POLICY_PREFIX + policy.name, policy, table, created)


def status(route: Route, now: datetime) -> str:
    """Return where the model is between its file and its answers, in one word."""
    if route.replica is not None:
        return "ready"
    if route.stalled:
        return "failed"
    if route.retry_at is not None and route.retry_at > now:
        return "retrying"
    if route.progress:
        return "fetching" if route.progress.startswith("fetching") else "loading"
    return "unloaded" if route.on_demand else "pending"


def _model(route: Route, created: int, queued: Queued) -> Entry:
    """Return one entry; from `state` on the fields are ours."""
    entry: Entry = {
        "id": route.model,
        "object": "model",
        "created": created,
        "owned_by": "orchestrator",
        "state": route.state.value,
        "ready": route.replica is not None,
        "status": status(route, clock.now()),
        "revision": route.revision,
        "capabilities": list(route.capabilities),
        "tier": (Tier.REMOTE if route.remote else Tier.LOCAL).value,
        "on_demand": route.on_demand,
        "load_s": route.load_s,
    }
    if route.replica is None:
        entry |= {"unready": route.unready, "progress": route.progress, "waiting": queued(route.model)}
    return entry


def _policy(name: str, policy: RoutingPolicy, table: RoutingTable, created: int) -> Entry:
    by_rules = (model for rule in policy.rules for model in (*rule.use, *rule.prefer))
    models = list(dict.fromkeys((*policy.otherwise, *policy.fallback, *by_rules)))
    routes = (table.routes.get(model) for model in models)
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "orchestrator",
        "policy": policy.name,
        "ready": any(
            route is not None and route.state is ModelState.ACTIVE and route.replica is not None
            for route in routes
        ),
        "models": models,
    }

"""GET /v1/models: the names a request can use."""

from orchestrator.decide.select import AUTO, POLICY_PREFIX, Refusal, named_policy, unknown
from orchestrator.values.policy import RoutingPolicy
from orchestrator.values.routing import Route, RoutingTable
from orchestrator.values.spec import ModelState

Entry = dict[str, object]


def listing(table: RoutingTable, created: int) -> Entry:
    """Return every model that is not absent, in name order, and `auto` where there is a default policy.

    Args:
        table: how the models are reached now.
        created: the Unix time to give for all of them; OpenAI's form wants one.
    """
    entries = [
        _model(route, created) for route in table.routes.values() if route.state is not ModelState.ABSENT
    ]
    if table.default_policy is not None:
        entries.append(_policy(AUTO, table.policies[table.default_policy], table, created))
    return {"object": "list", "data": entries}


def entry(name: str, table: RoutingTable, created: int) -> Entry | Refusal:
    """Return one model, `auto` or `policy/NAME`; a refusal with status 404 for any other name."""
    route = table.routes.get(name)
    if route is not None and route.state is not ModelState.ABSENT:
        return _model(route, created)
    policy = named_policy(name, table)
    if isinstance(policy, Refusal):
        return policy
    if policy is None:
        return unknown(name, table)
    return _policy(name if name == AUTO else POLICY_PREFIX + policy.name, policy, table, created)


def _model(route: Route, created: int) -> Entry:
    """Return one entry; from `state` on the fields are ours."""
    entry: Entry = {
        "id": route.model,
        "object": "model",
        "created": created,
        "owned_by": "orchestrator",
        "state": route.state.value,
        "ready": route.replica is not None,
        "revision": route.revision,
        "capabilities": list(route.capabilities),
    }
    if route.replica is None:
        entry["unready"] = route.unready
    return entry


def _policy(name: str, policy: RoutingPolicy, table: RoutingTable, created: int) -> Entry:
    models = list(dict.fromkeys((*policy.otherwise, *policy.fallback)))
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

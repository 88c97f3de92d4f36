"""Which replica of a model takes new requests, and the routing table that says so."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from orchestrator.decide import budget
from orchestrator.decide.fetching import NEAR
from orchestrator.values.fleet import Phase, Replica
from orchestrator.values.policy import Tier
from orchestrator.values.routing import Route, RoutingTable
from orchestrator.values.spec import ModelSpec
from orchestrator.values.state import ModelRecord, State

NO_ROOM_FIX: Final = "lower its context or parallel, choose a smaller quantisation, or unload other models"


def serving(record: ModelRecord, replicas: Sequence[Replica]) -> Replica | None:
    """Return the replica that takes the model's new requests; None where no ready one exists.

    The desired launch comes first, then the stable one, then whatever is
    ready; the newest of equals. A model that nobody wants is not served.
    """
    desired = record.desired
    if desired is None:
        return None
    stable = record.stable.launch if record.stable else None
    ready = [replica for replica in replicas if replica.phase is Phase.READY and replica.running]
    if not ready:
        return None
    order = {stable: 1} | {desired.launch: 2}
    # max() returns the first of equals; the newest is last in the fleet.
    return max(reversed(ready), key=lambda replica: order.get(replica.launch, 0))


def routing_table(state: State, *, epoch: int) -> RoutingTable:
    """Return the table that the state calls for; its routes point at ready replicas only."""
    by_model = state.fleet.by_model()
    routes: dict[str, Route] = {}
    how = budget.standing(state)
    for _, record in sorted(state.models.items()):
        desired = record.desired
        if desired is not None:
            replicas = by_model.get(record.name, [])
            routes[record.name] = _route(state, how, record, desired, replicas)
    default = state.catalog.default_policy
    return RoutingTable(
        epoch=epoch,
        routes=routes,
        policies={name: doc.value for name, doc in state.catalog.policies.items()},
        default_policy=default.name if default else None,
    )


def _route(
    state: State, how: budget.Standing, record: ModelRecord, desired: ModelSpec, replicas: Sequence[Replica]
) -> Route:
    replica = serving(record, replicas)
    # The live fields come from the file in force, whichever revision serves.
    running = replica.running if replica else None
    return Route(
        model=record.name,
        state=desired.state,
        capabilities=desired.capabilities,
        sampling=desired.sampling,
        replica=replica.id if replica else None,
        revision=replica.spec.revision if replica else None,
        socket=running.socket if running else None,
        unready="" if replica else unready(state, record, replicas, how),
        stalled=replica is None and not replicas and stalled(state, record, how),
        on_demand=not desired.resident,
        remote=desired.remote,
        load_s=state.footprints.get(desired.launch, budget.UNKNOWN).load_s,
        progress="" if replica else _progress(state, record, replicas),
        retry_at=None if replica else _retry_at(record, desired, replicas),
    )


def _retry_at(record: ModelRecord, desired: ModelSpec, replicas: Sequence[Replica]) -> datetime | None:
    """Return when what failed is tried again; None where nothing failed, or a try is under way."""
    rejection = record.rejected.get(desired.launch)
    if rejection is None or any(replica.phase is Phase.STARTING for replica in replicas):
        return None
    return rejection.retry_at


def forbidden(state: State, spec: ModelSpec) -> str:
    """Return why nothing may be asked of `spec`, "" where it may: a remote one needs the word of a policy.

    Without it nobody connects to its endpoints at all, not even to see whether they are there.
    """
    named = any(Tier.REMOTE in document.value.tiers for document in state.catalog.policies.values())
    return "" if named or not spec.remote else "it is remote, and no policy names `remote` in its `tiers:`"


def stalled(state: State, record: ModelRecord, how: budget.Standing | None = None) -> bool:
    """True where nothing that could serve the model will be tried again by itself."""
    specs = [spec for spec in (record.desired, record.stable) if spec]
    return bool(specs) and all(_is_given_up(state, record, spec, how) for spec in specs)


def unready(
    state: State, record: ModelRecord, replicas: Sequence[Replica], how: budget.Standing | None = None
) -> str:
    """Return one sentence on why no replica is ready."""
    desired = record.desired
    if desired is None or (why := forbidden(state, desired)):
        return "nothing asks for it" if desired is None else why
    rejection = record.rejected.get(desired.launch)
    if any(replica.phase is Phase.STARTING for replica in replicas):
        return "it is loading" + (f" again after: {rejection.message}" if rejection else "")
    if rejection is not None and rejection.retry_at is None:
        return f"it was given up: {rejection.message}"
    how = how or budget.standing(state)
    if why := budget.obstacle(state, desired, how):  # also while it is looked at again: it stays refused
        return f"{why}; fix: {NO_ROOM_FIX}"
    if rejection is not None and record.name not in state.fetching:
        return f"it failed and is tried again at {rejection.retry_at:%H:%M:%S} UTC: {rejection.message}"
    return _unloaded(state, desired, replicas, how)


def _unloaded(state: State, desired: ModelSpec, replicas: Sequence[Replica], how: budget.Standing) -> str:
    if desired.name in state.fetching:
        return f"{desired.source.written} is being fetched and checked"
    if replicas:
        return f"it was unloaded: {replicas[-1].why}"
    if desired.launch not in state.fetched and desired.source.scheme not in NEAR:
        return f"{desired.source.written} is fetched after other downloads"
    room = budget.fits(budget.need(state, desired), how.free)
    if not desired.resident:
        return "it is loaded when a request asks for it" + (
            "" if room else "; others have to make room first"
        )
    if desired.launch in state.fetched and not room:
        return "it waits for memory that others hold"
    return "it is about to load"


def _is_given_up(state: State, record: ModelRecord, spec: ModelSpec, how: budget.Standing | None) -> bool:
    if forbidden(state, spec):
        return True
    rejection = record.rejected.get(spec.launch)
    if rejection is not None and rejection.retry_at is None:
        return True
    # What can never fit is not tried again, whatever came of the last try.
    return bool(budget.obstacle(state, spec, how))


def _progress(state: State, record: ModelRecord, replicas: Sequence[Replica]) -> str:
    if any(replica.phase is Phase.STARTING for replica in replicas):
        return "loading"
    if record.name in state.fetching:
        return "fetching"
    desired = record.desired
    due = desired is not None and desired.wanted and desired.launch not in state.fetched
    return "fetching later" if due and not replicas else ""

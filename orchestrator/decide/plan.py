"""The plan: what to do next so that the fleet becomes what the catalog and the requests ask for.

The loop, `orchestrator plan` and the tests call this one function.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.decide import budget
from orchestrator.decide.admit import CALM_S, Candidate, admit, idle_ends, idle_until, relieve
from orchestrator.decide.evict import leaves_at, on_demand
from orchestrator.decide.fetching import blocked, fetches, removals
from orchestrator.decide.serving import forbidden, serving
from orchestrator.values.action import Action, Drain, Unload
from orchestrator.values.demand import Demand
from orchestrator.values.fleet import Phase, Replica
from orchestrator.values.settings import Limits
from orchestrator.values.spec import LoadWhen, ModelSpec
from orchestrator.values.state import ModelRecord, State

USUAL_PRIORITY = 5


@dataclass(frozen=True, slots=True)
class _Wish:
    """A spec that should be loaded, now or on demand."""

    spec: ModelSpec
    why: str
    own: Replica | None
    now: bool  # False: only its weights have to be here


def plan(state: State, demand: Demand, limits: Limits, now: datetime) -> tuple[Action, ...]:
    """Decide the next actions that bring the fleet closer to what is asked for.

    The same arguments always give the same plan, and a fleet that already
    matches gives an empty one. Unloads come before loads. What is loaded, is
    being loaded and is on its way out never takes more than the memory budget
    together. A wanted model loses its last ready replica to an update only
    where both do not fit; else the new launch is ready before the old one
    drains. A replica with leases is not unloaded before its drain deadline,
    and never for the sake of memory. A launch that was rejected is left alone
    until its retry is due, and the stable one is brought back meanwhile.

    Args:
        state: the catalog, and the fleet and the memory as last observed.
        demand: requests under way and waiting.
        limits: see Limits.
        now: the present instant.
    """
    by_model = state.fleet.by_model()
    ending: list[Action] = [
        Unload(model="", replica=replica, engine=engine, why="the engine runs it and nothing here started it")
        for engine, replica in state.strays
    ]
    wishes: list[_Wish] = []
    how = budget.standing(state)
    for name in sorted({*state.models, *by_model}):
        record = state.models.get(name, ModelRecord(name=name))
        replicas = by_model.get(name, [])
        if record.desired is None and not replicas:
            continue
        ending += _endings(state, record, replicas, how, demand, limits, now)
        wishes += _wishes(state, record, replicas, how, demand, now)
    leaving = {action.replica for action in ending if isinstance(action, Drain)}
    for drain in (*relieve(state, demand, now), *idle_ends(state, demand, now)):
        if drain.replica not in leaving:
            leaving.add(drain.replica)
            ending.append(drain)
    unfetched = [wish.spec for wish in wishes if wish.spec.launch not in state.fetched]
    candidates = [
        _candidate(state, wish, demand)
        for wish in wishes
        if wish.now
        and wish.spec.launch in state.fetched
        and wish.spec.name not in state.removing
        and not blocked(state, wish.spec, now)
    ]
    loading = admit(state, candidates, demand, limits, now, leaving=leaving)
    return (*ending, *fetches(state, unfetched, demand, limits, now), *loading, *removals(state))


def next_wake(state: State, demand: Demand, limits: Limits, now: datetime) -> datetime | None:
    """Return the next instant at which time alone may change the plan; None where it cannot."""
    instants: list[datetime] = []
    later: list[datetime] = []
    for replica in state.fleet.replicas.values():
        if replica.phase is Phase.DRAINING:
            instants += _unload_at(replica, demand, limits, now)
        elif replica.phase is Phase.READY and demand.waiting and on_demand(state, replica.model):
            later.append(leaves_at(state, replica, demand, limits, now))
    later += (at for _, at in idle_until(state, demand, now))
    if state.pressed_at is not None:
        later.append(state.pressed_at + timedelta(seconds=CALM_S))
    for record in state.models.values():
        later += (r.retry_at for r in record.rejected.values() if r.retry_at)
    return min((*instants, *(at for at in later if at > now)), default=None)


def _unload_at(replica: Replica, demand: Demand, limits: Limits, now: datetime) -> Iterator[datetime]:
    """Yield when a draining replica may be unloaded; nothing where only the end of its requests tells."""
    if demand.leases.get(replica.id, 0):
        if replica.patient:
            return
        at = replica.since + timedelta(seconds=limits.drain_s)
    else:
        at = now
    yield max(at, replica.not_before or at)


def _endings(  # noqa: PLR0913, PLR0917 (what the end of a replica depends on)
    state: State,
    record: ModelRecord,
    replicas: Sequence[Replica],
    how: budget.Standing,
    demand: Demand,
    limits: Limits,
    now: datetime,
) -> Iterator[Action]:
    keep = serving(record, replicas)
    for replica in replicas:
        match replica.phase:
            case Phase.READY if replica is not keep:
                yield Drain(model=replica.model, replica=replica.id, why=_why_end(record, keep))
            case Phase.STARTING if not _worth_starting(state, record, replica, keep, how):
                yield _unload(replica, _why_end(record, keep))
            case Phase.DRAINING if replica.not_before is None or replica.not_before <= now:
                if demand.leases.get(replica.id, 0) == 0:
                    yield _unload(replica, f"{replica.why}; its last request has ended")
                elif not replica.patient and (now - replica.since).total_seconds() >= limits.drain_s:
                    yield _unload(replica, f"{replica.why}; its drain deadline ({limits.drain_s:g} s) passed")
            case _:
                pass


def _worth_starting(
    state: State, record: ModelRecord, replica: Replica, keep: Replica | None, how: budget.Standing
) -> bool:
    """True where a starting replica may become the one that serves."""
    desired = record.desired
    if desired is None:
        return False
    if replica.launch == desired.launch:
        return keep is None or keep.launch != desired.launch
    # The stable one, brought back because the desired one has failed or cannot fit, and nobody serves.
    return (
        keep is None
        and record.stable is not None
        and replica.launch == record.stable.launch
        and (desired.launch in record.rejected or bool(budget.obstacle(state, desired, how)))
    )


def _wishes(
    state: State,
    record: ModelRecord,
    replicas: Sequence[Replica],
    how: budget.Standing,
    demand: Demand,
    now: datetime,
) -> Iterator[_Wish]:
    desired, stable = record.desired, record.stable
    if desired is None or forbidden(state, desired):
        return
    coming = {r.launch for r in replicas if r.phase in (Phase.STARTING, Phase.READY)}
    own = serving(record, replicas)
    called = desired.load is LoadWhen.ALWAYS or own is not None or record.name in demand.waiting
    if desired.launch in coming or not (called or desired.launch not in state.fetched):
        return
    # One that can never fit is as good as rejected: what served before goes on.
    hopeless = blocked(state, desired, now) or bool(budget.obstacle(state, desired, how))
    if not hopeless:
        yield _Wish(desired, _why_load(record, own, demand), own, called)
    elif not coming and stable and stable.launch != desired.launch and not blocked(state, stable, now):
        why = f"revision {desired.revision} does not load; the last good one serves meanwhile"
        yield _Wish(stable, why, None, called)


def _candidate(state: State, wish: _Wish, demand: Demand) -> Candidate:
    waiting = demand.waiting.get(wish.spec.name)
    return Candidate(
        spec=wish.spec,
        why=wish.why,
        own=wish.own,
        retried=wish.spec.launch in state.models[wish.spec.name].rejected,
        waits_since=waiting.since if waiting else None,
        priority=waiting.priority if waiting else USUAL_PRIORITY,
    )


def _unload(replica: Replica, why: str) -> Unload:
    return Unload(model=replica.model, replica=replica.id, engine=replica.spec.engine, why=why)


def _why_load(record: ModelRecord, own: Replica | None, demand: Demand) -> str:
    desired = record.desired
    rejection = record.rejected.get(desired.launch) if desired else None
    if rejection:
        return f"try {rejection.failures + 1}, after: {rejection.message}"
    if own:
        return f"its file asks for it in place of {own.spec.revision}"
    waiting = demand.waiting.get(record.name)
    if waiting and desired and not desired.resident:
        return "a request waits for it" if waiting.count == 1 else f"{waiting.count} requests wait for it"
    return "its file asks for it"


def _why_end(record: ModelRecord, keep: Replica | None) -> str:
    if record.document is None:
        return "its file is gone"
    if record.desired is None:
        return "its file says state: absent"
    return f"replaced by {keep.spec.revision} ({keep.id})" if keep else "its file has changed again"

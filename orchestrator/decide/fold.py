"""What an event does to the state, and the facts it leaves behind."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, assert_never

from orchestrator.decide import source
from orchestrator.decide.adopt import adopt
from orchestrator.decide.backoff import STABLE_S, reject
from orchestrator.decide.folded import Folded
from orchestrator.decide.lifecycle import Signal, move
from orchestrator.decide.measure import measured
from orchestrator.decide.refresh import refreshed, unsure
from orchestrator.values.action import Action, CallOff, Drain, Fetch, Load, Remove, Unload
from orchestrator.values.event import (
    ActionIssued,
    CatalogRead,
    Event,
    Fetched,
    FetchFailed,
    LeaseReturned,
    MemoryRead,
    Observed,
    ReloadAsked,
    Removed,
    RemoveFailed,
    ReplicaLoaded,
    ReplicaLost,
    ReplicaUnloaded,
    RequestWaits,
    SourceMoved,
    UnloadFailed,
)
from orchestrator.values.fact import LifecycleFact, Severity
from orchestrator.values.fleet import Fleet, Phase, Replica, Running
from orchestrator.values.state import ModelRecord, Rejection, State

# A guess: long enough not to spin, short enough that nobody waits for memory.
UNLOAD_RETRY_S: Final = 5.0


def fold(state: State, event: Event) -> Folded:
    """Return the state after `event`, and what is worth remembering of it.

    An event about a replica that the fleet no longer knows changes nothing:
    answers may come late.
    """
    if isinstance(event, Fetched | FetchFailed | SourceMoved | Removed | RemoveFailed):
        folded = source.fold(state, event)
        return Folded(refreshed(folded.state, [event.model], event.at), folded.facts)
    if isinstance(event, ReplicaLoaded | ReplicaLost | ReplicaUnloaded | UnloadFailed):
        replica = state.fleet.replicas.get(event.replica)
        return Folded(state) if replica is None else _of_replica(state, replica, event)
    match event:
        case CatalogRead():
            after, touched, facts = adopt(state, event)
            folded = Folded(refreshed(after, touched, event.at), facts)
        case ActionIssued(at=at, action=action):
            folded = _issued(state, action, at)
        case Observed():
            folded = _observed(state, event)
        case MemoryRead():
            after = replace(state, memory=event.memory)
            folded = Folded(refreshed(after, unsure(state, after), event.at))
        case LeaseReturned() | RequestWaits():
            folded = Folded(state)  # the plan reads the demand itself
        case ReloadAsked(at=at):
            models = {name: replace(record, rejected={}) for name, record in state.models.items()}
            # What was checked is looked at again: somebody may have moved it.
            again = replace(state, models=models, fetched=frozenset(), removed=frozenset())
            folded = Folded(refreshed(again, state.models, at))
        case _:
            assert_never(event)
    return folded


def _of_replica(
    state: State, replica: Replica, event: ReplicaLoaded | ReplicaLost | ReplicaUnloaded | UnloadFailed
) -> Folded:
    match event:
        case ReplicaLoaded():
            return _loaded(state, replica, event)
        case ReplicaLost():
            return _lost(state, replica, event)
        case ReplicaUnloaded(at=at):
            return _unloaded(state, replica, at)
        case UnloadFailed():
            return _unload_failed(state, replica, event)
        case _:
            assert_never(event)


def _issued(state: State, action: Action, at: datetime) -> Folded:
    match action:
        case Load(spec=spec):
            replica = Replica(id=action.replica, spec=spec, phase=Phase.STARTING, since=at, why=action.why)
            record = state.models[action.model]
            state = replace(
                state,
                started=state.started + 1,
                models={**state.models, record.name: replace(record, attempted=spec.launch)},
                fleet=_with(state.fleet, replica),
            )
            fact = _fact(state, replica, at, "Loading", f"revision {spec.revision} loads: {action.why}")
        case Fetch() | CallOff() | Remove():
            folded = source.issued(state, action, at)
            return Folded(refreshed(folded.state, [action.model], at), folded.facts)
        case Drain() | Unload():
            if action.replica not in state.fleet.replicas:
                strays = tuple(stray for stray in state.strays if stray[1] != action.replica)
                return Folded(replace(state, strays=strays), (_stray_fact(action, at),))
            signal = Signal.DRAIN if isinstance(action, Drain) else Signal.UNLOAD
            before = state.fleet.replicas[action.replica]
            replica = _moved(before, signal, at, why=action.why)
            if isinstance(action, Drain):
                replica = replace(replica, patient=action.patient)
                state = replace(state, pressed_at=at) if action.pressed else state
            state = replace(state, fleet=_with(state.fleet, replica))
            reason = "Draining" if isinstance(action, Drain) else "Unloading"
            fact = _fact(state, replica, at, reason, f"revision {replica.spec.revision}: {action.why}")
        case _:
            assert_never(action)
    return Folded(refreshed(state, [replica.model], at), (fact,))


def _loaded(state: State, replica: Replica, event: ReplicaLoaded) -> Folded:
    after = _moved(replica, Signal.LOADED, event.at, running=event.running)
    state = replace(state, fleet=_with(state.fleet, after))
    if after.phase is not Phase.READY:
        return Folded(state)
    record = state.models.get(replica.model)
    if record and record.desired:
        stable = replace(record, stable=replica.spec)
        state = replace(state, models={**state.models, record.name: stable})
    state = measured(state, replica, event.running, load_s=event.load_s)
    took_s = (event.at - replica.since).total_seconds()
    text = f"revision {replica.spec.revision} is ready after {took_s:.2f} s"
    fact = _fact(state, after, event.at, "Ready", text)
    return Folded(refreshed(state, [replica.model], event.at), (fact,))


def _lost(state: State, replica: Replica, event: ReplicaLost) -> Folded:
    after = _moved(replica, Signal.LOST, event.at)
    if after.phase is not Phase.GONE:
        return Folded(state)
    state = replace(state, fleet=_without(state.fleet, replica.id), freed_at=event.at)
    if replica.phase is Phase.STARTING:  # what would not load is checked again before the next try
        state = replace(state, fetched=state.fetched - {replica.launch})
    record = state.models.get(replica.model)
    if record and replica.phase in (Phase.STARTING, Phase.READY):
        ready = replica.phase is Phase.READY
        rejection = reject(
            record.rejected.get(replica.launch),
            event.at,
            event.draw,
            new=Rejection(
                revision=replica.spec.revision,
                reason=event.reason,
                message=event.message,
                terminal=event.terminal,
                fix=event.fix,
                lasting=event.lasting,
                failures=0,
                first_at=event.at,
                last_at=event.at,
                retry_at=None,
            ),
            ready_for_s=(event.at - replica.since).total_seconds() if ready else None,
        )
        record = replace(record, rejected={**record.rejected, replica.launch: rejection})
        state = replace(state, models={**state.models, record.name: record})
    fact = _fact(state, replica, event.at, event.reason, event.message, Severity.WARNING)
    return Folded(refreshed(state, [replica.model], event.at), (fact,))


def _unloaded(state: State, replica: Replica, at: datetime) -> Folded:
    state = replace(state, fleet=_without(state.fleet, replica.id), freed_at=at)
    record = state.models.get(replica.model)
    if record and record.document is None and replica.model not in state.fleet.by_model():
        models = {name: kept for name, kept in state.models.items() if name != replica.model}
        state = replace(state, models=models)
    text = f"revision {replica.spec.revision} is unloaded: {replica.why}"
    return Folded(
        refreshed(state, [replica.model], at), (_fact(state, replica, at, "Unloaded", text, record=record),)
    )


def _unload_failed(state: State, replica: Replica, event: UnloadFailed) -> Folded:
    after = replace(
        _moved(replica, Signal.UNLOAD_FAILED, event.at),
        not_before=event.at + timedelta(seconds=UNLOAD_RETRY_S),
    )
    fact = _fact(state, after, event.at, "UnloadFailed", event.message, Severity.WARNING)
    state = replace(state, fleet=_with(state.fleet, after))
    return Folded(refreshed(state, [replica.model], event.at), (fact,))


def _observed(state: State, event: Observed) -> Folded:
    facts: list[LifecycleFact] = []
    for replica in state.fleet.replicas.values():
        seen = event.running.get(replica.spec.engine)
        if seen is None or replica.since >= event.at or replica.phase in (Phase.STARTING, Phase.STOPPING):
            continue  # no news, older than the replica, or the answer to our own action is still to come
        running = seen.get(replica.id)
        if running is not None:
            drifted = running.drift != (replica.running.drift if replica.running else "")
            state = replace(state, fleet=_with(state.fleet, replace(replica, running=running)))
            state = measured(state, replica, running)
            if drifted:
                state = refreshed(state, [replica.model], event.at)
            continue
        lost = ReplicaLost(
            at=event.at,
            replica=replica.id,
            reason="ReplicaDied",
            message="the engine no longer runs it",
            terminal=False,
            draw=event.draw,
        )
        folded = _lost(state, replica, lost)
        state = folded.state
        facts += folded.facts
    strays = tuple(
        (engine, name)
        for engine, seen in event.running.items()
        for name in seen
        if name not in state.fleet.replicas
    )
    state, touched = _settled(replace(state, strays=strays), event.at)
    return Folded(refreshed(state, touched, event.at), tuple(facts))


def _settled(state: State, now: datetime) -> tuple[State, tuple[str, ...]]:
    """Forget the failures of launches that have been ready long enough."""
    steady = {
        (replica.model, replica.launch)
        for replica in state.fleet.replicas.values()
        if replica.phase is Phase.READY and (now - replica.since).total_seconds() >= STABLE_S
    }
    touched = tuple(
        name for name, record in state.models.items() if any((name, k) in steady for k in record.rejected)
    )
    models = dict(state.models)
    for name in touched:
        record = models[name]
        kept = {launch: r for launch, r in record.rejected.items() if (name, launch) not in steady}
        models[name] = replace(record, rejected=kept)
    return (replace(state, models=models) if touched else state), touched


def _moved(
    replica: Replica, signal: Signal, at: datetime, *, why: str | None = None, running: Running | None = None
) -> Replica:
    phase = move(replica.phase, signal)
    return replace(
        replica,
        phase=phase,
        since=at if phase is not replica.phase else replica.since,
        why=replica.why if why is None else why,
        running=running or replica.running,
    )


def _with(fleet: Fleet, replica: Replica) -> Fleet:
    return Fleet(replicas={**fleet.replicas, replica.id: replica})


def _without(fleet: Fleet, replica: str) -> Fleet:
    return Fleet(replicas={name: kept for name, kept in fleet.replicas.items() if name != replica})


def _fact(  # noqa: PLR0913 (one place that knows the shape of a replica's fact)
    state: State,
    replica: Replica,
    at: datetime,
    reason: str,
    message: str,
    severity: Severity = Severity.NORMAL,
    *,
    record: ModelRecord | None = None,
) -> LifecycleFact:
    record = record or state.models.get(replica.model)
    return LifecycleFact(
        at=at,
        severity=severity,
        reason=reason,
        message=message,
        model=replica.model,
        revision=replica.spec.revision,
        replica=replica.id,
        generation=record.document.generation if record and record.document else 0,
    )


def _stray_fact(action: Drain | Unload, at: datetime) -> LifecycleFact:
    return LifecycleFact(
        at=at, severity=Severity.WARNING, reason="Stray", message=action.why, replica=action.replica
    )

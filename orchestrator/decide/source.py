"""What becomes of a model's source: fetched, moved, deleted. The part of `fold` that knows of it."""

from dataclasses import replace
from datetime import datetime
from typing import assert_never

from orchestrator.decide.backoff import reject
from orchestrator.decide.budget import human
from orchestrator.decide.fetching import kept
from orchestrator.decide.folded import Folded
from orchestrator.values.action import CallOff, Fetch, Remove
from orchestrator.values.event import Fetched, FetchFailed, Removed, RemoveFailed, SourceMoved
from orchestrator.values.fact import LifecycleFact, Severity
from orchestrator.values.spec import Apply, ModelSpec
from orchestrator.values.state import ModelRecord, Rejection, Resolution, State

SourceEvent = Fetched | FetchFailed | SourceMoved | Removed | RemoveFailed


def issued(state: State, action: Fetch | CallOff | Remove, at: datetime) -> Folded:
    """Return the state once `action` is about to be performed."""
    match action:
        case Fetch(model=name, spec=spec):
            state = replace(state, fetching={**state.fetching, name: spec.launch})
            earlier = state.models[name].rejected.get(spec.launch)
            if earlier and earlier.lasting:  # tried again for days, perhaps: that is told once
                return Folded(state)
            text = f"{spec.source.written} is fetched and checked: {action.why}"
            return Folded(state, (_fact(state, name, at, "Fetching", text),))
        case CallOff(model=name):
            return Folded(replace(state, fetching=_without(state, name)))
        case Remove(model=name):
            return Folded(replace(state, removing=state.removing | {name}))
        case _:
            assert_never(action)


def fold(state: State, event: SourceEvent) -> Folded:
    """Return the state after `event`."""
    match event:
        case Fetched():
            folded = _fetched(state, event)
        case FetchFailed():
            folded = _failed(state, event)
        case SourceMoved():
            folded = _moved(state, event)
        case Removed(model=name, freed_bytes=freed):
            launches = {spec.launch for spec in kept(state, name)}
            after = replace(
                state,
                removing=state.removing - {name},
                removed=state.removed | {name},
                fetched=state.fetched & launches,
            )
            said = f"{human(freed)} freed on the disk" if freed else "nothing was left to delete"
            folded = Folded(after, (_fact(state, name, event.at, "Removed", said),) if freed else ())
        case RemoveFailed(model=name):
            after = replace(state, removing=state.removing - {name}, removed=state.removed | {name})
            fact = _fact(state, name, event.at, "RemoveFailed", event.message, Severity.WARNING)
            folded = Folded(after, (fact,))
        case _:
            assert_never(event)
    return folded


def _fetched(state: State, event: Fetched) -> Folded:
    after = state
    if state.fetching.get(event.model) == event.launch:
        after = replace(after, fetching=_without(state, event.model))
    record = state.models.get(event.model)
    desired = record.desired if record else None
    launch = event.launch
    facts: tuple[LifecycleFact, ...] = ()
    if record and desired and desired.launch == event.launch:
        if event.resolved:
            record = replace(record, resolution=_resolution(record, desired, event.resolved))
            launch = record.desired.launch if record.desired else launch
        rejected = {
            each: r for each, r in record.rejected.items() if not (each == event.launch and r.fetching)
        }
        record = replace(record, rejected=rejected)
        after = replace(after, models={**after.models, record.name: record})
        size = f", {human(event.size_bytes)}" if event.size_bytes else ""
        facts = (_fact(after, event.model, event.at, "Fetched", f"{desired.source.written} is here{size}"),)
    return Folded(
        replace(
            after,
            fetched=after.fetched | {launch},
            footprints={**after.footprints, launch: event.footprint},
        ),
        facts,
    )


def _resolution(record: ModelRecord, desired: ModelSpec, resolved: str) -> Resolution:
    known = record.resolution
    same = known is not None and (known.written, known.resolved) == (desired.source.written, resolved)
    newest = known.newest if known is not None and same else ""
    return Resolution(written=desired.source.written, resolved=resolved, newest=newest or resolved)


def _failed(state: State, event: FetchFailed) -> Folded:
    if state.fetching.get(event.model) != event.launch:
        return Folded(state)  # called off meanwhile
    after = replace(state, fetching=_without(state, event.model))
    record = state.models[event.model]
    spec = next((s for s in (record.desired, record.stable) if s and s.launch == event.launch), None)
    earlier = record.rejected.get(event.launch)
    if spec is not None:
        new = Rejection(
            revision=spec.revision,
            reason=event.reason,
            message=event.message,
            terminal=event.terminal,
            fix=event.fix,
            lasting=event.lasting,
            fetching=True,
            failures=0,
            first_at=event.at,
            last_at=event.at,
            retry_at=None,
        )
        rejection = reject(earlier, event.at, event.draw, new=new, ready_for_s=None)
        record = replace(record, rejected={**record.rejected, event.launch: rejection})
        after = replace(after, models={**after.models, record.name: record})
    if earlier and event.lasting and (earlier.reason, earlier.message) == (event.reason, event.message):
        return Folded(after)
    fact = _fact(after, event.model, event.at, event.reason, event.message, Severity.WARNING)
    return Folded(after, (fact,))


def _moved(state: State, event: SourceMoved) -> Folded:
    record = state.models.get(event.model)
    if record is None or record.resolution is None or record.document is None:
        return Folded(state)
    known, spec = record.resolution, record.document.value
    apply = spec.update.apply
    if event.newest in ("", known.newest) or apply is Apply.NEVER or known.written != spec.source.written:
        return Folded(state)
    if apply is Apply.ROLLOUT:
        resolution = replace(known, newest=event.newest, resolved=event.newest)
        text = f"{known.written} has a newer version, which takes over"
    else:
        resolution = replace(known, newest=event.newest)
        text = f"{known.written} has a newer version; `update: {{apply: rollout}}` would take it"
    record = replace(record, resolution=resolution)
    after = replace(state, models={**state.models, record.name: record})
    if event.newest == known.resolved:
        return Folded(after)  # it has moved back to what is loaded
    return Folded(after, (_fact(after, event.model, event.at, "UpdateFound", text),))


def _without(state: State, model: str) -> dict[str, str]:
    return {name: launch for name, launch in state.fetching.items() if name != model}


def _fact(
    state: State,
    model: str,
    at: datetime,
    reason: str,
    message: str,
    severity: Severity = Severity.NORMAL,
) -> LifecycleFact:
    record = state.models.get(model, ModelRecord(name=model))
    desired = record.desired
    return LifecycleFact(
        at=at,
        severity=severity,
        reason=reason,
        message=message,
        model=model,
        revision=desired.revision if desired else "",
        generation=record.document.generation if record.document else 0,
    )

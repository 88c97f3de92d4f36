"""What to fetch, what to call off, and what to delete."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from orchestrator.values.action import CallOff, Fetch, Remove
from orchestrator.values.demand import Demand
from orchestrator.values.settings import Limits
from orchestrator.values.spec import ModelSpec, ModelState
from orchestrator.values.state import ModelRecord, State

# What lies on this machine, or nowhere: having it checked waits for no download.
NEAR: Final = frozenset({"file", "demo", "name"})


def fetches(
    state: State, needed: Sequence[ModelSpec], demand: Demand, limits: Limits, now: datetime
) -> Iterator[Fetch | CallOff]:
    """Yield the fetches that may start now, and the end of those that nobody needs any more.

    A fetch takes the place of an older one of the same model. What requests
    wait for comes first, in their order, then what is always loaded; what
    comes with the download of another model only keeps others waiting.

    Args:
        state: as for `plan`.
        needed: what is to be loaded sooner or later, and has not been fetched.
        demand: requests waiting.
        limits: downloads at once; what lies here already is bounded like loads.
        now: the present instant.
    """
    wanted = {spec.name: spec for spec in needed}
    for name in state.fetching:
        if name not in wanted:
            yield CallOff(model=name, why="nothing asks for it any more")
    room = {True: limits.loads_at_once, False: limits.fetches_at_once}
    coming: set[tuple[str, str]] = set()
    new: list[ModelSpec] = []
    for name, spec in sorted(wanted.items()):
        if state.fetching.get(name) == spec.launch:
            room[spec.source.scheme in NEAR] -= 1
            coming.add(_download(spec))
        elif name not in state.removing and not blocked(state, spec, now):
            new.append(spec)
    new.sort(key=lambda spec: _turn(spec, demand))
    first: list[ModelSpec] = []
    shared: list[ModelSpec] = []
    for spec in new:
        (shared if _download(spec) in coming and spec.name not in demand.waiting else first).append(spec)
        coming.add(_download(spec))
    for spec in (*first, *shared):
        near = spec.source.scheme in NEAR
        if room[near] > 0:
            room[near] -= 1
            why = "its file has changed" if spec.name in state.fetching else "its file asks for it"
            yield Fetch(model=spec.name, spec=spec, why=why, known=state.footprints.get(spec.launch))


def _turn(spec: ModelSpec, demand: Demand) -> tuple[bool, int, float, bool, str]:
    """Return what puts fetches in order, the first one least."""
    waiting = demand.waiting.get(spec.name)
    if waiting is None:
        return True, 0, 0.0, not spec.resident, spec.name
    return False, -waiting.priority, waiting.since.timestamp(), False, spec.name


def _download(spec: ModelSpec) -> tuple[str, str]:
    """Return what is the same for models that come with one download."""
    source = spec.source
    return (source.scheme, spec.name) if source.scheme in NEAR else (source.scheme, source.location)


def removals(state: State) -> Iterator[Remove]:
    """Yield what was fetched for models that are absent by word of their file, once nothing of them runs."""
    running = {replica.model for replica in state.fleet.replicas.values()}
    busy = running | state.removing | state.removed  # a fetch of it is called off in the same pass
    for name, record in sorted(state.models.items()):
        document = record.document
        if name in busy or document is None or document.value.state is not ModelState.ABSENT:
            continue
        yield Remove(
            model=name,
            spec=record.resolve(document.value),
            keep=tuple(kept(state, name)),
            why="its file says state: absent",
        )


def kept(state: State, absent: str) -> Iterator[ModelSpec]:
    """Yield every spec whose weights must stay when those of the model `absent` are deleted."""
    for name, record in sorted(state.models.items()):
        if name == absent:
            continue
        yield from (spec for spec in (record.desired, record.stable) if spec is not None)
    for replica in state.fleet.replicas.values():
        if replica.model != absent:
            yield replica.spec


def blocked(state: State, spec: ModelSpec, now: datetime) -> bool:
    """Say whether a launch was rejected and its next try is not due."""
    rejection = state.models.get(spec.name, ModelRecord(name=spec.name)).rejected.get(spec.launch)
    return rejection is not None and rejection.blocks(now)

"""The whole way to a catalog, played through with every step succeeding: what `orchestrator plan` prints."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from orchestrator.decide.fold import fold
from orchestrator.decide.plan import plan
from orchestrator.decide.serving import serving
from orchestrator.values.action import Action, Drain, Load
from orchestrator.values.event import ActionIssued, CatalogRead, Event, ReplicaLoaded, ReplicaUnloaded
from orchestrator.values.fleet import Fleet, Phase, Replica, Running
from orchestrator.values.settings import Limits
from orchestrator.values.state import State

# More passes than any catalog needs: each model takes four at the most.
MOST_PASSES: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """`action` is load, switch, drain or unload."""

    action: str
    model: str
    revision: str
    replica: str
    why: str


def preview(state: State, read: CatalogRead, limits: Limits) -> tuple[Step, ...]:
    """Return the steps that would follow if `read` were adopted now and everything went well.

    The steps come from the same `plan` that the loop follows. What is under
    way already is no step of its own, and is taken to end well as soon as it
    holds the rest up; requests are taken to end in time.
    """
    state = _patient(fold(state, read).state)
    steps: list[Step] = []
    for _ in range(MOST_PASSES):
        actions = plan(state, {}, limits, read.at)
        for action in actions:
            steps.append(_step(state, action))
            state, switched = _issue(state, action, read.at)
            steps += switched
        if not actions:
            under_way = _under_way(state)
            if under_way is None:
                break
            state, switched = _end(state, under_way, read.at)
            steps += switched
    return tuple(steps)


def _patient(state: State) -> State:
    """Return the state without the waits for another try of an unload."""
    replicas = {name: replace(r, not_before=None) for name, r in state.fleet.replicas.items()}
    return replace(state, fleet=Fleet(replicas=replicas))


def _under_way(state: State) -> Replica | None:
    """Return the oldest replica that is being loaded or unloaded."""
    moving = (Phase.STARTING, Phase.STOPPING)
    return next((replica for replica in state.fleet.replicas.values() if replica.phase in moving), None)


def _issue(state: State, action: Action, at: datetime) -> tuple[State, tuple[Step, ...]]:
    """Issue `action` and let it succeed at once."""
    issued = fold(state, ActionIssued(at=at, action=action)).state
    replica = issued.fleet.replicas.get(action.replica)
    if replica is None or isinstance(action, Drain):
        return issued, tuple(_switches(state, issued, action.model))
    after, _ = _end(issued, replica, at)
    return after, tuple(_switches(state, after, action.model))


def _end(state: State, replica: Replica, at: datetime) -> tuple[State, tuple[Step, ...]]:
    """Let the load or the unload of `replica` succeed."""
    event: Event = ReplicaUnloaded(at=at, replica=replica.id)
    if replica.phase is Phase.STARTING:
        running = Running(replica=replica.id, socket="", pid=0, pid_started=0.0)
        event = ReplicaLoaded(at=at, replica=replica.id, running=running)
    after = fold(state, event).state
    return after, tuple(_switches(state, after, replica.model))


def _switches(before: State, after: State, model: str) -> Iterator[Step]:
    was, now = _serving(before, model), _serving(after, model)
    if now and (was is None or was.id != now.id):
        yield Step(
            action="switch",
            model=model,
            revision=now.spec.revision,
            replica=now.id,
            why="new requests go to it" + (f" instead of {was.spec.revision}" if was else ""),
        )


def _serving(state: State, model: str) -> Replica | None:
    record = state.models.get(model)
    return serving(record, state.fleet.by_model().get(model, [])) if record else None


def _step(state: State, action: Action) -> Step:
    if isinstance(action, Load):
        revision = action.spec.revision
    else:
        replica = state.fleet.replicas.get(action.replica)
        revision = replica.spec.revision if replica else ""
    return Step(
        action=type(action).__name__.lower(),
        model=action.model,
        revision=revision,
        replica=action.replica,
        why=action.why,
    )

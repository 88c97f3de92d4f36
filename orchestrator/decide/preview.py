"""The whole way to a catalog, played through with every step succeeding: what `orchestrator plan` prints."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from orchestrator.decide.fold import fold
from orchestrator.decide.plan import plan
from orchestrator.decide.serving import serving
from orchestrator.values.action import Action, Drain, Load, Unload
from orchestrator.values.event import ActionIssued, CatalogRead, ReplicaLoaded, ReplicaUnloaded
from orchestrator.values.fleet import Replica, Running
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

    The steps come from the same `plan` that the loop follows. Requests under
    way are taken to end in time.
    """
    state = fold(state, read).state
    steps: list[Step] = []
    for _ in range(MOST_PASSES):
        actions = plan(state, {}, limits, read.at)
        if not actions:
            break
        for action in actions:
            steps.append(_step(state, action))
            state, switched = _succeed(state, action, read.at)
            steps += switched
    return tuple(steps)


def _succeed(state: State, action: Action, at: datetime) -> tuple[State, tuple[Step, ...]]:
    after = fold(state, ActionIssued(at=at, action=action)).state
    match action:
        case Load(replica=name):
            running = Running(replica=name, socket="", pid=0, pid_started=0.0)
            after = fold(after, ReplicaLoaded(at=at, replica=name, running=running)).state
        case Unload(replica=name):
            after = fold(after, ReplicaUnloaded(at=at, replica=name)).state
        case Drain():
            pass
    return after, tuple(_switches(state, after, action.model))


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

"""Bringing conditions up to date after an event."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from orchestrator.decide.budget import standing
from orchestrator.decide.conditions import conditions
from orchestrator.values.fleet import Phase
from orchestrator.values.state import State


def refreshed(state: State, touched: Iterable[str], now: datetime) -> State:
    """Bring the conditions of the touched models up to date."""
    names = [name for name in touched if name in state.models]
    if not names:
        return state
    by_model = state.fleet.by_model()
    models = dict(state.models)
    how = standing(state)
    for name in names:
        record = models[name]
        path = record.document.path if record.document else ""
        found = conditions(
            state,
            record,
            by_model.get(name, []),
            [problem for problem in state.problems if problem.path == path],
            [held for held in state.held if record.document and held.concerns(record.document)],
            now,
            how,
        )
        models[name] = replace(record, conditions=found)
    return replace(state, models=models)


def unsure(before: State, after: State) -> list[str]:
    """Return the models whose fit may be another after a look at the memory."""
    most = [{name: pool.most for name, pool in state.memory.pools.items()} for state in (before, after)]
    if most[0] != most[1]:
        return list(after.models)
    steady = {replica.model for replica in after.fleet.replicas.values() if replica.phase is Phase.READY}
    steady -= {replica.model for replica in after.fleet.replicas.values() if replica.phase is not Phase.READY}
    return [name for name in after.models if name not in steady]

"""What is learnt about a launch from its replicas: memory and load time."""

from dataclasses import replace
from typing import Final

from orchestrator.decide.budget import UNKNOWN
from orchestrator.values.fleet import Replica, Running
from orchestrator.values.memory import highest
from orchestrator.values.state import State

# Growth below this is not worth a write to the disk.
WORTH_NOTING: Final = 1.01


def measured(state: State, replica: Replica, running: Running, *, load_s: float | None = None) -> State:
    """Return the state with the footprint of the replica's launch as it was just seen.

    The memory is the most ever seen; the load time is that of the last load.
    """
    before = state.footprints.get(replica.launch, UNKNOWN)
    seen = running.memory
    grown = any(size > before.measured.get(pool, 0) * WORTH_NOTING for pool, size in seen.items())
    after = before
    if grown:
        after = replace(after, measured=highest((before.measured, seen)))
    if load_s is not None:
        after = replace(after, load_s=load_s)
    if after == before:
        return state
    return replace(state, footprints={**state.footprints, replica.launch: after})

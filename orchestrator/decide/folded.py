"""What folding one event gives."""

from dataclasses import dataclass

from orchestrator.values.fact import LifecycleFact
from orchestrator.values.state import State


@dataclass(frozen=True, slots=True)
class Folded:
    """The state after the event, and what is worth remembering of it."""

    state: State
    facts: tuple[LifecycleFact, ...] = ()

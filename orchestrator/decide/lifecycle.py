"""The life of a replica as a table: a move that is not a row cannot happen."""

from enum import StrEnum
from typing import Final

from orchestrator.values.fleet import Phase


class Signal(StrEnum):
    LOADED = "loaded"
    LOST = "lost"  # would not load, or ended by itself
    DRAIN = "drain"
    UNLOAD = "unload"
    UNLOADED = "unloaded"
    UNLOAD_FAILED = "unload failed"


class IllegalMove(Exception):
    """A bug: the loop asked for a move that the table does not have."""


MOVES: Final[dict[tuple[Phase, Signal], Phase]] = {
    (Phase.STARTING, Signal.LOADED): Phase.READY,
    (Phase.STARTING, Signal.LOST): Phase.GONE,
    (Phase.STARTING, Signal.UNLOAD): Phase.STOPPING,
    (Phase.READY, Signal.DRAIN): Phase.DRAINING,
    (Phase.READY, Signal.LOST): Phase.GONE,
    (Phase.DRAINING, Signal.UNLOAD): Phase.STOPPING,
    (Phase.DRAINING, Signal.LOST): Phase.GONE,
    (Phase.STOPPING, Signal.LOADED): Phase.STOPPING,  # an answer that was already on its way
    (Phase.STOPPING, Signal.LOST): Phase.STOPPING,  # the unload under way will confirm it
    (Phase.STOPPING, Signal.UNLOADED): Phase.GONE,
    (Phase.STOPPING, Signal.UNLOAD_FAILED): Phase.DRAINING,
}


def move(phase: Phase, signal: Signal) -> Phase:
    """Return the phase after `signal`.

    Raises:
        IllegalMove: the table has no such row.
    """
    try:
        return MOVES[phase, signal]
    except KeyError:
        raise IllegalMove(f"no move from {phase} on {signal}") from None


def diagram() -> str:
    """Return the table as a Mermaid state diagram, for the docs."""
    rows = (f"    {before} --> {after}: {signal}" for (before, signal), after in MOVES.items())
    return "\n".join(["stateDiagram-v2", "    [*] --> starting", *rows, "    gone --> [*]"])

"""The table of moves, row by row; whatever is no row cannot happen."""

from itertools import product

import pytest

from orchestrator.decide.lifecycle import MOVES, IllegalMove, Signal, diagram, move
from orchestrator.values.fleet import Phase

ROWS = [
    ("a load that ends well", "starting", "loaded", "ready"),
    ("a load that fails", "starting", "lost", "gone"),
    ("a load that is called off", "starting", "unload", "stopping"),
    ("a replica that is replaced", "ready", "drain", "draining"),
    ("a crash", "ready", "lost", "gone"),
    ("the last request has ended", "draining", "unload", "stopping"),
    ("a crash while it finishes its requests", "draining", "lost", "gone"),
    ("a load that ended when it was called off already", "stopping", "loaded", "stopping"),
    ("a crash that the unload under way will find", "stopping", "lost", "stopping"),
    ("an unload that ends well", "stopping", "unloaded", "gone"),
    ("an unload that fails and is tried again", "stopping", "unload failed", "draining"),
]


@pytest.mark.parametrize(("before", "signal", "after"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS])
def test_legal_moves(before: str, signal: str, after: str) -> None:
    assert move(Phase(before), Signal(signal)) is Phase(after)


LEGAL = {(before, signal) for _, before, signal, _ in ROWS}
ILLEGAL = [pair for pair in product(Phase, Signal) if pair not in LEGAL]


@pytest.mark.parametrize(("phase", "signal"), ILLEGAL)
def test_everything_else_is_illegal(phase: Phase, signal: Signal) -> None:
    with pytest.raises(IllegalMove, match=f"^no move from {phase} on {signal}$"):
        move(phase, signal)


def reached(phase: Phase) -> set[Phase]:
    """Every phase that follows on `phase`, however late, and itself."""
    found = {phase}
    while more := {after for (before, _), after in MOVES.items() if before in found} - found:
        found |= more
    return found


def test_every_phase_is_reached_from_the_start() -> None:
    assert reached(Phase.STARTING) == set(Phase)


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_can_end(phase: Phase) -> None:
    assert Phase.GONE in reached(phase)


def test_what_is_gone_stays_gone() -> None:
    assert reached(Phase.GONE) == {Phase.GONE}


@pytest.mark.parametrize("phase", [p for p in Phase if p is not Phase.STARTING])
def test_no_replica_starts_twice(phase: Phase) -> None:
    assert Phase.STARTING not in reached(phase)


@pytest.mark.parametrize("phase", [Phase.DRAINING, Phase.STOPPING])
def test_what_is_on_its_way_out_never_serves_again(phase: Phase) -> None:
    assert Phase.READY not in reached(phase)


def test_the_diagram_is_the_table() -> None:
    lines = diagram().splitlines()
    assert lines[:2] == ["stateDiagram-v2", "    [*] --> starting"]
    assert lines[-1] == "    gone --> [*]"
    assert lines[2:-1] == [f"    {before} --> {after}: {signal}" for _, before, signal, after in ROWS]

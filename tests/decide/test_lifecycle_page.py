"""docs/lifecycle.md is what the table says."""

from orchestrator.decide.lifecycle import MOVES, Signal, diagram
from orchestrator.values.fleet import Phase
from tools.make_lifecycle import PAGE, page


def test_the_page_is_not_stale() -> None:
    assert PAGE.read_text() == page(), "run: python tools/make_lifecycle.py"


def test_it_has_the_diagram_and_every_phase_signal_and_move() -> None:
    text = PAGE.read_text()
    assert diagram() in text
    for word in (*Phase, *Signal):
        assert f"| `{word}` |" in text
    for (before, signal), after in MOVES.items():
        assert f"| `{before}` | {signal} | `{after}` |" in text

"""Writes docs/lifecycle.md from the table of moves. A test fails when the two differ.

python tools/make_lifecycle.py           writes docs/lifecycle.md
python tools/make_lifecycle.py --print   prints it
"""

import sys
from pathlib import Path

from orchestrator.decide.lifecycle import MOVES, diagram
from orchestrator.values.fleet import Phase

PAGE = Path(__file__).parents[1] / "docs" / "lifecycle.md"

PHASES = {
    Phase.STARTING: "The weights are checked; the model is loaded and warmed. Takes no request.",
    Phase.READY: "Has answered a request. New requests go to it while it is the one that serves its model.",
    Phase.DRAINING: "Takes no new request; those under way run to their end, or to the drain deadline.",
    Phase.STOPPING: "Its process is being ended.",
    Phase.GONE: "Has left the fleet. Never stored, never shown.",
}

SIGNALS = """\
| signal | meaning |
| --- | --- |
| `loaded` | the engine says that it is ready and warm |
| `lost` | it would not load, or ended by itself: crashed, hung, or was killed |
| `drain` | the plan wants another replica, or none, in its place |
| `unload` | the plan wants it ended: nobody uses it any more, or its drain deadline has passed |
| `unloaded` | the engine says that its process is gone |
| `unload failed` | the engine could not end it; the plan tries again after a few seconds |
"""


def page() -> str:
    """Return the page as it should be."""
    phases = "".join(f"| `{phase}` | {meaning} |\n" for phase, meaning in PHASES.items())
    rows = "".join(f"| `{before}` | {signal} | `{after}` |\n" for (before, signal), after in MOVES.items())
    return f"""\
# The life of a replica

Generated from the table in `orchestrator/decide/lifecycle.py` by `tools/make_lifecycle.py`; edit that, not
this page.

A replica is one running copy of one revision of a model. It has one phase at a time, and moves only along
the rows below: a move that is no row is a bug, and is raised as one.

```mermaid
{diagram()}
```

| phase | meaning |
| --- | --- |
{phases}
{SIGNALS}
| from | on | to |
| --- | --- | --- |
{rows}
Whether a model is served follows from the phases of its replicas and from its file; `orchestrator describe
MODEL` shows both, as conditions.
"""


if __name__ == "__main__":
    if "--print" in sys.argv:
        print(page())
    else:
        PAGE.write_text(page())
        print(f"wrote {PAGE}")

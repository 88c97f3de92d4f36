"""What the daemon says once it is ready."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from orchestrator.control.operations import Facts
from orchestrator.values.catalog import Problem
from orchestrator.values.routing import RoutingTable

MOST_PROBLEMS: Final = 5


def greeting(facts: Facts, table: RoutingTable, problems: Sequence[Problem], *, took_s: float) -> list[str]:
    """Return the lines that say where the daemon answers, and what does not serve or count, and why."""
    served = sorted(route.model for route in table.routes.values() if route.replica)
    away = [route for route in table.routes.values() if not route.replica]
    waiting = [route for route in away if not route.on_demand or route.stalled]
    resting = sorted(route.model for route in away if route.on_demand and not route.stalled)
    return [
        f"ready: {facts.address} after {took_s:.1f} s; models: {', '.join(served) or 'none yet'}"
        + (f"; on demand: {', '.join(resting)}" if resting else ""),
        *(f"not ready: {route.model}: {route.unready}" for route in waiting),
        *(f"not accepted: {problem.where}: {problem.what}" for problem in problems[:MOST_PROBLEMS]),
        *([f"and {more} more problems"] if (more := len(problems) - MOST_PROBLEMS) > 0 else []),
    ]


def hints(
    facts: Facts, table: RoutingTable, *, state_folder: Path | None, program: str = "orchestrator"
) -> list[str]:
    """Return what to try next, as commands that work as they stand.

    Args:
        program: how this program is called where it is not on the path.
        facts: the daemon's address and folders.
        table: its models.
        state_folder: where it is not the default one, and so must be named.
    """
    served = sorted(route.model for route in table.routes.values() if route.replica)
    where = f" --state {shlex.quote(str(state_folder))}" if state_folder else ""
    model = served[0] if served else "MODEL"
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "Is 7 greater than 3?"}}]}}'
    url = f"{facts.address}/v1/chat/completions"
    return [
        "try next, in another terminal:",
        f"  {program} status{where}",
        f"  {program} chat{where}",
        f"  curl {url} -H 'Content-Type: application/json' -d '{body}'",
        f"  {program} status{where} --watch    # and edit a file in {facts.config_folder / 'models.d'}",
    ]

"""What the daemon says once it is ready."""

import shlex
from pathlib import Path

from orchestrator.control.operations import Facts
from orchestrator.values.routing import RoutingTable


def greeting(facts: Facts, table: RoutingTable, *, took_s: float) -> list[str]:
    """Return the lines that say where the daemon answers, and which models do not serve and why."""
    served = sorted(route.model for route in table.routes.values() if route.replica)
    waiting = [route for route in table.routes.values() if not route.replica]
    return [
        f"ready: {facts.address} after {took_s:.1f} s; models: {', '.join(served) or 'none yet'}",
        *(f"not ready: {route.model}: {route.unready}" for route in waiting),
    ]


def hints(facts: Facts, table: RoutingTable, *, state_folder: Path | None) -> list[str]:
    """Return what to try next, as commands that work as they stand.

    Args:
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
        f"  orchestrator status{where}",
        f"  orchestrator chat{where}",
        f"  curl {url} -H 'Content-Type: application/json' -d '{body}'",
        f"  orchestrator status{where} --watch    # and edit a file in {facts.config_folder / 'models.d'}",
    ]

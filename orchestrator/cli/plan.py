"""`plan`: what the files would change, from the function that the daemon itself decides with."""

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path
from typing import cast

from orchestrator.cli import wire
from orchestrator.cli.exits import Exit
from orchestrator.cli.places import admin, configuration, state
from orchestrator.cli.show_plan import is_empty, plan_lines
from orchestrator.cli.terminal import terminal
from orchestrator.errors import DaemonUnreachable
from orchestrator.values.settings import Settings


def execute(args: argparse.Namespace) -> int:
    """Print the plan; Exit.CHANGES where it is not empty, Exit.ERROR where a file has a problem."""
    plan = _plan(args)
    shown = terminal()
    if args.json:
        shown.out.write(json.dumps(plan, indent=2) + "\n")
    else:
        for line in plan_lines(plan, shown):
            shown.line(line)
    if plan["problems"]:
        return Exit.ERROR
    return Exit.OK if is_empty(plan) else Exit.CHANGES


def _plan(args: argparse.Namespace) -> wire.Plan:
    folder = Path(args.folder).absolute() if args.folder else None
    try:
        return admin(args).plan(folder)
    except DaemonUnreachable:
        if args.socket:  # a daemon was named: an answer about another one would mislead
            raise
    # Heavy, and only without a daemon.
    from orchestrator.cli.premises import premises  # noqa: PLC0415 (see above)
    from orchestrator.config.decode import Surroundings  # noqa: PLC0415 (see above)
    from orchestrator.config.settings import read_settings  # noqa: PLC0415 (see above)
    from orchestrator.control.preview import offline  # noqa: PLC0415 (see above)

    note = terminal(sys.stderr)
    note.line("no daemon is running: this is what one would do when it starts", "dim")
    folder = folder or configuration(args.config)
    settings = read_settings(Surroundings(folder=folder, env=os.environ)).value or Settings()
    place = premises(settings, state(args))
    return cast("wire.Plan", asyncio.run(offline(place, folder, state(args))))

"""`status`: every model at a glance."""

import argparse
import json

from orchestrator import clock
from orchestrator.cli.exits import Exit
from orchestrator.cli.note import all_well
from orchestrator.cli.places import admin
from orchestrator.cli.show_status import status_lines
from orchestrator.cli.terminal import terminal


def execute(args: argparse.Namespace) -> int:
    """Print the status once, or again and again with --watch."""
    daemon = admin(args)
    shown = terminal()
    if args.watch:
        from orchestrator.cli.watch import watch  # noqa: PLC0415 (rich takes 80 ms, and only this needs it)

        watch(daemon, shown)
        return Exit.OK
    status = daemon.status()
    if args.json:
        shown.out.write(json.dumps(status, indent=2) + "\n")
    elif args.names:
        for model in status["models"]:
            shown.line(model["name"])
    else:
        for line in status_lines(status, shown, clock.now()):
            shown.line(line)
    return Exit.NOT_AS_ASKED if args.check and not all_well(status) else Exit.OK

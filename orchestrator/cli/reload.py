"""`reload`: have the daemon read its files now, and report what came of it."""

import argparse
import json

from orchestrator import clock
from orchestrator.cli.exits import Exit
from orchestrator.cli.places import admin
from orchestrator.cli.show_reload import reload_lines
from orchestrator.cli.terminal import terminal


def execute(args: argparse.Namespace) -> int:
    """Reload and report; Exit.ERROR where a file has a problem, or waiting for the fleet took too long."""
    daemon, shown = admin(args), terminal()
    if args.confirm_removal:
        confirmed = daemon.confirm_removal()["confirmed"]
        if not args.json:
            for line in [f"let go   {path}" for path in confirmed] or ["nothing was held back"]:
                shown.line(line)
    reloaded = daemon.reload(args.timeout if args.wait else None)
    if args.json:
        shown.out.write(json.dumps(reloaded, indent=2) + "\n")
    else:
        for line in reload_lines(reloaded, shown, clock.now(), waited=args.wait):
            shown.line(line)
    failed = reloaded["problems"] or (args.wait and not reloaded["settled"])
    return Exit.ERROR if failed else Exit.OK

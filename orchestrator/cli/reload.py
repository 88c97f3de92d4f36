"""`reload`: have the daemon read its files now, and report what came of it."""

import argparse
import json

from orchestrator import clock
from orchestrator.cli.exits import Exit
from orchestrator.cli.note import as_asked
from orchestrator.cli.places import admin
from orchestrator.cli.show_reload import reload_lines
from orchestrator.cli.terminal import terminal


def execute(args: argparse.Namespace) -> int:
    """Reload and report; Exit.ERROR for a problem in a file, or where --wait was not rewarded."""
    daemon, shown = admin(args), terminal()
    let_go = daemon.confirm_removal()["confirmed"] if args.confirm_removal else []
    reloaded = daemon.reload(args.timeout if args.wait else None)
    if args.json:
        shown.out.write(json.dumps(reloaded, indent=2) + "\n")
    else:
        for line in reload_lines(reloaded, shown, clock.now(), waited=args.wait, let_go=let_go):
            shown.line(line)
    reached = reloaded["settled"] and all(as_asked(model) for model in reloaded["models"])
    return Exit.ERROR if reloaded["problems"] or (args.wait and not reached) else Exit.OK

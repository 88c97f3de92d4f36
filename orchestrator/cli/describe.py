"""`describe MODEL`: everything about one model."""

import argparse
import json

from orchestrator import clock
from orchestrator.cli.exits import Exit
from orchestrator.cli.places import admin
from orchestrator.cli.show_describe import describe_lines
from orchestrator.cli.terminal import terminal


def execute(args: argparse.Namespace) -> int:
    """Print the page."""
    model = admin(args).describe(args.model)
    shown = terminal()
    if args.json:
        shown.out.write(json.dumps(model, indent=2) + "\n")
        return Exit.OK
    for line in describe_lines(model, shown, clock.now()):
        shown.line(line)
    return Exit.OK

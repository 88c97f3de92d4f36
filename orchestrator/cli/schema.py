"""`schema [KIND]`: the published contract of the files."""

import argparse
import json

from orchestrator.cli.exits import Exit
from orchestrator.cli.terminal import terminal
from orchestrator.config.schema import KINDS, schema


def execute(args: argparse.Namespace) -> int:
    """Print one schema, or all of them in one object by kind."""
    printed = schema(args.kind) if args.kind else {kind: schema(kind) for kind in KINDS}
    terminal().out.write(json.dumps(printed, indent=2) + "\n")
    return Exit.OK

"""`schema [KIND]`: the published contract of the files."""

import argparse
import json

from orchestrator.cli.exits import Exit
from orchestrator.cli.terminal import terminal
from orchestrator.config.schema import KINDS, published
from orchestrator.engines import kinds


def execute(args: argparse.Namespace) -> int:
    """Print one schema, or all of them in one object by kind."""
    engines = kinds.traits()
    schemas = {kind: published(kind, engines) for kind in ([args.kind] if args.kind else KINDS)}
    printed = schemas[args.kind] if args.kind else schemas
    terminal().out.write(json.dumps(printed, indent=2) + "\n")
    return Exit.OK

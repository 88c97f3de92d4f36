"""`run`: the daemon, in the foreground."""

import argparse

from orchestrator.cli.places import configuration, state
from orchestrator.daemon import RunOptions, run


def execute(args: argparse.Namespace) -> int:
    """Run until told to stop; return the daemon's own exit code."""
    options = RunOptions(
        config=configuration(args.config) if args.config else None,
        # Spelled as `status` spells it: the sockets' folder goes by this path.
        state=state(args) if args.state else None,
        host=args.host,
        port=args.port,
        log_format=args.log_format,
        verbose=args.verbose,
    )
    return run(options)

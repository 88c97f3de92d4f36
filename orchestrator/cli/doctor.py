"""`doctor`: what there is on this machine, and what to do about what is missing."""

import argparse
import asyncio
import json
import os
from typing import cast

from orchestrator.cli import wire
from orchestrator.cli.exits import Exit
from orchestrator.cli.places import admin, configuration, state
from orchestrator.cli.show_doctor import doctor_lines
from orchestrator.cli.terminal import terminal
from orchestrator.errors import DaemonUnreachable
from orchestrator.values.settings import Settings


def execute(args: argparse.Namespace) -> int:
    """Print every finding; Exit.NOT_AS_ASKED with --check where something that a model needs is missing."""
    found = _findings(args)
    shown = terminal()
    if args.json:
        shown.out.write(json.dumps(found, indent=2) + "\n")
    else:
        for line in doctor_lines(found, shown):
            shown.line(line)
    ok = all(finding["ok"] for findings in found.values() for finding in findings)
    return Exit.NOT_AS_ASKED if args.check and not ok else Exit.OK


def _findings(args: argparse.Namespace) -> wire.Findings:
    try:
        return admin(args).doctor()
    except DaemonUnreachable:
        if args.socket:  # a daemon was named: an answer without it would mislead
            raise
    # Heavy, and only without a daemon.
    from orchestrator.cli.premises import premises  # noqa: PLC0415 (see above)
    from orchestrator.config.decode import Surroundings  # noqa: PLC0415 (see above)
    from orchestrator.config.settings import read_settings  # noqa: PLC0415 (see above)
    from orchestrator.control.findings import examine_alone  # noqa: PLC0415 (see above)

    folder = configuration(args.config)
    settings = read_settings(Surroundings(folder=folder, env=os.environ)).value or Settings()
    place = premises(settings, state(args))
    return cast("wire.Findings", asyncio.run(examine_alone(place, state(args))))

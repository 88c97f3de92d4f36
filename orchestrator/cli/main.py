"""The entry point: parse, import the one command asked for, turn errors into words and an exit code."""

import argparse
import importlib
import os
import sys
from typing import Final, NoReturn, Protocol, cast

from orchestrator.cli.exits import Exit
from orchestrator.cli.parser import build
from orchestrator.cli.terminal import terminal
from orchestrator.errors import ConfigError, DaemonUnreachable, OrchestratorError

# A module per command, imported only when it is asked for: `--help` and `status` are to answer at once.
MODULES: Final = {
    "run": "orchestrator.cli.run",
    "init": "orchestrator.cli.init",
    "check": "orchestrator.cli.check",
    "plan": "orchestrator.cli.plan",
    "status": "orchestrator.cli.status",
    "describe": "orchestrator.cli.describe",
    "reload": "orchestrator.cli.reload",
    "chat": "orchestrator.cli.chat",
    "sql": "orchestrator.cli.sql",
    "schema": "orchestrator.cli.schema",
    "completion": "orchestrator.cli.completion",
}


class Command(Protocol):
    """What a command's module has."""

    def execute(self, args: argparse.Namespace) -> int:
        """Do it, print what came of it, return the exit code; raise OrchestratorError for people to read."""


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    sys.exit(execute(sys.argv[1:] if argv is None else argv))


def execute(argv: list[str]) -> int:
    """Run one command and return its exit code; a usage error raises SystemExit with 64."""
    parser = build()
    args = parser.parse_args(argv)
    if args.version:
        sys.stdout.write(f"{parser.prog} {version()}\n")
        return Exit.OK
    if args.command is None:
        parser.print_help(sys.stderr)
        return Exit.USAGE
    try:
        command = cast("Command", importlib.import_module(MODULES[args.command]))
        code = command.execute(args)
        sys.stdout.flush()
    except OrchestratorError as error:
        complain(error)
        return _code(error, args.command)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has enough. The interpreter will flush stdout once more: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.BROKEN_PIPE
    return code


def complain(error: OrchestratorError) -> None:
    """Print an error on stderr: what happened in one line, the fix in the next."""
    to = terminal(sys.stderr)
    head = f"{error.where}: {error.what}" if error.where else error.what
    to.line(f"{to.paint('error:', 'red bold')} {head}")
    if error.fix:
        to.line(f"  {to.paint('fix:', 'green')} {error.fix}")


def _code(error: OrchestratorError, command: str) -> Exit:
    match error:
        case DaemonUnreachable():
            return Exit.UNREACHABLE
        case ConfigError() if command == "run":
            return Exit.CONFIG
        case _:
            return Exit.ERROR


def version() -> str:
    """Return the installed version; `0 (not installed)` in a checkout that was never installed."""
    metadata = importlib.import_module("importlib.metadata")  # 20 ms that no other command needs
    try:
        return str(metadata.version("model-orchestrator"))
    except metadata.PackageNotFoundError:
        return "0 (not installed)"

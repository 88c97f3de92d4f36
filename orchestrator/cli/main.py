"""The entry point: parse, import the one command asked for, turn errors into words and an exit code."""

import argparse
import errno
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
    "doctor": "orchestrator.cli.doctor",
    "reload": "orchestrator.cli.reload",
    "chat": "orchestrator.cli.chat",
    "sql": "orchestrator.cli.sql",
    "schema": "orchestrator.cli.schema",
    "completion": "orchestrator.cli.completion",
}


# Errors of a place that takes no more, as against those of a file that a command reads.
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


class Command(Protocol):
    """What a command's module has."""

    def execute(self, args: argparse.Namespace) -> int:
        """Do it, print what came of it, return the exit code; raise OrchestratorError for people to read."""


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    sys.exit(execute(sys.argv[1:] if argv is None else argv))


def execute(argv: list[str]) -> int:
    """Run one command and return its exit code; a usage error raises SystemExit with 64."""
    _have_streams()
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
    except OSError as error:
        return _unwritten(error)
    return code


def _unwritten(error: OSError) -> Exit:
    """Return the exit code where standard output takes no more; anything else is raised again."""
    if error.errno not in NO_ROOM and not isinstance(error, BrokenPipeError):
        raise error
    # The interpreter will flush stdout once more: let that go nowhere.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):  # whoever read us has enough
        return Exit.BROKEN_PIPE
    complain(OrchestratorError(f"the output cannot be written: {error.strerror}", fix="make room for it"))
    return Exit.ERROR


def _have_streams() -> None:
    """Put something in place of a stream that is closed (`>&-`): then there is nobody to tell."""
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")


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

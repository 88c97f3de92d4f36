"""`completion SHELL`: a script that makes the shell complete commands, options, folders and model names."""

import argparse
from typing import Final

import shtab

from orchestrator.cli.exits import Exit
from orchestrator.cli.parser import PROGRAM, build
from orchestrator.cli.terminal import terminal

NAMES: Final = "orchestrator status --names 2>/dev/null"
BY_METAVAR: Final = {"DIR": shtab.DIRECTORY, "PATH": shtab.FILE, "MODEL": shtab.cmd(NAMES)}


def execute(args: argparse.Namespace) -> int:
    """Print the script."""
    parser = build()
    _mark(parser)
    terminal().out.write(shtab.complete(parser, shell=args.shell, root_prefix=PROGRAM))
    return Exit.OK


def _mark(parser: argparse.ArgumentParser) -> None:
    """Tell shtab what each argument takes, going by its metavar."""
    for action in parser._actions:  # noqa: SLF001 (argparse has no public list of its arguments)
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for command in action.choices.values():
                _mark(command)
        elif isinstance(action.metavar, str) and action.metavar in BY_METAVAR:
            action.complete = BY_METAVAR[action.metavar]  # type: ignore[attr-defined]

"""The parser of the whole command line."""

import argparse
from collections.abc import Callable
from typing import Final

from orchestrator.cli import commands_of_daemon, commands_of_files
from orchestrator.cli.arguments import Commands, epilog, wrapped
from orchestrator.cli.exits import MEANING
from orchestrator.cli.usage import Parser

PROGRAM: Final = "orchestrator"
DESCRIPTION: Final = (
    "Keep local language models the way a folder of YAML says: one daemon watches models.d/ and policies/, "
    "loads and swaps the models, and serves them behind one address."
)


# In the order of the list of commands.
COMMANDS: Final[tuple[Callable[["Commands[Parser]"], None], ...]] = (
    commands_of_files.run,
    commands_of_files.init,
    commands_of_files.check,
    commands_of_files.plan,
    commands_of_daemon.status,
    commands_of_daemon.describe,
    commands_of_daemon.doctor,
    commands_of_daemon.reload,
    commands_of_daemon.chat,
    commands_of_daemon.sql,
    commands_of_files.schema,
    commands_of_files.completion,
)


def build() -> Parser:
    """Return the parser of the whole command line; `args.command` is the command's name, None for none."""
    parser = Parser(
        prog=PROGRAM,
        description=wrapped(DESCRIPTION),
        epilog=epilog(
            "orchestrator init ~/models && orchestrator run --config ~/models",
            "orchestrator status --watch",
            "orchestrator chat",
        )
        + "\n\nexit codes:\n"
        + "\n".join(f"  {code.value:<4} {meaning}" for code, meaning in MEANING.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", parser_class=Parser)
    for add in COMMANDS:
        add(commands)
    return parser

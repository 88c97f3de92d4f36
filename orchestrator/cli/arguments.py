"""What commands are declared with: pages of help, arguments that many have, types of values."""

import argparse
import textwrap
from typing import Final

from orchestrator.cli.usage import Parser

HELP_WIDTH: Final = 78
HIGHEST_PORT: Final = 65535

Commands = argparse._SubParsersAction  # noqa: SLF001 (argparse has no public name for what it returns)


def epilog(*examples: str) -> str:
    """Return the examples as the end of a help page."""
    return "examples:\n" + "\n".join(f"  {example}" for example in examples)


def wrapped(text: str) -> str:
    """Return `text` wrapped for a help page, each of its lines a paragraph."""
    return "\n".join(textwrap.fill(line, HELP_WIDTH) for line in text.splitlines())


def command(
    commands: "Commands[Parser]", name: str, summary: str, detail: str, *examples: str
) -> argparse.ArgumentParser:
    """Add a command; `summary` is its line in the list of commands, `detail` follows it on its own page."""
    return commands.add_parser(
        name,
        help=summary,
        description=wrapped(f"{summary[0].upper()}{summary[1:]}.\n{detail}".rstrip()),
        epilog=epilog(*examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def which_daemon(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which daemon is meant; none are needed where one runs with the defaults."""
    group = parser.add_argument_group("which daemon")
    group.add_argument("--config", metavar="DIR", help="configuration folder (default: as for run)")
    group.add_argument("--state", metavar="DIR", help="its state folder (default: as for run)")
    group.add_argument(
        "--socket", metavar="PATH", help="its admin socket (default: found by the state folder)"
    )


def as_json(parser: argparse._ActionsContainer) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def seconds(text: str) -> float:
    """Return a positive number of seconds; the type of every deadline argument."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


def positive(text: str) -> int:
    """Return a positive whole number."""
    value = int(text)
    if value <= 0:
        raise ValueError(text)
    return value


def port(text: str) -> int:
    """Return a TCP port; 0 asks for any free one."""
    value = int(text)
    if not 0 <= value <= HIGHEST_PORT:
        raise ValueError(text)
    return value

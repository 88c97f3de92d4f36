"""The reference of the command line as Markdown: `python -m orchestrator.cli.reference > docs/cli.md`."""

import argparse
import sys
from collections.abc import Iterator
from typing import Final

from orchestrator.cli.exits import MEANING
from orchestrator.cli.parser import PROGRAM, build

HEAD: Final = """\
# The command line

Generated from the parser; do not edit. After a change: `python -m orchestrator.cli.reference > docs/cli.md`.

Answers go to standard output, everything else to standard error. An error is one line that says what happened
and a second one with the fix. On a terminal there is colour, unless `NO_COLOR` is set; in a pipe every thing
stands on one line of plain text, and `--json` gives what programs want.
"""
DAEMON: Final = """\
## Which daemon

One daemon runs per state folder, and its admin socket is found by that folder. Nothing needs to be said where
the state lies in the default place. Else the commands that ask a daemon (`status`, `describe`, `reload`,
`plan`, `chat`, `sql`) take one of:
"""
WHICH: Final = "which daemon"


def reference() -> str:
    """Return the whole page; it depends on nothing but the parser."""
    parser = build()
    commands = commands_of(parser)
    parts = [HEAD, _exit_codes(), DAEMON, *_arguments(_group(commands["status"], WHICH)), ""]
    summaries = {name: (command.description or "").partition("\n")[0] for name, command in commands.items()}
    parts += ["## Commands\n", *(f"- [`{name}`](#{name}): {said}" for name, said in summaries.items()), ""]
    for name, command in commands.items():
        parts += _page(name, command)
    return "\n".join(parts).rstrip() + "\n"


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of the commands by name."""
    for action in parser._actions:  # noqa: SLF001 (argparse has no public list of its arguments)
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            return dict(action.choices)
    raise AssertionError


def _exit_codes() -> str:
    rows = "\n".join(f"| {code.value} | {meaning} |" for code, meaning in MEANING.items())
    return f"## Exit codes\n\n| code | meaning |\n| --- | --- |\n{rows}\n"


def _page(name: str, command: argparse.ArgumentParser) -> Iterator[str]:
    arguments = [action for action in command._actions if action.help != argparse.SUPPRESS]  # noqa: SLF001
    of_daemon = _group(command, WHICH)
    own = [
        action for action in arguments if action not in of_daemon and "--help" not in action.option_strings
    ]
    positional = [_spelled(action) for action in own if not action.option_strings]
    options = ["[OPTIONS]"] if len(positional) < len(own) or of_daemon else []
    yield f"### {name}\n"
    yield f"    {' '.join([PROGRAM, name, *positional, *options])}\n"
    yield f"{command.description}\n"
    if own:
        yield from _arguments(own)
        yield ""
    yield "\n".join(f"    {line.strip()}" for line in (command.epilog or "").splitlines()[1:]) + "\n"


def _group(command: argparse.ArgumentParser, title: str) -> list[argparse.Action]:
    groups = [group for group in command._action_groups if group.title == title]  # noqa: SLF001
    return [action for group in groups for action in group._group_actions]  # noqa: SLF001


def _arguments(actions: list[argparse.Action]) -> Iterator[str]:
    yield "| argument | meaning |"
    yield "| --- | --- |"
    for action in actions:
        if action.option_strings:
            takes = action.metavar or "|".join(action.choices or ())
            spelled = ", ".join(action.option_strings) + (f" {takes}" if action.nargs != 0 else "")
        else:
            spelled = _spelled(action)
        yield f"| `{_escaped(spelled)}` | {_escaped(action.help or '')} |"


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


def _spelled(action: argparse.Action) -> str:
    return f"[{action.metavar}]" if action.nargs == "?" else str(action.metavar)


if __name__ == "__main__":
    sys.stdout.write(reference())

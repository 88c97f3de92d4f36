"""What a wrong command line is answered with."""

import argparse
import difflib
import sys
from typing import NoReturn

from orchestrator.cli.exits import Exit


class Parser(argparse.ArgumentParser):
    """argparse, except that a usage error exits with 64 and suggests what may have been meant."""

    def error(self, message: str) -> NoReturn:
        """Print the error with its fix on stderr and exit."""
        sys.stderr.write(f"error: {message}{_suggestion(message)}\n  fix: {self.prog} --help\n")
        sys.exit(Exit.USAGE)


def _suggestion(message: str) -> str:
    """Return "did you mean" for argparse's `invalid choice: 'x' (choose from a, b)`; "" for other errors."""
    _, found, rest = message.partition("invalid choice: ")
    if not found:
        return ""
    wrong, _, choices = rest.partition(" (choose from ")
    words = [word.strip(" ')") for word in choices.split(",")]
    close = difflib.get_close_matches(wrong.strip("'"), words, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""

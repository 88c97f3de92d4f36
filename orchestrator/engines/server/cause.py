"""Why a command that is not ours has ended, and what its last lines say about the way out."""

import re
from collections.abc import Sequence
from typing import Final

from orchestrator.engines.children.cause import Cause, cause_of_end
from orchestrator.engines.children.logtail import LogTail
from orchestrator.engines.server.command import install_module

# How many of the last lines an error shows, and how long it may get, in characters.
SHOWN_LINES: Final = 5
SHOWN_LENGTH: Final = 800

_ADDRESS_IN_USE: Final = re.compile(
    r"address already in use|EADDRINUSE|errno (98|48)\b|couldn't bind|could not bind|bind failed",
    re.IGNORECASE,
)
_NO_MODULE: Final = re.compile(r"No module named '?([A-Za-z_]\w*)")
# As Python programs tell what they lack, in a virtual environment of their own.
_TOLD: Final = re.compile(r"`?(pip install [\w.,\[\]'\"-]+)")
_FIXES: Final = (
    (
        re.compile(r"out of memory|OutOfMemory|failed to allocate|cannot allocate memory", re.IGNORECASE),
        "ask for less context or fewer requests at once in `command`, or unload other models",
    ),
    (
        re.compile(
            r"unrecognized arguments?|unknown (argument|option)|invalid argument:|no such option|"
            r"unexpected argument|the following arguments are required",
            re.IGNORECASE,
        ),
        "correct the options in `command`; the program's own --help lists them",
    ),
    (
        re.compile(
            r"gated repo|RepositoryNotFound|Repository Not Found|not a valid model identifier|"
            r"is not a local folder|401 Client Error",
            re.IGNORECASE,
        ),
        'check the source; for a gated model add `environment: {HF_TOKEN: "${env:HF_TOKEN}"}`',
    ),
)


def cause_of(returncode: int, log: LogTail, program: str) -> Cause:
    """Return why a command ended: its end in words, its last lines, and the way out where they tell it.

    Args:
        returncode: its exit code, or minus the number of the signal that ended it.
        log: what it wrote.
        program: the first word of the command.
    """
    end = cause_of_end(returncode, "")
    said = last_lines(log)
    what = f"{end.what}; its log ends with: {said}" if said else end.what
    return Cause(what=what, fix=fix_for(log.lines, program))


def last_lines(log: LogTail) -> str:
    """Return the last lines in one, and first the one that matters most where it is none of them."""
    shown = list(log.lines[-SHOWN_LINES:])
    if log.line_that_matters and log.line_that_matters not in shown:
        shown.insert(0, log.line_that_matters)
    return " | ".join(shown)[-SHOWN_LENGTH:]


def fix_for(lines: Sequence[str], program: str) -> str:
    """Return what to do about the last line that speaks of something known, "" where none does."""
    for line in reversed(lines):
        missing = _NO_MODULE.search(line)
        if missing:
            return install_module(missing[1], program)
        told = _TOLD.search(line)
        if told:
            return f"do as it says where {program} was installed: {told[1]}"
        for pattern, fix in _FIXES:
            if pattern.search(line):
                return fix
    return ""


def address_was_in_use(log: LogTail) -> bool:
    """Say whether it could not listen where it was told to."""
    return any(_ADDRESS_IN_USE.search(line) for line in log.lines)

"""Why a child process ended, in one sentence for people."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from orchestrator.workers.frames import EXIT_BROKEN, EXIT_ORPHANED


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """`what` is a sentence about the process without its subject and full stop, `fix` what to do, or ""."""

    what: str
    fix: str = ""


_CHANGED_FILE: Final = (
    "write a new model file beside the old one and rename it into place; check it with sha256sum"
)

_BY_SIGNAL: Final[Mapping[int, Cause]] = MappingProxyType(
    {
        signal.SIGKILL: Cause(
            what="killed (SIGKILL); the kernel's out-of-memory killer does that too: see dmesg",
            fix="if memory ran out, lower `context` or `parallel`, or load fewer models",
        ),
        signal.SIGSEGV: Cause(what="crashed (SIGSEGV)", fix=_CHANGED_FILE),
        signal.SIGABRT: Cause(what="crashed (SIGABRT)", fix=_CHANGED_FILE),
        signal.SIGBUS: Cause(
            what="crashed (SIGBUS); was the model file changed in place?",
            fix=_CHANGED_FILE,
        ),
        signal.SIGILL: Cause(
            what="crashed (SIGILL): this processor lacks an instruction that llama.cpp was built for",
            fix="rebuild llama-cpp-python on this machine, or with CMAKE_ARGS=-DGGML_NATIVE=OFF",
        ),
    }
)
_BY_CODE: Final[Mapping[int, str]] = MappingProxyType(
    {
        EXIT_ORPHANED: "ended because it saw its parent gone",
        EXIT_BROKEN: "gave up: decoding failed again and again",
    }
)
# What a process says before these explains nothing: they come from outside.
_FROM_OUTSIDE: Final = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


def cause_of_end(returncode: int, last_line: str) -> Cause:
    """Return why a process ended.

    Args:
        returncode: its exit code, or minus the number of the signal that ended it.
        last_line: the line of its log that matters most, or "".
    """
    if returncode >= 0:
        what = _BY_CODE.get(returncode, f"ended by itself with exit code {returncode}")
        return Cause(what=_with_line(what, last_line))
    number = -returncode
    known = _BY_SIGNAL.get(number)
    if known is None:
        known = Cause(what=f"ended by {_signal_name(number)}")
    if number in _FROM_OUTSIDE:
        return known
    return Cause(what=_with_line(known.what, last_line), fix=known.fix)


def _with_line(what: str, line: str) -> str:
    return f"{what}; its log ends with: {line}" if line else what


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

"""A child that does one thing: a line of JSON says what, more of them how far it is and how it ended.

The parent writes the line to standard input and keeps that pipe open for as long as the child should live.
"""

import faulthandler
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final

from orchestrator.workers.parent import die_with_parent, hold_lifeline, read_line, take_stdout

# The least time between two lines of progress, in seconds: people cannot read faster.
EVERY_S: Final = 0.25


class TroubleKind(StrEnum):
    NOT_FOUND = "not_found"
    CORRUPT = "corrupt"
    UNREACHABLE = "unreachable"
    DISK_FULL = "disk_full"
    NOT_ALLOWED = "not_allowed"
    UNAVAILABLE = "unavailable"
    FAILED = "failed"


class Trouble(Exception):
    """The errand cannot be done: `what` is one sentence without a full stop, `fix` what to do, or ""."""

    def __init__(self, kind: TroubleKind, what: str, *, fix: str = "") -> None:
        super().__init__(what)
        self.kind = kind
        self.what = what
        self.fix = fix


class Reporter:
    """Writes the lines. Where nobody reads them any more, the process ends."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._next_s = 0.0

    def say(self, word: str, content: Mapping[str, object]) -> None:
        """Write one line `{word: content}`."""
        line = json.dumps({word: content}).encode() + b"\n"
        while line:
            line = line[os.write(self._fd, line) :]

    def progress(self, doing: str, done_bytes: int, total_bytes: int, *, now: bool = False) -> None:
        """Say how far it is; too soon after the last time, and not `now`, nothing is written."""
        at_s = time.monotonic()
        if now or at_s >= self._next_s:
            self._next_s = at_s + EVERY_S
            self.say("progress", {"doing": doing, "done": done_bytes, "total": total_bytes})


def run(work: Callable[[Mapping[str, Any], Reporter], Mapping[str, object]]) -> None:
    """Do the errand that standard input asks for; leaves by `os._exit`, so that no thread can stay behind."""
    faulthandler.enable()
    reporter = Reporter(take_stdout())
    os.umask(0o077)
    die_with_parent()
    try:
        job = json.loads(read_line(0))
    except ValueError as error:
        sys.stderr.write(f"{error}\nThis program is started by the daemon; see `orchestrator run --help`.\n")
        os._exit(2)
    hold_lifeline(0)
    try:
        reporter.say("done", work(job, reporter))
    except Trouble as trouble:
        reporter.say("failed", {"kind": trouble.kind, "what": trouble.what, "fix": trouble.fix})
    sys.stderr.flush()
    os._exit(0)

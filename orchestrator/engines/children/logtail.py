"""The end of a child's log: passed on to the daemon's own, and kept short for the day it is needed."""

import logging
import re
from collections import deque
from collections.abc import Callable
from typing import Final

KEPT_LINES: Final = 50
# A line without an end (a progress bar, a binary dump) is cut here, so that
# a child cannot fill the parent's memory, in bytes.
LINE_BYTES: Final = 4096
# So much of such a line is looked at first: what must not be shown is found whole where the line is cut.
_READ_BYTES: Final = 4 * LINE_BYTES

_MATTERS: Final = re.compile(
    r"error|fail|abort|assert|exception|cannot|can't|unable|invalid|unknown|unsupported|corrupt|"
    r"out of memory|terminate|killed|fatal|panic",
    re.IGNORECASE,
)

logger = logging.getLogger(__name__)


class LogTail:
    """The last lines that a child wrote, at most `KEPT_LINES` of at most `LINE_BYTES`.

    Args:
        name: what the child is called in the daemon's log.
        redact: applied to each line before anything else sees it.
    """

    def __init__(self, name: str, redact: Callable[[str], str]) -> None:
        self._name = name
        self._redact = redact
        self._partial = b""
        self._cut = False  # the line that is coming was too long, and its rest is dropped
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)

    def feed(self, data: bytes) -> None:
        """Take in what the child has written, in pieces of any size."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._take(line)
            self._cut = False
        if len(self._partial) > _READ_BYTES:
            self._take(self._partial)
            self._partial, self._cut = b"", True

    def end(self) -> None:
        """Take what is left as a line: nothing more will come to complete it."""
        self._take(self._partial)
        self._partial, self._cut = b"", False

    @property
    def lines(self) -> tuple[str, ...]:
        """The kept lines, oldest first."""
        return tuple(self._lines)

    @property
    def line_that_matters(self) -> str:
        """The last line that speaks of something wrong, else the last line, else ""."""
        wrong = (line for line in reversed(self._lines) if _MATTERS.search(line))
        return next(wrong, self._lines[-1] if self._lines else "")

    def _take(self, raw: bytes) -> None:
        if self._cut:
            return
        shown = self._redact(raw[:_READ_BYTES].decode(errors="replace").strip())
        line = shown.encode()[:LINE_BYTES].decode(errors="ignore")
        if line:
            self._lines.append(line)
            logger.debug("%s: %s", self._name, line)

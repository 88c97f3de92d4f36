"""The command line as somebody types at it."""

import fcntl
import os
import pty
import select
import subprocess
import sys
import termios
import time
from typing import Self

from tests.cli.conftest import Shell


class Terminal:
    """One run of `orchestrator` on a pseudo-terminal; ended with the block."""

    def __init__(self, shell: Shell, *args: str) -> None:
        self._own, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *args],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=shell.env | {"TERM": "xterm"},
            cwd=shell.home,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 (so that Ctrl-C is a signal, as for a person)
        )
        os.close(theirs)
        self._unread = ""

    def type(self, text: str) -> None:
        os.write(self._own, text.encode())

    def read_until(self, text: str, *, within_s: float = 20) -> str:
        """Return what was shown up to and with `text`."""
        deadline = time.monotonic() + within_s
        while text not in self._unread:
            ready, _, _ = select.select([self._own], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{text!r} was not shown; only {self._unread!r}"
            self._unread += os.read(self._own, 65536).decode()
        at = self._unread.index(text) + len(text)
        shown, self._unread = self._unread[:at], self._unread[at:]
        return shown

    def shows(self, text: str, *, within_s: float) -> bool:
        """Return whether `text` is shown in time; what was shown before it is then read."""
        try:
            self.read_until(text, within_s=within_s)
        except AssertionError:
            return False
        return True

    def rest(self) -> str:
        """Return what was shown since, up to the end of the program."""
        try:
            while part := os.read(self._own, 65536):
                self._unread += part.decode()
        except OSError:  # Linux: the other side is closed
            pass
        return self._unread

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._own)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)

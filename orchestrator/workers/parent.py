"""Dying with the parent, and keeping its pipes clean."""

import ctypes
import os
import signal
import sys
import threading

from orchestrator.workers.frames import EXIT_ORPHANED

_PR_SET_PDEATHSIG = 1
_LINE_LIMIT_BYTES = 1 << 20
_READ_BYTES = 4096


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies (Linux; elsewhere the lifeline alone does it).

    The kernel's "parent" is the thread that forked: a parent has to start its children from a thread that
    lives as long as it does.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel was told
        os._exit(EXIT_ORPHANED)


def hold_lifeline(fd: int) -> None:
    """End this process at once when `fd` reaches its end, that is, when the parent has gone.

    A thread of its own does it, so that it works even while the event loop hangs or a decode is under way.
    """

    def hold() -> None:
        while os.read(fd, _READ_BYTES):
            pass
        os._exit(EXIT_ORPHANED)

    threading.Thread(target=hold, name="lifeline", daemon=True).start()


def take_stdout() -> int:
    """Return a private descriptor of standard output, and let everybody else's output go to standard error.

    Native libraries print where they like; the one line that the parent reads must stay alone.
    """
    private = os.dup(1)
    os.dup2(2, 1)
    return private


def read_line(fd: int) -> bytes:
    """Read one line, without touching what comes after it.

    Raises:
        ValueError: the pipe ended first, or the line is over 1 MiB.
    """
    line = bytearray()
    while not line.endswith(b"\n"):
        chunk = os.read(fd, _READ_BYTES)
        if not chunk:
            raise ValueError("standard input ended before a launch frame came")
        line += chunk
        if len(line) > _LINE_LIMIT_BYTES:
            raise ValueError("the launch frame is over 1 MiB")
    return bytes(line)

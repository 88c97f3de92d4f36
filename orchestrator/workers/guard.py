"""The guard of a command that is not ours: `python -m orchestrator.workers.guard`.

Between the daemon and, say, llama-server stands this program. It takes an order on standard input, starts
the command, passes its output on to its own standard error, and leaves as the command does. It sees to it
that nothing the command has started lives on, neither after the command's end nor after the daemon's,
whatever ended it: standard input reaches its end when the daemon is gone. On Linux what has moved to another
session is found as well, because orphans come back to the guard.

It says one line on standard output: that the command runs, or why it does not.

Signals: SIGTERM asks the command and all of its group to end, and kills what is left after the grace. SIGUSR1
ends everything at once.
"""

import ctypes
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from orchestrator.workers.frames import EXIT_ORPHANED
from orchestrator.workers.order import (
    EXIT_NOT_STARTED,
    MARK,
    Order,
    Started,
    decode_order,
    encode_started,
)
from orchestrator.workers.parent import read_line

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_READ_BYTES: Final = 4096


def main() -> None:
    """Start the command, watch over it, and leave as it does."""
    try:
        order = decode_order(read_line(0))
    except ValueError as error:
        sys.stderr.write(f"{error}\nThis program is started by the daemon; see `orchestrator run --help`.\n")
        os._exit(2)
    _become_reaper()
    inbox = _signals()
    try:
        # Held until the end: it would wait for the process itself when it is forgotten.
        process = _start(order)
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        _answer(Started(pid=0, error=said))
        os._exit(EXIT_NOT_STARTED)
    _answer(Started(pid=process.pid))
    _leave_as(_Watch(process.pid, inbox, order.grace_s).run())


def _answer(started: Started) -> None:
    os.write(1, encode_started(started))
    os.close(1)


def _start(order: Order) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 (an argv that the user has written)
        order.argv,
        env={**order.environment, MARK: order.mark},
        cwd=order.folder,
        stdin=subprocess.DEVNULL,
        stdout=2,
        preexec_fn=_die_with_guard(),  # noqa: PLW1509 (there is one thread here, so no lock is held in the fork)
    )


def _die_with_guard() -> Callable[[], None] | None:
    """Return what the fork does so that a SIGKILL of the guard ends the command as well (Linux)."""
    if sys.platform != "linux":
        return None
    prctl, guard = ctypes.CDLL(None).prctl, os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:  # it died before the kernel was told
            os._exit(EXIT_ORPHANED)

    return ask


def _become_reaper() -> None:
    """Have orphans of the command come to this process rather than to process 1 (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _signals() -> int:
    """Return a descriptor that gives the number of each signal as one byte."""
    receiver, sender = os.pipe()
    os.set_blocking(receiver, False)
    os.set_blocking(sender, False)
    signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda *_: None)
    return receiver


class _Watch:
    """Waits for the command's end, the daemon's end, and signals, whichever comes first."""

    def __init__(self, pid: int, inbox: int, grace_s: float) -> None:
        self._pid = pid
        self._inbox = inbox
        self._grace_s = grace_s
        self._status: int | None = None
        self._deadline_s: float | None = None  # set once it has been asked to end

    def run(self) -> int:
        """Return the command's wait status once nothing of it is left."""
        while not self._is_over():
            left_s = None if self._deadline_s is None else max(0.0, self._deadline_s - time.monotonic())
            ready, _, _ = select.select([0, self._inbox], [], [], left_s)
            if 0 in ready and not os.read(0, _READ_BYTES):
                self._leave_with_daemon()
            if not ready or (self._inbox in ready and self._has_to_end_now()):
                break
        self._kill_all()
        return self._status or 0

    def _is_over(self) -> bool:
        """Say whether there is nothing to wait for.

        Asked to end, the others of the group may take longer than the command: a shell goes first.
        """
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if not pid:
                return self._status is not None and self._deadline_s is None
            self._note(pid, status)

    def _has_to_end_now(self) -> bool:
        """Act on the signals that have come; say whether everything shall end at once."""
        numbers = os.read(self._inbox, _READ_BYTES)
        if signal.SIGTERM in numbers and self._deadline_s is None:
            self._deadline_s = time.monotonic() + self._grace_s
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it comes to us as well: we are of the group
            os.killpg(0, signal.SIGTERM)
            os.killpg(0, signal.SIGCONT)  # a stopped process would not see the first one
        return signal.SIGUSR1 in numbers

    def _leave_with_daemon(self) -> None:
        self._kill_all()
        if sys.platform != "linux":
            os.killpg(0, signal.SIGKILL)  # no daemon is left to do it, see _kill_all
        os._exit(EXIT_ORPHANED)

    def _kill_all(self) -> None:
        """Kill all that the command has left, and wait for its end.

        Killing our children brings us theirs, until there are none. Where
        they cannot be listed, the command alone is killed here: the daemon
        kills the group once we have left.
        """
        while True:
            children = _children()
            if children is None:
                if self._status is not None:
                    return
                children = [self._pid]
            for child in children:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(child, signal.SIGKILL)
            try:
                pid, status = os.waitpid(-1, 0 if children else os.WNOHANG)
            except ChildProcessError:
                return
            self._note(pid, status)

    def _note(self, pid: int, status: int) -> None:
        if pid == self._pid:
            self._status = status


def _children() -> list[int] | None:
    """Return our children; None where the system does not list them."""
    try:
        listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    except OSError:
        return None
    return [int(pid) for pid in listed.split()]


def _leave_as(status: int) -> None:
    """End in the way in which the command has ended."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        os._exit(code)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it has left its own core, if any
    with suppress(OSError):
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
    signal.pause()


if __name__ == "__main__":
    main()

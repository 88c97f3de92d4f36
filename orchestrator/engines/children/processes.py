"""Processes as the kernel sees them, told apart however often their numbers are reused."""

import asyncio
import os
import signal
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from orchestrator.clock import monotonic_s
from orchestrator.errors import EngineError
from orchestrator.values.fleet import Running

# Two readings of one process's start differ by rounding and by small corrections of the clock, in seconds.
SAME_START_S: Final = 2.0
# How long killed processes may take to go, in seconds: freeing many GB of memory takes a while.
GONE_S: Final = 10.0
# Of 1000, added to a process's share of the memory: enough to outweigh any daemon.
OOM_SCORE: Final = 500
POLL_S: Final = 0.01
_GONE: Final = frozenset({str(psutil.STATUS_ZOMBIE), str(psutil.STATUS_DEAD)})


def started_at(pid: int) -> float:
    """Return when the process started, in seconds since the epoch; 0.0 where it is gone already."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return 0.0


def offer_to_oom_killer(pid: int) -> None:
    """Let the kernel end this process rather than its supervisor when memory runs out (Linux)."""
    with suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(OOM_SCORE))


async def end_leftovers(leftovers: Iterable[Running], *, command: str, own: Iterable[int]) -> None:
    """Kill those that still run, are the same process, and were started as `command`; with their groups.

    Args:
        leftovers: processes that somebody else has started.
        command: an argument; no process without it is touched.
        own: process numbers to leave alone.

    Raises:
        EngineError: one has not gone in time.
    """
    spared = frozenset(own) | {os.getpid()}
    found = [process for running in leftovers if (process := _live(running)) and process.pid not in spared]
    doomed = [process for process in found if _runs(process, command)]
    for process in doomed:
        _kill_group(process)
    await _gone(doomed)


async def _gone(doomed: Sequence[psutil.Process]) -> None:
    deadline_s = monotonic_s() + GONE_S
    # Polled: nobody tells of the end of a process that is not a child of
    # ours, and one whose parent does not listen stays a zombie for ever.
    while not all(_is_gone(process) for process in doomed) and monotonic_s() < deadline_s:  # noqa: ASYNC110 (see above)
        await asyncio.sleep(POLL_S)
    left = [str(process.pid) for process in doomed if not _is_gone(process)]
    if left:
        raise EngineError(
            f"left over by an earlier daemon and not to be killed: process {', '.join(left)}",
            fix="it hangs in the kernel, usually in a driver: see dmesg",
        )


def _is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or _status(process) in _GONE


def _live(running: Running) -> psutil.Process | None:
    try:
        process = psutil.Process(running.pid)
        same = abs(process.create_time() - running.pid_started) <= SAME_START_S
    except (psutil.Error, ValueError):
        return None
    return process if same and _status(process) not in _GONE else None


def _status(process: psutil.Process) -> str:
    try:
        return str(process.status())
    except psutil.Error:
        return str(psutil.STATUS_DEAD)


def _runs(process: psutil.Process, command: str) -> bool:
    try:
        return command in process.cmdline()
    except psutil.Error:
        return False


def _kill_group(process: psutil.Process) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(process.pid, signal.SIGKILL)

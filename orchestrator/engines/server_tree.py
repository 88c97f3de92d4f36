"""All processes of a command, what it has started itself included, and what they take."""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from orchestrator.values.fleet import Running
from orchestrator.workers.order import MARK


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What processes take of the RAM: their share in all, and the part that they would not give back."""

    taken_bytes: int
    held_bytes: int


def tree_of(pid: int) -> frozenset[int]:
    """Return the process and all its descendants; empty where it is gone. Reads the system's tables."""
    try:
        root = psutil.Process(pid)
        if root.status() == psutil.STATUS_ZOMBIE:
            return frozenset()
        return frozenset({pid, *(child.pid for child in root.children(recursive=True))})
    except psutil.Error:
        return frozenset()


def share_of(pids: Iterable[int]) -> Share:
    """Return what processes take together; what is gone takes nothing.

    On Linux these are proportional set sizes: pages that several of them
    share count once. Elsewhere they are what each has for itself.
    """
    taken = held = 0
    for pid in pids:
        with suppress(OSError, psutil.Error):
            sizes = _rollup(pid)
            if sizes:
                taken += sizes["Pss"]
                held += sizes.get("Pss_Anon", sizes["Pss"]) + sizes.get("Pss_Shmem", 0)
            else:
                own = int(psutil.Process(pid).memory_full_info().uss)
                taken, held = taken + own, held + own
    return Share(taken_bytes=taken, held_bytes=held)


def _rollup(pid: int) -> dict[str, int]:
    """Return the sums of the kernel's list by name, in bytes; empty where it keeps none."""
    path = Path(f"/proc/{pid}/smaps_rollup")
    if not path.exists():
        return {}
    sizes: dict[str, int] = {}
    for line in path.read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        number, _, unit = rest.strip().partition(" ")
        if unit == "kB":
            sizes[name] = int(number) * 1024
    return sizes


def end_marked(leftovers: Iterable[Running], *, own: str) -> None:
    """Kill what bears the mark of one of `leftovers` and was not started by this daemon.

    Something can be left where a guard was killed together with its daemon.

    Args:
        leftovers: replicas of an earlier daemon.
        own: with what this daemon's marks begin.
    """
    replicas = {running.replica for running in leftovers}
    if not replicas:
        return
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.uids().real == os.getuid():
                mark = process.environ().get(MARK, "")
                if not mark.startswith(own) and mark.partition(":")[2] in replicas:
                    process.send_signal(signal.SIGKILL)

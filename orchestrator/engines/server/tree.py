"""All processes of a command, what it has started itself included, and what they take."""

import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil

from orchestrator.engines.memory.accelerators import Accelerators
from orchestrator.engines.memory.weight import Weight, weigh
from orchestrator.values.fleet import Running
from orchestrator.values.memory import added
from orchestrator.workers.order import MARK


def tree_of(pid: int) -> frozenset[int]:
    """Return the process and all its descendants; empty where it is gone. Reads the system's tables."""
    try:
        root = psutil.Process(pid)
        if root.status() == psutil.STATUS_ZOMBIE:
            return frozenset()
        return frozenset({pid, *(child.pid for child in root.children(recursive=True))})
    except psutil.Error:
        return frozenset()


def weight_of_tree(family: Iterable[int], accelerators: Accelerators) -> Weight:
    """Return what processes take together; what is gone takes nothing."""
    weights = weigh(family, accelerators).values()
    return Weight(
        ram_bytes=sum(each.ram_bytes for each in weights),
        own_bytes=sum(each.own_bytes for each in weights),
        gpu_bytes=tuple(sorted(added(dict(each.gpu_bytes) for each in weights).items())),
    )


def end_marked(leftovers: Iterable[Running], *, own: str) -> None:
    """Kill what bears the mark of one of `leftovers` and was not started by this daemon.

    Something can be left where a guard was killed together with its daemon.

    Args:
        leftovers: replicas of an earlier daemon.
        own: with what this daemon's marks begin.
    """
    replicas = {running.replica for running in leftovers}
    if replicas:
        _end(lambda mark: not mark.startswith(own) and mark.partition(":")[2] in replicas)


def end_bearers(mark: str) -> None:
    """Kill what bears this very mark.

    Something can be left where a guard was killed: what has moved to a session of its own.
    """
    _end(lambda found: found == mark)


def _end(is_doomed: Callable[[str], bool]) -> None:
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.uids().real == os.getuid() and is_doomed(process.environ().get(MARK, "")):
                process.send_signal(signal.SIGKILL)

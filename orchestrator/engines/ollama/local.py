"""Ollama's processes on this machine: which one runs a model, what it takes, and how it ends.

Since 2026 a server has one `llama-server` for each blob of weights in its memory, before that it had an
`ollama runner`; both name the blob in their arguments, and are children of the server.
"""

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from orchestrator.engines.children.processes import SAME_START_S
from orchestrator.engines.memory.accelerators import Gpu
from orchestrator.engines.memory.weight import Weight, weight_of

_RUNNERS: Final = ("llama-server", "ollama")
_GONE: Final = frozenset({psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD})


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """The process that has a model in its memory. `certain` where it surely is that server's own child."""

    pid: int
    started: float
    certain: bool

    @property
    def alive(self) -> bool:
        """True while it is the same process; reads the system's tables."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) <= SAME_START_S
            return same and process.status() not in _GONE
        except psutil.Error:
            return False

    def weigh(self, gpus: Sequence[Gpu]) -> Weight:
        """Return what it takes; nothing once it is gone."""
        return weight_of(self.pid, gpus) or Weight(ram_bytes=0, own_bytes=0)

    def kill(self) -> bool:
        """End it where that is safe: certainly the server's, and ours to end. Say whether it was tried."""
        if not self.certain or not self.alive:
            return False
        with suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, signal.SIGKILL)
            return True
        return False


def runner_of(blob: str, port: int) -> Runner | None:
    """Return what runs the weights with this digest for the server on a port of this machine. Reads tables.

    None where there is none, or it cannot be told which one it is.
    """
    found = [(process, _serves(process, port)) for process in _candidates(blob)] if blob else []
    sure = [process for process, serves in found if serves]
    unsure = [process for process, serves in found if serves is None]
    if not sure and len(unsure) != 1:
        return None
    process = (sure or unsure)[0]
    try:
        return Runner(pid=process.pid, started=process.create_time(), certain=bool(sure))
    except psutil.Error:
        return None


def slots_of(port: int) -> int | None:
    """Return how many requests the server on a port decodes at once, None where it cannot be told."""
    set_there = _environment_of(port)
    return None if set_there is None else _number(set_there.get("OLLAMA_NUM_PARALLEL"), 1)


def kept_of(port: int) -> int | None:
    """Return how many bytes of ended prompts a runner keeps, where its server bounds that; else None.

    Without a bound llama.cpp keeps up to 8 GiB of them.
    """
    said = (_environment_of(port) or {}).get("LLAMA_ARG_CACHE_RAM", "")
    mib = _number(said, -1)
    return mib << 20 if mib is not None and mib >= 0 else None


def _environment_of(port: int) -> Mapping[str, str] | None:
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == "ollama" and _listens(process, port):
            with suppress(psutil.Error):
                return process.environ()
    return None


def _number(said: str | None, default: int) -> int | None:
    try:
        return int(said or default)
    except ValueError:
        return None


def _candidates(blob: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter(["name"]):
        with suppress(psutil.Error):
            named = (process.info["name"] or "").startswith(_RUNNERS) and process.status() not in _GONE
            if named and any(Path(part).name == f"sha256-{blob}" for part in process.cmdline()):
                yield process


def _serves(process: psutil.Process, port: int) -> bool | None:
    """Say whether a process is a child of the server on that port; None where that cannot be told."""
    try:
        parent = process.parent()
        if parent is None or not parent.name().startswith("ollama"):
            return None
        return _listens(parent, port)
    except psutil.Error:
        return None


def _listens(process: psutil.Process, port: int) -> bool | None:
    try:
        found = process.net_connections(kind="tcp")
    except psutil.Error:
        return None
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in found)

"""How much memory a process takes, as its kernel counts it.

On Linux the proportional share (PSS): pages that several processes have count once among them. Reading it
walks the page tables, 50 ms for each GB here: from a thread, and only where files matter.
"""

import ctypes
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from orchestrator.engines.memory.accelerators import Accelerators, Gpu, taken_by
from orchestrator.values.memory import RAM, Pools

_KIB: Final = 1024
_RUSAGE_INFO_V0: Final = 0
# Where `ri_phys_footprint` stands in rusage_info_v0: after 16 bytes of identity and seven counters of 8.
_FOOTPRINT_AT: Final = 16 + 7 * 8
_RUSAGE_BYTES: Final = 16 + 10 * 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """What one process takes.

    `own_bytes` is the part of the RAM that it would not give back: without pages of files, which the system
    throws out when it needs the room.
    """

    ram_bytes: int
    own_bytes: int
    gpu_bytes: tuple[tuple[str, int], ...] = ()


def weigh(pids: Iterable[int], accelerators: Accelerators) -> Mapping[int, Weight]:
    """Return what these processes take; those that are gone are left out."""
    gpus: Sequence[Gpu] = accelerators.look()
    found = ((pid, weight_of(pid, gpus)) for pid in pids)
    return {pid: weight for pid, weight in found if weight is not None}


def weight_of(pid: int, gpus: Sequence[Gpu] = ()) -> Weight | None:
    """Return what one process takes; None where it is gone, or only waits for its parent to notice.

    Its number is enough for a child of ours: until we have heard of its end, nobody else gets it. Its start
    must not be compared here, because that moves when somebody sets the clock.
    """
    ram = _READ(pid)
    if ram is None:
        return None
    return Weight(ram_bytes=ram[0], own_bytes=ram[1], gpu_bytes=taken_by(gpus, pid))


def own(pids: Iterable[int], accelerators: Accelerators) -> Mapping[int, Pools]:
    """Return what these processes take and would not give back, by pool; those that are gone are left out.

    Cheap: from counters that the kernel keeps. Workers share no memory of their own with anybody.
    """
    gpus: Sequence[Gpu] = accelerators.look()
    found = ((pid, _OWN(pid)) for pid in pids)
    return {pid: dict(taken_by(gpus, pid)) | {RAM: size} for pid, size in found if size is not None}


def anonymous(status: str) -> int | None:
    """Return the memory that is not of files, in bytes, from the content of /proc/PID/status."""
    pairs = (line.split() for line in status.splitlines())
    sizes = [int(words[1]) * _KIB for words in pairs if words and words[0] in {"RssAnon:", "RssShmem:"}]
    return sum(sizes) if sizes else None


def shares(rollup: str) -> tuple[int, int] | None:
    """Return the proportional share and the part of it that is not of files, in bytes.

    Args:
        rollup: the content of /proc/PID/smaps_rollup, empty where the process has no memory any more.
    """
    pairs = (line.split() for line in rollup.splitlines())
    sizes = {words[0]: int(words[1]) * _KIB for words in pairs if words[-1] == "kB"}
    if "Pss:" not in sizes:
        return None
    if "Pss_Anon:" not in sizes:  # before Linux 5.4
        return sizes["Pss:"], sizes["Pss:"]
    return sizes["Pss:"], sizes["Pss_Anon:"] + sizes.get("Pss_Shmem:", 0)


def _linux(pid: int) -> tuple[int, int] | None:
    try:
        return shares(Path(f"/proc/{pid}/smaps_rollup").read_text())
    except PermissionError:
        return _resident(pid)  # a process that has made itself undumpable
    except OSError:
        return None


def _own_on_linux(pid: int) -> int | None:
    try:
        return anonymous(Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return None


def _own_elsewhere(pid: int) -> int | None:
    ram = _READ(pid)
    return None if ram is None else ram[1]


def _darwin(pid: int) -> tuple[int, int] | None:
    """Return the physical footprint: what Activity Monitor shows, memory of the GPU included. Never run."""
    content = ctypes.create_string_buffer(_RUSAGE_BYTES)
    if ctypes.CDLL(None).proc_pid_rusage(pid, _RUSAGE_INFO_V0, content):
        return _resident(pid)
    footprint = int.from_bytes(content.raw[_FOOTPRINT_AT : _FOOTPRINT_AT + 8], sys.byteorder)
    return (footprint, footprint) if footprint else None


def _resident(pid: int) -> tuple[int, int] | None:
    try:
        process = psutil.Process(pid)
        if process.status() in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}:
            return None
        size = int(process.memory_info().rss)
    except psutil.Error:
        return None
    return size, size


_READ: Final[Callable[[int], tuple[int, int] | None]] = {"linux": _linux, "darwin": _darwin}.get(
    sys.platform, _resident
)
_OWN: Final = _own_on_linux if sys.platform == "linux" else _own_elsewhere

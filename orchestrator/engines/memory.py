"""The meter: what memory there is on this machine, and what others take of it."""

import asyncio
import ctypes
import platform
import resource
import sys
from pathlib import Path
from typing import Final

import psutil

from orchestrator import clock
from orchestrator.engines import cgroups
from orchestrator.engines.accelerators import Accelerators, NvidiaDriver
from orchestrator.engines.gauge import Level, metal_limit, outside_of, ram_pool, set_aside_pages
from orchestrator.values.memory import RAM, Memory, Pool, Pools
from orchestrator.values.settings import Settings

_PROC: Final = Path("/proc/self")
_ZONES: Final = Path("/proc/zoneinfo")


class Meter:
    """Reads the RAM, the limits of control groups around us, and the GPUs.

    Args:
        settings: for what is kept free and the most that may be taken.
        accelerators: others than the machine's only in tests.
        proc: the folder of this process in /proc; others only in tests.
    """

    def __init__(
        self, settings: Settings, accelerators: Accelerators | None = None, *, proc: Path = _PROC
    ) -> None:
        self._settings = settings
        self._accelerators = accelerators or NvidiaDriver()
        self._proc = proc

    async def read(self, held: Pools) -> Memory:
        """Return all pools as they are now.

        Args:
            held: what all replicas of all engines take and would not give back; the rest is others'.
        """
        pools = await asyncio.to_thread(self._pools, dict(held))
        return Memory(pools=pools, at=clock.now())

    def _pools(self, held: Pools) -> dict[str, Pool]:
        settings = self._settings
        pools = {
            RAM: ram_pool(
                ram_levels(self._proc),
                held=held.get(RAM, 0),
                reserve=settings.memory_reserve_bytes,
                limit=_tighter(settings.memory_limit_bytes, _metal_limit()),
            )
        }
        for at, gpu in enumerate(self._accelerators.look()):
            name = f"cuda:{at}"
            pool = Pool(total=gpu.total_bytes, reserve=min(settings.gpu_reserve_bytes, gpu.total_bytes))
            pools[name] = outside_of(pool, gpu.used_bytes - held.get(name, 0))
        return pools


def ram_levels(proc: Path = _PROC) -> list[Level]:
    """Return the machine's own RAM, then that of each control group around us that has a limit."""
    machine = psutil.virtual_memory()
    total = int(machine.total)
    available = min(int(machine.available) + _set_aside(), total)
    return [Level(total_bytes=total, available_bytes=available), *cgroups.levels(proc)]


def _set_aside() -> int:
    """Return what each processor keeps of freed memory, in bytes; 0 where that is not known.

    Linux counts it as neither free nor available. Since its version 6.7 it can be an eighth of the RAM, and
    after a large model has gone it takes many seconds to dwindle: 950 MB of 1 GB were missing here, for 10 s.
    It is the first that is given out again.
    """
    try:
        return set_aside_pages(_ZONES.read_text()) * resource.getpagesize()
    except OSError:
        return 0


def _tighter(one: int | None, other: int | None) -> int | None:
    known = [limit for limit in (one, other) if limit is not None]
    return min(known, default=None)


def _metal_limit() -> int | None:
    """Return the most that Metal lets all processes keep in memory on Apple silicon; None elsewhere."""
    if sys.platform != "darwin" or platform.machine() != "arm64":
        return None
    value, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
    ctypes.CDLL(None).sysctlbyname(b"iogpu.wired_limit_mb", ctypes.byref(value), ctypes.byref(size), None, 0)
    return metal_limit(int(psutil.virtual_memory().total), wired_limit_mb=value.value)

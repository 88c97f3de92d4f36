"""The meter: what memory there is on this machine, and what others take of it."""

import asyncio
import ctypes
import platform
import sys
from pathlib import Path
from typing import Final

import psutil

from orchestrator import clock
from orchestrator.engines.memory.accelerators import Accelerators, NvidiaDriver
from orchestrator.engines.memory.gauge import metal_limit, outside_of, ram_pool
from orchestrator.engines.memory.machine import machine_findings
from orchestrator.engines.memory.ram import ram_levels
from orchestrator.values.memory import RAM, Memory, Pool, Pools
from orchestrator.values.settings import Settings

__all__ = ["Meter", "machine_findings"]

_PROC: Final = Path("/proc/self")


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

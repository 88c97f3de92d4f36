"""What `orchestrator doctor` finds of the machine: memory, GPUs, disks."""

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psutil

from orchestrator.engines.base import Finding
from orchestrator.engines.memory import cgroups
from orchestrator.engines.memory.accelerators import Accelerators, NvidiaDriver
from orchestrator.engines.memory.gauge import ram_pool
from orchestrator.engines.memory.ram import ram_levels
from orchestrator.values.settings import Settings

_GIB: Final = 1 << 30
# A limit below this leaves no room for any but toy models, in bytes. A guess, as the next one is.
_LITTLE_RAM: Final = 2 * _GIB
_LITTLE_DISK: Final = 2 * _GIB
_PROC: Final = Path("/proc/self")


def machine_findings(
    settings: Settings,
    *,
    cache: Path,
    state: Path,
    accelerators: Accelerators | None = None,
    proc: Path = _PROC,
) -> Sequence[Finding]:
    """Return what there is of memory, GPUs and disks; never raises. It may take some milliseconds.

    Args:
        settings: for what models may take of it.
        cache: where downloads go; it need not exist yet.
        state: where the daemon keeps what it knows; it need not exist yet.
        accelerators: others than the machine's only in tests.
        proc: the folder of this process in /proc; others only in tests.
    """
    return [
        Finding(what="processors", ok=True, found=str(psutil.cpu_count() or "not known")),
        *_memory(settings, proc),
        *_limits(proc),
        *_gpus(accelerators or NvidiaDriver()),
        _disk("disk of the cache", cache),
        _disk("disk of the state", state),
    ]


def _memory(settings: Settings, proc: Path) -> Sequence[Finding]:
    ram, swap = psutil.virtual_memory(), psutil.swap_memory()
    pool = ram_pool(
        ram_levels(proc),
        held=0,
        reserve=settings.memory_reserve_bytes,
        limit=settings.memory_limit_bytes,
    )
    fix = "" if pool.most > 0 else "lower `memory.reserve` in the settings file, or use a larger machine"
    found = f"{_gib(ram.total)}, {_gib(ram.available)} available; models may take {_gib(max(pool.most, 0))}"
    swapped = f"{_gib(swap.total)}, {_gib(swap.used)} in use" if swap.total else "none"
    return [
        Finding(what="memory", ok=not fix, found=found, fix=fix),
        Finding(what="swap", ok=True, found=swapped),
    ]


def _limits(proc: Path) -> Sequence[Finding]:
    levels = cgroups.levels(proc)
    if not levels:
        return []
    tightest = min(levels, key=lambda level: level.total_bytes)
    fix = (
        "" if tightest.total_bytes >= _LITTLE_RAM else "raise MemoryMax= of the service, or of the container"
    )
    found = f"{_gib(tightest.total_bytes)}, {_gib(tightest.available_bytes)} available"
    return [Finding(what="memory limit of the service or container", ok=not fix, found=found, fix=fix)]


def _gpus(accelerators: Accelerators) -> Sequence[Finding]:
    driver = accelerators.driver()
    if not driver:
        apple = platform.system() == "Darwin" and platform.machine() == "arm64"
        found = "Apple's, which shares the memory" if apple else "none with an NVIDIA driver"
        return [Finding(what="GPU", ok=True, found=found)]
    return [
        Finding(what="NVIDIA driver", ok=True, found=driver),
        *(
            Finding(
                what=f"cuda:{at}",
                ok=True,
                found=f"{gpu.name}, {_gib(gpu.total_bytes)}, {_gib(gpu.total_bytes - gpu.used_bytes)} free",
            )
            for at, gpu in enumerate(accelerators.look())
        ),
    ]


def _disk(what: str, path: Path) -> Finding:
    there = next((folder for folder in (path, *path.parents) if folder.exists()), Path("/"))
    try:
        usage = psutil.disk_usage(str(there))
    except OSError as error:
        fix = f"have a folder {path} that this user may read"
        return Finding(what=what, ok=False, found=f"{path}: {error.strerror}", fix=fix)
    found = f"{path}: {_gib(usage.free)} free of {_gib(usage.total)}"
    fix = "" if usage.free >= _LITTLE_DISK else f"make room on the disk of {there}, or name another folder"
    return Finding(what=what, ok=not fix, found=found, fix=fix)


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"

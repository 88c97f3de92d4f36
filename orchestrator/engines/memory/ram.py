"""How much RAM there is, and how much of it could be taken now."""

import resource
from pathlib import Path
from typing import Final

import psutil

from orchestrator.engines.memory import cgroups
from orchestrator.engines.memory.gauge import Level, set_aside_pages

_PROC: Final = Path("/proc/self")
_ZONES: Final = Path("/proc/zoneinfo")


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

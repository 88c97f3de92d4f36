"""From numbers of the system to pools of memory. Pure: no file, no process, no device."""

import re
from dataclasses import dataclass, replace
from typing import Final

from orchestrator.values.memory import Pool

_GIB: Final = 1 << 30
_SET_ASIDE: Final = re.compile(r"^\s+count:\s+(\d+)$", re.MULTILINE)
# What stays free of the RAM where the settings do not say: a tenth, and 1 GiB at least. A guess: below it
# systems begin to throw out the pages of programs that run.
_RESERVED_PART: Final = 10
_SMALL_MAC: Final = 36 * _GIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One bound on memory and how it stands: the machine's own, or that of a control group around us.

    `available_bytes` is what could be taken now without anybody losing what
    they would not give back.
    """

    total_bytes: int
    available_bytes: int


def ram_pool(levels: list[Level], *, held: int, reserve: int | None, limit: int | None) -> Pool:
    """Return the pool of the RAM.

    The tightest level says how much there is. The one with the least left
    says how much can still be taken; where a wider level is the one that
    is short, others outside of our group have eaten it.

    Args:
        levels: the machine first, then every control group on our path that has a limit.
        held: what all replicas take and would not give back.
        reserve: see Settings.memory_reserve_bytes.
        limit: see Settings.memory_limit_bytes.
    """
    total = min(level.total_bytes for level in levels)
    available = min(level.available_bytes for level in levels)
    kept = max(total // _RESERVED_PART, _GIB) if reserve is None else reserve
    return outside_of(Pool(total=total, reserve=min(kept, total), limit=limit), total - available - held)


def outside_of(pool: Pool, outside: int) -> Pool:
    """Return the pool with others' use of it, which is never below nothing nor above all there is."""
    return replace(pool, outside=max(0, min(outside, pool.total)))


def metal_limit(total: int, *, wired_limit_mb: int) -> int:
    """Return the most that Apple's GPU may keep in the shared memory, in bytes.

    Args:
        total: the machine's memory.
        wired_limit_mb: the system setting `iogpu.wired_limit_mb`; 0 is the system's own choice, which is two
            thirds of up to 36 GiB, and three quarters of more. Not measured here: what its users report.
    """
    if wired_limit_mb > 0:
        return min(wired_limit_mb << 20, total)
    return total * 2 // 3 if total <= _SMALL_MAC else total * 3 // 4


def set_aside_pages(zones: str) -> int:
    """Return how many free pages processors keep for themselves, from the content of /proc/zoneinfo."""
    return sum(int(count) for count in _SET_ASIDE.findall(zones))

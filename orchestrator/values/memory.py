"""Memory: what there is, what others use, and what each launch takes. All sizes in bytes.

Memory is counted by pool. `ram` is the machine's; `cuda:0` and so on are the
GPUs' own. On machines whose GPU shares the RAM (Apple silicon) there is `ram` only.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final

RAM: Final = "ram"

Pools = Mapping[str, int]
NOTHING: Final[Pools] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One pool as it was observed.

    `outside` is what everybody but the replicas takes and would not give back
    under pressure. `reserve` is kept free; `limit` is the most that all
    replicas together may take, None for what is left.
    """

    total: int
    reserve: int = 0
    outside: int = 0
    limit: int | None = None

    @property
    def room(self) -> int:
        """What all replicas together may take; below 0 where others have eaten into the reserve."""
        left = self.total - self.reserve - self.outside
        return left if self.limit is None else min(left, self.limit)

    @property
    def most(self) -> int:
        """What replicas could take if nobody else took anything."""
        return self.total - self.reserve if self.limit is None else min(self.limit, self.total - self.reserve)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """All pools at the instant `at`; None before the first look, and then nothing may be loaded."""

    pools: Mapping[str, Pool] = field(default_factory=lambda: MappingProxyType({}))
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What one launch takes.

    `estimated` is an upper bound of the peak from the model file; `measured`
    the most that was seen of a ready replica, empty until one was. `load_s` is
    how long the last load took, without fetching and waiting, None until one
    has ended. All hold for `engine_version` only. `exclusive` names something
    that only one model can have in memory at a time, "" for nothing.
    """

    estimated: Pools = field(default_factory=lambda: NOTHING)
    measured: Pools = field(default_factory=lambda: NOTHING)
    load_s: float | None = None
    engine_version: str = ""
    exclusive: str = ""

    @property
    def peak(self) -> Pools:
        """What has to be free for it: as measured where it was, else as estimated."""
        return self.measured or self.estimated


def highest(parts: Iterable[Pools]) -> dict[str, int]:
    """Return the most of each pool."""
    most: dict[str, int] = {}
    for part in parts:
        for pool, size in part.items():
            most[pool] = max(most.get(pool, 0), size)
    return most


def added(parts: Iterable[Pools]) -> dict[str, int]:
    """Return the sum by pool."""
    total: dict[str, int] = {}
    for part in parts:
        for pool, size in part.items():
            total[pool] = total.get(pool, 0) + size
    return total

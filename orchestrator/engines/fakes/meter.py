"""A machine's memory for tests, shared by fake engines, with others' use set by the test."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from orchestrator.engines.fakes.engine import FakeEngine
from orchestrator.engines.memory.gauge import outside_of
from orchestrator.values.memory import Memory, Pool, Pools, added


class FakeMeter:
    """Counts as the real one does: what is in use, less what the engines say that they hold.

    `pools` says how large each pool is, its reserve and its limit; their
    `outside` is not used. `pressure` is what other programs take, by pool, and
    may be changed at any time.
    """

    def __init__(
        self, engines: Sequence[FakeEngine], pools: Mapping[str, Pool], now: Callable[[], datetime]
    ) -> None:
        self.pools = dict(pools)
        self.pressure: dict[str, int] = {}
        self._engines = engines
        self._now = now

    def in_use(self) -> dict[str, int]:
        """Return the truth: what everybody takes at this moment, by pool."""
        return added([self.pressure, *(engine.in_use() for engine in self._engines)])

    def overdrawn(self) -> dict[str, int]:
        """Return by how many bytes the truth is above what each pool may hold; empty where all is well.

        Where pressure alone is above what a pool may hold, every byte of the replicas counts.
        """
        taken = added(engine.in_use() for engine in self._engines)
        over = {}
        for name, pool in self.pools.items():
            room = outside_of(pool, self.pressure.get(name, 0)).room
            beyond = taken.get(name, 0) - max(room, 0)
            if taken.get(name, 0) and beyond > 0:
                over[name] = beyond
        return over

    async def read(self, held: Pools) -> Memory:
        """Return all pools as they are now."""
        used = self.in_use()
        pools = {
            name: outside_of(pool, used.get(name, 0) - held.get(name, 0)) for name, pool in self.pools.items()
        }
        return Memory(pools=pools, at=self._now())

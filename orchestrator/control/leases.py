"""Requests' holds on replicas, and the routing table they are taken from.

Everything here runs on the event loop and never awaits between reading the
table and counting the lease: a request that sees a route holds its replica.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

from orchestrator.values.routing import Route, RoutingTable


class Lease:
    """One request's hold on one replica; `release` may be called more than once."""

    __slots__ = ("_leases", "replica")

    def __init__(self, leases: "Leases", replica: str) -> None:
        self._leases: Leases | None = leases
        self.replica = replica

    def release(self) -> None:
        leases, self._leases = self._leases, None
        if leases is not None:
            leases.returned(self.replica)


class Leases:
    """Counts leases by replica and hands out the newest routing table.

    Args:
        idle: called with a replica that takes no new requests once its last lease is back.
        suspected: called with a replica whose socket did not answer.
    """

    def __init__(self, *, idle: Callable[[str], None], suspected: Callable[[str], None]) -> None:
        self._idle = idle
        self._suspected = suspected
        self._table = RoutingTable()
        self._routed: frozenset[str] = frozenset()
        self._held: Counter[str] = Counter()
        self._newer = asyncio.Event()

    @property
    def table(self) -> RoutingTable:
        return self._table

    @property
    def held(self) -> Mapping[str, int]:
        """Requests under way, by replica."""
        return self._held

    def publish(self, table: RoutingTable) -> None:
        """Put `table` in force; whoever waits for a change wakes up."""
        self._table = table
        self._routed = frozenset(route.replica for route in table.routes.values() if route.replica)
        self._newer.set()
        self._newer = asyncio.Event()

    def take(self, route: Route) -> Lease:
        """Return a lease on the route's replica, which must be ready in the current table."""
        if route.replica is None or route.replica not in self._routed:
            raise ValueError(f"no lease on {route.replica}: it is not in the routing table")
        self._held[route.replica] += 1
        return Lease(self, route.replica)

    async def changed(self, epoch: int, within_s: float) -> RoutingTable | None:
        """Return the first table seen with an epoch above `epoch`; None at the deadline."""
        try:
            async with asyncio.timeout(within_s):
                while self._table.epoch <= epoch:
                    await self._newer.wait()
        except TimeoutError:
            return None
        return self._table

    def suspect(self, replica: str) -> None:
        """Have somebody look at a replica whose socket did not answer."""
        self._suspected(replica)

    def returned(self, replica: str) -> None:
        """Count a lease back."""
        self._held[replica] -= 1
        if self._held[replica] <= 0:
            del self._held[replica]
            if replica not in self._routed:
                self._idle(replica)

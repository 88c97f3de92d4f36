"""Requests' holds on replicas, those that wait for one, and the routing table they are taken from.

Everything here runs on the event loop and never awaits between reading the
table and counting the lease: a request that sees a route holds its replica.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType

from orchestrator import clock
from orchestrator.control.queues import Place, Queues
from orchestrator.values.demand import Demand
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
    """Counts leases by replica and waiting requests by model, and hands out the newest routing table.

    Args:
        idle: called with a replica whenever its last lease is back.
        suspected: called with a replica whose socket did not answer.
        waits: called with a model when a request starts to wait for it that is
            more urgent than all that do already, and when the last one leaves.
        now: the clock.
    """

    def __init__(
        self,
        *,
        idle: Callable[[str], None],
        suspected: Callable[[str], None],
        waits: Callable[[str], None],
        now: Callable[[], datetime] = clock.now,
    ) -> None:
        self._idle = idle
        self._suspected = suspected
        self._now = now
        self._table = RoutingTable()
        self._routed: frozenset[str] = frozenset()
        self._held: Counter[str] = Counter()
        self._idle_since: dict[str, datetime] = {}
        self._queues = Queues(waits)
        self._newer = asyncio.Event()

    @property
    def table(self) -> RoutingTable:
        return self._table

    @property
    def held(self) -> Mapping[str, int]:
        """Requests under way, by replica."""
        return self._held

    def demand(self) -> Demand:
        """Return what requests ask of the fleet now.

        A replica of the table without a lease is idle since its last one came
        back, or since it came into the table.
        """
        return Demand(
            leases=MappingProxyType(dict(self._held)),
            idle_since=MappingProxyType(dict(self._idle_since)),
            waiting=MappingProxyType(self._queues.waiting()),
        )

    def publish(self, table: RoutingTable) -> None:
        """Put `table` in force; whoever waits for something that it changes wakes up, in order."""
        before, self._table = self._table, table
        self._routed = frozenset(route.replica for route in table.routes.values() if route.replica)
        now = self._now()
        unused = (replica for replica in self._routed if replica not in self._held)
        self._idle_since = {replica: self._idle_since.get(replica, now) for replica in unused}
        self._newer.set()
        self._newer = asyncio.Event()
        if _what_counts(table) != _what_counts(before):
            self._queues.call()

    def take(self, route: Route) -> Lease:
        """Return a lease on the route's replica, which must be ready in the current table."""
        if route.replica is None or route.replica not in self._routed:
            raise ValueError(f"no lease on {route.replica}: it is not in the routing table")
        self._held[route.replica] += 1
        self._idle_since.pop(route.replica, None)
        return Lease(self, route.replica)

    def queued(self, model: str) -> int:
        """Return how many requests wait for the model, or are just about to get it."""
        return self._queues.length(model)

    def enter(self, model: str, *, priority: int, arrived_s: float) -> Place:
        """Return a place in the model's queue; its holder must leave it.

        Where the model is ready already, those before it are just about to get
        it, and the place is called right after them.
        """
        place = self._queues.enter(model, priority=priority, arrived_s=arrived_s, since=self._now())
        route = self._table.routes.get(model)
        if route is not None and route.replica is not None:
            asyncio.get_running_loop().call_soon(place.call)
        return place

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
            if replica in self._routed:
                self._idle_since[replica] = self._now()
            self._idle(replica)


def _what_counts(table: RoutingTable) -> tuple[object, ...]:
    """Return what a table says without its words: how far a load has come wakes nobody."""
    routes = [
        (r.model, r.state, r.capabilities, r.replica, r.stalled, r.on_demand, r.remote, r.retry_at)
        for r in table.routes.values()
    ]
    return (routes, table.policies, table.default_policy)

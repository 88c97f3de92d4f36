"""Fakes of what the daemon gives the gateway."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.control.leases import Lease, Leases
from orchestrator.control.queues import Place
from orchestrator.values.demand import Waiting
from orchestrator.values.fact import Fact, RequestFact
from orchestrator.values.policy import RoutingPolicy
from orchestrator.values.routing import Route, RoutingTable
from orchestrator.values.spec import ModelState, Sampling

ALL = ("chat", "completion", "embedding")


def route(model: str = "fast", socket: str | None = None, **changes: Any) -> Route:  # noqa: ANN401 (any field)
    """A route that is ready where it has a socket."""
    replica = None if socket is None else changes.pop("replica", f"{model}-1")
    fields: dict[str, Any] = {
        "model": model,
        "state": ModelState.ACTIVE,
        "capabilities": ALL,
        "sampling": Sampling(),
        "replica": replica,
        "revision": None if socket is None else "r1",
        "socket": socket,
        "unready": "" if socket else "it is loading",
    }
    return Route(**(fields | changes))


def table(*routes: Route, policies: tuple[RoutingPolicy, ...] = (), epoch: int = 1) -> RoutingTable:
    default = next((p.name for p in policies if p.default), None)
    return RoutingTable(
        epoch=epoch,
        routes={r.model: r for r in routes},
        policies={p.name: p for p in policies},
        default_policy=default,
    )


class FakeLeases:
    """The real leases on a table that tests swap, and what became of them.

    `waited_for` is set when a request waits for a model.
    """

    def __init__(self, first: RoutingTable) -> None:
        self._real = Leases(idle=nobody, suspected=self._suspected, waits=lambda _: self.waited_for.set())
        self._real.publish(first)
        self.taken: list[str] = []
        self.waited_for = asyncio.Event()
        self.suspects: list[str] = []
        self.on_suspect: Callable[[str], None] = nobody

    @property
    def table(self) -> RoutingTable:
        return self._real.table

    @property
    def held(self) -> Mapping[str, int]:
        return self._real.held

    @property
    def waiting(self) -> Mapping[str, Waiting]:
        return self._real.demand().waiting

    def take(self, route: Route) -> Lease:
        assert route.replica is not None
        assert self.table.routes[route.model] is route, "a lease on a route of an old table"
        self.taken.append(route.replica)
        return self._real.take(route)

    def queued(self, model: str) -> int:
        return self._real.queued(model)

    def enter(self, model: str, *, priority: int, arrived_s: float) -> Place:
        return self._real.enter(model, priority=priority, arrived_s=arrived_s)

    async def changed(self, epoch: int, within_s: float) -> RoutingTable | None:
        return await self._real.changed(epoch, within_s)

    def suspect(self, replica: str) -> None:
        self._real.suspect(replica)

    def publish(self, *routes: Route, policies: tuple[RoutingPolicy, ...] = ()) -> None:
        """Make the next table of these routes."""
        self._real.publish(table(*routes, policies=policies, epoch=self.table.epoch + 1))

    @property
    def outstanding(self) -> int:
        return sum(self.held.values())

    def _suspected(self, replica: str) -> None:
        self.suspects.append(replica)
        self.on_suspect(replica)


def nobody(_: str) -> None:
    """Is told, and does nothing."""


class FakeHistory:
    """Keeps the facts; `next()` waits for one more."""

    def __init__(self) -> None:
        self.facts: list[RequestFact] = []
        self._queue: asyncio.Queue[RequestFact] = asyncio.Queue()

    def put(self, fact: Fact) -> None:
        assert isinstance(fact, RequestFact)
        self.facts.append(fact)
        self._queue.put_nowait(fact)

    async def next(self) -> RequestFact:
        async with asyncio.timeout(10):
            return await self._queue.get()

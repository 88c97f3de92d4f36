"""Fakes of what the daemon gives the gateway."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

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


class FakeLease:
    def __init__(self, leases: "FakeLeases", replica: str) -> None:
        self._leases = leases
        self._replica = replica
        self._held = True

    def release(self) -> None:
        if self._held:
            self._held = False
            self._leases.held[self._replica] -= 1


class FakeLeases:
    """A table that tests swap, and a count of the leases on each replica."""

    def __init__(self, first: RoutingTable) -> None:
        self._table = first
        self._news = asyncio.Condition()
        self.held: dict[str, int] = {}
        self.taken: list[str] = []
        self.waited_for = asyncio.Event()  # set when a request waits for a change
        self.suspects: list[str] = []
        self.on_suspect: Callable[[str], None] = lambda _: None

    @property
    def table(self) -> RoutingTable:
        return self._table

    def take(self, route: Route) -> FakeLease:
        assert route.replica is not None
        assert self._table.routes[route.model] is route, "a lease on a route of an old table"
        self.held[route.replica] = self.held.get(route.replica, 0) + 1
        self.taken.append(route.replica)
        return FakeLease(self, route.replica)

    async def changed(self, epoch: int, within_s: float) -> RoutingTable | None:
        self.waited_for.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s), self._news:
                await self._news.wait_for(lambda: self._table.epoch > epoch)
                return self._table
        return None

    def suspect(self, replica: str) -> None:
        self.suspects.append(replica)
        self.on_suspect(replica)

    async def publish(self, *routes: Route, policies: tuple[RoutingPolicy, ...] = ()) -> None:
        """Make the next table of these routes."""
        self._table = replace(table(*routes, policies=policies), epoch=self._table.epoch + 1)
        async with self._news:
            self._news.notify_all()

    @property
    def outstanding(self) -> int:
        return sum(self.held.values())


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

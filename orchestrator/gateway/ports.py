"""What the gateway needs of the rest of the daemon, and the words of ASGI."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from orchestrator.values.fact import Fact
from orchestrator.values.routing import Route, RoutingTable

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Lease(Protocol):
    """One request's hold on a replica."""

    def release(self) -> None:
        """Give the replica back; every call after the first does nothing."""


class Place(Protocol):
    """One request's place in the queue of one model."""

    @property
    def model(self) -> str: ...

    async def called(self, within_s: float) -> bool:
        """Wait until it may be worth another look at the table; False at the deadline."""

    def leave(self) -> None:
        """Give the place up; every call after the first does nothing."""


class Leases(Protocol):
    """The routing table, the holds on what it names, and the queues for what is not ready."""

    @property
    def table(self) -> RoutingTable:
        """The newest table."""

    def take(self, route: Route) -> Lease:
        """Count one request on the route's replica, which must be of the newest table.

        Choosing from the table and taking the lease must happen without an
        await in between: this is what keeps a replica from being unloaded
        under a request.
        """

    def queued(self, model: str) -> int:
        """Return how many requests wait for the model, or are just about to get it."""

    def enter(self, model: str, *, priority: int, arrived_s: float) -> Place:
        """Return a place in the model's queue, behind all that are as urgent and came no later.

        Requests are called in the order of their places as soon as the model
        is ready; one that enters then is called after those before it.
        """

    async def changed(self, epoch: int, within_s: float) -> RoutingTable | None:
        """Return the first table with a larger epoch, or None when `within_s` have passed without one."""

    def suspect(self, replica: str) -> None:
        """Ask for a look at a replica whose connection failed; returns at once."""


class History(Protocol):
    def put(self, fact: Fact) -> None:
        """Queue a fact; returns at once, and drops it rather than wait."""


Readiness = Callable[[], tuple[bool, dict[str, object]]]

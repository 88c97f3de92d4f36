"""Requests that wait until a model is ready, in the order in which they will get it."""

import asyncio
import itertools
from bisect import bisect_left, insort
from collections.abc import Callable
from datetime import datetime

from orchestrator.values.demand import Waiting

# The more urgent first, then who came first.
Rank = tuple[int, float, int]


class Place:
    """One request's place in the queue of one model; `leave` may be called more than once."""

    __slots__ = ("_called", "_queues", "model", "rank", "since")

    def __init__(self, queues: "Queues", model: str, rank: Rank, since: datetime) -> None:
        self._queues: Queues | None = queues
        self._called: asyncio.Future[None] | None = None
        self.model = model
        self.rank = rank
        self.since = since

    @property
    def priority(self) -> int:
        return -self.rank[0]

    async def called(self, within_s: float) -> bool:
        """Wait until it may be worth another look at the table; False at the deadline."""
        self._called = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(within_s):
                await self._called
        except TimeoutError:
            return False
        finally:
            self._called = None
        return True

    def call(self) -> None:
        """End the wait; nothing where nobody waits."""
        if self._called is not None and not self._called.done():
            self._called.set_result(None)

    def leave(self) -> None:
        queues, self._queues = self._queues, None
        if queues is not None:
            queues.left(self)


class Queues:
    """One queue per model that somebody waits for.

    Args:
        waits: called with a model when a request starts to wait for it that is
            more urgent than all that do already, and when the last one leaves.
    """

    def __init__(self, waits: Callable[[str], None]) -> None:
        self._waits = waits
        self._by_model: dict[str, list[Place]] = {}
        self._numbers = itertools.count()

    def length(self, model: str) -> int:
        return len(self._by_model.get(model, ()))

    def enter(self, model: str, *, priority: int, arrived_s: float, since: datetime) -> Place:
        """Return a place behind all that are as urgent and came no later.

        Args:
            model: what is waited for.
            priority: the larger, the more urgent.
            arrived_s: when the request came, on any clock that all of them share.
            since: the instant from which it waits.
        """
        place = Place(self, model, (-priority, arrived_s, next(self._numbers)), since)
        queue = self._by_model.setdefault(model, [])
        urgent = not queue or priority > queue[0].priority
        insort(queue, place, key=_rank)
        if urgent:
            self._waits(model)
        return place

    def left(self, place: Place) -> None:
        """Take a place out of its queue."""
        queue = self._by_model[place.model]
        del queue[bisect_left(queue, place.rank, key=_rank)]
        if not queue:
            del self._by_model[place.model]
            self._waits(place.model)

    def call(self) -> None:
        """Have everybody look at the table again; in each queue in its order."""
        for queue in self._by_model.values():
            for place in queue:
                place.call()

    def waiting(self) -> dict[str, Waiting]:
        """Return who waits now, by model."""
        return {
            model: Waiting(
                count=len(queue),
                since=min(place.since for place in itertools.takewhile(_as_urgent(queue[0]), queue)),
                priority=queue[0].priority,
            )
            for model, queue in self._by_model.items()
        }


def _rank(place: Place) -> Rank:
    return place.rank


def _as_urgent(first: Place) -> Callable[[Place], bool]:
    return lambda place: place.rank[0] == first.rank[0]

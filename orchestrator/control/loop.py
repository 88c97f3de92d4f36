"""The control loop: the one owner of the state.

Events come in, `fold` and `plan` decide, the store commits what was decided,
and only then is it performed. Everybody else posts events and reads snapshots.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import datetime
from typing import Final

from orchestrator import clock
from orchestrator.control.leases import Leases
from orchestrator.control.observe import Observer
from orchestrator.control.perform import Performer
from orchestrator.control.store import Store
from orchestrator.decide.budget import is_fresh
from orchestrator.decide.evict import on_demand
from orchestrator.decide.fold import fold
from orchestrator.decide.plan import next_wake, plan
from orchestrator.decide.serving import routing_table
from orchestrator.engines.base import Engine
from orchestrator.errors import StateError
from orchestrator.values.action import Action, Drain
from orchestrator.values.demand import Demand
from orchestrator.values.event import (
    ActionIssued,
    CatalogRead,
    Event,
    LeaseReturned,
    ReplicaLoaded,
    RequestWaits,
)
from orchestrator.values.fact import LifecycleFact
from orchestrator.values.fleet import Phase
from orchestrator.values.memory import Memory, Pools
from orchestrator.values.settings import Limits
from orchestrator.values.state import State

log = logging.getLogger(__name__)

SAVE_RETRY_S: Final = 1.0


class Loop:
    """Keeps the fleet as the catalog says, until cancelled.

    Args:
        state: what is known at the start.
        engines: by name.
        store: where decisions are committed before they are performed.
        limits: what a plan keeps to.
        look: says what memory there is, given what all replicas hold of it.
        resync_every_s: how often the engines are asked what they really run.
        remember: receives every lifecycle fact; must not block.
        disk: where the store's commits run, one at a time; left out, a thread of its own.
    """

    def __init__(  # noqa: PLR0913 (its collaborators, each by name)
        self,
        *,
        state: State,
        engines: Mapping[str, Engine],
        store: Store,
        limits: Limits,
        look: Callable[[Pools], Awaitable[Memory]],
        resync_every_s: float,
        remember: Callable[[LifecycleFact], None],
        disk: Executor | None = None,
    ) -> None:
        self._state = state
        self._saved = state
        self._engines = engines
        self._store = store
        self._limits = limits
        self._remember = remember
        self._inbox: asyncio.Queue[Event] = asyncio.Queue()
        self.performer = Performer(engines, self.post)
        self._observer = Observer(
            engines, look, post=self.post, resync_every_s=resync_every_s, hurried=self._somebody_waits
        )
        self._passed = asyncio.Event()
        self._unsaved: StateError | None = None
        self._listening: frozenset[str] = frozenset()
        self.leases = Leases(
            idle=self._idle, waits=self._waits, suspected=lambda _: self._observer.look_soon(), now=clock.now
        )
        self._epoch = 0
        self._read = False
        self._planned_at: datetime | None = None
        # SQLite waits for the disk; the event loop must not. One thread keeps the commits in order.
        self._disk = disk or ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")

    @property
    def state(self) -> State:
        """The newest state; frozen, so it may be kept."""
        return self._state

    @property
    def has_read(self) -> bool:
        """Whether the files have been read since the start; until then those last accepted count."""
        return self._read

    @property
    def unsaved(self) -> StateError | None:
        """Why the state cannot be written now, and so nothing new is started or ended."""
        return self._unsaved

    @property
    def engines(self) -> Mapping[str, Engine]:
        return self._engines

    @property
    def limits(self) -> Limits:
        return self._limits

    def post(self, event: Event) -> None:
        """Tell the loop what happened; never blocks."""
        self._inbox.put_nowait(event)

    async def run(self) -> None:
        """Run until cancelled; what is under way is cancelled on the way out."""
        for engine in self._engines.values():
            engine.on_exit(self.performer.lost)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._observer.resync(), name="resync")
                tasks.create_task(self._observer.watch_memory(), name="memory")
                while True:
                    await self._pass(tasks, await self._events())
        finally:
            self._disk.shutdown(wait=True)

    async def settled(self, within_s: float) -> bool:
        """Wait until nothing is under way and nothing is due; False at the deadline.

        A model that waits for its retry or for memory, or was given up, does
        not count as under way.
        """
        try:
            async with asyncio.timeout(within_s):
                while not self._is_settled():
                    await self._passed.wait()
        except TimeoutError:
            return False
        return True

    def _is_settled(self) -> bool:
        state = self._state
        moving = any(r.phase is not Phase.READY for r in state.fleet.replicas.values())
        moving = moving or bool(state.fetching or state.removing) or not is_fresh(state)
        due = plan(state, self.leases.demand(), self._limits, clock.now())
        return not moving and not due and self._inbox.empty() and self._saved is state

    async def _events(self) -> list[Event]:
        """Return all events that wait, at least one unless time alone calls for a pass."""
        wait_s = self._wait_s(clock.now())
        events: list[Event] = []
        try:
            async with asyncio.timeout(wait_s):
                events.append(await self._inbox.get())
        except TimeoutError:
            return events
        while not self._inbox.empty():
            events.append(self._inbox.get_nowait())
        return events

    def _wait_s(self, now: datetime) -> float | None:
        # As of the last plan: what has fallen due since then has not been planned yet.
        wake = next_wake(self._state, self.leases.demand(), self._limits, self._planned_at or now)
        wait_s = None if wake is None else max(0.0, (wake - now).total_seconds())
        if self._unsaved:
            return SAVE_RETRY_S if wait_s is None else max(wait_s, SAVE_RETRY_S)
        return wait_s

    async def _pass(self, tasks: asyncio.TaskGroup, events: list[Event]) -> None:
        state = self._state
        facts: list[LifecycleFact] = []
        for event in events:
            folded = fold(state, event)
            state = folded.state
            facts += folded.facts
            if isinstance(event, ReplicaLoaded):
                self._observer.look_soon()  # its memory is of interest at once
            self._read = self._read or isinstance(event, CatalogRead)
        if not is_fresh(state):
            self._observer.weigh_soon()
        self._publish(state)
        now = clock.now()
        demand = self.leases.demand()
        actions = plan(state, demand, self._limits, now)
        self._planned_at = now
        issued = state
        promises: list[LifecycleFact] = []
        for action in actions:
            folded = fold(issued, ActionIssued(at=now, action=action))
            issued = folded.state
            promises += folded.facts
        if await self._save(issued):
            self._publish(issued)
            facts += promises
            for action in actions:
                self._perform(tasks, action)
        self._listening = _heard_of(self._state, demand)
        for fact in facts:
            self._remember(fact)
        self._passed.set()
        self._passed = asyncio.Event()

    def _perform(self, tasks: asyncio.TaskGroup, action: Action) -> None:
        if not isinstance(action, Drain):
            self.performer.start(tasks, action)

    def _publish(self, state: State) -> None:
        """Make `state` the one that everybody sees; new requests follow it from here on."""
        before, self._state = self._state, state
        if (before is state and self._epoch) or not (self._read or state.models):
            return  # before the first reading there is nothing to say of any model
        table = routing_table(state, epoch=self._epoch + 1)
        held = self.leases.table
        same = (table.routes, table.policies, table.default_policy)
        if self._epoch == 0 or same != (held.routes, held.policies, held.default_policy):
            self._epoch += 1
            self.leases.publish(table)

    async def _save(self, state: State) -> bool:
        """Commit `state`; False when the disk will not, and then nothing may be performed."""
        if state is self._saved:
            return True
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._disk, self._store.save, self._saved, state)
        except StateError as error:
            if not self._unsaved:
                log.error("%s", error)  # noqa: TRY400 (the text is meant for the operator)
            self._unsaved = error
            return False
        self._saved, self._unsaved = state, None
        return True

    def _idle(self, replica: str) -> None:
        if replica in self._listening:
            self.post(LeaseReturned(at=clock.now(), replica=replica))

    def _waits(self, model: str) -> None:
        self.post(RequestWaits(at=clock.now(), model=model))

    def _somebody_waits(self) -> bool:
        table = self.leases.table
        waited_for = self.leases.demand().waiting
        return any(
            route.replica is None and (not route.on_demand or name in waited_for)
            for name, route in table.routes.items()
        )


def _heard_of(state: State, demand: Demand) -> frozenset[str]:
    """Return the replicas whose last lease's end may change the plan; the others cost no pass."""
    return frozenset(
        replica.id
        for replica in state.fleet.replicas.values()
        if replica.phase is Phase.DRAINING or (demand.waiting and on_demand(state, replica.model))
    )

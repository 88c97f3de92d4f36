"""The whole way to a catalog, played through with every step succeeding: what `orchestrator plan` prints."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final

from orchestrator.decide import budget
from orchestrator.decide.fetching import NEAR
from orchestrator.decide.fold import fold
from orchestrator.decide.plan import plan
from orchestrator.decide.serving import serving
from orchestrator.values.action import Action, CallOff, Drain, Fetch, Load, Remove, Unload
from orchestrator.values.demand import Demand
from orchestrator.values.event import (
    ActionIssued,
    CatalogRead,
    Event,
    Fetched,
    Removed,
    ReplicaLoaded,
    ReplicaUnloaded,
)
from orchestrator.values.fleet import Fleet, Phase, Replica, Running
from orchestrator.values.memory import NOTHING, RAM, Footprint, Memory, Pool, Pools, highest
from orchestrator.values.settings import Limits
from orchestrator.values.state import State

# More passes than any catalog needs: each model takes six at the most.
MOST_PASSES: Final = 10_000
NO_FOOTPRINTS: Final[Mapping[str, Footprint]] = MappingProxyType({})
ENDLESS: Final = 1 << 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """`action` is fetch, load, switch, drain, unload or remove.

    `before` and `after` are what all replicas together are charged, by pool; a
    load is charged its whole peak from the start. `takes_s` is how long the
    step is expected to take, None where nothing was measured. A switch that
    `interrupts` ends a time in which nobody served the model: `unavailable_s`,
    None as above.
    """

    action: str
    model: str
    revision: str
    replica: str
    why: str
    before: Pools = field(default_factory=lambda: NOTHING)
    after: Pools = field(default_factory=lambda: NOTHING)
    takes_s: float | None = None
    interrupts: bool = False
    unavailable_s: float | None = None

    @property
    def peak(self) -> Pools:
        """The most that is charged while the step is taken."""
        return highest((self.before, self.after))


def preview(
    state: State,
    read: CatalogRead,
    limits: Limits,
    footprints: Mapping[str, Footprint] = NO_FOOTPRINTS,
) -> tuple[Step, ...]:
    """Return the steps that would follow if `read` were adopted now and everything went well.

    The steps come from the same `plan` that the loop follows. What is under
    way already is no step of its own, and is taken to end well as soon as it
    holds the rest up; requests are taken to end in time, and no others to come.
    Where the memory has not been looked at there is plenty of it.

    Args:
        state: as it is.
        read: the reading to adopt.
        limits: as for `plan`.
        footprints: of launches that were never fetched, as far as they are known.
    """
    return tuple(_Play(state, read, limits, footprints).steps())


class _Play:
    def __init__(
        self, state: State, read: CatalogRead, limits: Limits, footprints: Mapping[str, Footprint]
    ) -> None:
        self._limits = limits
        self._at: datetime = read.at
        self._footprints = footprints
        self._state = _patient(fold(state, read).state, read.at)
        self._outages: dict[str, float | None] = {}

    def steps(self) -> Iterator[Step]:
        for _ in range(MOST_PASSES):
            self._look()
            actions = plan(self._state, _quiet(self._state, self._at), self._limits, self._at)
            for action in actions:
                yield from self._do(action)
            if not actions:
                moving = _under_way(self._state)
                if moving is None:
                    return
                yield from self._end(moving)

    def _look(self) -> None:
        """Have all memory that was given back seen; where none was ever seen, have enough."""
        memory = self._state.memory
        if memory.at is None or any(pool.total == ENDLESS for pool in memory.pools.values()):
            known = {pool for f in self._state.footprints.values() for pool in f.peak} | {RAM}
            memory = Memory(pools={name: Pool(total=ENDLESS) for name in known})
        self._state = replace(self._state, memory=replace(memory, at=self._at), pressed_at=None)

    def _do(self, action: Action) -> Iterator[Step]:
        """Issue `action` and let it succeed at once."""
        before = self._state
        issued = fold(before, ActionIssued(at=self._at, action=action)).state
        switches: list[Step] = []
        match action:
            case CallOff():
                self._state = issued
                return
            case Fetch(model=name, spec=spec):
                known = action.known or self._footprints.get(spec.launch, budget.UNKNOWN)
                done: Event = Fetched(
                    at=self._at, model=name, launch=spec.launch, resolved="", size_bytes=0, footprint=known
                )
                self._state = fold(issued, done).state
                if spec.source.scheme in NEAR:
                    return  # having a look at what is here is no step that anybody waits for
                yield self._step("fetch", name, spec.revision, "", action.why, before)
                return
            case Remove(model=name, spec=spec):
                self._state = fold(issued, Removed(at=self._at, model=name, freed_bytes=0)).state
                if spec.source.scheme not in NEAR:
                    yield self._step("remove", name, spec.revision, "", action.why, before)
                return
            case _:
                self._state = issued
        # Before the load is played: afterwards the launch that it replaces is forgotten.
        takes_s = self._load_s(action) if isinstance(action, Load) else None
        replica = issued.fleet.replicas.get(action.replica)
        if replica is not None and not isinstance(action, Drain):
            switches = self._end(replica)
        else:
            switches = self._switches(before, action.model)
        yield replace(self._replica_step(action, before), takes_s=takes_s)
        yield from switches

    def _replica_step(self, action: Load | Drain | Unload, before: State) -> Step:
        if isinstance(action, Load):
            revision = action.spec.revision
        else:
            replica = before.fleet.replicas.get(action.replica)
            revision = replica.spec.revision if replica else ""
        name = type(action).__name__.lower()
        return self._step(name, action.model, revision, action.replica, action.why, before)

    def _step(self, action: str, model: str, revision: str, replica: str, why: str, before: State) -> Step:
        return Step(
            action=action,
            model=model,
            revision=revision,
            replica=replica,
            why=why,
            before=budget.charged(before),
            after=budget.charged(self._state),
        )

    def _load_s(self, action: Load) -> float | None:
        """Return how long a load took last, or one of the model's other launches."""
        found = self._state.footprints.get(action.spec.launch, budget.UNKNOWN).load_s
        if found is None:
            record = self._state.models.get(action.model)
            launch = record.stable.launch if record and record.stable else ""
            found = self._state.footprints.get(launch, budget.UNKNOWN).load_s
        if action.model in self._outages:
            self._outages[action.model] = found
        return found

    def _end(self, replica: Replica) -> list[Step]:
        """Let the load or the unload of `replica` succeed."""
        before = self._state
        event: Event = ReplicaUnloaded(at=self._at, replica=replica.id)
        if replica.phase is Phase.STARTING:
            running = Running(replica=replica.id, socket="", pid=0, pid_started=0.0)
            known = self._state.footprints.get(replica.launch, budget.UNKNOWN).load_s
            event = ReplicaLoaded(at=self._at, replica=replica.id, running=running, load_s=known or 0.0)
        after = fold(before, event).state
        # A load that was only played has taught nothing.
        self._state = replace(after, footprints=before.footprints)
        return self._switches(before, replica.model)

    def _switches(self, before: State, model: str) -> list[Step]:
        was, now = _serving(before, model), _serving(self._state, model)
        if was and not now and model in self._state.models and self._state.models[model].desired:
            self._outages[model] = None
        if not now or (was is not None and was.id == now.id):
            return []
        interrupted = model in self._outages
        load_s = self._state.footprints.get(now.launch, budget.UNKNOWN).load_s
        why = "new requests go to it" + (f" instead of {was.spec.revision}" if was else "")
        return [
            Step(
                action="switch",
                model=model,
                revision=now.spec.revision,
                replica=now.id,
                why=why,
                before=budget.charged(self._state),
                after=budget.charged(self._state),
                interrupts=interrupted,
                unavailable_s=(self._outages.pop(model) or load_s) if interrupted else None,
            )
        ]


def _patient(state: State, at: datetime) -> State:
    """Return the state without the waits for another try of an unload, and with fresh eyes."""
    replicas = {name: replace(r, not_before=None) for name, r in state.fleet.replicas.items()}
    freed_at = min(state.freed_at, at) if state.freed_at else None
    return replace(state, fleet=Fleet(replicas=replicas), freed_at=freed_at)


def _quiet(state: State, at: datetime) -> Demand:
    """Return a demand in which nobody asks for anything, and nobody has stopped for long."""
    return Demand(idle_since=dict.fromkeys(state.fleet.replicas, at))


def _under_way(state: State) -> Replica | None:
    """Return the oldest replica that is being loaded or unloaded."""
    moving = (Phase.STARTING, Phase.STOPPING)
    return next((replica for replica in state.fleet.replicas.values() if replica.phase in moving), None)


def _serving(state: State, model: str) -> Replica | None:
    record = state.models.get(model)
    return serving(record, state.fleet.by_model().get(model, [])) if record else None

"""Which loads may start inside the memory budget, and who makes room for those that may not yet."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from orchestrator.decide import budget, evict
from orchestrator.values.action import Drain, Load
from orchestrator.values.demand import Demand
from orchestrator.values.fleet import Phase, Replica
from orchestrator.values.memory import Pools, added
from orchestrator.values.settings import Limits
from orchestrator.values.spec import ModelSpec
from orchestrator.values.state import State

# After programs outside have taken memory away, models that nobody waits for come back no sooner. A guess.
CALM_S: Final = 30.0
LAST: Final = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A load that the catalog or a request asks for.

    `own` is the ready replica of the same model that it would replace, None
    where nobody serves the model. `retried` says that it has failed before.
    """

    spec: ModelSpec
    why: str
    own: Replica | None
    retried: bool
    waits_since: datetime | None
    priority: int

    @property
    def order(self) -> tuple[bool, bool, int, datetime, str]:
        """Models that nobody serves first; of those resident ones, then by priority and arrival."""
        return (
            self.own is not None,
            not self.spec.resident,
            -self.priority,
            self.waits_since or LAST,
            self.spec.name,
        )


def admit(
    state: State,
    candidates: Sequence[Candidate],
    demand: Demand,
    limits: Limits,
    now: datetime,
    *,
    leaving: Collection[str],
) -> Iterator[Load | Drain]:
    """Yield the loads that fit now, and the drains that make room for those that do not fit yet.

    What a load takes is set aside the moment it is issued; memory that was
    given back counts once it has been looked at again. The first candidate
    that has to wait for memory keeps what is free for itself, so that small
    models cannot starve a big one. `leaving` are the replicas that this pass drains already.
    """
    return _Admission(state, demand, limits, now, leaving).of(candidates)


class _Admission:
    """What one pass has left to give: `left` is free now, `coming` is being given back."""

    def __init__(
        self, state: State, demand: Demand, limits: Limits, now: datetime, leaving: Collection[str]
    ) -> None:
        self._state = state
        self._demand = demand
        self._limits = limits
        self._now = now
        self._how = budget.standing(state)
        self._left = dict(self._how.free)
        self._coming = _coming(state, leaving)
        self._starts = max(0, limits.loads_at_once - _loads_under_way(state))
        self._drained = set(leaving)

    def of(self, candidates: Sequence[Candidate]) -> Iterator[Load | Drain]:
        state = self._state
        number = state.started
        for candidate in sorted(candidates, key=lambda each: each.order):
            if _kept_out(state, candidate, self._how, self._now):
                continue
            if holders := _holders(state, candidate.spec):
                yield from self._let_go(candidate, holders)
                continue
            needed = budget.need(state, candidate.spec)
            if any(needed.values()) and not budget.is_fresh(state):
                self._set_aside(needed)
            elif budget.fits(needed, self._left):
                self._set_aside(needed)
                if self._starts > 0:
                    self._starts -= 1
                    number += 1
                    yield Load(
                        model=candidate.spec.name,
                        replica=f"{candidate.spec.name}-{state.boot}.{number}",
                        spec=candidate.spec,
                        why=candidate.why,
                    )
            else:
                yield from self._make_room(candidate, needed)

    def _let_go(self, candidate: Candidate, holders: Sequence[Replica]) -> Iterator[Drain]:
        """Yield the end of its own old revision, where that has what the engine can hold only once."""
        own = candidate.own
        if own in holders and own is not None and not candidate.retried and own.id not in self._drained:
            self._drained.add(own.id)
            why = (
                f"revision {candidate.spec.revision} takes its place: the engine holds its weights only once"
            )
            yield Drain(model=own.model, replica=own.id, why=why)

    def _make_room(self, candidate: Candidate, needed: Pools) -> Iterator[Drain]:
        soon = added((self._left, self._coming))
        if budget.fits(needed, soon):  # it is being given back already
            self._set_aside(needed)
            return
        chosen = self._victims(candidate, needed, soon)
        if chosen is None:
            if candidate.own is None and self._is_within_reach(candidate, needed, soon):
                self._set_aside(needed)
            return
        for replica in chosen:
            self._drained.add(replica.id)
            self._coming = added((self._coming, budget.charge(self._state, replica)))
            own = candidate.own is not None and replica.id == candidate.own.id
            yield Drain(
                model=replica.model,
                replica=replica.id,
                why=f"revision {candidate.spec.revision} takes its place: both do not fit into memory"
                if own
                else f"its memory is needed for '{candidate.spec.name}'",
                patient=not own,
            )
        self._set_aside(needed)

    def _victims(self, candidate: Candidate, needed: Pools, soon: Pools) -> list[Replica] | None:
        order = [
            replica
            for replica in evict.victims(self._state, self._demand, self._limits, self._now, candidate.spec)
            if replica.id not in self._drained and _frees(self._state, replica, needed)
        ]
        chosen = evict.enough(self._state, order, needed, soon)
        # In place of its own old revision only as the last resort: nobody answers until it is loaded. One
        # that has failed before is not tried again at that price.
        own = candidate.own
        if chosen is None and own is not None and not candidate.retried and own.id not in self._drained:
            chosen = evict.enough(self._state, [*order, own], needed, soon)
        return chosen

    def _is_within_reach(self, candidate: Candidate, needed: Pools, soon: Pools) -> bool:
        """Say whether there will be room once others have stayed out their residency and their requests.

        Where there will not, programs outside hold the memory, for who knows how long: nobody waits with it.
        """
        later = (
            budget.charge(self._state, replica)
            for replica in self._state.fleet.replicas.values()
            if replica.phase in (Phase.STARTING, Phase.READY)
            and replica.id not in self._drained
            and evict.may_give_way(self._state, replica, candidate.spec)
        )
        return budget.fits(needed, added((soon, *later)))

    def _set_aside(self, needed: Pools) -> None:
        for pool, size in needed.items():
            self._left[pool] = self._left.get(pool, 0) - size


def relieve(state: State, demand: Demand, now: datetime) -> Iterator[Drain]:
    """Yield the drains that bring the replicas back under a budget that programs outside have shrunk."""
    excess = budget.over(state)
    if not excess:
        return
    coming = _coming(state)
    still = {pool: size - coming.get(pool, 0) for pool, size in excess.items() if size > coming.get(pool, 0)}
    if not still:
        return
    order = [r for r in evict.under_pressure(state, demand, now) if _frees(state, r, still)]
    chosen = evict.enough(state, order, still, dict.fromkeys(still, 0))
    for replica in order if chosen is None else chosen:
        yield Drain(
            model=replica.model,
            replica=replica.id,
            why="other programs take the memory that it needs",
            patient=True,
            pressed=True,
        )


def idle_ends(state: State, demand: Demand, now: datetime) -> Iterator[Drain]:
    """Yield the drains of on-demand replicas that nobody has used for their `idle` time."""
    for replica, at in idle_until(state, demand, now):
        if at <= now and not demand.leases.get(replica.id, 0) and replica.model not in demand.waiting:
            idle_s = (now - demand.idle_since.get(replica.id, replica.since)).total_seconds()
            why = f"nobody has used it for {idle_s:.0f} s"
            yield Drain(model=replica.model, replica=replica.id, why=why, patient=True)


def idle_until(state: State, demand: Demand, now: datetime) -> Iterator[tuple[Replica, datetime]]:
    """Yield each ready on-demand replica with the instant at which its idle time may be over."""
    for replica in state.fleet.replicas.values():
        record = state.models.get(replica.model)
        desired = record.desired if record else None
        if replica.phase is not Phase.READY or desired is None or desired.resident:
            continue
        used = bool(demand.leases.get(replica.id, 0))
        since = now if used else demand.idle_since.get(replica.id, replica.since)
        yield replica, since + timedelta(seconds=desired.idle_s)


def _kept_out(state: State, candidate: Candidate, how: budget.Standing, now: datetime) -> bool:
    if budget.obstacle(state, candidate.spec, how):
        # Beside its own old revision it may not fit and yet fit in its place.
        return True
    pressed = state.pressed_at
    calm = pressed is None or (now - pressed).total_seconds() >= CALM_S
    return not calm and candidate.waits_since is None


def _holders(state: State, spec: ModelSpec) -> list[Replica]:
    """Return the replicas that have what `spec` needs and only one can have."""
    key = state.footprints.get(spec.launch, budget.UNKNOWN).exclusive
    return [
        replica
        for replica in (state.fleet.replicas.values() if key else ())
        if state.footprints.get(replica.launch, budget.UNKNOWN).exclusive == key
    ]


def _frees(state: State, replica: Replica, needed: Mapping[str, int]) -> bool:
    taken = budget.charge(state, replica)
    return any(taken.get(pool, 0) > 0 for pool, size in needed.items() if size > 0)


def _coming(state: State, leaving: Collection[str] = ()) -> dict[str, int]:
    """Return what replicas that are on their way out will give back."""
    phases = (Phase.DRAINING, Phase.STOPPING)
    return added(
        budget.charge(state, replica)
        for replica in state.fleet.replicas.values()
        if replica.phase in phases or replica.id in leaving
    )


def _loads_under_way(state: State) -> int:
    # A load that was called off keeps its place until it is really gone.
    return sum(
        replica.phase is Phase.STARTING or (replica.phase is Phase.STOPPING and replica.running is None)
        for replica in state.fleet.replicas.values()
    )

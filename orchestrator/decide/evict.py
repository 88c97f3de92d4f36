"""Which replicas make room, in which order, and from when on.

The order of the design: retained < candidate < idle < stable < pinned. Here a model that is loaded on
demand is idle where it has no lease, one that is always loaded is stable. Those that were asked for are not
pushed out at once again: each stays for its residency, so that two clients who take turns with two models
that do not fit together get some work done between two swaps.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from orchestrator.decide.budget import UNKNOWN, charge, fits
from orchestrator.values.demand import Demand
from orchestrator.values.fleet import Phase, Replica
from orchestrator.values.memory import Pools
from orchestrator.values.settings import Limits
from orchestrator.values.spec import LoadWhen, ModelSpec
from orchestrator.values.state import State

# Residency is this many times the model's own load time where that is longer than the setting: then at most
# a sixth of the time goes into loading. Figures: benchmarks/thrash.py.
LOADS_WORTH: Final = 5.0
# Who is pushed out and asks again at once waits for a load, the residency of the other, another load, and the
# answer before it: with this many loads' time taken off, all of that ends before it has waited for too long.
LOADS_WAITED_FOR: Final = 3.0
# A replica that nobody has used for this long, or for this part of its load time, need not stay out its
# residency: its client thinks, or is the very one that waits for the other model.
SETTLED_S: Final = 0.25
SETTLED_LOADS: Final = 0.25


def residency_s(state: State, replica: Replica, limits: Limits) -> float:
    """Return how long a replica stays after it became ready, though others want its memory."""
    load_s = state.footprints.get(replica.launch, UNKNOWN).load_s or 0.0
    bearable_s = max(load_s, limits.wait_s - LOADS_WAITED_FOR * load_s)
    return max(limits.min_residency_s, min(LOADS_WORTH * load_s, bearable_s))


def leaves_at(state: State, replica: Replica, demand: Demand, limits: Limits, now: datetime) -> datetime:
    """Return from when on a ready on-demand replica makes room for a model that somebody waits for.

    It has been there for its residency, or unused for a part of its load time, whichever comes first.
    """
    resident_s = residency_s(state, replica, limits)
    stayed = replica.since + timedelta(seconds=resident_s)
    if demand.leases.get(replica.id, 0):
        return stayed
    load_s = state.footprints.get(replica.launch, UNKNOWN).load_s or 0.0
    unused = demand.idle_since.get(replica.id, min(replica.since, now))
    return min(stayed, unused + timedelta(seconds=min(max(SETTLED_S, SETTLED_LOADS * load_s), resident_s)))


def on_demand(state: State, model: str) -> bool:
    """Say whether a model need not be in memory while nobody asks for it."""
    record = state.models.get(model)
    desired = record.desired if record else None
    return desired is None or desired.load is LoadWhen.ON_DEMAND


def victims(state: State, demand: Demand, limits: Limits, now: datetime, wanting: ModelSpec) -> list[Replica]:
    """Return the replicas that may be drained for `wanting` now, the first to go first.

    Models that are always loaded are not pushed out for a request; one that
    should always be loaded does not wait for the residency of others.
    """
    found = [
        replica
        for replica in _evictable(state)
        if may_give_way(state, replica, wanting)
        and (wanting.resident or leaves_at(state, replica, demand, limits, now) <= now)
    ]
    return sorted(found, key=lambda replica: _worth(state, replica, demand, now))


def may_give_way(state: State, replica: Replica, wanting: ModelSpec) -> bool:
    """Say whether a replica is one that ever makes room for `wanting`."""
    other = replica.model != wanting.name
    return other and on_demand(state, replica.model) and not _pinned(state, replica.model)


def under_pressure(state: State, demand: Demand, now: datetime) -> list[Replica]:
    """Return the replicas that may be drained because programs outside take the memory, first to go first."""
    return sorted(
        _evictable(state),
        key=lambda replica: (not on_demand(state, replica.model), _worth(state, replica, demand, now)),
    )


def enough(
    state: State, order: Sequence[Replica], needed: Pools, left: Mapping[str, int]
) -> list[Replica] | None:
    """Return the fewest of `order`, from its front, that make room for `needed`; None where all do not."""
    chosen: list[Replica] = []
    room = dict(left)
    for replica in order:
        if fits(needed, room):
            break
        chosen.append(replica)
        for pool, size in charge(state, replica).items():
            room[pool] = room.get(pool, 0) + size
    if not fits(needed, room):
        return None
    # A big one that was taken late may have made an earlier, small one superfluous.
    for replica in tuple(chosen):
        rest = {pool: size - charge(state, replica).get(pool, 0) for pool, size in room.items()}
        if fits(needed, rest):
            chosen.remove(replica)
            room = rest
    return chosen


def _evictable(state: State) -> Iterator[Replica]:
    for replica in state.fleet.replicas.values():
        if replica.phase is not Phase.READY or _pinned(state, replica.model):
            continue
        if any(charge(state, replica).values()):
            yield replica


def _pinned(state: State, model: str) -> bool:
    record = state.models.get(model)
    desired = record.desired if record else None
    return desired is not None and desired.pinned


def _worth(state: State, replica: Replica, demand: Demand, now: datetime) -> tuple[bool, float, str]:
    """Return what a replica is worth keeping: used ones first, then by reuse times reload time per byte.

    Reuse is predicted from how long it has not been used.
    """
    busy = demand.leases.get(replica.id, 0) > 0
    unused = demand.idle_since.get(replica.id, replica.since)
    idle_s = 0.0 if busy else max(0.0, (now - unused).total_seconds())
    load_s = state.footprints.get(replica.launch, UNKNOWN).load_s or 1.0
    size = max(1, sum(charge(state, replica).values()))
    return busy, load_s / (1.0 + idle_s) / size, replica.id

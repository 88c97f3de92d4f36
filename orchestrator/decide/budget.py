"""The memory budget: what every replica is charged, what is free, and what can never fit."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.values.fleet import Phase, Replica
from orchestrator.values.memory import NOTHING, RAM, Footprint, Pools, added, highest
from orchestrator.values.spec import ModelSpec
from orchestrator.values.state import State

UNKNOWN: Final = Footprint()


def need(state: State, spec: ModelSpec) -> Pools:
    """Return what has to be free to load `spec`: what its file says, else the measured or estimated peak."""
    peak = state.footprints.get(spec.launch, UNKNOWN).peak
    if spec.memory_bytes is None:
        return peak
    # The figure of the file is for where its weights go: the GPU, where the estimate has them there.
    main = max(peak, key=lambda pool: (pool != RAM, peak[pool]), default=RAM)
    return {**peak, main: spec.memory_bytes}


def charge(state: State, replica: Replica) -> Pools:
    """Return what a replica counts for, from the moment its load is issued until it is gone."""
    seen = replica.running.memory if replica.running else NOTHING
    # What was measured replaces the estimate of a replica that is ready, not of one that still grows.
    return highest((need(state, replica.spec), seen))


def charged(state: State) -> dict[str, int]:
    """Return what all replicas together count for."""
    return added(charge(state, replica) for replica in state.fleet.replicas.values())


def free(state: State) -> dict[str, int]:
    """Return what is left of every pool for further loads; below 0 where the budget is exceeded."""
    taken = charged(state)
    return {name: pool.room - taken.get(name, 0) for name, pool in state.memory.pools.items()}


def fits(needed: Pools, left: Pools) -> bool:
    """Say whether there is room in every pool; a pool that does not exist has none."""
    return all(size <= left.get(pool, 0) for pool, size in needed.items() if size > 0)


def is_fresh(state: State) -> bool:
    """Say whether the memory has been looked at since some was given back."""
    at = state.memory.at
    return at is not None and (state.freed_at is None or at >= state.freed_at)


def over(state: State) -> dict[str, int]:
    """Return by how much programs outside have made the budget too small, where replicas should give way.

    Half of the reserve may be eaten first, so that small waves move nothing.
    """
    return {
        name: -left
        for name, left in free(state).items()
        if left < 0 and -left > state.memory.pools[name].reserve // 2
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the budget stands, worked out once for many questions.

    `free` is what is left for further loads. Nothing makes resident models
    give way but programs outside: `loaded` are those that are in memory, with
    `sum` of them all; `coming` are the others that will fit beside those, by
    name, and `sums` what is taken before each of them and after the last.
    """

    free: Mapping[str, int]

    loaded: Mapping[str, Pools]
    sum: Pools
    coming: Sequence[str]
    sums: Sequence[Pools]


def standing(state: State) -> Standing:
    """Return how the budget stands."""
    residents = {
        name: record.desired
        for name, record in state.models.items()
        if record.desired is not None and record.desired.resident
    }
    loaded: dict[str, Pools] = {}
    for replica in state.fleet.replicas.values():
        if replica.model in residents and replica.phase in (Phase.STARTING, Phase.READY):
            loaded[replica.model] = highest((loaded.get(replica.model, NOTHING), charge(state, replica)))
    most = {name: pool.most for name, pool in state.memory.pools.items()}
    sums = [added(loaded.values())]
    coming = []
    for name in sorted(residents.keys() - loaded.keys()):
        after = added((sums[-1], need(state, residents[name])))
        if fits(after, most):
            coming.append(name)
            sums.append(after)
    return Standing(free=free(state), loaded=loaded, sum=sums[0], coming=coming, sums=sums)


def obstacle(state: State, spec: ModelSpec, how: Standing | None = None) -> str:
    """Return why `spec` can never be loaded as things are, with the figures; "" where it may fit.

    Beside it stay the resident models that are loaded, and those that will be
    because they come before it. Programs outside do not count here: they come and go.

    Args:
        state: as for `plan`.
        spec: what should be loaded.
        how: `standing(state)`, where the caller has it.
    """
    needed = {pool: size for pool, size in need(state, spec).items() if size > 0}
    pools = state.memory.pools
    for name, size in needed.items():
        pool = pools.get(name)
        if pool is not None and size > pool.most:
            return f"it needs {sized(size, name)}, and {sized(pool.most, name)} is the whole budget"
        if pool is None and state.memory.at is not None:
            return f"it needs {sized(size, name)}, and there is no {name} here"
    if not needed:
        return rival(state, spec)
    names, taken = _beside(how or standing(state), spec)
    for name, size in needed.items():
        pool = pools.get(name)
        if pool is not None and size + taken.get(name, 0) > pool.most:
            return (
                f"it needs {sized(size, name)} beside {sized(taken[name], name)} of "
                f"{_listed(names)}, which stay loaded, and {sized(pool.most, name)} is the whole budget"
            )
    return rival(state, spec)


def _beside(how: Standing, spec: ModelSpec) -> tuple[list[str], Mapping[str, int]]:
    """Return the models that are not unloaded for the sake of `spec`, and what they take together."""
    loaded = [name for name in how.loaded if name != spec.name]
    own = how.loaded.get(spec.name)
    if own is not None:
        return loaded, {pool: size - own.get(pool, 0) for pool, size in how.sum.items()}
    before = bisect_left(how.coming, spec.name) if spec.resident else len(how.coming)
    return [*loaded, *how.coming[:before]], how.sums[before]


def rival(state: State, spec: ModelSpec) -> str:
    """Return why another model keeps `spec` from ever being loaded beside it; "" where none does."""
    key = state.footprints.get(spec.launch, UNKNOWN).exclusive
    if not key:
        return ""
    for name, record in sorted(state.models.items()):
        other = record.desired
        if name == spec.name or other is None:
            continue
        same = state.footprints.get(other.launch, UNKNOWN).exclusive == key
        # The one that is loaded stays; of two that are not, the first by name is served.
        if same and (_is_live(state, name) or (name < spec.name and not _is_live(state, spec.name))):
            return (
                f"model '{name}' has the same weights ({key}), and the engine holds them once only: "
                "loading one would unload the other"
            )
    return ""


def _is_live(state: State, model: str) -> bool:
    return any(
        replica.model == model and replica.phase in (Phase.STARTING, Phase.READY)
        for replica in state.fleet.replicas.values()
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))


def sized(size: int, pool: str) -> str:
    """Return an amount of one pool for people: `1.4 GiB of memory`."""
    return f"{human(size)} of {'memory' if pool == RAM else pool}"


def human(size: int) -> str:
    """Return a size for people: `1.4 GiB`, `320 MiB`."""
    gib, mib = 1024**3, 1024**2
    if abs(size) >= gib:
        return f"{size / gib:.1f} GiB"
    return f"{size / mib:.0f} MiB" if abs(size) >= mib else f"{size / 1024:.0f} KiB"

"""The plan: what to do next so that the fleet becomes what the catalog says.

The loop, `orchestrator plan` and the tests call this one function.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from orchestrator.decide.serving import serving
from orchestrator.values.action import Action, Drain, Load, Unload
from orchestrator.values.fleet import Phase, Replica
from orchestrator.values.settings import Limits
from orchestrator.values.spec import ModelSpec
from orchestrator.values.state import ModelRecord, State


def plan(state: State, leases: Mapping[str, int], limits: Limits, now: datetime) -> tuple[Action, ...]:
    """Decide the next actions that bring the fleet closer to the catalog.

    The same arguments always give the same plan, and a fleet that already
    matches gives an empty one. Unloads come before loads. A wanted model never
    loses its last ready replica to an update: the new launch is ready before
    the old one drains. A replica with leases is not unloaded before its drain
    deadline. A launch that was rejected is left alone until its retry is due,
    and the stable one is brought back meanwhile.

    Args:
        state: the catalog, and the fleet as last observed.
        leases: requests under way, by replica; absent is none.
        limits: see Limits.
        now: the present instant.
    """
    by_model = state.fleet.by_model()
    ending: list[Action] = [
        Unload(model="", replica=replica, engine=engine, why="the engine runs it and nothing here started it")
        for engine, replica in state.strays
    ]
    loading: list[tuple[bool, str, ModelSpec, str]] = []
    for name in sorted({*state.models, *by_model}):
        record = state.models.get(name, ModelRecord(name=name))
        replicas = by_model.get(name, [])
        if record.desired is None and not replicas:
            continue
        ending += _endings(record, replicas, leases, limits, now)
        served = any(replica.phase is Phase.READY for replica in replicas)
        loading += ((served, name, spec, why) for spec, why in _loads(record, replicas, now))
    return (*ending, *_bounded(state, loading, limits))


def next_wake(state: State, leases: Mapping[str, int], limits: Limits, now: datetime) -> datetime | None:
    """Return the next instant at which time alone may change the plan; None where it cannot."""
    instants: list[datetime] = []
    for replica in state.fleet.replicas.values():
        if replica.phase is Phase.DRAINING:
            held = leases.get(replica.id, 0) > 0
            deadline = replica.since + timedelta(seconds=limits.drain_s) if held else now
            instants.append(max(deadline, replica.not_before or deadline))
    for record in state.models.values():
        instants += (r.retry_at for r in record.rejected.values() if r.retry_at and r.retry_at > now)
    return min(instants, default=None)


def _endings(
    record: ModelRecord,
    replicas: Sequence[Replica],
    leases: Mapping[str, int],
    limits: Limits,
    now: datetime,
) -> Iterator[Action]:
    keep = serving(record, replicas)
    for replica in replicas:
        match replica.phase:
            case Phase.READY if replica is not keep:
                yield Drain(model=replica.model, replica=replica.id, why=_why_end(record, keep))
            case Phase.STARTING if not _worth_starting(record, replica, keep):
                yield _unload(replica, _why_end(record, keep))
            case Phase.DRAINING if replica.not_before is None or replica.not_before <= now:
                if leases.get(replica.id, 0) == 0:
                    yield _unload(replica, f"{replica.why}; its last request has ended")
                elif (now - replica.since).total_seconds() >= limits.drain_s:
                    yield _unload(replica, f"{replica.why}; its drain deadline ({limits.drain_s:g} s) passed")
            case _:
                pass


def _worth_starting(record: ModelRecord, replica: Replica, keep: Replica | None) -> bool:
    """True where a starting replica may become the one that serves."""
    desired = record.desired
    if desired is None:
        return False
    if replica.launch == desired.launch:
        return keep is None or keep.launch != desired.launch
    # The stable one, brought back because the desired one has failed and nobody serves.
    return (
        keep is None
        and record.stable is not None
        and replica.launch == record.stable.launch
        and desired.launch in record.rejected
    )


def _loads(
    record: ModelRecord, replicas: Sequence[Replica], now: datetime
) -> Iterator[tuple[ModelSpec, str]]:
    desired, stable = record.desired, record.stable
    if desired is None:
        return
    coming = {r.launch for r in replicas if r.phase in (Phase.STARTING, Phase.READY)}
    ready = [r for r in replicas if r.phase is Phase.READY]
    if desired.launch not in coming and not _blocked(record, desired, now):
        yield desired, _why_load(record, ready)
    elif not coming and stable and stable.launch != desired.launch and not _blocked(record, stable, now):
        yield stable, f"revision {desired.revision} does not load; the last good one serves meanwhile"


def _bounded(
    state: State, loading: Sequence[tuple[bool, str, ModelSpec, str]], limits: Limits
) -> Iterator[Load]:
    """Yield as many loads as may start now, models that nobody serves first."""
    # A load that was called off keeps its place until it is really gone.
    loads = sum(
        replica.phase is Phase.STARTING or (replica.phase is Phase.STOPPING and replica.running is None)
        for replica in state.fleet.replicas.values()
    )
    free = max(0, limits.loads_at_once - loads)
    ordered = sorted(loading, key=lambda item: (item[0], item[1]))
    for number, (_, name, spec, why) in enumerate(ordered[:free], start=state.started + 1):
        yield Load(model=name, replica=f"{name}-{state.boot}.{number}", spec=spec, why=why)


def _blocked(record: ModelRecord, spec: ModelSpec, now: datetime) -> bool:
    rejection = record.rejected.get(spec.launch)
    return rejection is not None and rejection.blocks(now)


def _unload(replica: Replica, why: str) -> Unload:
    return Unload(model=replica.model, replica=replica.id, engine=replica.spec.engine, why=why)


def _why_load(record: ModelRecord, ready: Sequence[Replica]) -> str:
    desired = record.desired
    rejection = record.rejected.get(desired.launch) if desired else None
    if rejection:
        return f"try {rejection.failures + 1}, after: {rejection.message}"
    if ready:
        return f"its file asks for it in place of {ready[-1].spec.revision}"
    return "its file asks for it"


def _why_end(record: ModelRecord, keep: Replica | None) -> str:
    if record.document is None:
        return "its file is gone"
    if record.desired is None:
        return "its file says state: absent"
    return f"replaced by {keep.spec.revision} ({keep.id})" if keep else "its file has changed again"

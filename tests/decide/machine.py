"""States of a machine with so much memory, for tests of what fits and who makes room. Sizes in GiB."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from orchestrator.values.action import Action, Drain, Load, Unload
from orchestrator.values.demand import Demand, Waiting
from orchestrator.values.fleet import Fleet, Replica
from orchestrator.values.memory import RAM, Footprint, Memory, Pool
from orchestrator.values.spec import LoadWhen, ModelSpec
from orchestrator.values.state import ModelRecord, State
from tests.builders import NOW, fetched, model, replica, running, spec

GIB: Final = 1 << 30


def gib(**pools: float) -> dict[str, int]:
    """Sizes by pool; `gpu` is `cuda:0`."""
    return {"cuda:0" if name == "gpu" else name: int(size * GIB) for name, size in pools.items()}


def always(name: str, **changes: Any) -> ModelSpec:  # noqa: ANN401 (any field)
    return spec(name, location=changes.pop("location", name), **changes)


def lazy(name: str, **changes: Any) -> ModelSpec:  # noqa: ANN401 (any field)
    return always(name, load=LoadWhen.ON_DEMAND, **changes)


def ready(
    of: ModelSpec,
    *,
    id: str = "",  # noqa: A002 (the field's own name)
    phase: str = "ready",
    age_s: float = 100.0,
    **changes: Any,  # noqa: ANN401 (any field)
) -> Replica:
    """A replica called as its model unless told otherwise."""
    since = NOW - timedelta(seconds=age_s)
    return replica(of, id=id or of.name, phase=phase, since=since, **changes)


def seen(of: Replica, **pools: float) -> Replica:
    """The replica as its engine saw it taking memory."""
    sizes = gib(**pools)
    gpu = tuple((name, size) for name, size in sizes.items() if name != RAM)
    return replace(of, running=replace(running(of.id), memory_bytes=sizes.get(RAM, 0), gpu_bytes=gpu))


def machine(
    *wanted: ModelSpec,
    replicas: Sequence[Replica] = (),
    total: float = 8,
    takes: Mapping[str, float | Mapping[str, float]] | None = None,
    **changes: Any,  # noqa: ANN401 (a field of Pool in GiB, or of State)
) -> State:
    """A state in which everything is fetched and weighed.

    Args:
        wanted: what the files ask for.
        replicas: what there is.
        total: the RAM.
        takes: by a source's location, 2 GiB where nothing is said.
        changes: `reserve`, `outside`, `limit`, `gpu` (its total), and fields of State.
    """
    parts = {
        part: int(changes.pop(part) * GIB) for part in ("reserve", "outside", "limit") if part in changes
    }
    pools = {RAM: Pool(total=int(total * GIB), **parts)}
    if "gpu" in changes:
        pools["cuda:0"] = Pool(total=int(changes.pop("gpu") * GIB))
    models = {each.name: ModelRecord(name=each.name, document=model(each)) for each in wanted}
    held = State(
        boot=1,
        started=len(replicas),
        models=models,
        fleet=Fleet(replicas={each.id: each for each in replicas}),
        memory=Memory(pools=pools, at=NOW),
    )
    footprints = {}
    for each in (*wanted, *(each.spec for each in replicas)):
        size = (takes or {}).get(each.source.location, 2)
        sizes = gib(ram=size) if isinstance(size, int | float) else gib(**size)
        footprints[each.launch] = Footprint(estimated=sizes)
    return fetched(replace(held, footprints=footprints, **changes))


def asks(*models: str, priority: int = 5, idle: Mapping[str, float] | None = None, **leases: int) -> Demand:
    """Requests that wait, the first one longest; leases by replica; and how long others have been idle."""
    waiting = {
        name: Waiting(count=1, since=NOW - timedelta(seconds=60 - at), priority=priority)
        for at, name in enumerate(models)
    }
    unused = {name: NOW - timedelta(seconds=seconds) for name, seconds in (idle or {}).items()}
    return Demand(leases=leases, waiting=waiting, idle_since=unused)


def brief(actions: Sequence[Action]) -> list[str]:
    """Every action in two words: what is done, and to which model or replica."""

    def one(action: Action) -> str:
        match action:
            case Load(model=name):
                return f"load {name}"
            case Drain(replica=name) | Unload(replica=name):
                return f"{type(action).__name__.lower()} {name}"
            case _:
                return f"{type(action).__name__.lower()} {action.model}"

    return [one(action) for action in actions]


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)

"""Values with defaults, for tests that care about one field."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator.engines.base import Premises
from orchestrator.values.catalog import Catalog, Document, Kind
from orchestrator.values.fleet import Fleet, Phase, Replica, Running
from orchestrator.values.memory import RAM, Memory, Pool, Pools
from orchestrator.values.policy import RoutingPolicy
from orchestrator.values.settings import Settings
from orchestrator.values.spec import ModelSpec, Source
from orchestrator.values.state import ModelRecord, Rejection, State

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
CONFIG = Path("/nowhere/config")


def source(location: str = "small", *, scheme: str = "demo", sha256: str | None = None) -> Source:
    return Source(written=f"{scheme}:{location}", scheme=scheme, location=location, sha256=sha256)


def spec(name: str = "fast", *, location: str = "tiny", **changes: Any) -> ModelSpec:  # noqa: ANN401 (any field)
    fields: dict[str, Any] = {"name": name, "engine": "llama-cpp", "source": source(location)}
    return ModelSpec(**(fields | changes))


def model(value: ModelSpec | None = None, *, generation: int = 1) -> Document[ModelSpec]:
    value = value or spec()
    return Document(
        kind=Kind.MODEL,
        name=value.name,
        path=f"models.d/{value.name}.yaml",
        text="",
        meaning=f"{value}",
        generation=generation,
        value=value,
    )


def policy(name: str = "default", **changes: Any) -> Document[RoutingPolicy]:  # noqa: ANN401 (any field)
    fields: dict[str, Any] = {"name": name, "default": True, "otherwise": ("fast",)}
    value = RoutingPolicy(**(fields | changes))
    return Document(
        kind=Kind.POLICY,
        name=name,
        path=f"policies/{name}.yaml",
        text="",
        meaning=f"{value}",
        generation=1,
        value=value,
    )


def catalog(*specs: ModelSpec, generation: int = 1) -> Catalog:
    return Catalog(models={s.name: model(s, generation=generation) for s in specs})


def replica(
    value: ModelSpec | None = None,
    *,
    id: str = "fast-1.1",  # noqa: A002 (the field's own name)
    phase: str = "ready",
    **changes: Any,  # noqa: ANN401 (any field)
) -> Replica:
    fields: dict[str, Any] = {
        "id": id,
        "spec": value or spec(),
        "phase": Phase(phase),
        "since": NOW,
        "running": running(id) if phase != "starting" else None,
    }
    return Replica(**(fields | changes))


def running(id: str = "fast-1.1") -> Running:  # noqa: A002 (the field's own name)
    return Running(replica=id, socket=f"/run/{id}.sock", pid=4711, pid_started=1.0)


def rejection(value: ModelSpec | None = None, **changes: Any) -> Rejection:  # noqa: ANN401 (any field)
    fields: dict[str, Any] = {
        "revision": (value or spec()).revision,
        "reason": "LoadFailed",
        "message": "it broke",
        "terminal": False,
        "failures": 1,
        "first_at": NOW,
        "last_at": NOW,
        "retry_at": NOW + timedelta(seconds=10),
    }
    return Rejection(**(fields | changes))


def state(wanted: ModelSpec | None = None, *replicas: Replica, **record: Any) -> State:  # noqa: ANN401 (any field)
    """A state with one model, `fast`, all of it fetched; `wanted` None means that its file is gone."""
    document = model(wanted) if wanted else None
    known = ModelRecord(**({"name": "fast", "document": document} | record))
    return fetched(_state(document, known, replicas))


def fetched(held: State) -> State:
    """The state with all weights that it knows of checked, and nothing known of their memory."""
    specs = [spec for known in held.models.values() for spec in (known.desired, known.stable) if spec]
    launches = {spec.launch for spec in specs} | {r.launch for r in held.fleet.replicas.values()}
    return replace(held, fetched=held.fetched | launches)


def _state(document: Document[ModelSpec] | None, known: ModelRecord, replicas: tuple[Replica, ...]) -> State:
    return State(
        boot=1,
        started=len(replicas),
        catalog=Catalog(models={"fast": document} if document else {}),
        models={"fast": known},
        fleet=Fleet(replicas={r.id: r for r in replicas}),
    )


def premises(folder: Path = CONFIG, **settings: Any) -> Premises:  # noqa: ANN401 (any setting)
    """What engines are built with, all of it below `folder`; nothing there is made."""
    return Premises(
        runtime=folder / "run", cache=folder / "cache", settings=Settings(**settings), environment={}
    )


async def plenty(held: Pools) -> Memory:
    """A machine with more memory than anything takes."""
    return Memory(pools={RAM: Pool(total=1 << 50, outside=held.get(RAM, 0))})

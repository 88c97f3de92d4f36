"""Values with defaults, for tests that care about one field."""

from datetime import UTC, datetime
from typing import Any

from orchestrator.values.catalog import Catalog, Document, Kind
from orchestrator.values.policy import RoutingPolicy
from orchestrator.values.spec import ModelSpec, Source

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def source(location: str = "small", *, scheme: str = "demo", sha256: str | None = None) -> Source:
    return Source(written=f"{scheme}:{location}", scheme=scheme, location=location, sha256=sha256)


def spec(name: str = "fast", *, location: str = "tiny", **changes: Any) -> ModelSpec:  # noqa: ANN401 (any field)
    return ModelSpec(**({"name": name, "engine": "llama-cpp", "source": source(location)} | changes))


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
    value = RoutingPolicy(**({"name": name, "default": True, "otherwise": ("fast",)} | changes))
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

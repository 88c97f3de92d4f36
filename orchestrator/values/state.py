"""The whole state of the control loop: one frozen value, replaced by every event."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType

from orchestrator.values.catalog import Catalog, Document, Held, Problem
from orchestrator.values.condition import Condition, ConditionType
from orchestrator.values.fleet import Fleet
from orchestrator.values.memory import Footprint, Memory
from orchestrator.values.spec import ModelSpec

NOTHING: Mapping[str, "Rejection"] = MappingProxyType({})
NO_CONDITIONS: Mapping[ConditionType, Condition] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Why a launch of a model is not tried (again) now.

    `retry_at` None means never, until its file changes or somebody asks for a
    reload. `failures` counts since the last time it was stable, `first_at` is
    the first of them. `lasting`: see ReplicaLost. `fetching` says that it
    failed before anything was loaded.
    """

    revision: str
    reason: str
    message: str
    terminal: bool
    failures: int
    first_at: datetime
    last_at: datetime
    retry_at: datetime | None
    fix: str = ""
    lasting: bool = False
    fetching: bool = False

    def blocks(self, now: datetime) -> bool:
        """True where the launch must not be tried at `now`."""
        return self.retry_at is None or now < self.retry_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What a source that can move meant when it was fetched, and the newest that it is known to mean.

    `written` is the source's text, which the resolution belongs to.
    """

    written: str
    resolved: str
    newest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """What is known of one model.

    The four pointers: desired is `document`, with its source resolved,
    `attempted` the launch last started, `stable` the spec that last became
    ready, `rejected` the launches that failed, by launch digest. `document` is
    None once the file is gone and only the fleet still remembers the model;
    `desired` is None where nothing should be running.
    """

    name: str
    document: Document[ModelSpec] | None = None
    resolution: Resolution | None = None
    attempted: str | None = None
    stable: ModelSpec | None = None
    rejected: Mapping[str, Rejection] = field(default_factory=lambda: NOTHING)
    conditions: Mapping[ConditionType, Condition] = field(default_factory=lambda: NO_CONDITIONS)
    desired: ModelSpec | None = field(init=False, compare=False)

    def __post_init__(self) -> None:
        wanted = self.document.value if self.document and self.document.value.wanted else None
        object.__setattr__(self, "desired", self.resolve(wanted) if wanted else None)

    def resolve(self, spec: ModelSpec) -> ModelSpec:
        """Return `spec` with its source as it is resolved; one that was never fetched as it is."""
        known = self.resolution
        if known is None or known.written != spec.source.written or spec.source.resolved:
            return spec
        return replace(spec, source=replace(spec.source, resolved=known.resolved))


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """`boot` counts the daemon's starts on this state folder; with `started` it makes replica ids unique.

    `strays` are replicas that an engine runs and the fleet does not know, as
    (engine, replica). `footprints` are by launch. `fetched` are the launches
    whose weights this daemon has had checked, `fetching` those under way, by
    model; `removed` the absent models of which nothing is left to delete.
    Memory that was given back after `freed_at` is free only once it has been
    looked at; `pressed_at` is when a model last had to make room for programs outside.
    """

    boot: int = 0
    started: int = 0
    catalog: Catalog = field(default_factory=Catalog)
    problems: tuple[Problem, ...] = ()
    held: tuple[Held, ...] = ()
    models: Mapping[str, ModelRecord] = field(default_factory=lambda: MappingProxyType({}))
    fleet: Fleet = field(default_factory=Fleet)
    strays: tuple[tuple[str, str], ...] = ()
    memory: Memory = field(default_factory=Memory)
    footprints: Mapping[str, Footprint] = field(default_factory=lambda: MappingProxyType({}))
    fetched: frozenset[str] = frozenset()
    fetching: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    removing: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()
    freed_at: datetime | None = None
    pressed_at: datetime | None = None

"""What the daemon answers on its admin socket, as the command line reads it."""

from typing import TypedDict


class Problem(TypedDict):
    path: str
    line: int
    column: int
    what: str
    fix: str
    excerpt: str


class Held(TypedDict):
    path: str
    why: str
    since: str


class History(TypedDict):
    ok: bool
    written: int
    queued: int
    dropped: int
    error: str | None


class Rejected(TypedDict):
    """A revision that would not come up; `retry_at` is None where nothing more will be tried."""

    revision: str
    reason: str
    message: str
    terminal: bool
    fix: str
    retry_at: str | None
    failures: int


class Serving(TypedDict):
    replica: str
    revision: str


class Condition(TypedDict):
    type: str
    status: str
    reason: str
    message: str
    observed_generation: int
    since: str


class Replica(TypedDict):
    id: str
    revision: str
    phase: str
    pid: int | None
    memory_bytes: int
    leases: int
    since: str
    why: str


class Model(TypedDict):
    name: str
    path: str
    engine: str
    source: str
    state: str
    generation: int
    desired: str | None
    attempted: str | None
    stable: str | None
    rejected: list[Rejected]
    serving: Serving | None
    conditions: list[Condition]
    replicas: list[Replica]


class Event(TypedDict):
    at: str
    severity: str
    reason: str
    message: str
    revision: str
    replica: str
    generation: int


class Described(Model):
    spec: dict[str, object]
    events: list[Event]
    problems: list[Problem]


class Policy(TypedDict):
    name: str
    default: bool
    otherwise: list[str]
    fallback: list[str]
    path: str


class StoreState(TypedDict):
    ok: bool
    error: str | None


class Status(TypedDict):
    version: str
    pid: int
    started_at: str
    address: str
    config_folder: str
    state_folder: str
    ready: bool
    problems: list[Problem]
    held: list[Held]
    state: StoreState
    history: History
    models: list[Model]
    policies: list[Policy]


class Changed(TypedDict):
    kind: str
    name: str
    change: str


class Reloaded(TypedDict):
    changed: list[Changed]
    problems: list[Problem]
    held: list[Held]
    settled: bool
    models: list[Model]
    waited_ms: float


# One changed field; `field` is "" where a whole file came or went.
Change = TypedDict(
    "Change",
    {
        "kind": str,
        "name": str,
        "class": str,
        "field": str,
        "old": object,
        "new": object,
        "path": str,
        "line": int,
    },
)


class Step(TypedDict):
    action: str
    model: str
    revision: str
    replica: str | None
    why: str


class Failed(TypedDict):
    """A model whose file asks for what would not load, and for which no step is planned."""

    model: str
    revision: str
    message: str
    fix: str
    retry_at: str | None


class Plan(TypedDict):
    changes: list[Change]
    steps: list[Step]
    failed: list[Failed]
    problems: list[Problem]


class Published(TypedDict):
    path: str
    published_at: str
    rows: int


class Confirmed(TypedDict):
    confirmed: list[str]

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
    gpu_bytes: dict[str, int]
    leases: int
    since: str
    why: str


class Takes(TypedDict):
    """What a launch takes: bytes by pool; `load_s` None before the first load."""

    need: dict[str, int]
    estimated: dict[str, int]
    measured: dict[str, int]
    load_s: float | None
    engine_version: str


class Fetch(TypedDict):
    doing: str
    done_bytes: int
    total_bytes: int
    bytes_per_s: int
    left_s: float | None


class Pool(TypedDict):
    """`room_bytes` is what all replicas may take, `charged_bytes` what they are charged."""

    total_bytes: int
    reserve_bytes: int
    outside_bytes: int
    limit_bytes: int | None
    room_bytes: int
    charged_bytes: int


class Model(TypedDict):
    name: str
    path: str
    engine: str
    source: str
    state: str
    load: str
    generation: int
    desired: str | None
    attempted: str | None
    stable: str | None
    rejected: list[Rejected]
    serving: Serving | None
    conditions: list[Condition]
    replicas: list[Replica]
    takes: Takes | None
    fetch: Fetch | None
    waiting: int


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
    rules: int
    tiers: list[str]
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
    memory: dict[str, Pool]
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


class StepMemory(TypedDict):
    """What all replicas are charged, in bytes by pool."""

    before: dict[str, int]
    peak: dict[str, int]
    after: dict[str, int]


class Step(TypedDict):
    action: str
    model: str
    revision: str
    replica: str | None
    why: str
    memory: StepMemory
    takes_s: float | None
    interrupts: bool
    unavailable_s: float | None


class Unfit(TypedDict):
    model: str
    why: str
    fix: str


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
    memory: dict[str, Pool]
    unfit: list[Unfit]


class Published(TypedDict):
    path: str
    published_at: str
    rows: int


class Confirmed(TypedDict):
    confirmed: list[str]


class Finding(TypedDict):
    what: str
    ok: bool
    found: str
    fix: str


Findings = dict[str, list[Finding]]

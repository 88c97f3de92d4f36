"""What can happen. Events are the only thing that changes the state; `decide/fold.py` says how."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from orchestrator.values.action import Action
from orchestrator.values.catalog import Reading
from orchestrator.values.fleet import Running
from orchestrator.values.memory import Footprint, Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogRead:
    """The configuration folder was read; most readings change nothing."""

    at: datetime
    reading: Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionIssued:
    """The loop handed `action` to be performed; recorded before it starts, so nothing starts twice."""

    at: datetime
    action: Action


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """The weights that `launch` needs are here and checked.

    `resolved` is what the source means now (see Source), `size_bytes` what it
    takes on the disk, `footprint` what a replica will take in memory.
    """

    at: datetime
    model: str
    launch: str
    resolved: str
    size_bytes: int
    footprint: Footprint


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchFailed:
    """The weights could not be had; the fields are those of ReplicaLost."""

    at: datetime
    model: str
    launch: str
    reason: str
    message: str
    terminal: bool
    draw: float
    fix: str = ""
    lasting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceMoved:
    """The source of `model` means `newest` now, and something else was fetched."""

    at: datetime
    model: str
    newest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What was fetched for an absent model is deleted; `freed_bytes` counts what nothing else uses."""

    at: datetime
    model: str
    freed_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveFailed:
    at: datetime
    model: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaLoaded:
    """`load_s` is how long the engine took, without fetching and waiting."""

    at: datetime
    replica: str
    running: Running
    load_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaLost:
    """A replica did not load, or ended by itself.

    `fix` is what a person can do about it, "" where nothing is known. `draw`
    is a random number in [0, 1) that spreads retries; it comes with the event
    because decisions must not draw. `lasting` marks a cause outside of the
    model that may last for days and still pass, such as a server that is not
    running: it is tried again for ever, and never becomes a crash loop.
    """

    at: datetime
    replica: str
    reason: str
    message: str
    terminal: bool
    draw: float
    fix: str = ""
    lasting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaUnloaded:
    at: datetime
    replica: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnloadFailed:
    at: datetime
    replica: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What the engines really run, by engine and replica; engines that did not answer are left out.

    `at` is the instant before they were asked: what became ready since then
    is not missing, only newer than the answer. `draw`: see ReplicaLost.
    """

    at: datetime
    running: Mapping[str, Mapping[str, Running]]
    draw: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRead:
    """What memory there is and who takes it; `memory.at` is the instant before it was looked at."""

    at: datetime
    memory: Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseReturned:
    """The last lease of a replica came back."""

    at: datetime
    replica: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestWaits:
    """A request began to wait for a model, or the last one stopped; the plan reads the demand itself."""

    at: datetime
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadAsked:
    """A person asked for a rescan: what was given up is tried again."""

    at: datetime


Event = (
    CatalogRead
    | ActionIssued
    | Fetched
    | FetchFailed
    | SourceMoved
    | Removed
    | RemoveFailed
    | ReplicaLoaded
    | ReplicaLost
    | ReplicaUnloaded
    | UnloadFailed
    | Observed
    | MemoryRead
    | LeaseReturned
    | RequestWaits
    | ReloadAsked
)

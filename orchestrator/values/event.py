"""What can happen. Events are the only thing that changes the state; `decide/fold.py` says how."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from orchestrator.values.action import Action
from orchestrator.values.catalog import Reading
from orchestrator.values.fleet import Running


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
class ReplicaLoaded:
    at: datetime
    replica: str
    running: Running


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaLost:
    """A replica did not load, or ended by itself.

    `fix` is what a person can do about it, "" where nothing is known. `draw`
    is a random number in [0, 1) that spreads retries; it comes with the event
    because decisions must not draw.
    """

    at: datetime
    replica: str
    reason: str
    message: str
    terminal: bool
    draw: float
    fix: str = ""


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
class LeaseReturned:
    """The last lease of a replica that takes no new requests came back."""

    at: datetime
    replica: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadAsked:
    """A person asked for a rescan: what was given up is tried again."""

    at: datetime


Event = (
    CatalogRead
    | ActionIssued
    | ReplicaLoaded
    | ReplicaLost
    | ReplicaUnloaded
    | UnloadFailed
    | Observed
    | LeaseReturned
    | ReloadAsked
)

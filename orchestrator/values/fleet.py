"""All replicas, as observed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType


class Phase(StrEnum):
    """Where a replica is in its life; the legal moves are `decide/lifecycle.py`."""

    STARTING = "starting"  # fetch, load and warm are under way
    READY = "ready"
    DRAINING = "draining"  # takes no new request; its leases run on
    STOPPING = "stopping"
    FAILED = "failed"  # gone; kept for one pass, so that the cause can be recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What an engine says of one live replica: where it is and how to know it again.

    `socket` is the path of the Unix socket on which it speaks the OpenAI wire.
    `pid` and `pid_started` (seconds since the epoch, as the kernel counts
    them) together name one process, however often its number is reused.
    """

    replica: str
    socket: str
    pid: int
    pid_started: float
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One running copy of one revision.

    `launch` is the launch digest of the spec it was started from. `since` is
    the instant it came into its phase, `why` the reason it is there.
    """

    id: str
    model: str
    revision: str
    launch: str
    phase: Phase
    since: datetime
    why: str = ""
    running: Running | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    replicas: Mapping[str, Replica] = field(default_factory=lambda: MappingProxyType({}))

    def of(self, model: str) -> tuple[Replica, ...]:
        """Return the model's replicas, oldest first."""
        return tuple(replica for replica in self.replicas.values() if replica.model == model)

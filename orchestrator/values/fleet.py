"""All replicas, as observed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from orchestrator.values.memory import RAM, Pools
from orchestrator.values.spec import ModelSpec


class Phase(StrEnum):
    """Where a replica is in its life; the legal moves are the table of `decide/lifecycle.py`."""

    STARTING = "starting"  # fetch, load and warm are under way
    READY = "ready"
    DRAINING = "draining"  # takes no new request; its leases run on
    STOPPING = "stopping"
    GONE = "gone"  # never stored: a replica that comes here leaves the fleet


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What an engine says of one live replica: where it is and how to know it again.

    `socket` is the path of the Unix socket on which it speaks the OpenAI wire,
    under the model's own name. `pid` and `pid_started` (seconds since the
    epoch, as the kernel counts them) together name one process, however often
    its number is reused; both are 0 where no process of ours runs it.
    `memory_bytes` is its share of the RAM (on Linux the proportional set
    size), `gpu_bytes` what it takes of GPUs' own memory, by pool. `drift` says
    what is not as it was loaded any more, "" for nothing.
    """

    replica: str
    socket: str
    pid: int
    pid_started: float
    memory_bytes: int = 0
    gpu_bytes: tuple[tuple[str, int], ...] = ()
    drift: str = ""

    @property
    def memory(self) -> Pools:
        """What it takes, by pool; nothing where its engine cannot tell."""
        taken = dict(self.gpu_bytes)
        return taken | {RAM: self.memory_bytes} if self.memory_bytes else taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One running copy of one revision.

    `spec` is what it was started from. `since` is the instant it came into
    its phase, `why` the reason it is there. `not_before` holds back the next
    try to unload a replica that would not go. A draining replica that is
    `patient` has no drain deadline.
    """

    id: str
    spec: ModelSpec
    phase: Phase
    since: datetime
    why: str = ""
    running: Running | None = None
    not_before: datetime | None = None
    patient: bool = False

    @property
    def model(self) -> str:
        return self.spec.name

    @property
    def launch(self) -> str:
        return self.spec.launch


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    replicas: Mapping[str, Replica] = field(default_factory=lambda: MappingProxyType({}))

    def by_model(self) -> dict[str, list[Replica]]:
        """Return the replicas of each model that has some, oldest first."""
        found: dict[str, list[Replica]] = {}
        for replica in self.replicas.values():
            found.setdefault(replica.model, []).append(replica)
        return found

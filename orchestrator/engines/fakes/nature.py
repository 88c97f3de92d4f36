"""What a pretended source of the fake engine is like."""

from dataclasses import dataclass, field
from typing import Literal

from orchestrator.values.memory import NOTHING, Pools

# The verbs that can be told to fail; `observe` and `held` for all sources at once, under the location "".
Verb = Literal["version", "fetch", "newest", "remove", "estimate", "load", "unload", "observe", "held"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nature:
    """How long it takes, and how much.

    `peak` is what a replica of it takes once it has worked, None for what the
    estimate says; the `ready` part of it already when it is loaded, to which
    it grows while it loads. `back_s` is how long the memory of an ended
    replica is still in use: real systems free it after the process is gone.
    `load_s` None leaves it to the engine. `resolved` is what the source means
    now: changing it is moving the tag.
    """

    size_bytes: int = 0
    fetch_s: float = 0.0
    resolved: str = ""
    estimate: Pools = field(default_factory=lambda: NOTHING)
    peak: Pools | None = None
    ready: float = 1.0
    load_s: float | None = None
    back_s: float = 0.0

    @property
    def most(self) -> Pools:
        """The most that a replica of it takes."""
        return self.estimate if self.peak is None else self.peak

    def taken(self, part: float) -> Pools:
        """Return what a replica takes at that part of its peak."""
        return {pool: round(size * part) for pool, size in self.most.items()}

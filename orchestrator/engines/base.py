"""What every engine can do: idempotent verbs. An engine carries out; it never decides.

An engine is one module in `engines/kinds/`: it has `TRAITS` and `build`, and is found by being there.
See docs/writing-an-engine.md.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from orchestrator.errors import EngineError
from orchestrator.values.fleet import Running
from orchestrator.values.memory import Pools
from orchestrator.values.settings import Settings
from orchestrator.values.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Premises:
    """What an engine is built with.

    `runtime` is a private folder for its sockets, made when missing and short
    enough for a Unix socket's path. `cache` holds what is fetched, for all
    engines together. `environment` is the daemon's own.
    """

    runtime: Path
    cache: Path
    settings: Settings
    environment: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a fetch is: `done_bytes` of `total_bytes` (0: not known) are here.

    `doing` is one word or two for people, such as `downloading`, `checking`, `quantising`.
    """

    doing: str
    done_bytes: int = 0
    total_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDisk:
    """What a source turned out to be. `resolved`: see Source. `size_bytes` 0 where nothing lies here.

    `exclusive`: see Footprint; two models whose sources share it are never loaded together.
    """

    resolved: str = ""
    size_bytes: int = 0
    exclusive: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of `orchestrator doctor`: `what` in a few words, and what was `found`.

    `fix` is the command that mends what is not there, "" where nothing needs to be done.
    """

    what: str
    ok: bool
    found: str
    fix: str = ""


class Engine(Protocol):
    """One way of running models.

    Every verb may be called again at any time with the same arguments and then
    changes nothing. Every verb has a deadline of its own (fetching: one on
    standing still) and raises EngineError, never anything else, when the
    engine will not or cannot.
    """

    name: str

    async def version(self, spec: ModelSpec) -> str:
        """Return the version of what would run `spec`, "" where it cannot be told.

        Raises:
            EngineUnavailable: it is not installed, not running, or too old; `fix` is the one command.
        """

    async def ensure_fetched(self, spec: ModelSpec, progress: Callable[[Progress], None]) -> OnDisk:
        """Have the weights on this machine and check them against their digest, quantised as asked.

        Cancelling keeps what has arrived; the next call goes on from there.
        `progress` is called on the event loop, a few times a second at most.

        Raises:
            SourceNotFound: there is no such file, repository, tag or shipped model.
            SourceCorrupt: the digest differs, or the file is not a model at all.
            SourceUnreachable: it cannot be downloaded now.
            DiskFull: it needs more room than there is; said before the first byte.
            EngineUnavailable, NotAllowed
        """

    async def newest(self, spec: ModelSpec) -> str:
        """Return what a source that can move means now, as OnDisk.resolved; "" where it cannot move.

        Raises:
            EngineError: it cannot be told now.
        """

    async def ensure_removed(self, spec: ModelSpec, keep: Sequence[ModelSpec]) -> int:
        """Delete what was fetched for `spec` and nothing in `keep` uses; return how many bytes that freed.

        What the user has put there (`file:`) and what is shipped is never deleted.
        """

    async def estimate(self, spec: ModelSpec) -> Pools:
        """Return an upper bound of the peak memory of one replica, by pool, without loading it.

        Empty where it takes none of this machine's memory. The source has been fetched.
        """

    async def ensure_loaded(self, replica: str, spec: ModelSpec) -> Running:
        """Have a replica with this id that answers requests, and has answered one (is warm).

        A call while another one loads the same replica joins it. Cancelling
        the call undoes it: no process is left behind, unless another caller
        has joined, who then loads it himself.

        Raises:
            LoadFailed: with the engine's own cause in one sentence.
            LoadTimedOut: it was not ready within the load deadline.
            EngineUnavailable, NotAllowed
        """

    async def ensure_unloaded(self, replica: str) -> None:
        """Have no replica with this id; its process is gone, and its memory is back, when this returns.

        A load of it that is under way ends with LoadFailed.
        """

    async def observe(self) -> Mapping[str, Running]:
        """Return the replicas that are ready and alive by id, from the world, not from memory."""

    async def held(self) -> Pools:
        """Return what all replicas take now and would not give back under pressure, by pool.

        Those that are starting or stopping count; on Linux the pages of files
        do not. Only memory of this machine counts.
        """

    async def reap(self, leftovers: Sequence[Running]) -> None:
        """End what an earlier daemon left running, where it still runs and is still the same process."""

    def on_exit(self, report: Callable[[str, EngineError], None]) -> None:
        """Have `report(replica, cause)` called, on the event loop, when a loaded replica ends by itself."""

    async def diagnose(self) -> Sequence[Finding]:
        """Return what there is of it on this machine, for `orchestrator doctor`; never raises."""

    async def close(self) -> None:
        """Unload everything; a load that is asked for afterwards fails."""

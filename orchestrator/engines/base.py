"""What every engine can do: idempotent verbs. An engine carries out; it never decides."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from orchestrator.errors import EngineError
from orchestrator.values.fleet import Running
from orchestrator.values.spec import ModelSpec


class Engine(Protocol):
    """One way of running models.

    Every verb may be called again at any time with the same arguments and then
    changes nothing. Every verb has a deadline of its own and raises
    EngineError, never anything else, when the engine will not or cannot.
    """

    name: str

    async def ensure_fetched(self, spec: ModelSpec) -> None:
        """Have the weights on this machine and check them against their pinned digest.

        Raises:
            SourceNotFound: there is no such file or shipped model.
            SourceCorrupt: the digest differs, or the file is not a model at all.
        """

    async def ensure_loaded(self, replica: str, spec: ModelSpec) -> Running:
        """Have a replica with this id that answers requests, and has answered one (is warm).

        A call while another one loads the same replica joins it. Cancelling
        the call undoes it: no process is left behind, unless another caller
        has joined, who then loads it himself.

        Raises:
            LoadFailed: with the engine's own cause in one sentence.
            LoadTimedOut: it was not ready within the load deadline.
        """

    async def ensure_unloaded(self, replica: str) -> None:
        """Have no replica with this id; its process is gone when this returns.

        A load of it that is under way ends with LoadFailed.
        """

    async def observe(self) -> Mapping[str, Running]:
        """Return the replicas that are ready and alive by id, from the world, not from memory."""

    async def reap(self, leftovers: Sequence[Running]) -> None:
        """End what an earlier daemon left running, where it still runs and is still the same process."""

    def on_exit(self, report: Callable[[str, EngineError], None]) -> None:
        """Have `report(replica, cause)` called, on the event loop, when a loaded replica ends by itself."""

    async def close(self) -> None:
        """Unload everything; a load that is asked for afterwards fails."""

"""What is fetched, for one form of model: had, found again, followed and removed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from orchestrator.engines.base import OnDisk, Premises, Progress
from orchestrator.values.spec import ModelSpec

Form = Literal["gguf", "mlx"]


class Library:
    """The weights of an engine's models: `gguf` files, or folders as `mlx` reads them.

    Nothing is started by building it, and it needs no closing: what it starts ends with the call.
    """

    def __init__(self, premises: Premises, *, form: Form) -> None:
        self._premises = premises
        self._form = form

    async def ensure(self, spec: ModelSpec, progress: Callable[[Progress], None]) -> OnDisk:
        """Have the weights of `spec` here, checked and quantised as asked. As Engine.ensure_fetched."""
        raise NotImplementedError

    def path_of(self, spec: ModelSpec) -> Path:
        """Return the GGUF file (of several parts: the first) or the MLX folder that `spec` loads.

        Reads a small file or two, and no network.

        Raises:
            SourceNotFound: it has not been fetched, or there is no such shipped model.
        """
        raise NotImplementedError

    async def newest(self, spec: ModelSpec) -> str:
        """Return what the source means now. As Engine.newest."""
        raise NotImplementedError

    async def remove(self, spec: ModelSpec, keep: Sequence[ModelSpec]) -> int:
        """Delete what only `spec` uses; return the bytes that freed. As Engine.ensure_removed."""
        raise NotImplementedError

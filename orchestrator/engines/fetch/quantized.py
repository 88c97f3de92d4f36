"""Quantised models: made in a child process, kept in the cache by what they were made of and by what."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Final

from orchestrator.engines.base import Premises, Progress
from orchestrator.engines.children.errand import Errand, run
from orchestrator.errors import EngineUnavailable, SourceNotFound
from orchestrator.values.spec import ModelSpec
from orchestrator.workers.fetch.products import Products
from orchestrator.workers.fetch.room import sized
from orchestrator.workers.fetch.shelf import Shelf

MODULE: Final = "orchestrator.workers.quantize"
# A single tensor of a large model can take minutes, and a slow machine a multiple of that. A guess.
QUIET_S: Final = 1800.0
_DIGITS: Final = 16

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """What quantises models of one form."""

    runtime: str
    package: str
    suffix: str


MAKERS: Final[Mapping[str, Maker]] = MappingProxyType(
    {
        "gguf": Maker(runtime="llama-cpp", package="llama-cpp-python", suffix=".gguf"),
        "mlx": Maker(runtime="mlx", package="mlx-lm", suffix=""),
    }
)


class Quantized:
    """The quantised models of one form in one cache."""

    def __init__(self, premises: Premises, shelf: Shelf, form: str) -> None:
        self._premises = premises
        self._shelf = shelf
        self._products = Products(shelf)
        self._maker = MAKERS[form]

    async def ensure(
        self, spec: ModelSpec, source: Path, identity: str, progress: Callable[[Progress], None]
    ) -> int:
        """Have the model at `source` quantised as `spec` asks; return the size of that in bytes.

        Products of other versions of the quantiser go once this one is there.

        Raises:
            EngineError
        """
        name = self._name(spec, identity)
        if not await asyncio.to_thread(self._products.is_whole, name):
            await asyncio.to_thread(self._shelf.make)
            errand = Errand(
                name=f"quantise {spec.name}",
                module=MODULE,
                job={
                    "runtime": self._maker.runtime,
                    "cache": str(self._shelf.cache),
                    "name": name,
                    "source": str(source),
                    "type": spec.quantize,
                },
                folder=self._shelf.temporary,
                quiet_s=QUIET_S,
                own=self._premises.environment,
                further={},
                redact=lambda text: text.replace(str(source), spec.source.written),
            )
            answer = await run(errand, progress)
            await asyncio.to_thread(self._products.remove, self._prefix(spec, identity), keep=name)
            before, after = sized(int(answer["before"])), sized(int(answer["after"]))
            logger.info("%s: quantised to %s, %s in place of %s", spec.name, spec.quantize, after, before)
        return await asyncio.to_thread(self._products.size_bytes, name)

    def path_of(self, spec: ModelSpec, identity: str) -> Path:
        """Return where it lies.

        Raises:
            SourceNotFound: it does not.
        """
        place = self._products.place(self._name(spec, identity))
        if not place.exists():
            raise SourceNotFound(
                f"source '{spec.source.written}' has not been quantised to {spec.quantize} yet",
                where=spec.name,
                fix="it is done as part of fetching; see `orchestrator status`",
            )
        return place

    def remove(self, spec: ModelSpec, identity: str) -> int:
        """Delete it; return the bytes that freed."""
        return self._products.remove(self._prefix(spec, identity))

    def _prefix(self, spec: ModelSpec, identity: str) -> str:
        return f"{identity[:_DIGITS]}-{spec.quantize.lower()}-{self._maker.runtime}-"

    def _name(self, spec: ModelSpec, identity: str) -> str:
        try:
            made_by = version(self._maker.package)
        except PackageNotFoundError:
            raise EngineUnavailable(
                f"quantising needs {self._maker.package}, which is not installed",
                where=spec.name,
                fix=f"pip install {self._maker.package}",
            ) from None
        return f"{self._prefix(spec, identity)}{made_by}{self._maker.suffix}"

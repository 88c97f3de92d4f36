"""Engines by the name that a model file gives them."""

from collections.abc import Iterator

from orchestrator.engines.base import Engine
from orchestrator.errors import EngineUnknown
from orchestrator.values.spec import ModelSpec


class Registry:
    """The engines that this daemon drives."""

    def __init__(self, *engines: Engine) -> None:
        self._engines = {engine.name: engine for engine in engines}

    def __iter__(self) -> Iterator[Engine]:
        return iter(self._engines.values())

    def of(self, spec: ModelSpec) -> Engine:
        """Return the engine of a spec.

        Raises:
            EngineUnknown: this daemon has no engine of that name.
        """
        engine = self._engines.get(spec.engine)
        if engine is None:
            raise EngineUnknown(
                f"engine '{spec.engine}' is not known",
                where=spec.name,
                fix=f"use one of: {', '.join(sorted(self._engines))}",
            )
        return engine

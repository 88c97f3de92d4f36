"""The engine `mlx`: folders in MLX's form, each replica in a supervised child process of its own."""

from types import MappingProxyType
from typing import Final

from orchestrator.engines.base import Engine, Premises
from orchestrator.values.engine import EngineTraits
from orchestrator.workers.mlx.types import RECIPES

TRAITS: Final = EngineTraits(
    name="mlx",
    summary="loads a folder in MLX's form with mlx-lm, in a child process of the daemon",
    schemes=("file", "demo", "hf"),
    takes=frozenset({"quantize"}),
    choices=MappingProxyType({"quantize": tuple(RECIPES)}),
)


def build(premises: Premises) -> Engine:
    """Return the engine; its module is imported only here and holds no model runtime."""
    from orchestrator.engines.library import Library  # noqa: PLC0415 (only what is used is imported)
    from orchestrator.engines.mlx import MlxEngine  # noqa: PLC0415 (only what is used is imported)

    settings = premises.settings
    return MlxEngine(
        premises.runtime / "m",
        Library(premises, form="mlx"),
        load_deadline_s=settings.load_deadline_s,
        hang_deadline_s=settings.hang_deadline_s,
    )

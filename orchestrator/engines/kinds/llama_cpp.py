"""The engine `llama-cpp`: GGUF files, each replica in a supervised child process of its own."""

from types import MappingProxyType
from typing import Final

from orchestrator.engines.base import Engine, Premises
from orchestrator.values.engine import EngineTraits
from orchestrator.workers.quantize_types import QUANTIZE

TRAITS: Final = EngineTraits(
    name="llama-cpp",
    summary="loads a GGUF file in a child process of the daemon",
    schemes=("file", "demo", "hf", "https"),
    takes=frozenset({"quantize", "accelerator"}),
    choices=MappingProxyType({"quantize": QUANTIZE, "accelerator": ("auto", "cpu", "cuda", "metal", "rocm")}),
)


def build(premises: Premises) -> Engine:
    """Return the engine; its module is imported only here and holds no model runtime."""
    from orchestrator.engines.library import Library  # noqa: PLC0415 (only what is used is imported)
    from orchestrator.engines.llama.engine import LlamaCppEngine  # noqa: PLC0415 (only what is used is imported)

    settings = premises.settings
    return LlamaCppEngine(
        premises.runtime / "w",
        Library(premises, form="gguf"),
        load_deadline_s=settings.load_deadline_s,
        hang_deadline_s=settings.hang_deadline_s,
    )

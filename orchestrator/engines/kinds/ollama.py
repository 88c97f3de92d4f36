"""The engine `ollama`: models that Ollama servers run, on this machine or beside it."""

from types import MappingProxyType
from typing import Final

from orchestrator.engines.base import Engine, Premises
from orchestrator.values.engine import EngineTraits
from orchestrator.workers.quantize_types import QUANTIZE

TRAITS: Final = EngineTraits(
    name="ollama",
    summary="has one or several Ollama servers run the model",
    schemes=("ollama", "file", "demo", "hf", "https"),
    bare="ollama",
    takes=frozenset({"endpoint", "api_key", "quantize", "accelerator"}),
    choices=MappingProxyType({"accelerator": ("auto", "cpu"), "quantize": QUANTIZE}),
)


def build(premises: Premises) -> Engine:
    """Return the engine; nothing is connected to before a model needs it."""
    from orchestrator.engines.ollama.engine import OllamaEngine  # noqa: PLC0415 (only what is used is imported)

    return OllamaEngine(premises)

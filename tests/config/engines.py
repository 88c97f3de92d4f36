"""Engines as the checks see them: traits alone, whatever the real ones are."""

from types import MappingProxyType
from typing import Final

from orchestrator.values.engine import EngineTraits

LLAMA_CPP: Final = EngineTraits(
    name="llama-cpp",
    summary="loads a GGUF file",
    schemes=("file", "demo", "hf", "https"),
    takes=frozenset({"quantize", "accelerator"}),
    choices=MappingProxyType({"quantize": ("q8_0", "q4_K_M"), "accelerator": ("cpu", "cuda", "metal")}),
)
OLLAMA: Final = EngineTraits(
    name="ollama",
    summary="drives an Ollama server",
    schemes=("ollama", "file"),
    bare="ollama",
    takes=frozenset({"endpoint"}),
)
SERVER: Final = EngineTraits(
    name="server",
    summary="runs any command that serves the OpenAI API",
    schemes=("name", "file", "hf"),
    bare="name",
    takes=frozenset({"command", "environment", "health"}),
    needs=frozenset({"command"}),
)
OPENAI: Final = EngineTraits(
    name="openai",
    summary="asks an endpoint that exists already",
    schemes=("name",),
    bare="name",
    takes=frozenset({"endpoint", "api_key", "paid", "prices", "health"}),
    needs=frozenset({"endpoint"}),
)
FAR: Final = EngineTraits(name="far", summary="has sources of its own", schemes=("oci", "mine"), bare="mine")

ENGINES: Final = MappingProxyType({each.name: each for each in (LLAMA_CPP, OLLAMA, SERVER, OPENAI, FAR)})

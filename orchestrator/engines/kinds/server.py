"""The engine `server`: any command that serves the OpenAI API, started and watched over by the daemon."""

from dataclasses import replace
from typing import Final

from orchestrator.engines.base import Engine, Premises
from orchestrator.values.engine import EngineTraits

TRAITS: Final = EngineTraits(
    name="server",
    summary="starts a command that serves the OpenAI API, such as llama-server or vLLM",
    schemes=("file", "demo", "hf", "https", "name"),
    bare="name",
    takes=frozenset({"command", "environment", "health", "endpoint", "api_key", "quantize"}),
    needs=frozenset({"command"}),
)


def build(premises: Premises) -> Engine:
    """Return the engine; its module is imported only here: checking a file takes no HTTP client."""
    from orchestrator.engines.server.engine import ServerEngine  # noqa: PLC0415 (see above)

    return ServerEngine(replace(premises, runtime=premises.runtime / "s"))

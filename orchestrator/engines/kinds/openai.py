"""The engine `openai`: endpoints that somebody else runs, on the local network or paid for."""

from typing import Final

from orchestrator.engines.base import Engine, Premises
from orchestrator.values.engine import EngineTraits

TRAITS: Final = EngineTraits(
    name="openai",
    summary="leads to servers that speak OpenAI's API already",
    schemes=("name",),
    bare="name",
    takes=frozenset({"endpoint", "api_key", "paid", "prices"}),
    needs=frozenset({"endpoint"}),
)


def build(premises: Premises) -> Engine:
    """Return the engine; what it needs to connect is imported on first use."""
    from orchestrator.engines.openai.engine import OpenAIEngine  # noqa: PLC0415 (only what is used is imported)

    settings = premises.settings
    return OpenAIEngine(
        premises.runtime / "o", egress=settings.egress, load_deadline_s=settings.load_deadline_s
    )

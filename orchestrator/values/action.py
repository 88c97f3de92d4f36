"""Steps towards the catalog. Actions are data and say why; `control/perform.py` carries them out."""

from dataclasses import dataclass

from orchestrator.values.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Start `replica` from `spec`: fetch, load, warm."""

    model: str
    replica: str
    spec: ModelSpec
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Give `replica` no new request; its leases run on. State only: nothing is performed."""

    model: str
    replica: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unload:
    """End `replica`, and its load where that is still under way."""

    model: str
    replica: str
    engine: str
    why: str


Action = Load | Drain | Unload

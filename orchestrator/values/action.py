"""Steps towards the catalog. Actions are data and say why; `control/perform.py` carries them out."""

from dataclasses import dataclass

from orchestrator.values.memory import Footprint
from orchestrator.values.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """Have the weights of `spec` on this machine, checked, and know how much memory it takes.

    `known` is what an earlier fetch of the same launch has found out.
    """

    model: str
    spec: ModelSpec
    why: str
    known: Footprint | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOff:
    """End the fetch that is under way for `model`; what has arrived is kept."""

    model: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Delete what was fetched for `spec` and none of the specs in `keep` uses."""

    model: str
    spec: ModelSpec
    keep: tuple[ModelSpec, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Start `replica` from `spec`, which has been fetched: load, warm."""

    model: str
    replica: str
    spec: ModelSpec
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Give `replica` no new request; its leases run on. State only: nothing is performed.

    `patient` drains have no deadline: memory is wanted, but not at the price of a request.
    `pressed` ones make room for programs outside.
    """

    model: str
    replica: str
    why: str
    patient: bool = False
    pressed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unload:
    """End `replica`, and its load where that is still under way."""

    model: str
    replica: str
    engine: str
    why: str


Action = Fetch | CallOff | Load | Drain | Unload | Remove

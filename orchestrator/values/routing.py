"""The routing table: an immutable snapshot that the request path reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from orchestrator.values.policy import RoutingPolicy
from orchestrator.values.spec import ModelState, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How one model is reached now.

    `replica`, `revision` and `socket` are None together: no replica is ready,
    and `unready` says why in one sentence. `stalled` means that waiting will
    not help. `load_s` is how long a load is expected to take from now, None
    where nothing has been measured. `retry_at` is when the next try is due
    after a failure, None where there was none: until then the model cannot get
    ready by being asked for. `remote` models are asked only by policies whose
    tiers say so. `progress` describes a load or a download under way, "" for
    none.
    """

    model: str
    state: ModelState
    capabilities: tuple[str, ...]
    sampling: Sampling
    replica: str | None = None
    revision: str | None = None
    socket: str | None = None
    unready: str = ""
    stalled: bool = False
    on_demand: bool = False
    remote: bool = False
    load_s: float | None = None
    retry_at: datetime | None = None
    progress: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingTable:
    """`epoch` grows with every new table."""

    epoch: int = 0
    routes: Mapping[str, Route] = field(default_factory=lambda: MappingProxyType({}))
    policies: Mapping[str, RoutingPolicy] = field(default_factory=lambda: MappingProxyType({}))
    default_policy: str | None = None

"""What requests ask of the fleet at one moment: the plan's view of the gateway."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Requests that wait for one model: how many, the oldest of the most urgent, and its priority."""

    count: int
    since: datetime
    priority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Requests under way and waiting.

    `leases` counts those under way by replica, absent is none. `idle_since`
    says since when a ready replica without leases has had none. `waiting` is by model.
    """

    leases: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    idle_since: Mapping[str, datetime] = field(default_factory=lambda: MappingProxyType({}))
    waiting: Mapping[str, Waiting] = field(default_factory=lambda: MappingProxyType({}))


NO_DEMAND: Final = Demand()

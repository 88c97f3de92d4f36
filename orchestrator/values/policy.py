"""A routing policy: which model answers a request that names no model."""

from dataclasses import dataclass
from enum import StrEnum


class Tier(StrEnum):
    """Where a model runs; the words of `tiers:`."""

    LOCAL = "local"  # this machine and its own networks
    REMOTE = "remote"  # paid, or beyond the machine's own networks


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingPolicy:
    """Candidates in order of preference.

    `otherwise` holds the models to use, first one first; `fallback` those to
    use when none of them can answer. `default` marks the one policy that the
    model name `auto` stands for. `tiers` are those whose models may take part;
    remote ones only if the settings file allows egress as well.
    """

    name: str
    default: bool = False
    otherwise: tuple[str, ...]
    fallback: tuple[str, ...] = ()
    tiers: tuple[Tier, ...] = (Tier.LOCAL,)

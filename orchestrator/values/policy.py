"""A routing policy: which model answers a request that names no model."""

from dataclasses import dataclass
from enum import StrEnum


class Tier(StrEnum):
    """Where a model runs; the words of `tiers:`."""

    LOCAL = "local"  # this machine and its own networks
    REMOTE = "remote"  # paid, or beyond the machine's own networks


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a number has to keep to; every bound that is not None."""

    at_least: float | None = None
    above: float | None = None
    below: float | None = None
    at_most: float | None = None

    def admits(self, value: float | None) -> bool:
        """Say whether the value keeps to the bounds; one that is not known never does."""
        return value is not None and (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and (self.at_most is None or value <= self.at_most)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """What a request has to be for a rule to apply; everything that is given, and at least one is.

    `priority` is a number that the request gives, `estimated_tokens` that of
    its prompt, `complexity` is from 0 to 1. `tasks` are words of the user's
    own; the request's task is one of them. None and () ask for nothing.
    """

    priority: Bounds | None = None
    estimated_tokens: Bounds | None = None
    complexity: Bounds | None = None
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a policy does with some requests; it has either `use` or `prefer`.

    `use` stands in place of the policy's `otherwise`; `prefer` is put before
    it. The fallback comes after both.
    """

    when: When
    use: tuple[str, ...] = ()
    prefer: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingPolicy:
    """Candidates in order of preference.

    `rules` are looked at in their order, and the first one whose `when` holds
    decides; where none does, `otherwise` holds the models to use, first one
    first. `fallback` are those to use when none of them can answer. `default`
    marks the one policy that the model name `auto` stands for. `tiers` are
    those whose models may take part; remote ones only if the settings file
    allows egress as well.
    """

    name: str
    default: bool = False
    rules: tuple[Rule, ...] = ()
    otherwise: tuple[str, ...]
    fallback: tuple[str, ...] = ()
    tiers: tuple[Tier, ...] = (Tier.LOCAL,)

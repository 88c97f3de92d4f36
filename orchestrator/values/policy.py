"""A routing policy: which model answers a request that names no model."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingPolicy:
    """Candidates in order of preference.

    `otherwise` holds the models to use, first one first; `fallback` those to
    use when none of them can answer. `default` marks the one policy that the
    model name `auto` stands for.
    """

    name: str
    default: bool = False
    otherwise: tuple[str, ...]
    fallback: tuple[str, ...] = ()

"""Valid data of policies into values; defaults are those of the values themselves."""

from typing import Any, Final

from orchestrator.config.decode import Fields
from orchestrator.values.policy import Bounds, RoutingPolicy, Rule, Tier, When

BOUNDED: Final = ("priority", "estimated_tokens", "complexity")


def routing(name: str, data: Fields) -> RoutingPolicy:
    """Return the policy of a file of kind routing."""
    given: dict[str, Any] = {"name": name, "otherwise": tuple(data["otherwise"])}
    if "default" in data:
        given["default"] = data["default"]
    if "rules" in data:
        given["rules"] = tuple(rule(each) for each in data["rules"])
    if "fallback" in data:
        given["fallback"] = tuple(data["fallback"])
    if "tiers" in data:
        given["tiers"] = tuple(Tier(word) for word in data["tiers"])
    return RoutingPolicy(**given)


def rule(data: Fields) -> Rule:
    """Return one rule of a routing policy."""
    when = data["when"]
    bounds = {name: Bounds(**when[name]) for name in BOUNDED if name in when}
    task = when.get("task", ())
    return Rule(
        when=When(**bounds, tasks=(task,) if isinstance(task, str) else tuple(task)),
        use=tuple(data.get("use", ())),
        prefer=tuple(data.get("prefer", ())),
    )

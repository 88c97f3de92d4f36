"""What a rule table says and cannot mean."""

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.config.flaw import At, Flaw
from orchestrator.config.read import Tree
from orchestrator.config.substitute import Resolved


def flaws(tree: Tree, resolved: Resolved) -> Iterator[Flaw]:
    """Yield a flaw for each condition that no number keeps to.

    Takes any data: what is not of the type that the schema asks for is passed over.
    """
    data = resolved.data
    rules = data.get("rules") if isinstance(data, dict) else None
    for index, rule in enumerate(rules if isinstance(rules, list) else []):
        when = rule.get("when") if isinstance(rule, dict) else None
        for name, bounds in when.items() if isinstance(when, dict) else ():
            at: At = ("rules", index, "when", name)
            if isinstance(bounds, dict) and _is_empty(bounds):
                line, column = tree.place(at)
                what = f"rules.when.{name}: no number is all of that"
                fix = "leave one bound out, or make two rules of it"
                yield Flaw(what=what, fix=fix, line=line, column=column)


def _is_empty(bounds: Mapping[str, Any]) -> bool:
    known = {word: value for word, value in bounds.items() if isinstance(value, int | float)}
    lows = [(known[word], word == "above") for word in ("at_least", "above") if word in known]
    highs = [(known[word], word == "below") for word in ("at_most", "below") if word in known]
    return any(
        low > high or (low == high and (low_is_out or high_is_out))
        for low, low_is_out in lows
        for high, high_is_out in highs
    )

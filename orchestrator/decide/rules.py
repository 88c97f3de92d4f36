"""Which models a policy considers for one request, and in which order."""

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.decide.features import Features
from orchestrator.values.policy import RoutingPolicy, Rule, When


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One model in its place; `why` says how it came there."""

    model: str
    why: str


def candidates(policy: RoutingPolicy, features: Features) -> Iterator[Candidate]:
    """Give the policy's models for a request with these features, the first choice first.

    The first rule whose `when` holds decides: its `use` stands in place of the
    policy's `otherwise`, its `prefer` before it. The fallback comes last. Each
    model comes once, where it comes first.
    """
    found = _matching(policy, features)
    seen: set[str] = set()
    for candidate in _in_order(policy, found, features):
        if candidate.model not in seen:
            seen.add(candidate.model)
            yield candidate


def holds(when: When, features: Features) -> bool:
    """Say whether a request with these features is what the rule is for: everything that is given."""
    return (
        (when.priority is None or when.priority.admits(features.priority))
        and (when.estimated_tokens is None or when.estimated_tokens.admits(features.estimated_tokens))
        and (when.complexity is None or when.complexity.admits(features.complexity))
        and (not when.tasks or features.task in when.tasks)
    )


def _matching(policy: RoutingPolicy, features: Features) -> tuple[int, Rule] | None:
    """Return the rule that decides, with its number from 1; None where none does."""
    return next((pair for pair in enumerate(policy.rules, 1) if holds(pair[1].when, features)), None)


def _in_order(
    policy: RoutingPolicy, found: tuple[int, Rule] | None, features: Features
) -> Iterator[Candidate]:
    of_policy = f"of policy {policy.name}"
    otherwise = policy.otherwise
    if found is not None:
        number, rule = found
        reason = _reason(rule.when, features)
        yield from _numbered("choice", rule.use or rule.prefer, f"of rule {number} {of_policy} ({reason})")
        of_policy += f", after rule {number} ({reason})"
        otherwise = () if rule.use else otherwise
    yield from _numbered("choice", otherwise, of_policy)
    fallback = (model for model in policy.fallback if model not in otherwise)
    yield from _numbered("fallback", tuple(fallback), of_policy)


def _numbered(kind: str, models: tuple[str, ...], of: str) -> Iterator[Candidate]:
    return (Candidate(model=model, why=f"{kind} {place} {of}") for place, model in enumerate(models, 1))


def _reason(when: When, features: Features) -> str:
    """Return what the rule looked at, as the request has it."""
    looked_at = (
        ("priority", when.priority, features.priority),
        ("task", when.tasks, features.task),
        ("estimated_tokens", when.estimated_tokens, features.estimated_tokens),
        ("complexity", when.complexity, features.complexity),
    )
    return ", ".join(f"{name} {value}" for name, asked, value in looked_at if asked)

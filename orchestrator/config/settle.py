"""What only several files together can get wrong. Pure: drafts in, usable drafts and problems out."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final, TypeVar

from orchestrator.config.draft import Draft
from orchestrator.config.flaw import At, Flaw, problems
from orchestrator.config.notation import one_of, suggestion
from orchestrator.config.paths import MODELS
from orchestrator.values.catalog import Document, Problem
from orchestrator.values.policy import RoutingPolicy

T = TypeVar("T")

MOST_LISTED: Final = 8


def one_per_name(drafts: Iterable[Draft[T]]) -> tuple[dict[str, Draft[T]], tuple[Problem, ...]]:
    """Return the valid drafts by name.

    Two files for one name (`a.yaml` and `a.yml`) are a problem at both, and
    neither is used.
    """
    by_name: dict[str, list[Draft[T]]] = {}
    for draft in drafts:
        by_name.setdefault(draft.name, []).append(draft)
    found: list[Problem] = []
    for twins in by_name.values():
        for draft in twins if len(twins) > 1 else ():
            others = ", ".join(other.path for other in twins if other is not draft)
            what = f"'{draft.name}' has another file: {others}"
            found.append(Problem(path=draft.path, what=what, fix="keep one of them"))
    single = {name: twins[0] for name, twins in by_name.items() if len(twins) == 1}
    return {name: draft for name, draft in single.items() if draft.value is not None}, tuple(found)


def usable_policies(
    drafts: Mapping[str, Draft[RoutingPolicy]],
    in_force: Mapping[str, Document[RoutingPolicy]],
    models: Collection[str],
) -> tuple[dict[str, Draft[RoutingPolicy]], tuple[Problem, ...]]:
    """Return the policies that may come into force, and the problems of the others.

    A policy that names a model without a file is refused; so is a second
    default: the one in force stays, and where none is in force all are refused.
    A refused policy keeps its last accepted version.

    Args:
        drafts: the valid ones, by name.
        in_force: the accepted ones, by name.
        models: every model that has a file, valid or not, or is in force.
    """
    found: list[Problem] = []
    usable: dict[str, Draft[RoutingPolicy]] = {}
    for name, draft in drafts.items():
        flaws = list(_unknown_models(draft, models))
        found += problems(draft.path, draft.text, flaws)
        if not flaws:
            usable[name] = draft
    for name, rival in _second_defaults(usable, in_force).items():
        draft = usable.pop(name)
        line, column = draft.places.get(("default",), (0, 0))
        flaw = Flaw(
            what=f"default: {rival} is the default too",
            fix="leave `default: true` in one of them",
            line=line,
            column=column,
        )
        found += problems(draft.path, draft.text, [flaw])
    return usable, tuple(found)


def named_models(policy: RoutingPolicy) -> tuple[str, ...]:
    """Return every model that the policy names, each once."""
    return tuple(dict.fromkeys(chain.from_iterable(names for _at, names in _named(policy))))


def _unknown_models(draft: Draft[RoutingPolicy], models: Collection[str]) -> Iterable[Flaw]:
    if draft.value is None:
        return
    for at, names in _named(draft.value):
        for index, name in enumerate(names):
            if name in models:
                continue
            line, column = draft.places.get((*at, index), (0, 0))
            field = ".".join(part for part in at if isinstance(part, str))
            what = f"{field}: there is no model '{name}'"
            yield Flaw(what=what, fix=_fix(name, models), line=line, column=column)


def _named(policy: RoutingPolicy) -> Iterator[tuple[At, Sequence[str]]]:
    """Yield every list of models, with its path in the file."""
    for index, rule in enumerate(policy.rules):
        yield ("rules", index, "use"), rule.use
        yield ("rules", index, "prefer"), rule.prefer
    yield ("otherwise",), policy.otherwise
    yield ("fallback",), policy.fallback


def _fix(name: str, models: Collection[str]) -> str:
    if meant := suggestion(name, models):
        return f"did you mean '{meant}'?"
    if 0 < len(models) <= MOST_LISTED:
        return f"use {one_of(sorted(models))}; or add {MODELS}/{name}.yaml"
    return f"add {MODELS}/{name}.yaml, or name another model"


def _second_defaults(
    usable: Mapping[str, Draft[RoutingPolicy]], in_force: Mapping[str, Document[RoutingPolicy]]
) -> dict[str, str]:
    """Return the policies that may not become the default, each with the path of one in its way."""
    claims: dict[str, str] = {}
    for name in sorted({*usable, *in_force}):
        draft, accepted = usable.get(name), in_force.get(name)
        if draft is not None and draft.value is not None and draft.value.default:
            claims[name] = draft.path
        elif draft is None and accepted is not None and accepted.value.default:
            claims[name] = accepted.path
    keepers = [name for name in claims if name in in_force and in_force[name].value.default]
    if len(claims) < 2:  # noqa: PLR2004 (one default is what we want)
        return {}
    refused = [name for name in claims if name in usable and name not in keepers]
    return {
        name: next(claims[other] for other in chain(keepers, claims) if other != name) for name in refused
    }

"""What one file says now: bytes through every check that needs no other file."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar, cast

from orchestrator.config import decode, engine, rules
from orchestrator.config.decode import Surroundings
from orchestrator.config.decode_policy import routing
from orchestrator.config.flaw import At, Flaw, Place, problems
from orchestrator.config.read import Tree, parse
from orchestrator.config.read import decode as decode_text
from orchestrator.config.secrets import misplaced_secrets, secret_lines
from orchestrator.config.substitute import Resolved, substitute
from orchestrator.config.validate import violations
from orchestrator.values.catalog import Problem
from orchestrator.values.policy import RoutingPolicy
from orchestrator.values.spec import ModelSpec, digest

T = TypeVar("T")

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
RESERVED: Final = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft(Generic[T]):
    """One file as it is now, not yet compared with other files or with what is in force.

    `value` is None exactly where there are problems. `places` are those of
    the values, `lines` those of the fields. `files` are the ones that the text
    refers to as `${file:PATH}`.
    """

    name: str
    path: str
    text: str = ""
    value: T | None = None
    meaning: str = ""
    lines: Mapping[str, int] = field(default_factory=dict)
    places: Mapping[At, Place] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A text after the checks that all kinds share; `data` is valid where there are no flaws."""

    kind: str
    text: str
    tree: Tree
    resolved: Resolved
    flaws: tuple[Flaw, ...]


def unreadable(name: str, path: str, what: str, fix: str) -> Draft[Any]:
    """Return the draft of a file that cannot be read at all."""
    return Draft(name=name, path=path, problems=(Problem(path=path, what=what, fix=fix),))


def model(name: str, path: str, raw: bytes, around: Surroundings) -> Draft[ModelSpec]:
    """Return what a file in `models.d/` says."""
    checked = check(raw, "model", around)
    flaws = (*_name_flaws(name, "model"), *checked.flaws)
    if flaws:
        return _refused(name, path, checked, flaws)
    data, written = _fields(checked.resolved.data), _fields(checked.tree.data)
    spec = decode.model(name, data, written, around)
    meaning = {
        # What is loaded and how; secrets are in there as digests.
        "revision": spec.revision,
        "launch": spec.launch,
        "state": spec.state,
        "load": spec.load,
        "idle": spec.idle_s,
        "pinned": spec.pinned,
        "memory": spec.memory_bytes,
        "capabilities": sorted(spec.capabilities),
        "sampling": spec.sampling.as_request_fields(),
        "update": asdict(spec.update),
        "paid": spec.paid,
        "prices": asdict(spec.prices),
        "health": spec.health,
    }
    return _accepted(name, path, checked, spec, digest(meaning))


def policy(name: str, path: str, raw: bytes, around: Surroundings) -> Draft[RoutingPolicy]:
    """Return what a file in `policies/` says."""
    checked = check(raw, "routing", around)
    flaws = (*_name_flaws(name, "policy"), *checked.flaws)
    if flaws:
        return _refused(name, path, checked, flaws)
    found = routing(name, _fields(checked.resolved.data))
    meaning = asdict(found) | {"name": ""}
    return _accepted(name, path, checked, found, digest(meaning))


def check(raw: bytes, kind: str, around: Surroundings) -> Checked:
    """Return the text with everything that is wrong with its form, its references and its fields."""
    text, broken = decode_text(raw)
    if broken is not None:
        return Checked(kind=kind, text=text, tree=Tree(), resolved=Resolved(data=None), flaws=(broken,))
    tree = parse(text)
    if tree.data is None:
        return Checked(kind=kind, text=text, tree=tree, resolved=Resolved(data=None), flaws=tree.flaws)
    if "${" in text:
        resolved = substitute(tree, folder=around.folder, env=around.env)
    else:
        resolved = Resolved(data=tree.data)
    found = [*tree.flaws, *resolved.flaws]
    stages: list[Iterable[Flaw]] = [violations(kind, tree, resolved), misplaced_secrets(kind, tree, resolved)]
    if kind == "routing":
        stages.append(rules.flaws(tree, resolved))
    if kind == "model":
        stages.append(engine.flaws(tree, resolved, around.engines))
    for stage in stages:
        # What is wrong already would often be refused a second time for that. In particular, what could
        # not be resolved stands there as written.
        places = {(flaw.line, flaw.column) for flaw in found}
        found += [flaw for flaw in stage if (flaw.line, flaw.column) not in places]
    return Checked(kind=kind, text=text, tree=tree, resolved=resolved, flaws=tuple(found))


def lines_of(tree: Tree) -> dict[str, int]:
    """Return the line of every field, dotted where nested."""
    return {".".join(map(str, at)): line for at, (line, _column) in tree.keys.items()}


def _accepted(name: str, path: str, checked: Checked, value: T, meaning: str) -> Draft[T]:
    return Draft(
        name=name,
        path=path,
        text=checked.text,
        value=value,
        meaning=meaning,
        lines=lines_of(checked.tree),
        places=checked.tree.values,
        files=checked.resolved.files,
    )


def _refused(name: str, path: str, checked: Checked, flaws: tuple[Flaw, ...]) -> Draft[Any]:
    found = problems(path, checked.text, flaws, secret_lines=secret_lines(checked.kind, checked.text))
    return Draft(name=name, path=path, text=checked.text, problems=found, files=checked.resolved.files)


def _name_flaws(name: str, noun: str) -> tuple[Flaw, ...]:
    if noun == "model" and name == RESERVED:
        return (Flaw(what=f"'{RESERVED}' stands for the default policy", fix="rename the file"),)
    if NAME.fullmatch(name):
        return ()
    allowed = "lower-case letters, digits, `.`, `_` and `-`, a letter or digit first, at most 63 of them"
    return (Flaw(what=f"{name!r} cannot be the name of a {noun}", fix=f"rename the file: {allowed}"),)


def _fields(data: object) -> Mapping[str, Any]:
    """Return a valid document's fields: the schema has seen to it that they are a mapping."""
    return cast("Mapping[str, Any]", data)

"""What changed between two catalogs, field by field, with what it will cost."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final

from orchestrator.values.catalog import Catalog, Document, Kind, T
from orchestrator.values.policy import RoutingPolicy
from orchestrator.values.spec import ModelSpec, Sampling


class ChangeClass(StrEnum):
    LIVE = "live"  # nothing is loaded anew
    RELOAD = "reload"  # the same revision in a new process
    REPLACE = "replace"  # a new revision
    CREATE = "create"
    REMOVE = "remove"


CLASS_OF: Final[Mapping[str, ChangeClass]] = {
    "engine": ChangeClass.REPLACE,
    "source": ChangeClass.REPLACE,
    "context": ChangeClass.REPLACE,
    "parallel": ChangeClass.RELOAD,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """`old` and `new` are as people write them; "" where there is none. `line` 0 is the whole file."""

    kind: Kind
    name: str
    change_class: ChangeClass
    field: str
    old: str
    new: str
    path: str
    line: int

    def __str__(self) -> str:
        match self.change_class:
            case ChangeClass.CREATE:
                return f"new: {self.new}"
            case ChangeClass.REMOVE:
                return f"removed (was {self.old})"
            case _:
                return f"{self.field}: {self.old or '(none)'} → {self.new or '(none)'}"


def changes(old: Catalog, new: Catalog) -> tuple[Change, ...]:
    """Return every change of meaning from `old` to `new`: models first, by name, then by field."""
    models = _by_name(old.models, new.models, model_fields, lambda spec: spec.source.written)
    policies = _by_name(old.policies, new.policies, policy_fields, lambda p: ", ".join(p.otherwise))
    return (*models, *policies)


def model_fields(spec: ModelSpec) -> dict[str, str]:
    """Return the spec's fields as people write them, the sampling ones dotted."""
    sampling = ((f.name, getattr(spec.sampling, f.name)) for f in fields(Sampling))
    return {
        "engine": spec.engine,
        "source": spec.source.written,
        "state": str(spec.state),
        "context": str(spec.context),
        "parallel": str(spec.parallel),
        "capabilities": ", ".join(spec.capabilities),
    } | {f"sampling.{name}": str(value) for name, value in sampling if value is not None}


def policy_fields(policy: RoutingPolicy) -> dict[str, str]:
    """Return the policy's fields as people write them."""
    return {
        "default": str(policy.default).lower(),
        "otherwise": ", ".join(policy.otherwise),
        "fallback": ", ".join(policy.fallback),
    }


def _by_name(
    old: Mapping[str, Document[T]],
    new: Mapping[str, Document[T]],
    shown: Callable[[T], dict[str, str]],
    gist: Callable[[T], str],
) -> Iterator[Change]:
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before is after:
            continue
        if after is None and before is not None:
            yield _whole(before, ChangeClass.REMOVE, gist(before.value), "")
        elif before is None and after is not None:
            yield _whole(after, ChangeClass.CREATE, "", gist(after.value))
        elif before is not None and after is not None and before.value != after.value:
            yield from _fields(after, shown(before.value), shown(after.value))


def _whole(doc: Document[T], change_class: ChangeClass, old: str, new: str) -> Change:
    return Change(
        kind=doc.kind,
        name=doc.name,
        change_class=change_class,
        field="",
        old=old,
        new=new,
        path=doc.path,
        line=0,
    )


def _fields(doc: Document[T], before: dict[str, str], after: dict[str, str]) -> Iterator[Change]:
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    # Equal as written and yet another value: what a ${…} stands for has changed.
    hidden = not names
    for name in names or ["source"]:
        yield Change(
            kind=doc.kind,
            name=doc.name,
            change_class=CLASS_OF.get(name, ChangeClass.LIVE),
            field=name,
            old=before.get(name, ""),
            new=f"{after.get(name, '')} (what it stands for has changed)" if hidden else after.get(name, ""),
            path=doc.path,
            line=doc.lines.get(name, doc.lines.get(name.partition(".")[0], 0)),
        )

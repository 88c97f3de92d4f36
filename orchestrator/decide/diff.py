"""What changed between two catalogs, field by field, with what it will cost."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from orchestrator.decide.budget import human
from orchestrator.values.catalog import Catalog, Document, Kind, T
from orchestrator.values.policy import RoutingPolicy
from orchestrator.values.spec import LoadWhen, ModelSpec, Prices, Sampling, Update, digest


class ChangeClass(StrEnum):
    LIVE = "live"  # nothing is loaded anew
    RELOAD = "reload"  # the same revision in a new process
    REPLACE = "replace"  # a new revision
    CREATE = "create"
    REMOVE = "remove"


# In place of a secret: that there is one may be said.
HIDDEN: Final = "(hidden)"
CLASS_OF: Final[Mapping[str, ChangeClass]] = {
    "engine": ChangeClass.REPLACE,
    "source": ChangeClass.REPLACE,
    "context": ChangeClass.REPLACE,
    "quantize": ChangeClass.REPLACE,
    "accelerator": ChangeClass.REPLACE,
    "endpoint": ChangeClass.REPLACE,
    "command": ChangeClass.REPLACE,
    "environment": ChangeClass.REPLACE,
    "parallel": ChangeClass.RELOAD,
    "api_key": ChangeClass.RELOAD,
}
# Fields that are not shown in full, each with its whole value.
SECRETIVE: Final[Mapping[str, Callable[[ModelSpec], object]]] = {
    "endpoint": lambda spec: spec.endpoints,
    "command": lambda spec: spec.command,
    "environment": lambda spec: spec.environment,
    "api_key": lambda spec: spec.api_key,
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
    models = _by_name(old.models, new.models, lambda spec: spec.source.written, _model_changes)
    policies = _by_name(old.policies, new.policies, lambda p: ", ".join(p.otherwise), _policy_changes)
    return (*models, *policies)


def model_fields(spec: ModelSpec) -> dict[str, str]:
    """Return the spec's fields as people write them, the sampling ones dotted."""
    sampling = ((f.name, getattr(spec.sampling, f.name)) for f in fields(Sampling))
    known = {
        "engine": spec.engine,
        "source": spec.source.written,
        "state": str(spec.state),
        "load": str(spec.load),
        "idle": f"{spec.idle_s:g} s" if spec.load is LoadWhen.ON_DEMAND else "",
        "pinned": "true" if spec.pinned else "",
        "context": str(spec.context),
        "parallel": str(spec.parallel),
        "quantize": spec.quantize,
        "accelerator": spec.accelerator,
        "memory": "auto" if spec.memory_bytes is None else human(spec.memory_bytes),
        "capabilities": ", ".join(spec.capabilities),
        "endpoint": ", ".join(map(without_secret, spec.endpoints_written)) or HIDDEN * bool(spec.endpoints),
        "api_key": HIDDEN if spec.api_key else "",
        "paid": "true" if spec.paid else "",
        "prices": _prices(spec.prices),
        "command": f"{spec.command[0]} … ({len(spec.command)} words)" if spec.command else "",
        "environment": ", ".join(name for name, _ in spec.environment),
        "health": spec.health.partition("?")[0] if spec.command else "",
        "update": _update(spec.update),
    } | {f"sampling.{name}": str(value) for name, value in sampling if value is not None}
    return {name: value for name, value in known.items() if value}


def without_secret(url: str) -> str:
    """Return a URL without the user, the password and the query that it may hold."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def _prices(prices: Prices) -> str:
    if prices == Prices():
        return ""
    return f"{prices.input_per_million:g} in, {prices.output_per_million:g} out (USD per million tokens)"


def _update(update: Update) -> str:
    if update.check_every_s is None:
        return ""
    return f"looked for every {update.check_every_s / 3600:g} h, then {update.apply}"


def policy_fields(policy: RoutingPolicy) -> dict[str, str]:
    """Return the policy's fields as people write them."""
    return {
        "default": str(policy.default).lower(),
        "otherwise": ", ".join(policy.otherwise),
        "fallback": ", ".join(policy.fallback),
        "tiers": ", ".join(policy.tiers),
        "rules": f"{len(policy.rules)}: {digest({'rules': repr(policy.rules)})}" if policy.rules else "",
    }


def _by_name(
    old: Mapping[str, Document[T]],
    new: Mapping[str, Document[T]],
    gist: Callable[[T], str],
    inside: Callable[[Document[T], Document[T]], Iterator[Change]],
) -> Iterator[Change]:
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if after is None and before is not None:
            yield _whole(before, ChangeClass.REMOVE, gist(before.value), "")
        elif before is None and after is not None:
            yield _whole(after, ChangeClass.CREATE, "", gist(after.value))
        elif before is not None and after is not None and before.meaning != after.meaning:
            yield from inside(before, after)


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


def _model_changes(before: Document[ModelSpec], after: Document[ModelSpec]) -> Iterator[Change]:
    old, new = model_fields(before.value), model_fields(after.value)
    names = _differing(old, new)
    replaced = before.value.revision != after.value.revision
    for name in names:
        change_class = CLASS_OF.get(name, ChangeClass.LIVE)
        # What is written in another way and leads to the same place loads nothing anew.
        if change_class is ChangeClass.REPLACE and not replaced:
            change_class = ChangeClass.LIVE
        yield _field(after, name, change_class, old.get(name, ""), new.get(name, ""))
    hidden = [name for name, of in SECRETIVE.items() if of(before.value) != of(after.value)]
    for name in hidden:
        if name not in names:
            shown = new.get(name, "")
            yield _field(after, name, CLASS_OF[name], shown, f"{shown} (in what is not shown)")
    if replaced and not any(CLASS_OF.get(name) is ChangeClass.REPLACE for name in (*names, *hidden)):
        # Equal as written and yet another revision: what a ${…} stands for has changed.
        written = new["source"]
        yield _field(
            after, "source", ChangeClass.REPLACE, written, f"{written} (what it stands for has changed)"
        )


def _policy_changes(before: Document[RoutingPolicy], after: Document[RoutingPolicy]) -> Iterator[Change]:
    old, new = policy_fields(before.value), policy_fields(after.value)
    for name in _differing(old, new):
        yield _field(after, name, ChangeClass.LIVE, old[name], new[name])


def _differing(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return [name for name in {**old, **new} if old.get(name) != new.get(name)]


def _field(doc: Document[T], name: str, change_class: ChangeClass, old: str, new: str) -> Change:
    return Change(
        kind=doc.kind,
        name=doc.name,
        change_class=change_class,
        field=name,
        old=old,
        new=new,
        path=doc.path,
        line=doc.lines.get(name, doc.lines.get(name.partition(".")[0], 0)),
    )

"""All accepted specs and policies at one moment, and the problems of those not accepted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Generic, TypeVar

from orchestrator.values.policy import RoutingPolicy
from orchestrator.values.spec import ModelSpec

T = TypeVar("T", ModelSpec, RoutingPolicy)
EMPTY: Mapping[str, "Document[ModelSpec]"] = MappingProxyType({})
NO_POLICIES: Mapping[str, "Document[RoutingPolicy]"] = MappingProxyType({})


class Kind(StrEnum):
    """The kind of thing a file describes; its folder says which."""

    MODEL = "model"
    POLICY = "policy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document(Generic[T]):
    """One accepted file.

    `path` is relative to the configuration folder, as shown to people.
    `text` is the file as accepted, with `${…}` unresolved. `meaning` is the
    digest of its canonical form after defaults: a change of comments or order
    leaves it alone. `generation` counts changes of meaning, from 1. `lines`
    maps a field, dotted where nested, to its line, counted from 1.
    """

    kind: Kind
    name: str
    path: str
    text: str
    meaning: str
    generation: int
    value: T
    lines: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Every accepted document, by name, in name order."""

    models: Mapping[str, Document[ModelSpec]] = field(default_factory=lambda: EMPTY)
    policies: Mapping[str, Document[RoutingPolicy]] = field(default_factory=lambda: NO_POLICIES)

    @property
    def default_policy(self) -> RoutingPolicy | None:
        """The policy that `auto` stands for; None where no file says `default: true`."""
        return next((doc.value for doc in self.policies.values() if doc.value.default), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with one file, with its place and its fix.

    `line` and `column` count from 1; 0 means the file as a whole. `excerpt`
    is the source line, without its line break.
    """

    path: str
    line: int = 0
    column: int = 0
    what: str
    fix: str = ""
    excerpt: str = ""

    @property
    def where(self) -> str:
        """`path:line:column`, or the path alone for a problem of the whole file."""
        return f"{self.path}:{self.line}:{self.column}" if self.line else self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A disappearance that is not obeyed until somebody confirms it.

    `path` is the folder, `names` are the documents whose files are gone.
    """

    path: str
    why: str
    since: datetime
    names: frozenset[str] = frozenset()

    def concerns(self, document: Document[T]) -> bool:
        """True where the document's file is one of those that are gone."""
        return document.name in self.names and document.path.startswith(f"{self.path}/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one scan of the configuration folder found.

    `catalog` holds for each file its newest valid version: the one on disk,
    or the last one accepted where the one on disk has problems.
    """

    catalog: Catalog
    problems: tuple[Problem, ...] = ()
    held: tuple[Held, ...] = ()

"""Accepted documents as rows, so that a restart with a broken file starts on the last good version."""

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from orchestrator.config import draft as drafts
from orchestrator.config.decode import Surroundings
from orchestrator.config.draft import Draft
from orchestrator.values.catalog import Catalog, Document, Kind, T
from orchestrator.values.engine import EngineTraits
from orchestrator.values.policy import RoutingPolicy
from orchestrator.values.spec import ModelSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDocument:
    """One accepted file as it is kept: as written, so without the secrets that it refers to."""

    kind: Kind
    name: str
    path: str
    text: str
    generation: int


def store(catalog: Catalog) -> tuple[StoredDocument, ...]:
    """Return one row for each document."""
    documents: list[Document[ModelSpec] | Document[RoutingPolicy]] = [
        *catalog.models.values(),
        *catalog.policies.values(),
    ]
    return tuple(
        StoredDocument(kind=d.kind, name=d.name, path=d.path, text=d.text, generation=d.generation)
        for d in documents
    )


def restore(
    rows: Iterable[StoredDocument],
    folder: Path,
    env: Mapping[str, str] = os.environ,
    *,
    engines: Mapping[str, EngineTraits],
) -> Catalog:
    """Return the catalog that was stored.

    A row that no longer makes sense (its `${file:}` is gone, its engine is no
    longer there, or a newer version is stricter) is left out and logged; where the file on disk says
    the same, the next scan reports its problems.

    Args:
        rows: as `store` returned them.
        folder: the configuration folder, where relative paths start.
        env: the environment for `${env:}`.
        engines: the engines that there are, by name.
    """
    around = Surroundings(folder=folder.absolute(), env=env, engines=engines)
    models: dict[str, Document[ModelSpec]] = {}
    policies: dict[str, Document[RoutingPolicy]] = {}
    for row in sorted(rows, key=lambda row: row.name):
        raw = row.text.encode()
        if row.kind is Kind.MODEL:
            spec = drafts.model(row.name, row.path, raw, around)
            if spec.value is not None:
                models[row.name] = document(Kind.MODEL, spec, spec.value, row.generation)
            problems = spec.problems
        else:
            policy = drafts.policy(row.name, row.path, raw, around)
            if policy.value is not None:
                policies[row.name] = document(Kind.POLICY, policy, policy.value, row.generation)
            problems = policy.problems
        for problem in problems:
            log.warning("the last accepted version cannot be used: %s: %s", problem.where, problem.what)
    return Catalog(models=MappingProxyType(models), policies=MappingProxyType(policies))


def document(kind: Kind, draft: Draft[T], value: T, generation: int) -> Document[T]:
    """Return an accepted draft."""
    return Document(
        kind=kind,
        name=draft.name,
        path=draft.path,
        text=draft.text,
        meaning=draft.meaning,
        generation=generation,
        value=value,
        lines=draft.lines,
    )

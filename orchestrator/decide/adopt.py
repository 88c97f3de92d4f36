"""What a reading of the configuration folder changes."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from orchestrator.decide.diff import Change, changes
from orchestrator.values.catalog import Catalog, Document, Held, Kind, Problem
from orchestrator.values.event import CatalogRead
from orchestrator.values.fact import LifecycleFact, Severity
from orchestrator.values.spec import ModelSpec
from orchestrator.values.state import ModelRecord, State


def adopt(state: State, event: CatalogRead) -> tuple[State, tuple[str, ...], tuple[LifecycleFact, ...]]:
    """Put the reading in force.

    Returns:
        The state after it; the names of the models whose record, problems or
        holds changed; and a fact for each change, new problem and new hold.
    """
    reading = event.reading
    if (reading.catalog, reading.problems, reading.held) == (state.catalog, state.problems, state.held):
        return state, (), ()
    after = replace(
        state,
        catalog=reading.catalog,
        problems=reading.problems,
        held=reading.held,
        models=_records(state, reading.catalog),
    )
    facts = (
        *(
            _change_fact(reading.catalog, change, event.at)
            for change in changes(state.catalog, reading.catalog)
        ),
        *_trouble_facts(state, after, event.at),
    )
    return after, tuple(_touched(state, after)), facts


def _records(state: State, catalog: Catalog) -> Mapping[str, ModelRecord]:
    by_model = state.fleet.by_model()
    models = dict(state.models)
    for name in {*models, *catalog.models}:
        document = catalog.models.get(name)
        record = models.get(name, ModelRecord(name=name))
        if document is None and name not in by_model:
            models.pop(name, None)
        elif record.document is not document:
            models[name] = _with_document(record, document)
    return models


def _with_document(record: ModelRecord, document: Document[ModelSpec] | None) -> ModelRecord:
    """Return the record with its new file; an edit is a reason to try a rejected launch again."""
    if document is None:
        return replace(record, document=None, stable=None, rejected={})
    if record.document is not None and record.document.generation == document.generation:
        return replace(record, document=document)
    stable = record.stable.launch if record.stable else None
    kept = {launch: rejection for launch, rejection in record.rejected.items() if launch == stable}
    if stable == document.value.launch:
        kept = {}
    return replace(record, document=document, rejected=kept)


def _touched(before: State, after: State) -> Iterator[str]:
    paths = _changed_paths(before, after)
    for name, record in after.models.items():
        if record is not before.models.get(name) or (record.document and record.document.path in paths):
            yield name


def _changed_paths(before: State, after: State) -> set[str]:
    def by_path(found: State) -> dict[str, list[Problem | Held]]:
        grouped: dict[str, list[Problem | Held]] = {}
        troubles: tuple[Problem | Held, ...] = (*found.problems, *found.held)
        for trouble in troubles:
            grouped.setdefault(trouble.path, []).append(trouble)
        return grouped

    old, new = by_path(before), by_path(after)
    return {path for path in {*old, *new} if old.get(path) != new.get(path)}


def _change_fact(catalog: Catalog, change: Change, at: datetime) -> LifecycleFact:
    is_model = change.kind is Kind.MODEL
    document = catalog.models.get(change.name) if is_model else None
    where = f"{change.path}:{change.line}" if change.line else change.path
    return LifecycleFact(
        at=at,
        severity=Severity.NORMAL,
        reason="Accepted",
        message=f"{where}: {change} ({change.change_class})",
        model=change.name if is_model else "",
        generation=document.generation if document else 0,
    )


def _trouble_facts(before: State, after: State, at: datetime) -> Iterator[LifecycleFact]:
    by_path = {record.document.path: name for name, record in after.models.items() if record.document}
    for problem in after.problems:
        if problem not in before.problems:
            text = f"{problem.where}: {problem.what}"
            yield _warning(at, "NotAccepted", text, by_path.get(problem.path, ""))
    for held in after.held:
        if held not in before.held:
            yield _warning(at, "Held", f"{held.path}: {held.why}", by_path.get(held.path, ""))
    if before.problems and not after.problems:
        yield LifecycleFact(
            at=at, severity=Severity.NORMAL, reason="Valid", message="every file is valid again"
        )


def _warning(at: datetime, reason: str, message: str, model: str) -> LifecycleFact:
    return LifecycleFact(at=at, severity=Severity.WARNING, reason=reason, message=message, model=model)

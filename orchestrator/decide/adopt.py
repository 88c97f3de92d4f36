"""What a reading of the configuration folder changes."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from orchestrator.decide.diff import Change, changes
from orchestrator.values.catalog import Catalog, Document, Kind, Problem
from orchestrator.values.event import CatalogRead
from orchestrator.values.fact import LifecycleFact, Severity
from orchestrator.values.spec import Apply, ModelSpec
from orchestrator.values.state import ModelRecord, Resolution, State


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
    wanted = {name for name, record in after.models.items() if record.desired is not None}
    after = replace(after, removed=frozenset(state.removed & after.models.keys() - wanted))
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
    record = replace(record, resolution=_followed(record.resolution, document.value))
    if record.document is not None and record.document.generation == document.generation:
        return replace(record, document=document)
    stable = record.stable.launch if record.stable else None
    kept = {launch: rejection for launch, rejection in record.rejected.items() if launch == stable}
    if stable == document.value.launch:
        kept = {}
    return replace(record, document=document, rejected=kept)


def _followed(known: Resolution | None, spec: ModelSpec) -> Resolution | None:
    """Return the resolution with the newer version in force that was only told of so far, where it may be."""
    if known is None or spec.update.apply is not Apply.ROLLOUT or known.written != spec.source.written:
        return known
    return replace(known, resolved=known.newest or known.resolved)


def _touched(before: State, after: State) -> Iterator[str]:
    """Yield the models whose record changed, or what is wrong with their file."""
    old, new = _problems_by_path(before), _problems_by_path(after)
    for name, record in after.models.items():
        if record is not before.models.get(name):
            yield name
        elif (document := record.document) is not None:
            was_held, is_held = ([h for h in state.held if h.concerns(document)] for state in (before, after))
            if was_held != is_held or old.get(document.path) != new.get(document.path):
                yield name


def _problems_by_path(state: State) -> dict[str, list[Problem]]:
    grouped: dict[str, list[Problem]] = {}
    for problem in state.problems:
        grouped.setdefault(problem.path, []).append(problem)
    return grouped


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
            yield _warning(at, "Held", f"{held.path}: {held.why}", "")
    if before.problems and not after.problems:
        yield LifecycleFact(
            at=at, severity=Severity.NORMAL, reason="Valid", message="every file is valid again"
        )


def _warning(at: datetime, reason: str, message: str, model: str) -> LifecycleFact:
    return LifecycleFact(at=at, severity=Severity.WARNING, reason=reason, message=message, model=model)

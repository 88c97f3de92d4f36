"""What would happen if a folder were in force: what `orchestrator plan` shows."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator import clock
from orchestrator.config.check import check
from orchestrator.control import report
from orchestrator.control.recovery import first_state
from orchestrator.control.store import peek
from orchestrator.decide.diff import changes
from orchestrator.decide.preview import preview
from orchestrator.values.catalog import Catalog, Document, Reading, T
from orchestrator.values.event import CatalogRead
from orchestrator.values.settings import Limits
from orchestrator.values.state import State

Json = dict[str, Any]


def planned(state: State, folder: Path, env: Mapping[str, str], limits: Limits) -> Json:
    """Return the changes from the catalog in force to `folder`, and the steps they lead to.

    Reads the files; run it in a thread. A file with problems counts with its
    accepted version, as it would in the daemon; so does a whole folder that
    cannot be read. `failed` are the models that are not as their file asks and
    for which there is neither a change nor a step.
    """
    reading = _merged(state.catalog, check(folder, env, kinds.traits()), folder)
    edits = changes(state.catalog, reading.catalog)
    steps = preview(state, CatalogRead(at=clock.now(), reading=reading), limits)
    touched = {item.name for item in edits} | {item.model for item in steps}
    return {
        "changes": [report.change(item) for item in edits],
        "steps": [report.step(item) for item in steps],
        "failed": [item for item in report.failed(state) if item["model"] not in touched],
        "problems": report.problems(reading.problems),
    }


def offline(folder: Path, state_folder: Path, env: Mapping[str, str]) -> Json:
    """Return what a daemon would do that starts now on `folder`: nothing runs yet, so everything loads."""
    recovered = peek(state_folder, folder)
    state = first_state(recovered, folder, env, boot=0)
    return planned(state, folder, env, Limits())


def _merged(accepted: Catalog, found: Reading, folder: Path) -> Reading:
    broken = {problem.path for problem in found.problems}
    if str(folder.absolute()) in broken:
        return replace(found, catalog=accepted)
    return replace(
        found,
        catalog=Catalog(
            models=_documents(accepted.models, found.catalog.models, broken),
            policies=_documents(accepted.policies, found.catalog.policies, broken),
        ),
    )


def _documents(
    accepted: Mapping[str, Document[T]], found: Mapping[str, Document[T]], broken: set[str]
) -> dict[str, Document[T]]:
    kept = {name: doc for name, doc in accepted.items() if broken & {doc.path, doc.path.partition("/")[0]}}
    merged = kept | {name: _same_or_next(accepted.get(name), doc) for name, doc in found.items()}
    return dict(sorted(merged.items()))


def _same_or_next(before: Document[T] | None, found: Document[T]) -> Document[T]:
    """Return the accepted document where the file means the same, else the next generation of it."""
    if before is None:
        return found
    same = before.meaning == found.meaning
    return replace(found, generation=before.generation if same else before.generation + 1)

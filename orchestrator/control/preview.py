"""What would happen if a folder were in force: what `orchestrator plan` shows."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from orchestrator import clock
from orchestrator.config.check import check
from orchestrator.control import report
from orchestrator.control.recovery import first_state
from orchestrator.control.store import peek
from orchestrator.decide.budget import obstacle
from orchestrator.decide.diff import changes
from orchestrator.decide.fetching import NEAR
from orchestrator.decide.fold import fold
from orchestrator.decide.preview import preview
from orchestrator.decide.serving import NO_ROOM_FIX
from orchestrator.engines import kinds
from orchestrator.engines.base import Engine, Premises
from orchestrator.engines.memory.meter import Meter
from orchestrator.errors import EngineError
from orchestrator.values.catalog import Catalog, Document, Reading, T
from orchestrator.values.event import CatalogRead
from orchestrator.values.memory import Footprint
from orchestrator.values.settings import Limits, limits_of
from orchestrator.values.spec import ModelSpec
from orchestrator.values.state import State

# For one launch, and for all of a plan; in seconds. An estimate takes a tenth of a second of a processor.
ESTIMATE_DEADLINE_S: Final = 20.0
ESTIMATES_DEADLINE_S: Final = 60.0
ESTIMATES_AT_ONCE: Final = 2

Json = dict[str, Any]

logger = logging.getLogger(__name__)


async def planned(
    state: State,
    folder: Path,
    env: Mapping[str, str],
    limits: Limits,
    engines: Mapping[str, Engine],
) -> Json:
    """Return the changes from the catalog in force to `folder`, and the steps they lead to.

    A file with problems counts with its accepted version, as it would in the
    daemon; so does a whole folder that cannot be read. `failed` are the models
    that are not as their file asks and for which there is neither a change nor
    a step. What a new launch takes is estimated where its weights are here.
    """
    found = await asyncio.to_thread(check, folder, env, kinds.traits())
    reading = _merged(state.catalog, found, folder)
    edits = changes(state.catalog, reading.catalog)
    footprints = await _estimated(state, reading.catalog, engines)
    read = CatalogRead(at=clock.now(), reading=reading)
    steps = await asyncio.to_thread(preview, state, read, limits, footprints)
    touched = {item.name for item in edits} | {item.model for item in steps}
    return {
        "changes": [report.change(item) for item in edits],
        "steps": [report.step(item) for item in steps],
        "failed": [item for item in report.failed(state) if item["model"] not in touched],
        "problems": report.problems(reading.problems),
        "memory": report.memory(state),
        "unfit": _unfit(state, reading.catalog, footprints),
    }


async def offline(place: Premises, folder: Path, state_folder: Path) -> Json:
    """Return what a daemon would do that starts now on `folder`: nothing runs yet, so everything loads."""
    recovered = await asyncio.to_thread(peek, state_folder, folder)
    state = first_state(recovered, folder, place.environment, boot=0)
    memory = await Meter(place.settings).read({})
    state = replace(state, memory=replace(memory, at=clock.now()))
    engines = kinds.build_all(place)
    try:
        return await planned(state, folder, place.environment, limits_of(place.settings), engines)
    finally:
        for engine in engines.values():
            await engine.close()


async def _estimated(
    state: State, catalog: Catalog, engines: Mapping[str, Engine]
) -> Mapping[str, Footprint]:
    """Return what launches take of which nothing is known yet, where it can be told without a download.

    What several models launch alike is estimated once. Where there is too much
    of it, what has come in time counts.
    """
    unknown: dict[str, ModelSpec] = {}
    for name, document in catalog.models.items():
        record = state.models.get(name)
        spec = record.resolve(document.value) if record else document.value
        known = spec.launch in state.footprints or not spec.wanted or spec.source.scheme not in NEAR
        if not known and spec.engine in engines:
            unknown[spec.launch] = spec
    found: dict[str, Footprint] = {}
    gate = asyncio.Semaphore(ESTIMATES_AT_ONCE)

    async def estimate(launch: str, spec: ModelSpec) -> None:
        with suppress(EngineError, TimeoutError):
            async with gate, asyncio.timeout(ESTIMATE_DEADLINE_S):
                found[launch] = Footprint(estimated=await engines[spec.engine].estimate(spec))

    try:
        async with asyncio.timeout(ESTIMATES_DEADLINE_S), asyncio.TaskGroup() as tasks:
            for launch, spec in unknown.items():
                tasks.create_task(estimate(launch, spec))
    except TimeoutError:
        logger.warning(
            "there was time to estimate %d of %d models; whether the others fit is found out when they load",
            len(found),
            len(unknown),
        )
    return found


def _unfit(state: State, catalog: Catalog, footprints: Mapping[str, Footprint]) -> list[Json]:
    """Return the models that could never be loaded as the catalog stands, each with the reason."""
    read = CatalogRead(at=clock.now(), reading=Reading(catalog=catalog))
    after = fold(replace(state, footprints={**footprints, **state.footprints}), read).state
    wanted = ((name, record.desired) for name, record in sorted(after.models.items()))
    reasons = ((name, obstacle(after, spec)) for name, spec in wanted if spec)
    return [{"model": name, "why": why, "fix": NO_ROOM_FIX} for name, why in reasons if why]


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

"""What a new daemon makes of what the last one left: it observes and undoes, and never replays."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from orchestrator import clock
from orchestrator.config.accepted import restore
from orchestrator.control.store import Leftover, Recovered
from orchestrator.control.stored_spec import StoredSpec
from orchestrator.decide.fold import fold
from orchestrator.engines import kinds
from orchestrator.engines.base import Engine
from orchestrator.errors import EngineError
from orchestrator.values.catalog import Catalog, Reading
from orchestrator.values.event import CatalogRead
from orchestrator.values.fact import LifecycleFact, Severity
from orchestrator.values.spec import ModelSpec
from orchestrator.values.state import ModelRecord, State

log = logging.getLogger(__name__)


def first_state(recovered: Recovered, folder: Path, env: Mapping[str, str], *, boot: int) -> State:
    """Return the state before the first scan: what was accepted and stable is known, and nothing runs."""
    accepted = restore(recovered.documents, folder, env, engines=kinds.traits())
    stable = dict(_resolved(recovered.stable, accepted))
    models = {
        name: ModelRecord(name=name, stable=stable.get(name), resolution=recovered.resolutions.get(name))
        for name in sorted({*stable, *recovered.resolutions})
    }
    known = CatalogRead(at=clock.now(), reading=Reading(catalog=accepted))
    return fold(State(boot=boot, models=models, footprints=recovered.footprints), known).state


def _resolved(stable: Mapping[str, StoredSpec], accepted: Catalog) -> Iterator[tuple[str, ModelSpec]]:
    """Give the specs that can be loaded: what was left out is known where the accepted file has it."""
    for name, stored in stable.items():
        document = accepted.models.get(name)
        spec = stored.whole(document.value if document else None)
        if spec is not None:
            yield name, spec


async def end_leftovers(
    leftovers: Iterable[Leftover],
    engines: Mapping[str, Engine],
    remember: Callable[[LifecycleFact], None],
) -> None:
    """End what the last daemon could not end itself, and say what it was in the middle of."""
    known = tuple(leftovers)
    ended: set[str] = set()
    for name, engine in engines.items():
        try:
            await engine.reap([left.running for left in known if left.running and left.engine == name])
        except EngineError as error:
            log.warning("what the last daemon left cannot be ended: %s", error)
        else:
            ended.add(name)
    for left in known:
        what = "it is gone" if left.engine in ended else "nothing here can tell whether it still runs"
        remember(
            LifecycleFact(
                at=clock.now(),
                severity=Severity.WARNING,
                reason="Recovered",
                message=f"the last daemon ended while this replica was {left.phase}; {what}",
                model=left.model,
                revision=left.revision,
                replica=left.replica,
            )
        )

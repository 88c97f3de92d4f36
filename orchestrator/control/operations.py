"""What an operator may ask of a running daemon; every answer is ready for JSON."""

import asyncio
import difflib
import logging
import os
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from orchestrator import clock
from orchestrator.config.follow import Follower
from orchestrator.control import report
from orchestrator.control.findings import examine
from orchestrator.control.loop import Loop
from orchestrator.control.preview import planned
from orchestrator.decide.diff import changes
from orchestrator.engines.base import Premises
from orchestrator.errors import ModelUnknown, StateError
from orchestrator.history.writer import HistoryWriter
from orchestrator.values.catalog import Catalog
from orchestrator.values.event import ReloadAsked
from orchestrator.values.fact import LifecycleFact
from orchestrator.values.routing import RoutingTable
from orchestrator.values.state import State

log = logging.getLogger(__name__)

Json = dict[str, Any]

RECENT_EVENTS: Final = 50
PUBLISH_DEADLINE_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What does not change while the daemon runs."""

    version: str
    pid: int
    started_at: datetime
    address: str
    config_folder: Path
    state_folder: Path
    premises: Premises


class RecentEvents:
    """The newest lifecycle facts of each model, in memory."""

    def __init__(self) -> None:
        self._by_model: dict[str, deque[LifecycleFact]] = {}

    def remember(self, fact: LifecycleFact) -> None:
        self._by_model.setdefault(fact.model, deque(maxlen=RECENT_EVENTS)).append(fact)

    def of(self, model: str) -> list[LifecycleFact]:
        """Return the model's facts, newest last."""
        return list(self._by_model.get(model, ()))


class Operations:
    def __init__(
        self, *, facts: Facts, loop: Loop, follower: Follower, history: HistoryWriter, recent: RecentEvents
    ) -> None:
        self._facts = facts
        self._loop = loop
        self._follower = follower
        self._history = history
        self._recent = recent
        # What the last reload told of; an edit that the watcher saw first is news to whoever asks.
        self._reported = loop.state.catalog
        self._stopping = False
        self._reloads: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """From here on the files are not followed any more, and the status says so."""
        self._stopping = True
        for task in self._reloads:  # nobody reads the files for them any more
            task.cancel()

    def settled_first(self) -> None:
        """Note that the daemon has started: what was read until now is no news to whoever reloads."""
        self._reported = self._loop.state.catalog

    async def status(self) -> Json:
        """Return the daemon, its models and policies, and everything that is wrong."""
        state, facts, history = self._loop.state, self._facts, self._history.status()
        return {
            "version": facts.version,
            "pid": facts.pid,
            "started_at": facts.started_at.isoformat(timespec="seconds"),
            "address": facts.address,
            "config_folder": str(facts.config_folder),
            "state_folder": str(facts.state_folder),
            "ready": not self._stopping and readiness(self._loop.leases.table, read=self._loop.has_read)[0],
            "problems": report.problems(state.problems),
            "held": report.held(state.held),
            "state": {
                "ok": self._loop.unsaved is None,
                "error": str(self._loop.unsaved) if self._loop.unsaved else None,
            },
            "history": {
                "ok": history.ok,
                "written": history.written,
                "queued": history.queued,
                "dropped": history.dropped,
                "error": history.error,
            },
            "memory": report.memory(state),
            "models": self._models(state),
            "policies": report.policies(state),
        }

    async def describe(self, name: str) -> Json:
        """Return one model with its spec, its problems and what happened to it lately.

        Raises:
            ModelUnknown: there is none of that name.
        """
        state = self._loop.state
        record = state.models.get(name)
        if record is None:
            raise unknown(name, state)
        path = record.document.path if record.document else ""
        demand, headway = self._loop.leases.demand(), self._loop.performer.progress
        return report.model(state, name, demand, headway) | {
            "spec": report.spec_fields(record),
            "events": [report.event(fact) for fact in self._recent.of(name)],
            "problems": report.problems(problem for problem in state.problems if problem.path == path),
        }

    async def reload(self, wait_s: float | None) -> Json:
        """Read the files now, try what was given up once more, and wait for the fleet to settle.

        Args:
            wait_s: how long to wait; None does not wait.

        Raises:
            StateError: the daemon is stopping.
        """
        self._refuse_when_stopping()
        began = clock.monotonic_s()
        self._loop.post(ReloadAsked(at=clock.now()))
        reading = await self._follower.rescan()
        settled = await self._loop.settled(wait_s if wait_s is not None else 0.0)
        before, self._reported = self._reported, reading.catalog
        state = self._loop.state
        return {
            "changed": _changed(before, reading.catalog),
            "problems": report.problems(reading.problems),
            "held": report.held(reading.held),
            "settled": settled,
            "models": self._models(state),
            "waited_ms": round((clock.monotonic_s() - began) * 1000),
        }

    def reload_soon(self, tasks: asyncio.TaskGroup) -> None:
        """Reload without waiting, as SIGHUP asks; what comes of it is logged."""
        if self._stopping:
            return

        async def reload() -> None:
            found = await self.reload(None)
            log.info("reloaded: %d changed, %d problems", len(found["changed"]), len(found["problems"]))

        task = tasks.create_task(reload(), name="reload")
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def plan(self, folder: str | None) -> Json:
        """Return what would happen if `folder` (or the daemon's own, as it is now) were in force."""
        chosen = Path(folder) if folder else self._facts.config_folder
        loop = self._loop
        return await planned(loop.state, chosen, os.environ, loop.limits, loop.engines)

    async def doctor(self) -> Json:
        """Return what every engine and the machine say of themselves."""
        return await examine(self._facts.premises, self._facts.state_folder, self._loop.engines)

    async def publish(self) -> Json:
        """Bring the published copy of the history up to date."""
        path = await self._history.publish(PUBLISH_DEADLINE_S)
        status = self._history.status()
        return {"path": str(path), "published_at": str(status.published_at), "rows": status.written}

    async def confirm_removal(self) -> Json:
        """Obey the disappearances that are held.

        Raises:
            StateError: the daemon is stopping.
        """
        self._refuse_when_stopping()
        confirmed = await self._follower.confirm_removal()
        return {"confirmed": [item.path for item in confirmed]}

    def _models(self, state: State) -> list[Json]:
        return report.models(state, self._loop.leases.demand(), self._loop.performer.progress)

    def _refuse_when_stopping(self) -> None:
        if self._stopping:
            raise StateError(
                "the daemon is stopping and reads no files any more", fix="start it again: orchestrator run"
            )


def readiness(table: RoutingTable, *, read: bool) -> tuple[bool, dict[str, object]]:
    """Return whether every model that is always loaded is served, and for those that are not, why.

    Args:
        table: how the models are reached now.
        read: whether the files have been read since the start.
    """
    if not read:
        return False, {"models": 0, "not_ready": {}, "why": "the files have not been read yet"}
    waiting = {
        name: route.unready
        for name, route in table.routes.items()
        if route.replica is None and not route.on_demand
    }
    return not waiting, {"models": len(table.routes), "not_ready": waiting}


def unknown(name: str, state: State) -> ModelUnknown:
    """Return the error for a name that no model has."""
    close = difflib.get_close_matches(name, state.models, n=1)
    known = ", ".join(sorted(state.models)) or "none yet"
    return ModelUnknown(
        f"there is no model {name!r}", fix=f"did you mean {close[0]!r}?" if close else f"models: {known}"
    )


def _changed(before: Catalog, after: Catalog) -> list[Json]:
    words = {"create": "added", "remove": "removed"}
    found = {(str(c.kind), c.name): words.get(c.change_class, "changed") for c in changes(before, after)}
    return [{"kind": kind, "name": name, "change": change} for (kind, name), change in found.items()]

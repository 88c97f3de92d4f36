"""Carrying actions out: the one place where a decision touches an engine."""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping

from orchestrator import clock
from orchestrator.engines.base import Engine
from orchestrator.errors import EngineError, EngineUnknown
from orchestrator.values.action import Load, Unload
from orchestrator.values.event import Event, ReplicaLoaded, ReplicaLost, ReplicaUnloaded, UnloadFailed

log = logging.getLogger(__name__)


class Performer:
    """Performs actions and posts every outcome as an event; never raises for an engine's failure.

    Args:
        engines: by name.
        post: receives the outcomes.
    """

    def __init__(self, engines: Mapping[str, Engine], post: Callable[[Event], None]) -> None:
        self._engines = engines
        self._post = post
        self._loading: dict[str, asyncio.Task[None]] = {}

    def start(self, tasks: asyncio.TaskGroup, action: Load | Unload) -> None:
        """Begin to perform `action` in `tasks`."""
        if isinstance(action, Load):
            task = tasks.create_task(self._load(action), name=f"load {action.replica}")
            self._loading[action.replica] = task
            task.add_done_callback(lambda _: self._loading.pop(action.replica, None))
        else:
            tasks.create_task(self._unload(action), name=f"unload {action.replica}")

    def lost(self, replica: str, cause: Exception) -> None:
        """Post that a replica would not load or ended by itself."""
        known = cause if isinstance(cause, EngineError) else None
        self._post(
            ReplicaLost(
                at=clock.now(),
                replica=replica,
                reason=type(cause).__name__ if known else "Bug",
                message=_said(cause),
                terminal=known.terminal if known else False,
                fix=known.fix if known else "",
                draw=random.random(),  # noqa: S311 (spreads retries; nothing to guess)
            )
        )

    async def _load(self, action: Load) -> None:
        try:
            engine = self._engine(action.spec.engine)
            await engine.ensure_fetched(action.spec)
            running = await engine.ensure_loaded(action.replica, action.spec)
        except EngineError as error:
            self.lost(action.replica, error)
        except Exception as error:
            log.exception("load of %s failed in a way nobody thought of", action.replica)
            self.lost(action.replica, error)
        else:
            self._post(ReplicaLoaded(at=clock.now(), replica=action.replica, running=running))

    async def _unload(self, action: Unload) -> None:
        loading = self._loading.get(action.replica)
        if loading is not None:
            loading.cancel()
            await asyncio.wait([loading])
        try:
            await self._engine(action.engine).ensure_unloaded(action.replica)
        except Exception as error:
            log.exception("unload of %s failed", action.replica)
            self._post(UnloadFailed(at=clock.now(), replica=action.replica, message=_said(error)))
        else:
            self._post(ReplicaUnloaded(at=clock.now(), replica=action.replica))

    def _engine(self, name: str) -> Engine:
        engine = self._engines.get(name)
        if engine is None:
            raise EngineUnknown(f"there is no engine {name!r}", fix=f"use one of: {', '.join(self._engines)}")
        return engine


def _said(error: Exception) -> str:
    """Return what an engine said, in one sentence; a bug with its kind."""
    return error.what if isinstance(error, EngineError) else f"{type(error).__name__}: {error}"

"""Tasks that live between two calls in place of inside one block."""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

logger = logging.getLogger(__name__)


class Crew:
    """A TaskGroup that is opened by one call and closed by another: `open`, any number of `start`, `close`.

    Its tasks never hurt each other nor who opened it: an exception that one
    of them did not expect is logged, and the others go on.
    """

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Let tasks be started from now on."""
        self._group = await self._stack.enter_async_context(asyncio.TaskGroup())

    @property
    def is_open(self) -> bool:
        return self._group is not None

    def start(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run `work` until it ends, is cancelled, or the crew is closed.

        Raises:
            RuntimeError: the crew is not open.
        """
        if self._group is None:
            work.close()
            raise RuntimeError("the crew is not open")
        task = self._group.create_task(_contained(work, name), name=name)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(done, work))
        return task

    async def close(self) -> None:
        """Cancel every task that still runs; none is left when this returns. The caller is none of them."""
        self._group = None
        for task in self._tasks:
            task.cancel()
        await self._stack.aclose()

    def _ended(self, task: asyncio.Task[None], work: Coroutine[Any, Any, None]) -> None:
        self._tasks.discard(task)
        work.close()  # a task that was cancelled before its first step has never begun it


async def _contained(work: Coroutine[Any, Any, None], name: str) -> None:
    try:
        await work
    except Exception:
        logger.exception("%s failed", name)

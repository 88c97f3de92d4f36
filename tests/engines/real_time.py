"""For tests that watch real processes: the marker, and waiting for what no event tells."""

import asyncio
from collections.abc import Callable

import pytest

REAL_TIME = pytest.mark.looptime(False)  # noqa: FBT003 (the plug-in's own form)
SOON_S = 20.0


async def until(condition: Callable[[], bool]) -> None:
    """Return once `condition` is true of the world outside, within `SOON_S`."""
    async with asyncio.timeout(SOON_S):
        while not condition():  # noqa: ASYNC110 (nobody sets an event when a stranger's process ends)
            await asyncio.sleep(0.002)

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import uvloop

type_of_factories = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> type_of_factories:  # noqa: ARG001
    """Run what uses real processes on both event loops; virtual time knows only asyncio's.

    A module whose processes take seconds of a core to start says `DAEMON_LOOP_ONLY = True`.
    """
    if getattr(item.module, "DAEMON_LOOP_ONLY", False):  # type: ignore[attr-defined]  # tests are functions
        return {"uvloop": uvloop.new_event_loop}
    real_time = any(mark.args == (False,) for mark in item.iter_markers("looptime"))
    if real_time:
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A folder with a short path, as sockets want it."""
    with tempfile.TemporaryDirectory(prefix="e-", dir="/tmp") as folder:
        yield Path(folder)

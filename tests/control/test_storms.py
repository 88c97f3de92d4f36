"""A thousand storms in virtual time: the budget is kept, no request is lost, nothing stands still."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator import clock
from tests.control.storm import storm, summary, virtual_now

STORMS = 1000
AT_ONCE = 25


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where there is one: each of many thousand commits waits for its disk."""
    shared = Path("/dev/shm")  # noqa: S108 (mkdtemp makes a private folder)
    made = Path(tempfile.mkdtemp(dir=shared if shared.is_dir() else None))
    yield made
    shutil.rmtree(made)


@pytest.fixture(autouse=True)
def virtual_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", virtual_now)
    monkeypatch.setattr(clock, "monotonic_s", lambda: asyncio.get_running_loop().time())


@pytest.mark.parametrize("first", range(0, STORMS, AT_ONCE))
async def test_storms(first: int, folder: Path, figure: Callable[[str], None]) -> None:
    told = []
    for seed in range(first, first + AT_ONCE):
        own = folder / str(seed)
        own.mkdir()
        told.append(await storm(seed, own))
    figure(summary(told))
    assert {each.seed: each.broken for each in told if each.broken} == {}

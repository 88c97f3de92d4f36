"""Tasks between two calls: they hurt nobody, and none is left."""

import asyncio

import pytest
from looptime import LoopTimeProxy

from orchestrator.engines.crew import Crew

pytestmark = pytest.mark.looptime


async def test_a_task_runs_to_its_end() -> None:
    crew, done = Crew(), asyncio.Event()

    async def work() -> None:
        done.set()

    await crew.open()
    crew.start(work(), name="work")
    await done.wait()
    await crew.close()


async def test_closing_ends_what_still_runs(looptime: LoopTimeProxy) -> None:
    crew, ended = Crew(), []

    async def work(number: int) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ended.append(number)

    await crew.open()
    for number in range(3):
        crew.start(work(number), name="work")
    await asyncio.sleep(1)
    await crew.close()
    assert sorted(ended) == [0, 1, 2]
    assert looptime == 1
    assert not crew.is_open
    await crew.close()


async def test_a_failure_is_logged_and_hurts_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    crew, done = Crew(), asyncio.Event()

    async def fail() -> None:
        raise ZeroDivisionError

    async def work() -> None:
        await asyncio.sleep(1)
        done.set()

    await crew.open()
    crew.start(work(), name="work")
    crew.start(fail(), name="the failing one")
    await done.wait()
    assert "the failing one failed" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    await crew.close()


async def test_whoever_opened_it_may_be_gone_or_cancelled() -> None:
    crew, done = Crew(), asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(5)
        done.set()

    async def opener() -> None:
        await crew.open()
        crew.start(work(), name="work")
        await asyncio.sleep(100)

    async with asyncio.TaskGroup() as tasks:
        opening = tasks.create_task(opener())
        await asyncio.sleep(1)
        opening.cancel()
    await done.wait()
    await crew.close()


async def test_a_task_that_is_cancelled_before_it_began_leaves_no_warning() -> None:
    crew = Crew()

    async def work() -> None:
        raise AssertionError("it was cancelled")

    await crew.open()
    crew.start(work(), name="work").cancel()
    await crew.close()


async def test_a_crew_that_is_closed_takes_no_task() -> None:
    async def work() -> None:
        raise AssertionError("it must not begin")

    with pytest.raises(RuntimeError, match="not open"):
        Crew().start(work(), name="work")

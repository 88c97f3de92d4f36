"""The limits of one request, in virtual time."""

import asyncio

import pytest
from looptime import LoopTimeProxy

from orchestrator.gateway.patience import Patience

pytestmark = pytest.mark.looptime


class Late(Exception):
    pass


class Quiet(Exception):
    pass


class Left(Exception):
    pass


def patience() -> Patience:
    made = Patience(deadline_s=100, silence_s=10)
    made.at_deadline, made.at_silence = Late(), Quiet()
    return made


async def test_work_that_ends_in_time_is_left_alone(looptime: LoopTimeProxy) -> None:
    async with patience():
        await asyncio.sleep(99)
    assert looptime == 99
    await asyncio.sleep(1000)


async def test_the_deadline_ends_the_work_with_its_error(looptime: LoopTimeProxy) -> None:
    async def work() -> None:
        async with patience():
            await asyncio.sleep(1000)

    with pytest.raises(Late):
        await work()
    assert looptime == 100


async def test_before_the_first_byte_silence_does_not_count(looptime: LoopTimeProxy) -> None:
    async def work() -> None:
        async with patience() as limits:
            limits.heard()
            await asyncio.sleep(1000)

    with pytest.raises(Late):
        await work()
    assert looptime == 100


async def test_after_it_silence_ends_the_work(looptime: LoopTimeProxy) -> None:
    async def work() -> None:
        async with patience() as limits:
            await asyncio.sleep(50)
            limits.listen()
            await asyncio.sleep(1000)

    with pytest.raises(Quiet):
        await work()
    assert looptime == 60


async def test_each_byte_starts_the_count_again(looptime: LoopTimeProxy) -> None:
    async def work() -> None:
        async with patience() as limits:
            for _ in range(7):
                limits.listen()
                await asyncio.sleep(9)
                limits.heard()
            limits.listen()
            await asyncio.sleep(1000)

    with pytest.raises(Quiet):
        await work()
    assert looptime == 73


async def test_a_client_that_does_not_read_is_not_the_workers_silence(looptime: LoopTimeProxy) -> None:
    async def work() -> None:
        async with patience() as limits:
            limits.listen()
            await asyncio.sleep(5)
            limits.heard()
            await asyncio.sleep(1000)

    with pytest.raises(Late):
        await work()
    assert looptime == 100


async def test_silence_never_outlasts_the_deadline(looptime: LoopTimeProxy) -> None:
    async def work() -> None:
        async with patience() as limits:
            await asyncio.sleep(95)
            limits.listen()
            await asyncio.sleep(1000)

    with pytest.raises(Late):
        await work()
    assert looptime == 100


async def test_a_cause_from_outside_ends_the_work_at_once_and_the_first_one_counts(
    looptime: LoopTimeProxy,
) -> None:
    async def leave(limits: Patience) -> None:
        await asyncio.sleep(3)
        limits.end(Left())
        limits.end(Late())

    async def work() -> None:
        async with asyncio.TaskGroup() as group, patience() as limits:
            group.create_task(leave(limits))
            await asyncio.sleep(1000)

    with pytest.raises(ExceptionGroup) as raised:
        await work()
    assert raised.group_contains(Left, depth=1)
    assert looptime == 3


async def test_a_cause_after_the_end_does_nothing() -> None:
    async with patience() as limits:
        pass
    limits.end(Left())
    await asyncio.sleep(1)


async def test_a_timeout_of_the_work_itself_is_not_taken_for_one_of_ours() -> None:
    async def work() -> None:
        async with patience():
            async with asyncio.timeout(1):
                await asyncio.sleep(1000)

    with pytest.raises(TimeoutError):
        await work()

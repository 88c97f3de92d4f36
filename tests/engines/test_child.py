"""A child's start, answer, log and end, with real processes on both event loops."""

import asyncio
import gc
import os
import signal
import sys
import threading
from pathlib import Path

import psutil
import pytest

from orchestrator.engines.children.child import Child, Command
from orchestrator.engines.children.logtail import LogTail
from tests.engines.real_time import REAL_TIME, until

pytestmark = REAL_TIME

IDLE = "import sys; print('{}', flush=True); sys.stdin.read()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + IDLE
DEADLINE_S = 5


class Watched:
    """A child with its log, and an event for its end."""

    def __init__(self) -> None:
        self.log = LogTail("child", lambda line: line)
        self.ended = asyncio.Event()
        self.ends = 0

    def on_end(self) -> None:
        self.ends += 1
        self.ended.set()

    async def start(self, program: str, message: bytes = b"") -> Child:
        command = Command(
            argv=(sys.executable, "-c", program),
            environment={"PATH": os.environ["PATH"]},
            folder=Path("/"),
            message=message,
        )
        return await Child.start(command, self.log, self.on_end)

    async def wait_for_end(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            await self.ended.wait()


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def until_gone(pid: int) -> None:
    await until(lambda: is_gone(pid))


async def test_the_message_arrives_and_the_first_line_is_the_answer() -> None:
    watched = Watched()
    child = await watched.start(
        "import sys; line = sys.stdin.readline(); print(line.upper() + 'more', flush=True); sys.stdin.read()",
        message=b"hello\n",
    )
    assert await child.answer() == b"HELLO"
    await child.stop()
    assert watched.ends == 1


async def test_the_end_of_standard_input_is_the_lifeline() -> None:
    """It stays open while the child lives, and only the child holds its other end."""
    first, second = Watched(), Watched()
    child = await first.start(IDLE)
    other = await second.start(IDLE)
    await child.answer()
    await child.stop()
    assert not other.has_ended
    await other.stop()


async def test_a_kill_from_outside_is_seen_and_named() -> None:
    watched = Watched()
    child = await watched.start(IDLE)
    await child.answer()
    os.kill(child.pid, signal.SIGKILL)
    await watched.wait_for_end()
    assert child.has_ended
    assert child.cause.what == (
        "killed (SIGKILL); the kernel's out-of-memory killer does that too: see dmesg"
    )


async def test_an_exit_is_named_with_the_line_of_the_log_that_matters() -> None:
    watched = Watched()
    child = await watched.start(
        "import sys; print('a\\nerror: no such thing\\nb', file=sys.stderr); sys.exit(7)"
    )
    await watched.wait_for_end()
    assert child.cause.what == "ended by itself with exit code 7; its log ends with: error: no such thing"
    assert await child.answer() == b""


async def test_the_end_is_seen_although_a_grandchild_holds_the_pipes_and_the_grandchild_goes_too() -> None:
    watched = Watched()
    child = await watched.start(
        "import subprocess, sys, time;"
        "left = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "print(left.pid, flush=True); time.sleep(600)"
    )
    grandchild = int(await child.answer())
    os.kill(child.pid, signal.SIGKILL)
    await watched.wait_for_end()
    await until_gone(grandchild)


async def test_stop_is_polite_first() -> None:
    watched = Watched()
    child = await watched.start(
        "import signal, sys, time;"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9));"
        "print('{}', flush=True); time.sleep(600)"
    )
    await child.answer()
    await child.stop()
    assert "exit code 9" in child.cause.what


async def test_stop_kills_what_ignores_it() -> None:
    watched = Watched()
    child = await watched.start(DEAF)
    await child.answer()
    await child.stop(grace_s=0.1)
    assert "SIGKILL" in child.cause.what
    assert is_gone(child.pid)


async def test_stop_ends_a_stopped_process() -> None:
    watched = Watched()
    child = await watched.start(IDLE)
    await child.answer()
    os.kill(child.pid, signal.SIGSTOP)
    await child.stop(grace_s=DEADLINE_S)
    assert "SIGTERM" in child.cause.what


async def test_stop_may_be_called_by_several_and_again() -> None:
    watched = Watched()
    child = await watched.start(IDLE)
    await child.answer()
    await asyncio.gather(child.stop(), child.stop())
    await child.stop()
    assert watched.ends == 1


async def test_cancelling_stop_kills() -> None:
    watched = Watched()
    child = await watched.start(DEAF)
    await child.answer()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await child.stop(grace_s=600)
    await watched.wait_for_end()


async def test_the_reason_of_a_kill_is_the_cause() -> None:
    watched = Watched()
    child = await watched.start(IDLE)
    child.kill("hung: no progress for 30 s")
    child.kill("something else")
    await watched.wait_for_end()
    assert child.cause.what == "hung: no progress for 30 s"


async def test_a_program_that_is_not_there_is_an_os_error() -> None:
    command = Command(argv=("/nonexistent",), environment={}, folder=Path("/"), message=b"")
    with pytest.raises(OSError, match="No such file"):
        await Child.start(command, LogTail("child", str), lambda: None)


async def test_cancelling_a_start_leaves_no_process() -> None:
    async def start() -> None:
        await Watched().start(IDLE)
        await asyncio.sleep(DEADLINE_S)

    before = {process.pid for process in psutil.Process().children()}
    for turns in range(6):  # cancelled a little later each time
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(start())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
    assert turns
    for process in psutil.Process().children():
        if process.pid not in before:
            await until_gone(process.pid)


async def test_a_long_log_is_kept_short() -> None:
    watched = Watched()
    child = await watched.start(
        "import sys; sys.stderr.write('x' * 1_000_000);"
        "sys.stderr.write('line\\n' * 100_000); print('{}', flush=True)"
    )
    await child.answer()
    await watched.wait_for_end()
    assert watched.log.lines == ("line",) * 50


async def test_an_answer_without_end_is_cut() -> None:
    watched = Watched()
    child = await watched.start("import sys; sys.stdout.write('x' * 10_000_000); sys.stdin.read()")
    assert len(await child.answer()) < 1_000_000
    child.kill()
    await watched.wait_for_end()


async def test_nothing_is_left_behind() -> None:
    async def one_life() -> None:
        watched = Watched()
        child = await watched.start(IDLE)
        await child.answer()
        await child.stop()
        await asyncio.sleep(0.01)  # the pipes' own last callbacks

    await one_life()  # the loop opens what it keeps for all children
    threads = threading.active_count()
    descriptors = psutil.Process().num_fds()
    for _ in range(3):
        await one_life()
    gc.collect()  # raises the warnings of forgotten transports
    assert threading.active_count() <= threads
    assert psutil.Process().num_fds() <= descriptors

"""Which processes are ended as leftovers, and which are spared."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from orchestrator.engines.children.processes import end_leftovers, offer_to_oom_killer, started_at
from orchestrator.engines.memory.weight import weight_of
from orchestrator.values.fleet import Running
from tests.engines.real_time import REAL_TIME, until

pytestmark = REAL_TIME

COMMAND = "orchestrator.pretended.worker"
SLEEP = "import time; print(flush=True); time.sleep(600)"


@contextmanager
def process(*words: str, session: bool = True) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-c", SLEEP, *words], start_new_session=session, stdout=subprocess.PIPE
    ) as started:
        try:
            assert started.stdout
            started.stdout.readline()  # for a moment after its start a process has no command line yet
            yield started
        finally:
            started.kill()


def running(pid: int, *, started: float | None = None) -> Running:
    return Running(
        replica="r1", socket="/nowhere", pid=pid, pid_started=started_at(pid) if started is None else started
    )


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("session", [True, False])
async def test_a_leftover_is_ended(*, session: bool) -> None:
    with process(COMMAND, session=session) as left:
        await end_leftovers([running(left.pid)], command=COMMAND, own=[])
        await until(lambda: is_gone(left.pid))


async def test_a_stopped_leftover_is_ended() -> None:
    with process(COMMAND) as left:
        psutil.Process(left.pid).suspend()
        await end_leftovers([running(left.pid)], command=COMMAND, own=[])
        await until(lambda: is_gone(left.pid))


async def test_another_process_with_its_number_is_spared() -> None:
    with process(COMMAND) as other:
        await end_leftovers([running(other.pid, started=started_at(other.pid) - 60)], command=COMMAND, own=[])
        assert other.poll() is None


async def test_a_process_of_another_kind_is_spared() -> None:
    with process("something", f"like-{COMMAND}") as other:
        await end_leftovers([running(other.pid)], command=COMMAND, own=[])
        assert other.poll() is None


async def test_own_processes_are_spared() -> None:
    with process(COMMAND) as own:
        await end_leftovers([running(own.pid)], command=COMMAND, own=[own.pid])
        assert own.poll() is None


@pytest.mark.skipif(sys.platform != "linux", reason="there is no such killer elsewhere")
def test_a_worker_is_offered_to_the_oom_killer_before_its_daemon() -> None:
    with process(COMMAND) as worker:
        offer_to_oom_killer(worker.pid)
        assert Path(f"/proc/{worker.pid}/oom_score_adj").read_text() == "500\n"
    offer_to_oom_killer(worker.pid)  # gone: nothing to do


async def test_what_is_gone_needs_nothing() -> None:
    with process(COMMAND) as left:
        gone = running(left.pid)
    assert started_at(gone.pid) == 0.0
    assert weight_of(gone.pid) is None
    await end_leftovers([gone], command=COMMAND, own=[])


async def test_a_zombie_counts_as_gone() -> None:
    with process(COMMAND) as left:
        seen = running(left.pid)
        assert weight_of(seen.pid) is not None
        left.terminate()
        await until(lambda: is_gone(left.pid))
        assert weight_of(seen.pid) is None
        async with asyncio.timeout(2.0):
            await end_leftovers([seen], command=COMMAND, own=[])

"""No command outlives its daemon, however the daemon ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.engines.children.processes import started_at
from orchestrator.values.fleet import Running
from tests.engines.real_time import REAL_TIME, until
from tests.engines.server_rig import engine, is_gone

pytestmark = [REAL_TIME, pytest.mark.asyncio(loop_factories=["asyncio"])]

# A daemon in small, on a loop of its own choice, because the two start children in different ways. The
# command has started two more processes, one of them in a session of its own.
DAEMON = """
import asyncio, sys
from pathlib import Path
import uvloop
from tests.engines.server_rig import engine, stub

async def main():
    running = await engine(Path(sys.argv[1])).ensure_loaded("r1", stub("parent", "--pids", sys.argv[3]))
    print(running.pid, flush=True)
    await asyncio.sleep(600)

(uvloop.run if sys.argv[2] == "uvloop" else asyncio.run)(main())
"""
ROOT = Path(__file__).parent.parent.parent

Started = tuple["subprocess.Popen[str]", int, list[int]]


@pytest.fixture(params=["asyncio", "uvloop"])
def daemon(request: pytest.FixtureRequest, runtime: Path) -> Iterator[Started]:
    """A daemon, the number of its guard, and those of all the guard's processes."""
    pids = runtime / "pids"
    with subprocess.Popen(
        [sys.executable, "-c", DAEMON, str(runtime), request.param, str(pids)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        try:
            assert process.stdout
            guard = int(process.stdout.readline())
            family = [int(line) for line in pids.read_text().split()]
            assert len(family) == 3
            assert not any(is_gone(pid) for pid in [guard, *family])
            yield process, guard, family
        finally:
            process.kill()


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
async def test_commands_end_with_their_daemon(daemon: Started, ending: signal.Signals) -> None:
    process, guard, family = daemon
    process.send_signal(ending)
    for pid in [guard, *family]:
        await until(lambda pid=pid: is_gone(pid))  # type: ignore[misc] # mypy issue 12557


async def test_the_next_daemon_reaps_what_could_not_end(daemon: Started, runtime: Path) -> None:
    """The daemon that has them still lives, as one does that hangs in the kernel."""
    process, guard, family = daemon
    left = Running(replica="r1", socket="/nowhere", pid=guard, pid_started=started_at(guard))
    psutil.Process(process.pid).suspend()
    await engine(runtime).reap([left])
    for pid in [guard, *family]:
        await until(lambda pid=pid: is_gone(pid))  # type: ignore[misc] # mypy issue 12557
    assert list((runtime / "run").glob("*.sock")) == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody can tell them from others")
async def test_the_next_daemon_finds_what_has_lost_its_guard_too(daemon: Started, runtime: Path) -> None:
    """Guard and daemon were killed at once: the command goes with its guard, its own children do not."""
    process, guard, family = daemon
    left = Running(replica="r1", socket="/nowhere", pid=guard, pid_started=started_at(guard))
    psutil.Process(process.pid).suspend()
    os.kill(guard, signal.SIGKILL)
    process.kill()
    process.wait()
    await until(lambda: is_gone(guard) and is_gone(family[0]))
    other = Running(replica="r2", socket="/nowhere", pid=guard, pid_started=left.pid_started)
    await engine(runtime).reap([other])
    assert not any(is_gone(pid) for pid in family[1:])  # they are not r2's
    await engine(runtime).reap([left])
    for pid in family:
        await until(lambda pid=pid: is_gone(pid))  # type: ignore[misc] # mypy issue 12557

"""No worker outlives its daemon, however the daemon ends."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.engines.children.processes import started_at
from orchestrator.engines.llama.engine import LlamaCppEngine
from orchestrator.values.fleet import Running
from tests.engines.libraries import library
from tests.engines.real_time import REAL_TIME, until

pytestmark = REAL_TIME

# A daemon in small: loads two models, says who they are, and waits. On a
# loop of its own choice, because the two start children in different ways.
DAEMON = """
import asyncio, sys
from pathlib import Path
import uvloop
from orchestrator.engines.llama.engine import LlamaCppEngine
from tests.builders import spec
from tests.engines.libraries import library

async def main():
    engine = LlamaCppEngine(Path(sys.argv[1]), library(Path(sys.argv[1])), threads=1)
    for replica in ("r1", "r2"):
        running = await engine.ensure_loaded(replica, spec(context=128))
        print(running.pid, flush=True)
    await asyncio.sleep(600)

(uvloop.run if sys.argv[2] == "uvloop" else asyncio.run)(main())
"""
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(params=["asyncio", "uvloop"])
def daemon(
    request: pytest.FixtureRequest, runtime: Path
) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    with subprocess.Popen(
        [sys.executable, "-c", DAEMON, str(runtime / "run"), request.param],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        try:
            assert process.stdout
            yield process, [int(process.stdout.readline()) for _ in range(2)]
        finally:
            process.kill()


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.asyncio(loop_factories=["asyncio"])
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
async def test_workers_end_with_their_daemon(
    daemon: tuple[subprocess.Popen[str], list[int]], ending: signal.Signals
) -> None:
    process, pids = daemon
    assert not any(is_gone(pid) for pid in pids)
    process.send_signal(ending)
    for pid in pids:
        await until(lambda pid=pid: is_gone(pid))  # type: ignore[misc] # mypy issue 12557


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_the_next_daemon_reaps_what_could_not_end(
    daemon: tuple[subprocess.Popen[str], list[int]], runtime: Path
) -> None:
    """A stopped process cannot act on the end of its parent where the kernel does not help."""
    process, pids = daemon
    leftovers = [
        Running(replica=f"r{pid}", socket="/nowhere", pid=pid, pid_started=started_at(pid)) for pid in pids
    ]
    psutil.Process(process.pid).suspend()  # alive, so that only reaping can end them
    engine = LlamaCppEngine(runtime / "run", library(runtime))
    await engine.reap(leftovers)
    for pid in pids:
        await until(lambda pid=pid: is_gone(pid))  # type: ignore[misc] # mypy issue 12557
    assert list((runtime / "run").glob("w-*.sock")) == []

"""Children that do one thing: what comes of their ends, good and bad."""

import asyncio
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from orchestrator.engines.base import Progress
from orchestrator.engines.children.errand import Errand, run
from orchestrator.errors import (
    DiskFull,
    EngineError,
    EngineUnavailable,
    NotAllowed,
    SourceCorrupt,
    SourceNotFound,
    SourceUnreachable,
)
from orchestrator.workers.errand import TroubleKind
from tests.engines.real_time import REAL_TIME, SOON_S, until
from tests.engines.rig import Arrivals

pytestmark = REAL_TIME

Send = Callable[..., Errand]


@pytest.fixture
def sent(runtime: Path) -> Send:
    """Write a program whose `work` has this body, and make an errand of it."""

    def send(body: str, *, quiet_s: float = SOON_S) -> Errand:
        indented = textwrap.indent(textwrap.dedent(body), "    ")
        (runtime / "program.py").write_text(
            "import os, sys, time\n"
            "from orchestrator.workers.errand import Trouble, TroubleKind, run\n"
            f"def work(job, reporter):\n{indented}\n"
            "run(work)\n"
        )
        return Errand(
            name="a test",
            module="program",
            job={"word": "s3cret"},
            folder=runtime,
            quiet_s=quiet_s,
            own={"PYTHONPATH": str(runtime), "PATH": "/usr/bin"},
            further={"FURTHER": "here"},
            redact=lambda text: text.replace("s3cret", "…"),
        )

    return send


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


async def test_the_answer_is_what_the_work_returns(sent: Send) -> None:
    done = sent("return {'said': job['word'], 'further': os.environ['FURTHER']}")
    assert await run(done, Arrivals()) == {"said": "s3cret", "further": "here"}
    assert children() == []


async def test_progress_comes_as_it_is_made(sent: Send) -> None:
    arrivals = Arrivals()
    body = """
        reporter.progress("working", 1, 10, now=True)
        reporter.progress("working", 2, 10)
        reporter.progress("working", 10, 10, now=True)
        return {}
    """
    await run(sent(body), arrivals)
    assert arrivals.told == [
        Progress(doing="working", done_bytes=1, total_bytes=10),
        Progress(doing="working", done_bytes=10, total_bytes=10),
    ]


LEAVES: list[tuple[TroubleKind, type[EngineError]]] = [
    (TroubleKind.NOT_FOUND, SourceNotFound),
    (TroubleKind.CORRUPT, SourceCorrupt),
    (TroubleKind.UNREACHABLE, SourceUnreachable),
    (TroubleKind.DISK_FULL, DiskFull),
    (TroubleKind.NOT_ALLOWED, NotAllowed),
    (TroubleKind.UNAVAILABLE, EngineUnavailable),
    (TroubleKind.FAILED, EngineError),
]


@pytest.mark.parametrize(("kind", "leaf"), LEAVES, ids=[kind.value for kind, _ in LEAVES])
async def test_trouble_is_the_error_of_its_kind_without_secrets(
    sent: Send, kind: TroubleKind, leaf: type[EngineError]
) -> None:
    body = f"raise Trouble(TroubleKind.{kind.name}, 'it is s3cret', fix='tell s3cret')"
    with pytest.raises(EngineError) as caught:
        await run(sent(body), Arrivals())
    assert type(caught.value) is leaf
    assert (caught.value.what, caught.value.fix) == ("it is …", "tell …")


def test_every_kind_of_trouble_has_its_error() -> None:
    assert {kind for kind, _ in LEAVES} == set(TroubleKind)


async def test_a_bug_in_the_work_is_told_with_its_last_line(sent: Send) -> None:
    with pytest.raises(EngineError, match=r"exit code 1; its log ends with: ValueError: … is odd"):
        await run(sent("raise ValueError('s3cret is odd')"), Arrivals())


async def test_a_child_that_is_killed_is_told(sent: Send) -> None:
    with pytest.raises(EngineError, match=r"killed \(SIGKILL\)"):
        await run(sent("os.kill(os.getpid(), 9)"), Arrivals())


async def test_a_child_that_says_nothing_is_given_up(sent: Send) -> None:
    with pytest.raises(SourceUnreachable, match="has said nothing for 0 s"):
        await run(sent("time.sleep(600)", quiet_s=0.4), Arrivals())
    assert children() == []


async def test_a_child_that_speaks_is_not_given_up(sent: Send) -> None:
    body = """
        for count in range(12):
            reporter.progress("working", count, 12, now=True)
            time.sleep(0.1)
        return {}
    """
    assert await run(sent(body, quiet_s=1.0), Arrivals()) == {}


async def test_what_is_no_line_of_ours_is_passed_over(sent: Send) -> None:
    body = """
        for line in (b"noise", b"[1]", b'{"progress": {}}', b'{"progress": 7}', b'{"word": 1}', b""):
            os.write(reporter._fd, line + b"\\n")
        print("and this is for the log")
        return {"after": "all"}
    """
    arrivals = Arrivals()
    assert await run(sent(body), arrivals) == {"after": "all"}
    assert arrivals.told == []


async def test_cancelling_leaves_no_process(sent: Send) -> None:
    errand_of_hours = sent("time.sleep(600)")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(run(errand_of_hours, Arrivals()))
        await until(lambda: bool(children()))
        running.cancel()
    assert children() == []


async def test_a_program_that_cannot_be_started_is_told(sent: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    with pytest.raises(EngineError, match="no process could be started: No such file"):
        await run(sent("return {}"), Arrivals())

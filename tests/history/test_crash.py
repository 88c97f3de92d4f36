"""`kill -9` at random moments: what was acknowledged is there, once, and the file opens."""

import asyncio
import contextlib
import os
import random
import signal
import time
from pathlib import Path

import duckdb
import psutil
import pytest

from orchestrator.errors import HistoryError
from tests.history.rows import keeper_of, python, read, request, writing

ROUNDS = 20

WRITE = """if True:
    import asyncio, sys
    from pathlib import Path
    from orchestrator.history.writer import HistoryWriter
    from tests.history.rows import request

    async def main():
        writer = HistoryWriter(Path(sys.argv[1]))
        writer.start()
        number = int(sys.argv[2])
        while True:
            for _ in range(number % 37 + 1):
                writer.put(request(number))
                number += 1
            if number % 5 == 0:
                await writer.publish(20)
            else:
                await writer.flush(20)
            print(number, flush=True)

    asyncio.run(main())
"""


def rows_once_free(live: Path) -> tuple[int, int]:
    """Return how many rows and different rows are in the file, once the killed writer's keeper lets go."""
    deadline = time.monotonic() + 20
    while True:
        try:
            with duckdb.connect(live) as con:
                rows, different = con.execute(
                    "select count(*), count(distinct decision) from requests"
                ).fetchall()[0]
                return int(rows), int(different)
        except duckdb.IOException as held:
            if "lock" not in str(held) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def test_kill_9_at_random_moments_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    folder = tmp_path / "history"
    dice = random.Random(7)  # noqa: S311 (moments, not secrets)
    acknowledged = start = 0
    for round_ in range(ROUNDS):
        with python(WRITE, str(folder), str(start)) as writer:
            assert writer.stdout is not None
            for _ in range(dice.randrange(12)):
                acknowledged = int(writer.stdout.readline())
            writer.kill()
            rest = writer.stdout.read().splitlines()
            acknowledged = int(rest[-1]) if rest else acknowledged
        if not (folder / "live.duckdb").exists():
            continue
        found = rows_once_free(folder / "live.duckdb")
        assert found[0] == found[1] >= acknowledged, f"round {round_}"
        start = found[0]
        if (folder / "history.duckdb").exists():
            published = read(
                folder / "history.duckdb", "select count(*), max(decision[2:]::int) from requests"
            )[0]
            assert published[0] == (published[1] or -1) + 1
    assert start > 0
    assert not list(folder.glob("*corrupt*"))
    # A killed daemon's copies are cleared away by the next one.
    assert len(list(folder.glob("*.tmp"))) <= 1


@pytest.mark.looptime(False)  # noqa: FBT003 (its signature)
async def test_kill_9_of_the_process_that_holds_the_file_costs_no_row_and_doubles_none(
    tmp_path: Path,
) -> None:
    dice = random.Random(7)  # noqa: S311 (moments, not secrets)
    with writing(tmp_path / "history") as writer:
        await writer.flush(20)
        number = kills = 0
        while kills < ROUNDS:
            for _ in range(dice.randrange(400)):
                writer.put(request(number))
                number += 1
            flush = asyncio.ensure_future(writer.flush(20))  # noqa: TID251 (its fault is wanted, not raised)
            await asyncio.sleep(dice.random() * 0.01)
            keeper = keeper_of(os.getpid())
            if keeper is not None:
                os.kill(keeper, signal.SIGKILL)
                kills += 1
            await asyncio.wait([flush])
            if flush.exception() is not None:
                assert not writer.status().ok
                assert "the history's process ended (SIGKILL)" in str(writer.status().error)
        db = await writer.publish(20)
        status = writer.status()
        assert (status.ok, status.written, status.failed_rows, status.dropped) == (True, number, 0, 0)
        assert read(db, "select count(*), count(distinct decision) from requests") == [(number, number)]


@pytest.mark.looptime(False)  # noqa: FBT003 (its signature)
async def test_ctrl_c_reaches_the_process_that_holds_the_file_and_costs_nothing(tmp_path: Path) -> None:
    """A terminal and systemd signal every process of the daemon, which still has rows to store then."""
    with writing(tmp_path / "history") as writer:
        await writer.flush(20)
        keeper = keeper_of(os.getpid())
        assert keeper is not None
        for number, end in enumerate((signal.SIGINT, signal.SIGTERM, signal.SIGHUP)):
            os.kill(keeper, end)
            writer.put(request(number))
            await writer.flush(20)
        assert keeper_of(os.getpid()) == keeper
        assert writer.status().written == 3


@pytest.mark.looptime(False)  # noqa: FBT003 (its signature)
async def test_a_process_that_hangs_is_replaced_and_costs_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writing(tmp_path / "history") as writer:
        writer.put(request(0))
        await writer.flush(20)
        keeper = keeper_of(os.getpid())
        assert keeper is not None
        monkeypatch.setattr("orchestrator.history.live.ANSWER_DEADLINE_S", 0.3)
        os.kill(keeper, signal.SIGSTOP)
        writer.put(request(1))
        with pytest.raises(HistoryError, match="SIGKILL"):
            await writer.flush(20)
        monkeypatch.setattr("orchestrator.history.live.ANSWER_DEADLINE_S", 20.0)
        assert read(await writer.publish(20), "select count(*) from requests") == [(2,)]


def test_no_process_outlives_a_killed_daemon(tmp_path: Path) -> None:
    with python(WRITE, str(tmp_path / "history"), "0") as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        children = psutil.Process(writer.pid).children(recursive=True)
        assert children
        writer.kill()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.wait(20)

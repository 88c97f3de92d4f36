import asyncio
import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import HistoryError
from orchestrator.history.writer import HistoryWriter
from orchestrator.values.fact import Fact
from tests.history.rows import count, event, read, request, writing

# The writer's thread lives in real time.
pytestmark = pytest.mark.looptime(False)  # noqa: FBT003 (its signature)


def stored(fact: Fact) -> tuple[Any, ...]:
    """Return the row that must be found for `fact`."""
    at, *others = dataclasses.astuple(fact)
    return (at.replace(tzinfo=None), *others)


async def test_facts_arrive_with_their_exact_values(tmp_path: Path) -> None:
    whole = request(1, why='a "quoted" line\nand größe', total_ms=0.1 + 0.2)
    holes = request(
        2,
        queue_ms=None,
        ttft_ms=None,
        prompt_tokens=None,
        cached_tokens=None,
        completion_tokens=None,
        stream=False,
    )
    ready = event(message="x = 'y'; --")
    with writing(tmp_path / "history") as writer:
        for fact in (whole, ready, holes):
            writer.put(fact)
        db = await writer.publish(20)
        assert db == tmp_path / "history" / "history.duckdb"
        assert read(db, "from requests order by decision") == [stored(whole), stored(holes)]
        assert read(db, "from events") == [stored(ready)]


async def test_ten_thousand_facts_are_all_there_in_order(tmp_path: Path) -> None:
    with writing(tmp_path / "history") as writer:
        for number in range(10_000):
            writer.put(request(number))
        db = await writer.publish(30)
        status = writer.status()
        assert (status.ok, status.written, status.queued, status.dropped) == (True, 10_000, 0, 0)
        assert read(db, "select decision from requests") == [(f"d{number}",) for number in range(10_000)]


async def test_a_publication_holds_what_was_put_before_it_each_time(tmp_path: Path) -> None:
    with writing(tmp_path / "history") as writer:
        for number in range(5):
            writer.put(request(number))
            assert count(await writer.publish(20)) == number + 1


async def test_publications_asked_for_at_once_are_all_answered(tmp_path: Path) -> None:
    with writing(tmp_path / "history") as writer:
        writer.put(request())
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(writer.publish(20)) for _ in range(10)]
        assert {task.result() for task in asked} == {writer.status().path}


async def test_facts_are_written_without_anybody_asking(tmp_path: Path) -> None:
    with writing(tmp_path / "history") as writer:
        writer.put(request())
        await asyncio.to_thread(written, writer, 1)


def written(writer: HistoryWriter, rows: int) -> None:
    """Return once `rows` rows are stored; the writer has no event for what nobody asked for."""
    deadline = time.monotonic() + 20
    while writer.status().written < rows:
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_the_folder_and_its_files_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "history"
    folder.mkdir(mode=0o755)
    with writing(folder) as writer:
        await writer.publish(20)
        writer.put(request())
        await writer.flush(20)
        assert folder.stat().st_mode & 0o777 == 0o700
        modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {"live.duckdb": 0o600, "live.duckdb.wal": 0o600, "history.duckdb": 0o600}


async def test_closing_stores_and_publishes_the_rest_and_may_be_repeated(tmp_path: Path) -> None:
    with writing(tmp_path / "history") as writer:
        for number in range(1500):
            writer.put(request(number))
        await asyncio.to_thread(writer.close, 20)
        assert count(tmp_path / "history" / "history.duckdb") == 1500
        assert sorted(path.name for path in (tmp_path / "history").iterdir()) == [
            "history.duckdb",
            "live.duckdb",
        ]
        writer.close(1)
        assert not writer.status().ok


async def test_put_never_raises_after_the_end_and_counts_what_it_drops(tmp_path: Path) -> None:
    with writing(tmp_path / "history") as writer:
        writer.put(request())
        writer.close(20)
        for number in range(3):
            writer.put(request(number))
        assert (writer.status().written, writer.status().dropped) == (1, 3)
        with pytest.raises(HistoryError, match="not running"):
            await writer.flush(1)
        with pytest.raises(HistoryError, match="not running"):
            await writer.publish(1)


async def test_a_writer_that_was_never_started_takes_facts_and_closes(tmp_path: Path) -> None:
    writer = HistoryWriter(tmp_path / "history")
    writer.put(request())
    assert writer.status().queued == 1
    with pytest.raises(HistoryError, match="not running"):
        await writer.flush(1)
    writer.close(1)
    assert not (tmp_path / "history").exists()


async def test_a_full_queue_drops_and_counts(tmp_path: Path) -> None:
    writer = HistoryWriter(tmp_path / "history", capacity=10)
    for number in range(25):
        writer.put(request(number))
    assert (writer.status().queued, writer.status().dropped) == (10, 15)
    writer.start()
    await writer.flush(20)
    for number in range(25, 30):
        writer.put(request(number))
    await writer.flush(20)
    assert (writer.status().written, writer.status().dropped) == (15, 15)
    await asyncio.to_thread(writer.close, 20)


POISON: list[tuple[str, Any]] = [
    ("a number that no column holds", request(-1, prompt_tokens=10**30)),
    ("a number that its column does not hold", request(-1, status=2**40)),
    ("a text where a number belongs", request(-1, total_ms="soon")),
    ("nothing where something must be", request(-1, model=None)),
    ("an instant without a zone", request(-1, at=request().at.replace(tzinfo=None))),
    ("no instant at all", request(-1, at=None)),
    ("an object", event(message=object())),
    ("no fact at all", "a text"),
]


@pytest.mark.parametrize("poison", [case[1] for case in POISON], ids=[case[0] for case in POISON])
async def test_a_fact_that_cannot_be_stored_costs_no_other_its_row(tmp_path: Path, poison: Any) -> None:  # noqa: ANN401
    with writing(tmp_path / "history") as writer:
        for number in range(5):
            writer.put(request(number))
        writer.put(poison)
        for number in range(5, 10):
            writer.put(request(number))
        await writer.flush(20)
        status = writer.status()
        assert (status.ok, status.written, status.failed_rows) == (True, 10, 1)
        writer.put(request(10))
        assert read(await writer.publish(20), "select decision from requests") == [
            (f"d{n}",) for n in range(11)
        ]


async def test_put_costs_microseconds_and_start_does_not_wait_for_duckdb(tmp_path: Path) -> None:
    writer = HistoryWriter(tmp_path / "history")
    fact = request()
    began = time.perf_counter()
    writer.start()
    started_s = time.perf_counter() - began
    costs = []
    for _ in range(5000):
        began = time.perf_counter()
        writer.put(fact)
        costs.append(time.perf_counter() - began)
    await asyncio.to_thread(writer.close, 30)
    assert started_s < 0.05
    assert sorted(costs)[len(costs) // 2] < 50e-6
    assert writer.status().written == 5000


async def test_a_history_that_is_too_slow_says_so_and_goes_on(tmp_path: Path) -> None:
    with writing(tmp_path / "history") as writer:
        writer.put(request())
        with pytest.raises(HistoryError, match="took longer than 0 s"):
            await writer.flush(0)
        await writer.flush(20)
        assert writer.status().written == 1


async def test_a_restart_goes_on_with_the_same_file(tmp_path: Path) -> None:
    for number in range(3):
        with writing(tmp_path / "history") as writer:
            writer.put(request(number))
            await writer.flush(20)
            assert writer.status().error is None
    assert count(tmp_path / "history" / "history.duckdb") == 3


async def test_a_bug_is_told_and_costs_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with writing(tmp_path / "history") as writer:
        writer.put(request(1))
        await writer.flush(20)
        with monkeypatch.context() as broken:
            broken.delattr("orchestrator.history.live.json")
            writer.put(request(2))
            with pytest.raises(HistoryError, match="NameError"):
                await writer.flush(20)
            assert "please report this" in str(writer.status().error)
        assert count(await writer.publish(20)) == 2
        assert (writer.status().ok, writer.status().error) == (True, None)

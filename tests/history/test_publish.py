import asyncio
import subprocess
import time
from pathlib import Path

import duckdb
import pytest

from orchestrator.errors import HistoryError
from orchestrator.history import copier
from orchestrator.history.files import published_at, sweep
from orchestrator.history.publish import publish
from tests.history.rows import count, python, read, request, writing

# The writer's thread lives in real time.
pytestmark = pytest.mark.looptime(False)  # noqa: FBT003 (its signature)

TRY_TO_WRITE = """if True:
    import duckdb, sys
    try:
        duckdb.connect(sys.argv[1])
        print("opened")
    except duckdb.IOException as error:
        print("locked" if "lock" in str(error) else error)
"""


async def test_the_live_file_stays_locked_through_publications(tmp_path: Path) -> None:
    """Closing any handle of the file in this process would give the lock away."""
    with writing(tmp_path / "history") as writer:
        for number in range(3):
            writer.put(request(number))
            await writer.publish(20)
            with python(TRY_TO_WRITE, str(tmp_path / "history" / "live.duckdb")) as other:
                assert other.stdout is not None
                assert await asyncio.to_thread(other.stdout.read) == "locked\n"


async def test_every_publication_while_rows_come_is_whole(tmp_path: Path) -> None:
    """Rows are numbered, so a copy with a hole or with half a transaction would show."""
    with writing(tmp_path / "history") as writer:
        number = 0
        for _ in range(15):
            for _ in range(700):
                writer.put(request(number))
                number += 1
            asked = number
            async with asyncio.TaskGroup() as group:
                publication = group.create_task(writer.publish(20))
                while not publication.done():  # rows go on coming during the copy
                    writer.put(request(number))
                    number += 1
                    await asyncio.sleep(0.0005)
            found = read(publication.result(), "select count(*), max(decision[2:]::int) from requests")[0]
            assert found[0] == found[1] + 1 >= asked
        await writer.flush(20)
        assert (writer.status().written, writer.status().dropped) == (number, 0)


READ_ON = """if True:
    import duckdb, sys
    con = duckdb.connect(sys.argv[1], read_only=True)
    for line in sys.stdin:
        print(con.execute("select count(*), count(distinct decision) from requests").fetchall(), flush=True)
"""


async def test_a_reader_keeps_its_copy_while_newer_ones_appear(tmp_path: Path) -> None:
    with writing(tmp_path / "history") as writer:
        for number in range(100):
            writer.put(request(number))
        db = await writer.publish(20)
        with python(READ_ON, str(db), stdin=subprocess.PIPE) as reader:
            assert reader.stdin is not None
            assert reader.stdout is not None
            for more in range(1, 6):
                reader.stdin.write("again\n")
                reader.stdin.flush()
                assert await asyncio.to_thread(reader.stdout.readline) == "[(100, 100)]\n"
                writer.put(request(100 + more))
                assert count(await writer.publish(20)) == 100 + more
            reader.stdin.close()
            assert reader.wait(20) == 0


async def test_what_a_reader_wrote_into_its_copy_does_not_reach_the_next(tmp_path: Path) -> None:
    with writing(tmp_path / "history") as writer:
        writer.put(request(1))
        db = await writer.publish(20)
        script = """if True:
            import duckdb, os, sys
            con = duckdb.connect(sys.argv[1])
            con.execute("delete from requests")
            os._exit(0)
        """
        with python(script, str(db)) as meddler:
            assert meddler.wait(20) == 0
        assert db.with_name("history.duckdb.wal").exists()
        writer.put(request(2))
        assert count(await writer.publish(20)) == 2


async def test_a_publication_with_nothing_new_is_answered_from_the_last(tmp_path: Path) -> None:
    with writing(tmp_path / "history") as writer:
        writer.put(request(1))
        db = await writer.publish(20)
        before = db.stat().st_ino
        assert await writer.publish(20) == db
        assert db.stat().st_ino == before


async def test_a_publication_that_fails_says_why_and_is_made_later(tmp_path: Path) -> None:
    folder = tmp_path / "history"
    with writing(folder) as writer:
        writer.put(request(1))
        await writer.flush(20)
        (folder / "history.duckdb").mkdir()
        with pytest.raises(HistoryError, match="cannot be refreshed"):
            await writer.publish(20)
        assert writer.status().ok
        assert "a folder has the file's name" in str(writer.status().error)
        (folder / "history.duckdb").rmdir()
        assert count(await writer.publish(20)) == 1
        assert writer.status().error is None
        assert not list(folder.glob("*.tmp"))


async def test_a_published_file_that_was_removed_is_made_again(tmp_path: Path) -> None:
    with writing(tmp_path / "history") as writer:
        writer.put(request(1))
        (await writer.publish(20)).unlink()
        assert count(await writer.publish(20)) == 1


async def test_copies_left_by_a_killed_daemon_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "history"
    folder.mkdir()
    (folder / "history.duckdb.123-1.tmp").write_bytes(b"half a copy")
    (folder / "history.duckdb.backup").write_bytes(b"somebody's own")
    with writing(folder) as writer:
        await writer.flush(20)
    assert sorted(path.name for path in folder.iterdir()) == [
        "history.duckdb",
        "history.duckdb.backup",
        "live.duckdb",
    ]


def test_sweeping_an_absent_folder_is_nothing(tmp_path: Path) -> None:
    sweep(tmp_path / "absent")
    assert published_at(tmp_path / "absent") is None


def test_publishing_replaces_in_one_step(tmp_path: Path) -> None:
    live = tmp_path / "live.duckdb"
    for round_ in range(3):
        live.write_bytes(bytes([round_]) * 3_000_000)
        publish(live, round_)
        assert (tmp_path / "history.duckdb").read_bytes() == live.read_bytes()
        assert (tmp_path / "history.duckdb").stat().st_mode & 0o777 == 0o600
    assert len(list(tmp_path.iterdir())) == 2


def test_publishing_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="cannot be refreshed"):
        publish(tmp_path / "live.duckdb", 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
def test_both_ways_of_copying_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(index % 251 for index in range(size)))
    copier.copy(source, tmp_path / "in-kernel")
    monkeypatch.setattr("sys.platform", "other")
    copier.copy(source, tmp_path / "by-hand")
    assert (tmp_path / "in-kernel").read_bytes() == (tmp_path / "by-hand").read_bytes() == source.read_bytes()


async def test_an_older_duckdb_could_read_the_file(tmp_path: Path) -> None:
    """Storage version 64 to 68 is what the 1.5 command line knows; 2.0 writes 69 unless told otherwise."""
    with writing(tmp_path / "history") as writer:
        db = await writer.publish(20)
        with duckdb.connect(db, read_only=True) as con:
            tags = con.execute(
                "select tags['storage_version'] from duckdb_databases() where path is not null"
            )
            assert "v1." in tags.fetchall()[0][0]


async def test_publishing_while_closing_is_answered(tmp_path: Path) -> None:
    with writing(tmp_path / "history") as writer:
        writer.put(request(1))
        async with asyncio.TaskGroup() as group:
            publication = group.create_task(writer.publish(20))
            await asyncio.sleep(0)
            began = time.monotonic()
            await asyncio.to_thread(writer.close, 20)
            assert time.monotonic() - began < 15
        assert count(publication.result()) == 1


async def test_new_rows_are_published_without_anybody_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.history.scribe.PUBLISH_FIRST_S", 0.05)
    monkeypatch.setattr("orchestrator.history.scribe.PUBLISH_EVERY_S", 0.05)
    monkeypatch.setattr("orchestrator.history.scribe.PUBLISH_SHARE", 1.0)
    with writing(tmp_path / "history") as writer:
        for number in range(1, 4):
            writer.put(request(number))
            await asyncio.to_thread(rows_appear, writer.status().path, number)


def rows_appear(db: Path, rows: int) -> None:
    deadline = time.monotonic() + 20
    while not db.exists() or count(db) < rows:
        assert time.monotonic() < deadline
        time.sleep(0.02)

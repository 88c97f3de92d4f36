import asyncio
import contextlib
import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from orchestrator.errors import HistoryError
from orchestrator.history.faults import StoreDamaged, StoreLocked, StoreNewer, StoreUnavailable, explain
from orchestrator.history.writer import HistoryStatus, HistoryWriter
from tests.history.rows import count, python, read, request, writing

# The writer's thread lives in real time.
pytestmark = pytest.mark.looptime(False)  # noqa: FBT003 (its signature)

WORDS = [
    (
        'Could not set lock on file "x": Conflicting lock is held in python (PID 77).',
        StoreLocked,
        "process 77",
    ),
    ("Trying to read a file with version number 69, but we can only read versions", StoreNewer, "newer"),
    ('Could not write file "x.wal": No space left on device', StoreUnavailable, "the disk is full"),
    ("FATAL Error: Failed to create checkpoint: No space left on device", StoreUnavailable, "full"),
    ('Failure while replaying WAL file "x": No space left on device', StoreUnavailable, "full"),
    ("[Errno 17] File exists: 'x'", StoreUnavailable, "a file stands where"),
    ('Cannot open file "x": Permission denied', StoreUnavailable, "permission denied"),
    ('The file "x" exists, but it is not a valid DuckDB database file!', StoreDamaged, "not a valid"),
    ("Corrupt database file: computed checksum 1 does not match", StoreDamaged, "Corrupt"),
]


@pytest.mark.parametrize(("words", "kind", "told"), WORDS)
def test_faults_are_told_apart_by_their_words(words: str, kind: type[HistoryError], told: str) -> None:
    fault = explain(duckdb.IOException(words), Path("/x/live.duckdb"))
    assert type(fault) is kind
    assert told in fault.what


async def status_where(writer: HistoryWriter, wanted: Callable[[HistoryStatus], bool]) -> HistoryStatus:
    """Return the first status that is as wanted."""

    def wait() -> HistoryStatus:
        deadline = time.monotonic() + 20
        while not wanted(status := writer.status()):
            assert time.monotonic() < deadline, status
            time.sleep(0.01)
        return status

    return await asyncio.to_thread(wait)


async def test_no_folder_can_be_made_then_it_can(tmp_path: Path) -> None:
    """A file stands where the state folder should be: refused to root as well."""
    state = tmp_path / "state"
    state.write_text("in the way")
    with writing(state / "history") as writer:
        writer.put(request(1))
        status = await status_where(writer, lambda s: not s.ok)
        assert "a file stands where the folder should be" in str(status.error)
        assert "fix: " in str(status.error)
        with pytest.raises(HistoryError, match="cannot be written"):
            await writer.flush(20)
        state.unlink()
        status = await status_where(writer, lambda s: s.ok)
        assert (status.written, status.queued, status.error) == (1, 0, None)


@pytest.fixture
def sealed(tmp_path: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A folder in which nothing can be made, and the way to open it again."""
    folder = tmp_path / "history"
    folder.mkdir(mode=0o700)
    root = os.geteuid() == 0
    if root:
        done = subprocess.run(["chattr", "+i", folder], check=False, capture_output=True)  # noqa: S607
        if done.returncode:
            pytest.skip("root, and no immutable flag on this file system")
    else:
        folder.chmod(0o500)

    def unseal() -> None:
        if root:
            subprocess.run(["chattr", "-i", folder], check=True)  # noqa: S607
        else:
            folder.chmod(0o700)

    yield folder, unseal
    unseal()


async def test_a_folder_without_write_permission(sealed: tuple[Path, Callable[[], None]]) -> None:
    folder, unseal = sealed
    with writing(folder) as writer:
        writer.put(request(1))
        status = await status_where(writer, lambda s: not s.ok)
        assert "permission denied" in str(status.error)
        unseal()
        await writer.flush(20)
        assert writer.status().ok


async def test_a_file_of_rubbish_is_kept_aside_and_a_new_one_started(tmp_path: Path) -> None:
    folder = tmp_path / "history"
    folder.mkdir()
    (folder / "live.duckdb").write_bytes(b"rubbish" * 5000)
    (folder / "live.duckdb.wal").write_bytes(b"more rubbish")
    with writing(folder) as writer:
        writer.put(request(1))
        db = await writer.publish(20)
        status = writer.status()
        assert status.ok
        assert "not a valid DuckDB database file" in str(status.error)
        assert count(db) == 1
        aside = sorted(folder.glob("live.duckdb.corrupt-*"))
        assert [path.read_bytes()[:4] for path in aside] == [b"rubb", b"more"]
        assert aside[1].name == f"{aside[0].name}.wal"
        assert aside[0].name in str(status.error)


@pytest.mark.parametrize("damage", ["header", "truncated", "log"])
async def test_a_damaged_file_is_kept_aside(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "history"
    folder.mkdir()
    live, log = folder / "live.duckdb", folder / "live.duckdb.wal"
    script = """if True:
        import duckdb, os, sys
        con = duckdb.connect(sys.argv[1])
        con.execute("create table t as select range i from range(200000)")
        con.execute("checkpoint")
        con.execute("insert into t select range from range(1000)")
        os._exit(0)
    """
    with python(script, str(live)) as made:
        assert made.wait(20) == 0
    if damage == "header":
        content = bytearray(live.read_bytes())
        content[20] ^= 0xFF
        live.write_bytes(content)
    elif damage == "truncated":
        os.truncate(live, live.stat().st_size // 2)
    else:
        content = bytearray(log.read_bytes())
        content[len(content) // 2] ^= 0xFF
        log.write_bytes(content)
    with writing(folder) as writer:
        writer.put(request(1))
        await writer.flush(20)
        status = writer.status()
        assert status.ok
        assert "damaged" in str(status.error)
        assert list(folder.glob("live.duckdb.corrupt-*"))


async def test_an_empty_file_left_by_a_kill_is_not_damage(tmp_path: Path) -> None:
    folder = tmp_path / "history"
    folder.mkdir()
    (folder / "live.duckdb").touch()
    with writing(folder) as writer:
        await writer.flush(20)
        assert (writer.status().ok, writer.status().error) == (True, None)


async def test_a_newer_schema_is_refused_and_the_file_kept(tmp_path: Path) -> None:
    folder = tmp_path / "history"
    with writing(folder) as writer:
        writer.put(request(1))
    live = folder / "live.duckdb"
    with duckdb.connect(live) as con:
        con.execute("insert into schema_version select 99, since from schema_version")
    with writing(folder) as writer:
        writer.put(request(2))
        with pytest.raises(HistoryError, match="schema 99"):
            await writer.flush(20)
        assert not writer.status().ok
        assert "newer version" in str(writer.status().error)
    assert not list(folder.glob("*corrupt*"))
    assert read(live, "select count(*) from requests") == [(1,)]
    assert count(folder / "history.duckdb") == 1


HOLD = """if True:
    import duckdb, sys
    con = duckdb.connect(sys.argv[1])
    print("held", flush=True)
    sys.stdin.read()
"""


async def test_a_file_held_by_another_process_is_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "history"
    with writing(folder) as writer:
        writer.put(request(1))
    with python(HOLD, str(folder / "live.duckdb"), stdin=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        with writing(folder) as writer:
            writer.put(request(2))
            with pytest.raises(HistoryError, match=f"process {holder.pid} holds"):
                await writer.flush(20)
            assert not writer.status().ok
            assert writer.status().queued == 1
            holder.stdin.close()
            holder.wait(20)
            status = await status_where(writer, lambda s: s.ok)
            assert (status.written, status.error) == (1, None)
    assert count(folder / "history.duckdb") == 2


async def test_a_file_removed_while_in_use_is_started_again(tmp_path: Path) -> None:
    folder = tmp_path / "history"
    with writing(folder) as writer:
        writer.put(request(1))
        await writer.flush(20)
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        writer.put(request(2))
        status = await status_where(writer, lambda s: s.written == 2)
        assert status.ok
        assert read(await writer.publish(20), "select decision from requests") == [("d2",)]


async def test_a_history_that_cannot_be_opened_still_closes_at_once(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    with writing(tmp_path / "state" / "history") as writer:
        for number in range(2000):
            writer.put(request(number))
        began = time.monotonic()
        await asyncio.to_thread(writer.close, 20)
        assert time.monotonic() - began < 5
        assert writer.status().queued == 2000


LIMITED = """if True:
    import asyncio, os, resource, sys
    from pathlib import Path
    from orchestrator.errors import HistoryError
    from orchestrator.history.writer import HistoryWriter
    from tests.history.rows import keeper_of, request

    def limit(size):
        keeper = keeper_of(os.getpid())
        resource.prlimit(keeper, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    async def main():
        writer = HistoryWriter(Path(sys.argv[1]))
        writer.start()
        await writer.flush(20)
        limit(400_000)
        put = 0
        while writer.status().ok:
            for _ in range(1000):
                writer.put(request(put))
                put += 1
            try:
                await writer.flush(20)
            except HistoryError as error:
                assert "may not grow further" in error.what, error
        try:
            await writer.publish(20)
            raise SystemExit("published a history that cannot be written")
        except HistoryError:
            pass
        assert writer.status().queued > 0, writer.status()
        limit(resource.RLIM_INFINITY)
        await writer.flush(20)
        status = writer.status()
        assert (status.ok, status.written, status.queued, status.error) == (True, put, 0, None), status
        assert (status.dropped, status.failed_rows) == (0, 0), status
        writer.close(20)
        print(put)

    asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits another process")
def test_a_file_that_may_not_grow_costs_no_row_once_it_may(tmp_path: Path) -> None:
    with python(LIMITED, str(tmp_path / "history")) as child:
        assert child.stdout is not None
        put = int(child.stdout.read())
        assert child.wait(60) == 0
    found = read(
        tmp_path / "history" / "history.duckdb", "select count(*), count(distinct decision) from requests"
    )
    assert found == [(put, put)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    with contextlib.suppress(OSError):
        if subprocess.run(mount, check=False, capture_output=True).returncode == 0:
            yield disk
            subprocess.run(["umount", "-l", disk], check=True)  # noqa: S607
            return
    pytest.skip("only root on Linux may mount; the limit on file sizes is tested in any case")


async def test_a_full_disk_costs_no_row_once_there_is_space(small_disk: Path) -> None:
    hog = small_disk / "hog"
    hog.write_bytes(b"x" * 1_500_000)
    folder = small_disk / "history"
    with writing(folder, capacity=20_000) as writer:
        put = 0
        while writer.status().ok:
            for _ in range(1000):
                writer.put(request(put, why=f"{put:0200d}"))
                put += 1
            with contextlib.suppress(HistoryError):
                await writer.publish(20)
                await writer.flush(20)
        status = await status_where(writer, lambda s: not s.ok or bool(s.error))
        assert "the disk is full" in str(status.error)
        hog.unlink()
        await writer.flush(20)
        db = await writer.publish(20)
        assert writer.status().error is None
        assert read(db, "select count(*), count(distinct decision) from requests") == [(put, put)]
        assert not list(folder.glob("*corrupt*"))

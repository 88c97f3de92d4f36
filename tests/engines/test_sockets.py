"""The private folder of the workers' sockets."""

import socket
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engines.sockets import MAX_PATH_BYTES, RuntimeFolder, remove
from orchestrator.errors import EngineError


def test_it_is_made_private(runtime: Path) -> None:
    folder = RuntimeFolder(runtime / "a" / "b")
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.temporary.stat().st_mode) == 0o700


def test_one_that_others_may_enter_is_made_private(runtime: Path) -> None:
    runtime.chmod(0o755)
    RuntimeFolder(runtime)
    assert stat.S_IMODE(runtime.stat().st_mode) == 0o700


def test_a_path_without_room_for_a_socket_is_refused_with_the_way_out(runtime: Path) -> None:
    longest = MAX_PATH_BYTES - len("/w-123456789abc.sock")
    fits = runtime / ("x" * (longest - len(str(runtime)) - 1))
    RuntimeFolder(fits)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.bind(str(RuntimeFolder(fits).socket_of("r1")))
    with pytest.raises(EngineError, match="RUNTIME_DIRECTORY"):
        RuntimeFolder(Path(f"{fits}x"))


def test_what_cannot_be_a_folder_is_refused(runtime: Path) -> None:
    (runtime / "file").write_bytes(b"")
    for path in (runtime / "file", runtime / "file" / "below"):
        with pytest.raises(EngineError, match="cannot be used"):
            RuntimeFolder(path)


def test_a_link_put_there_by_others_is_refused(runtime: Path) -> None:
    (runtime / "elsewhere").mkdir()
    (runtime / "run").symlink_to(runtime / "elsewhere")
    with pytest.raises(EngineError, match="is not a folder of user"):
        RuntimeFolder(runtime / "run")


def test_stale_sockets_go_and_all_else_stays(runtime: Path) -> None:
    folder = RuntimeFolder(runtime)
    stale, living, other = folder.socket_of("r1"), folder.socket_of("r2"), runtime / "admin.sock"
    for path in (stale, living, other):
        path.touch()
    folder.remove_stale({living})
    assert (stale.exists(), living.exists(), other.exists()) == (False, True, True)


def test_removing_what_is_not_there_does_nothing(runtime: Path) -> None:
    remove(runtime / "nothing")


@given(st.text(), st.text())
def test_a_replica_has_one_socket_and_no_other_has_it(one: str, other: str) -> None:
    folder = RuntimeFolder.__new__(RuntimeFolder)  # without making a folder for each example
    folder.path = Path("/run")
    first, second = folder.socket_of(one), folder.socket_of(other)
    assert (first == second) == (one == other)
    assert first.parent == folder.path


def test_a_folder_that_was_taken_away_is_made_again(tmp_path: Path) -> None:
    folder = RuntimeFolder(tmp_path / "run")
    folder.temporary.rmdir()
    folder.path.rmdir()
    folder.make()
    assert folder.temporary.is_dir()
    assert folder.path.stat().st_mode & 0o777 == 0o700

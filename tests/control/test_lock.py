"""One daemon per state folder, and nothing to clean up after one that was killed."""

import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.control import lock
from orchestrator.errors import StateError

HOLDS = """
import sys, time
from pathlib import Path
from orchestrator.control import lock
held = lock.take(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_the_folder_is_made_with_its_parents_and_private(tmp_path: Path) -> None:
    with lock.take(tmp_path / "a/b"):
        assert stat.S_IMODE((tmp_path / "a/b").stat().st_mode) == 0o700


def test_the_file_names_its_holder_and_no_earlier_one(tmp_path: Path) -> None:
    (tmp_path / lock.FILE).write_text("123456789012345\n")
    with lock.take(tmp_path):
        assert (tmp_path / lock.FILE).read_text() == f"{os.getpid()}\n"


def test_a_holder_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path.cwd(),
        text=True,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(StateError, match=rf"another daemon .* \(pid {child.pid}\)") as caught:
            lock.take(tmp_path)
        assert caught.value.where == str(tmp_path)
        child.kill()
        child.wait(10)
    with lock.take(tmp_path):
        assert (tmp_path / lock.FILE).read_text() == f"{os.getpid()}\n"


def test_a_refused_daemon_leaves_the_file_to_its_holder(tmp_path: Path) -> None:
    with lock.take(tmp_path):
        for _ in range(2):
            with pytest.raises(StateError):
                lock.take(tmp_path)
        assert (tmp_path / lock.FILE).read_text() == f"{os.getpid()}\n"


def test_a_holder_that_has_not_written_its_number_yet_is_not_named(tmp_path: Path) -> None:
    with (tmp_path / lock.FILE).open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(StateError, match=r"on this state folder\n") as caught:
            lock.take(tmp_path)
    assert "pid" not in caught.value.what


def test_a_folder_that_is_a_file_is_a_clear_error_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StateError, match="the state folder cannot be written: ") as caught:
        lock.take(tmp_path / "state")
    assert caught.value.where == str(tmp_path / "state")
    assert caught.value.fix == f"make it yours (chown $USER {tmp_path}/state), or choose another: --state DIR"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_does_not_keep_from_locking(tmp_path: Path) -> None:
    (tmp_path / lock.FILE).symlink_to("/dev/full")
    lock.take(tmp_path).close()

"""Where things lie, for every way of saying so."""

import os
from pathlib import Path

import pytest

from orchestrator.config.paths import (
    LONGEST_RUNTIME_FOLDER,
    cache_folder,
    configuration_folder,
    private_folder,
    runtime_folder,
    state_folder,
)
from orchestrator.errors import StateError
from orchestrator.values.settings import Settings

HOME = {"HOME": "/home/ann"}


def test_the_given_configuration_folder_wins(tmp_path: Path) -> None:
    (tmp_path / "models.d").mkdir()
    assert configuration_folder(Path("other"), HOME, tmp_path) == tmp_path / "other"
    assert configuration_folder(Path("~/conf"), HOME, tmp_path) == Path("/home/ann/conf")


def test_the_current_folder_counts_only_with_a_models_folder(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    (tmp_path / "xdg/orchestrator/models.d").mkdir(parents=True)
    assert configuration_folder(None, env, tmp_path, platform="linux") == tmp_path / "xdg/orchestrator"
    (tmp_path / "models.d").mkdir()
    assert configuration_folder(None, env, tmp_path, platform="linux") == tmp_path


def test_the_users_folder_is_named_where_there_is_none_yet(tmp_path: Path) -> None:
    assert configuration_folder(None, HOME, tmp_path, platform="linux") == Path(
        "/home/ann/.config/orchestrator"
    )
    mac = Path("/home/ann/Library/Application Support/orchestrator")
    assert configuration_folder(None, HOME, tmp_path, platform="darwin") == mac


@pytest.mark.parametrize(
    ("settings", "env", "platform", "expected"),
    [
        (Settings(state_folder="/data/o"), {"STATE_DIRECTORY": "/var/lib/o"}, "linux", "/data/o"),
        (Settings(), {"STATE_DIRECTORY": "/var/lib/o:/other"}, "linux", "/var/lib/o"),
        (Settings(), {"XDG_STATE_HOME": "/s"}, "linux", "/s/orchestrator"),
        (Settings(), {"XDG_STATE_HOME": "relative"}, "linux", "/home/ann/.local/state/orchestrator"),
        (Settings(), {}, "darwin", "/home/ann/Library/Application Support/orchestrator/state"),
    ],
)
def test_state_folder(settings: Settings, env: dict[str, str], platform: str, expected: str) -> None:
    assert state_folder(settings, HOME | env, platform=platform) == Path(expected)


@pytest.mark.parametrize(
    ("settings", "env", "platform", "expected"),
    [
        (Settings(cache_folder="/data/m"), {"CACHE_DIRECTORY": "/var/cache/o"}, "linux", "/data/m"),
        (Settings(), {"CACHE_DIRECTORY": "/var/cache/o:/other"}, "linux", "/var/cache/o"),
        (Settings(), {"XDG_CACHE_HOME": "/c"}, "linux", "/c/orchestrator"),
        (Settings(), {"XDG_CACHE_HOME": "relative"}, "linux", "/home/ann/.cache/orchestrator"),
        (Settings(), {}, "darwin", "/home/ann/Library/Caches/orchestrator"),
    ],
)
def test_cache_folder(settings: Settings, env: dict[str, str], platform: str, expected: str) -> None:
    assert cache_folder(settings, HOME | env, platform=platform) == Path(expected)


def test_two_state_folders_never_share_a_runtime_folder() -> None:
    env = HOME | {"RUNTIME_DIRECTORY": "/run/o"}
    one, two = runtime_folder(env, Path("/a")), runtime_folder(env, Path("/b"))
    assert one != two
    assert {one.parent, two.parent} == {Path("/run/o")}
    assert runtime_folder(env, Path("/a")) == one


def test_the_runtime_folder_leaves_room_for_a_socket(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    for env in (HOME, HOME | {"XDG_RUNTIME_DIR": str(long)}, HOME | {"RUNTIME_DIRECTORY": str(long)}):
        folder = runtime_folder(env, long / "state")
        assert folder.name.startswith(f"orchestrator-{os.getuid()}-")
        assert len(str(folder)) <= LONGEST_RUNTIME_FOLDER


def test_a_session_folder_that_is_not_there_is_passed_over() -> None:
    assert runtime_folder(HOME | {"XDG_RUNTIME_DIR": "/run/user/none"}, Path("/s")) == Path("/s/run")


def test_a_private_folder_is_closed_to_others(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "a/b")
    assert [p.stat().st_mode & 0o777 for p in (folder, folder.parent)] == [0o700, 0o700]


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert private_folder(tmp_path).stat().st_mode & 0o777 == 0o755


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(StateError, match=f"fix: chmod 700 {tmp_path}"):
        private_folder(tmp_path)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(StateError, match="belongs to another user"):
        private_folder(tmp_path)


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot make or use"):
        private_folder(tmp_path / "file/state")

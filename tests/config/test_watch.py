"""The watcher itself: what it wakes for, and what happens when it dies or is refused."""

import errno
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from watchdog.events import FileModifiedEvent, FileMovedEvent
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, EventEmitter

from orchestrator.config import watch as module
from orchestrator.config.watch import Watch

DEADLINE_S = 5


class Watched:
    """A watch whose events set a flag, and every observer that it made."""

    def __init__(self) -> None:
        self.changed = threading.Event()
        self.observers: list[BaseObserver] = []
        self.watch = Watch(self.changed.set, self._make)

    def _make(self) -> BaseObserver:
        self.observers.append(Observer())
        return self.observers[-1]

    def sees(self, path: Path) -> bool:
        self.changed.clear()
        path.write_text("x")
        return self.changed.wait(DEADLINE_S)


@pytest.fixture
def watched() -> Iterator[Watched]:
    watched = Watched()
    yield watched
    watched.watch.close()


def test_only_a_new_watch_is_new(watched: Watched, tmp_path: Path) -> None:
    places: dict[str, frozenset[str] | None] = {str(tmp_path): None, str(tmp_path / "none"): None}
    assert watched.watch.arm(places)
    assert not watched.watch.arm(places)
    assert watched.sees(tmp_path / "a.yaml")
    (tmp_path / "none").mkdir()
    assert watched.watch.arm(places)
    assert watched.watch.arm({str(tmp_path): frozenset({"b"})})
    assert not watched.watch.arm({})


def test_threads_end_with_the_watch(tmp_path: Path) -> None:
    before = threading.active_count()
    watched = Watched()
    watched.watch.arm({str(tmp_path): None})
    assert threading.active_count() > before
    watched.watch.close()
    assert threading.active_count() == before


def test_a_dead_thread_is_replaced(watched: Watched, tmp_path: Path) -> None:
    places: dict[str, frozenset[str] | None] = {str(tmp_path): None}
    watched.watch.arm(places)
    for emitter in watched.observers[0].emitters:
        emitter.stop()
        emitter.join()
    assert watched.watch.arm(places)
    assert watched.sees(tmp_path / "a.yaml")


def test_a_dead_observer_is_replaced(
    watched: Watched, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    places: dict[str, frozenset[str] | None] = {str(tmp_path): None}
    watched.watch.arm(places)
    watched.observers[0].stop()
    watched.observers[0].join()
    assert watched.watch.arm(places)
    assert "started again" in caplog.text
    assert watched.sees(tmp_path / "a.yaml")


class Refused(EventEmitter):
    """An emitter that the system has no room for."""

    def on_thread_start(self) -> None:
        raise OSError(errno.ENOSPC, "inotify watch limit reached")


def test_a_refused_watch_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch(lambda: None, lambda: BaseObserver(Refused))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert not watch.arm({str(tmp_path): None, str(tmp_path.parent): None})
    watch.close()
    assert caplog.text.count("edits are seen by timed scans only") == 1


@pytest.mark.parametrize(
    ("names", "path", "wakes"),
    [
        (None, "/conf/models.d/a.yaml", True),
        (None, "/conf/models.d/..data", True),
        (None, "/conf/models.d/.a.yaml.swp", False),
        (None, "/conf/models.d/a.yaml~", False),
        (None, "/conf/models.d/4913", False),
        (frozenset({"models.d"}), "/conf/models.d", True),
        (frozenset({"models.d"}), "/conf/notes.txt", False),
        (frozenset({"models.d"}), b"/conf/models.d", True),
    ],
)
def test_what_wakes(names: frozenset[str] | None, path: str | bytes, wakes: bool) -> None:  # noqa: FBT001
    seen: list[bool] = []
    handler = module._Handler(lambda: seen.append(True), names)  # noqa: SLF001 (events cannot be forged outside)
    handler.on_any_event(FileModifiedEvent(path))
    assert bool(seen) is wakes


def test_a_move_counts_by_both_of_its_names() -> None:
    seen: list[bool] = []
    handler = module._Handler(lambda: seen.append(True), frozenset({"models.d"}))  # noqa: SLF001
    handler.on_any_event(FileMovedEvent("/conf/tmp", "/conf/models.d"))
    handler.on_any_event(FileMovedEvent("/conf/models.d", "/conf/old"))
    assert len(seen) == 2


def test_a_handler_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise RuntimeError("broken")

    module._Handler(broken, None).on_any_event(FileModifiedEvent("/a"))  # noqa: SLF001
    assert "was lost" in caplog.text


def test_many_folders_are_watched_only_in_part(
    watched: Watched, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    places: dict[str, frozenset[str] | None] = {str(tmp_path): None}
    for number in range(module.MOST_FOLDERS + 5):
        (tmp_path / str(number)).mkdir()
        places[str(tmp_path / str(number))] = None
    watched.watch.arm(places)
    watched.watch.arm(places)
    assert len(watched.observers[0].emitters) == module.MOST_FOLDERS
    assert caplog.text.count("links lead to") == 1

"""File system events as a hint: something may have changed, so look.

Nothing depends on an event. What watchers miss (edits behind a link, network
file systems, folders swapped whole) the timed scan finds.
"""

import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from watchdog.events import (
    DirAttribEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileAttribEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

log = logging.getLogger(__name__)

Identity: TypeAlias = tuple[int, int]

# Without the events of opening and closing for reading: our own scans would wake us for ever.
EVENTS: Final[list[type[FileSystemEvent]]] = [
    DirAttribEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileAttribEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]

# Each watched folder costs a thread; only a folder full of links to everywhere has more than this.
MOST_FOLDERS: Final = 32

# On macOS a watch gets the events of everything below its folder. Where few names matter, as in the parent
# of the configuration folder, which may be the home folder, the timed scan has to do.
WHOLE_TREES: Final = sys.platform == "darwin"

# What editors write beside the file itself.
NOISE: Final = (".swp", ".swx", "~", "4913")


@dataclass(slots=True)
class _Armed:
    identity: Identity
    watch: ObservedWatch
    names: frozenset[str] | None


class Watch:
    """Calls `on_change` from a thread when something happens in one of the armed folders.

    One thread at a time may call the methods.

    Args:
        on_change: called from a thread, once for each event that matters.
        make: makes the observer.
    """

    def __init__(self, on_change: Callable[[], None], make: Callable[[], BaseObserver] = Observer) -> None:
        self._on_change = on_change
        self._make = make
        self._observer: BaseObserver | None = None
        self._armed: dict[str, _Armed] = {}
        self._refused = False
        self._told_many = False

    def arm(self, places: Mapping[str, frozenset[str] | None]) -> bool:
        """Watch exactly these folders; return whether a watch is new, so that events may have been missed.

        A folder that was replaced by another of the same name is watched anew,
        and so is everything when a thread has died. Where the system refuses a
        watch, that is logged once and the timed scans do the work.

        Args:
            places: each folder with the names that matter in it; None for any name.
        """
        self._bury()
        if WHOLE_TREES:
            places = {folder: names for folder, names in places.items() if names is None}
        wanted = dict(list(places.items())[:MOST_FOLDERS])
        if len(places) > MOST_FOLDERS and not self._told_many:
            self._told_many = True
            log.warning(
                "links lead to %d folders; edits behind some of them are seen by timed scans", len(places)
            )
        for folder in self._armed.keys() - wanted.keys():
            self._disarm(folder)
        new = [folder for folder, names in wanted.items() if self._arm(folder, names)]
        return bool(new)

    def close(self) -> None:
        """Stop all threads, and wait for their end."""
        observer, self._observer = self._observer, None
        self._armed.clear()
        if observer is not None and observer.is_alive():
            observer.stop()
            observer.join()

    def _bury(self) -> None:
        """Notice threads that have died, and start over."""
        observer = self._observer
        if observer is None:
            return
        if not observer.is_alive() or len(observer.emitters) < len(self._armed):
            log.warning("the file watcher has stopped; it is started again")
            self.close()
            return
        dead = {emitter.watch.path for emitter in observer.emitters if not emitter.is_alive()}
        for folder in dead & self._armed.keys():
            self._disarm(folder)

    def _arm(self, folder: str, names: frozenset[str] | None) -> bool:
        try:
            found = os.stat(folder)  # noqa: PTH116 (folders are strings here, as in the events)
        except OSError:
            self._disarm(folder)
            return False
        identity = (found.st_dev, found.st_ino)
        armed = self._armed.get(folder)
        if armed is not None and (armed.identity, armed.names) == (identity, names):
            return False
        self._disarm(folder)
        try:
            watch = self._running().schedule(_Handler(self._on_change, names), folder, event_filter=EVENTS)
        except (OSError, RuntimeError) as error:  # no more watches; no more threads
            if not self._refused:
                log.warning("cannot watch %s (%s); edits are seen by timed scans only", folder, error)
            self._refused = True
            return False
        self._armed[folder] = _Armed(identity, watch, names)
        return True

    def _disarm(self, folder: str) -> None:
        armed = self._armed.pop(folder, None)
        if armed is not None and self._observer is not None:
            self._observer.unschedule(armed.watch)

    def _running(self) -> BaseObserver:
        if self._observer is None:
            observer = self._make()
            observer.start()
            self._observer = observer
        return self._observer


class _Handler(FileSystemEventHandler):
    def __init__(self, on_change: Callable[[], None], names: frozenset[str] | None) -> None:
        self._on_change = on_change
        self._names = names

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Pass the event on, if it matters; never raise, for that would end the watcher's thread."""
        try:
            if any(self._matters(path) for path in (event.src_path, event.dest_path) if path):
                self._on_change()
        except Exception:
            log.exception("an event of the file system was lost")

    def _matters(self, path: bytes | str) -> bool:
        name = os.fsdecode(path).rpartition(os.sep)[2]
        return name in self._names if self._names is not None else not name.endswith(NOISE)

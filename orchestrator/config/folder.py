"""One folder of YAML files, looked at again and again: only what moved is read."""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Generic, TypeAlias, TypeVar

from orchestrator.config.contents import Contents, Stamp, is_young, stamp, stamp_of
from orchestrator.config.draft import Draft, unreadable
from orchestrator.config.read import MOST_BYTES

T = TypeVar("T")

Read: TypeAlias = Callable[[str, int], Contents]
Parse: TypeAlias = Callable[[str, str, bytes], Draft[T]]

ENDINGS: Final = (".yaml", ".yml")
ATTEMPTS: Final = 3


@dataclass(slots=True)
class _Entry(Generic[T]):
    """What is remembered of one file. `again`: read it the next time, whatever its stamp says."""

    draft: Draft[T]
    stamp: Stamp | None = None
    referred: tuple[Stamp | None, ...] = ()
    digest: bytes = b""
    again: bool = True


class Folder(Generic[T]):
    """The files `*.yaml` and `*.yml` of one folder, links followed.

    Names that start with a dot are passed over; what editors leave behind
    (`a.yaml~`, `#a.yaml#`, `a.yaml.bak`, `.a.yaml.swp`) has another ending or
    starts with a dot.

    Attributes:
        lost: why the folder cannot be listed; "" where it can.
        device: the device it was on when it could last be listed.
        soon: some file was too young or moved while being read, so the next look should come soon.
    """

    def __init__(self, root: Path, name: str, parse: Parse[T], read: Read) -> None:
        self.lost = ""
        self.device = 0
        self.soon = False
        self.exists = True
        self._path = str(root / name)
        self._name = name
        self._parse = parse
        self._read = read
        self._entries: dict[str, _Entry[T]] = {}
        self._links: set[str] = set()

    @property
    def drafts(self) -> list[Draft[T]]:
        """What the files said at the last look, in the order of their names."""
        return [self._entries[name].draft for name in sorted(self._entries)]

    def look(self, now: datetime) -> bool:
        """Bring the drafts up to date; return whether any of them, or the folder itself, has changed."""
        self.soon = False
        found, lost = self._list()
        changed = lost != self.lost
        self.lost = lost
        for name in self._entries.keys() - found.keys():
            del self._entries[name]
            changed = True
        for name, seen in found.items():
            entry = self._entries.get(name)
            if entry is not None and not entry.again and self._is_same(entry, seen):
                continue
            fresh = self._take(name, entry, now)
            changed = changed or entry is None or fresh.draft is not entry.draft
            self._entries[name] = fresh
        return changed

    def links(self) -> list[str]:
        """Return the paths of the files that are links."""
        return [f"{self._path}/{name}" for name in sorted(self._links)]

    def referred(self) -> Iterator[Path]:
        """Yield the files that the drafts refer to as `${file:}`."""
        for entry in self._entries.values():
            yield from entry.draft.files

    def _list(self) -> tuple[dict[str, Stamp | None], str]:
        """Return the stamp of each file, None for one that leads nowhere; or why there is no list."""
        found: dict[str, Stamp | None] = {}
        self._links.clear()
        try:
            with os.scandir(self._path) as entries:
                for entry in entries:
                    name = entry.name
                    if name[0] == "." or not name.lower().endswith(ENDINGS):
                        continue
                    try:
                        found[name] = stamp_of(entry.stat())
                    except OSError:
                        found[name] = None
                    if entry.is_symlink():
                        self._links.add(name)
            self.device = os.stat(self._path).st_dev  # noqa: PTH116 (see contents.stamp)
        except OSError as error:
            self.exists = not isinstance(error, FileNotFoundError)
            return {}, "is missing" if not self.exists else f"cannot be read: {error.strerror}"
        self.exists = True
        return found, ""

    def _is_same(self, entry: _Entry[T], seen: Stamp | None) -> bool:
        if entry.stamp != seen:
            return False
        return not entry.draft.files or entry.referred == _stamps(entry.draft)

    def _take(self, filename: str, before: _Entry[T] | None, now: datetime) -> _Entry[T]:
        """Return the entry of a file that is new or may have changed."""
        shown = filename.encode(errors="replace").decode()
        name, path = shown.rpartition(".")[0], f"{self._name}/{shown}"
        try:
            found = self._settled(os.path.join(self._path, filename))  # noqa: PTH118 (strings)
        except OSError as error:
            return _same_or(before, _refusal(name, path, error))
        if found.moved:
            self.soon = True
            being = unreadable(name, path, "is being written all the time", "wait until it is complete")
            return _Entry(before.draft if before is not None else being)
        young = is_young(found.stamp, now)
        self.soon = self.soon or young
        digest = hashlib.sha256(found.raw).digest()
        if before is not None and before.digest == digest and before.referred == _stamps(before.draft):
            draft, referred = before.draft, before.referred
        else:
            draft = self._parse(name, path, found.raw)
            referred = _stamps(draft)
        return _Entry(draft, found.stamp, referred, digest, again=young)

    def _settled(self, path: str) -> Contents:
        """Return a file's contents, read again where it changed meanwhile."""
        found = self._read(path, MOST_BYTES)
        for _ in range(ATTEMPTS - 1):
            if not found.moved:
                break
            found = self._read(path, MOST_BYTES)
        return found


def _same_or(before: _Entry[T] | None, draft: Draft[Any]) -> _Entry[T]:
    """Return an entry to be read again next time; the draft that was there, where it says the same."""
    same = before is not None and before.draft == draft
    return _Entry(before.draft if before is not None and same else draft)


def _stamps(draft: Draft[Any]) -> tuple[Stamp | None, ...]:
    return tuple(stamp(path) for path in draft.files)


def _refusal(name: str, path: str, error: OSError) -> Draft[Any]:
    if isinstance(error, FileNotFoundError):
        return unreadable(
            name, path, "is a link that leads nowhere", "restore its target, or remove the link"
        )
    fix = "make it a file that the user who runs the daemon may read"
    return unreadable(name, path, f"cannot be read: {error.strerror}", fix)

"""What is made of fetched files here, quantised ones: whole and checked, or not there.

quantized/NAME        a file, or a folder of them
quantized/NAME.json   their digests; written last
tmp/NAME              one that is being made
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from orchestrator.workers.fetch.order import SHA256, Item, decode_items, encode_items
from orchestrator.workers.fetch.partial import READ_ONLY, digest_of, sync_folder
from orchestrator.workers.fetch.shelf import Shelf, read_json, write_json


class Products:
    """The products of one cache; all is read anew from the disk each time."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self.folder = shelf.cache / "quantized"

    def place(self, name: str) -> Path:
        """Return where it lies."""
        return self.folder / name

    def draft(self, name: str) -> Path:
        """Return where it is made; what an earlier attempt has left there is gone."""
        path = self._shelf.temporary / name
        _remove(path)
        return path

    def is_whole(self, name: str) -> bool:
        """Say whether it is here and has not been touched since it was checked."""
        items = self._items(name)
        return bool(items) and all(self._shelf.seals.find(self._file(name, i)) == i.digest for i in items)

    def recheck(self, name: str, checking: Callable[[int], None]) -> bool:
        """Say whether it is here and still what it was; reads all of it."""
        items = self._items(name)
        for item in items:
            path = self._file(name, item)
            if not path.is_file():
                return False
            found, status = digest_of(path, SHA256, checking)
            if found != item.digest:
                return False
            self._shelf.seals.put(path, found, status)
        return bool(items)

    def publish(self, name: str, checking: Callable[[int], None]) -> int:
        """Give the draft its own place, on the disk for good; return its size in bytes."""
        draft, place = self._shelf.temporary / name, self.place(name)
        items: list[Item] = []
        for path in _files(draft):
            digest, status = digest_of(path, SHA256, checking)
            inside = "" if path == draft else path.relative_to(draft).as_posix()
            items.append(Item(path=inside or name, digest=digest, size_bytes=status.st_size))
            path.chmod(READ_ONLY)
            _sync(path)
        if draft.is_dir():
            sync_folder(draft)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        _remove(place)
        draft.rename(place)
        sync_folder(self.folder)
        for item in items:
            path = self._file(name, item)
            self._shelf.seals.put(path, item.digest, path.stat())
        write_json(self._list(name), {"items": encode_items(items)})
        return sum(item.size_bytes for item in items)

    def size_bytes(self, name: str) -> int:
        """Return what it takes on the disk."""
        return sum(item.size_bytes for item in self._items(name))

    def remove(self, prefix: str, *, keep: str | None = None) -> int:
        """Delete all but `keep` whose names begin like this, and attempts; return the bytes that freed."""
        freed = 0
        for folder in (self.folder, self._shelf.temporary):
            for path in folder.glob(f"{prefix}*"):
                if keep is not None and path.name in {keep, f"{keep}.json"}:
                    continue
                for file in _files(path):
                    freed += 0 if path.suffix == ".json" else file.stat().st_size
                    self._shelf.seals.forget(file)
                _remove(path)
        return freed

    def _items(self, name: str) -> tuple[Item, ...]:
        try:
            return decode_items(read_json(self._list(name)).get("items", ()))
        except ValueError:
            return ()

    def _list(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _file(self, name: str, item: Item) -> Path:
        place = self.place(name)
        return place / item.path if place.is_dir() else place


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path] if path.exists() else []
    return sorted(file for file in path.rglob("*") if file.is_file())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

"""Where things lie in the cache: whole files by their digest, unfinished ones, and what is known of them.

blobs/sha256-HEX           a whole file, checked, read-only
partial/sha256-HEX         what has come of one
partial/sha256-HEX.json    how much of that is safe on the disk
locks/sha256-HEX           held by whoever fetches or deletes it
seals/NAME.json            a file that was checked, and how it looked then
"""

import contextlib
import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class Shelf:
    """The places in one cache folder; `make` has them."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.blobs = cache / "blobs"
        self.unfinished = cache / "partial"
        self.temporary = cache / "tmp"
        self.seals = Seals(cache / "seals")
        self._locks = cache / "locks"

    def make(self) -> None:
        """Have the folders, for this user only.

        Raises:
            OSError: they cannot be made.
        """
        self.cache.mkdir(mode=0o755, parents=True, exist_ok=True)
        for folder in (self.blobs, self.unfinished, self.temporary, self.seals.folder, self._locks):
            folder.mkdir(mode=0o700, exist_ok=True)

    def blob(self, digest: str) -> Path:
        """Return where the whole file with this digest lies."""
        return self.blobs / name_of(digest)

    def partial(self, digest: str) -> Path:
        """Return where it grows."""
        return self.unfinished / name_of(digest)

    def note(self, digest: str) -> Path:
        """Return where it is written down how far it is safe."""
        return self.unfinished / f"{name_of(digest)}.json"

    def is_whole(self, digest: str) -> bool:
        """Say whether the file is here and has not been touched since it was checked."""
        return self.seals.find(self.blob(digest)) == digest

    @contextlib.contextmanager
    def locked(self, digest: str) -> Iterator[bool]:
        """Hold the file's lock, over all processes, and say True; or say False where somebody else does."""
        fd = os.open(self._locks / name_of(digest), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
        finally:
            os.close(fd)


class Seals:
    """Remembers which files were checked, for as long as they look untouched: size, times and inode."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, path: Path) -> str:
        """Return the digest that the file had when it was checked; "" where that is not known any more."""
        try:
            seen = _look(path.stat())
        except OSError:
            return ""
        content = read_json(self._place(path))
        return str(content.get("digest", "")) if content.get("seen") == seen else ""

    def last(self, path: Path) -> str:
        """Return the digest that the file had when it was last checked, whatever has become of it; or ""."""
        return str(read_json(self._place(path)).get("digest", ""))

    def put(self, path: Path, digest: str, status: os.stat_result) -> None:
        """Remember that the file, while it looked like `status`, had this digest."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(self._place(path), {"digest": digest, "seen": _look(status), "name": path.name})

    def forget(self, path: Path) -> None:
        """Know nothing of it any more."""
        self._place(path).unlink(missing_ok=True)

    def _place(self, path: Path) -> Path:
        """Return where the file's seal lies. A cache may be moved: what is in it goes by its name there."""
        cache = self.folder.parent
        inside = path.relative_to(cache) if path.is_relative_to(cache) else path
        return self.folder / f"{_short(str(inside))}.json"


def _look(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _short(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:32]


def name_of(digest: str) -> str:
    """Return the file name for a digest."""
    return digest.replace(":", "-", 1)


def read_json(path: Path) -> Mapping[str, Any]:
    """Return the object in the file; an empty one where there is none, or it is damaged."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Put the object into the file, whole or not at all."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
    fresh.write_text(json.dumps(content))
    fresh.replace(path)

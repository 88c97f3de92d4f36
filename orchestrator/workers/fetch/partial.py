"""A file that grows: hashed as it comes, safe on the disk in steps, and whole only under its own name."""

import contextlib
import ctypes
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

from orchestrator.workers.errand import Trouble, TroubleKind
from orchestrator.workers.fetch.order import GIT_SHA1
from orchestrator.workers.fetch.room import full, is_full
from orchestrator.workers.fetch.shelf import Shelf, read_json, write_json

CHUNK_BYTES: Final = 1 << 20
# After so many bytes they are made safe, so that a power failure costs no more than these. A guess.
SAFE_EVERY_BYTES: Final = 64 * 1024 * 1024
READ_ONLY: Final = 0o400
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


class Partial:
    """What has come of one file. Its lock is held by whoever uses it.

    After a crash of this process all that was written counts: the kernel has it. After a crash of the
    machine only what had been made safe does; the rest may read as zeros.

    Args:
        size_bytes: of the whole file, 0 where it is not known yet.
    """

    def __init__(self, shelf: Shelf, digest: str, size_bytes: int) -> None:
        self.digest = digest
        self.size_bytes = size_bytes
        self.done_bytes = 0
        self.tag = ""  # what the server calls this content
        self._shelf = shelf
        self._path = shelf.partial(digest)
        self._safe_bytes = 0
        self._hash = _hasher(digest, size_bytes)
        self._fd = -1

    def __enter__(self) -> Self:
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def resume(self, checking: Callable[[int], None]) -> None:
        """Take up what is there; `checking` is told how many bytes of it have been read again."""
        note = read_json(self._shelf.note(self.digest))
        here_bytes = os.fstat(self._fd).st_size
        boot = _boot()
        if not boot or note.get("boot") != boot:
            here_bytes = min(here_bytes, int(note.get("safe", 0)))
        self.size_bytes = self.size_bytes or int(note.get("size", 0))
        if self.size_bytes and here_bytes > self.size_bytes:
            here_bytes = 0
        self._cut(here_bytes)
        self.tag = str(note.get("tag", ""))
        self._safe_bytes = min(int(note.get("safe", 0)), here_bytes)
        while self.done_bytes < here_bytes and (chunk := os.read(self._fd, CHUNK_BYTES)):
            self._hash.update(chunk)
            self.done_bytes += len(chunk)
            checking(self.done_bytes)

    def start_over(self, *, size_bytes: int, tag: str) -> None:
        """Have nothing, of a file that has this size and name now."""
        self.size_bytes, self.tag = size_bytes, tag
        self._cut(0)
        self.done_bytes = self._safe_bytes = 0
        self._hash = _hasher(self.digest, size_bytes)
        self._write_note()

    def add(self, data: bytes) -> None:
        """Put what has come behind the rest.

        Raises:
            Trouble: there is no room for it.
        """
        left = memoryview(data)
        try:
            while left:
                written = os.write(self._fd, left)
                self._hash.update(left[:written])
                self.done_bytes += written
                left = left[written:]
        except OSError as error:
            if is_full(error):
                raise full(error, self._shelf.cache, self.done_bytes, self.size_bytes) from None
            raise
        if self.done_bytes - self._safe_bytes >= SAFE_EVERY_BYTES:
            self.make_safe()

    def make_safe(self) -> None:
        """Have all that has come survive a power failure."""
        os.fsync(self._fd)
        self._safe_bytes = self.done_bytes
        self._write_note()

    def finish(self) -> None:
        """Give the file its own name, if it is what it should be.

        Raises:
            Trouble: it is not; nothing of it is left.
        """
        found = self._hash.hexdigest()
        if found != self.digest.partition(":")[2].lower():
            self.discard()
            raise Trouble(TroubleKind.CORRUPT, f"what came has {self.digest.partition(':')[0]} {found}")
        os.fchmod(self._fd, READ_ONLY)
        os.fsync(self._fd)
        blob = self._shelf.blob(self.digest)
        self._path.replace(blob)
        sync_folder(blob.parent)
        self._shelf.seals.put(blob, self.digest, os.fstat(self._fd))
        self._shelf.note(self.digest).unlink(missing_ok=True)

    def discard(self) -> None:
        """Have nothing of it."""
        self._path.unlink(missing_ok=True)
        self._shelf.note(self.digest).unlink(missing_ok=True)

    def _cut(self, length: int) -> None:
        with contextlib.suppress(OSError):  # a device in its place has no length
            os.ftruncate(self._fd, length)
        os.lseek(self._fd, 0, os.SEEK_SET)

    def _write_note(self) -> None:
        content = {
            "safe": self._safe_bytes,
            "boot": _boot(),
            "size": self.size_bytes,
            "tag": self.tag,
        }
        write_json(self._shelf.note(self.digest), content)


def digest_of(path: Path, kind: str, checking: Callable[[int], None]) -> tuple[str, os.stat_result]:
    """Return a file's digest of this kind, and how the file looked before it was read."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        found = _hasher(f"{kind}:", status.st_size)
        done_bytes = 0
        while chunk := file.read(CHUNK_BYTES):
            found.update(chunk)
            done_bytes += len(chunk)
            checking(done_bytes)
    return f"{kind}:{found.hexdigest()}", status


def sync_folder(folder: Path) -> None:
    """Have the folder's entries survive a power failure."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _hasher(digest: str, size_bytes: int) -> "hashlib._Hash":
    if digest.startswith(f"{GIT_SHA1}:"):
        return hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)
    return hashlib.sha256()


def _boot() -> str:
    """Return what is another one after each start of the machine; "" where that is not known."""
    if sys.platform == "darwin":
        text, size = ctypes.create_string_buffer(64), ctypes.c_size_t(64)
        failed = ctypes.CDLL(None).sysctlbyname(b"kern.bootsessionuuid", text, ctypes.byref(size), None, 0)
        return "" if failed else text.value.decode()
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""

"""The private folder in which workers have their sockets and their temporary files."""

import hashlib
import os
import stat
import sys
from collections.abc import Container
from contextlib import suppress
from pathlib import Path
from typing import Final

from orchestrator.errors import EngineError

# What `sun_path` holds, less the closing zero byte.
MAX_PATH_BYTES: Final = 103 if sys.platform == "darwin" else 107
_PREFIX, _SUFFIX, _DIGITS = "w-", ".sock", 12
_NAME_BYTES: Final = len(_PREFIX) + _DIGITS + len(_SUFFIX)


class RuntimeFolder:
    """A folder that only this user can enter; made when missing.

    Raises:
        EngineError: its path leaves no room for a socket's name, it belongs to
            somebody else, or it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        room = MAX_PATH_BYTES - _NAME_BYTES - 1
        length = len(os.fsencode(self.path))
        if length > room:
            raise EngineError(
                f"the runtime folder's path has {length} bytes, and sockets allow {room}: {self.path}",
                fix="set RUNTIME_DIRECTORY or XDG_RUNTIME_DIR to a folder with a shorter path",
            )
        self.temporary = self.path / "tmp"
        self.make()

    def make(self) -> None:
        """Have the folder: logging out, or cleaning up, may take it away while we run.

        Raises:
            EngineError: it cannot be made.
        """
        try:
            for folder in (self.path, self.temporary):
                _make_private(folder)
        except OSError as error:
            raise EngineError(
                f"the runtime folder {self.path} cannot be used: {error.strerror}",
                fix="set RUNTIME_DIRECTORY or XDG_RUNTIME_DIR to a folder of your own",
            ) from None

    def socket_of(self, replica: str) -> Path:
        """Return the path of a replica's socket: always the same one, of bounded length."""
        digest = hashlib.sha256(replica.encode()).hexdigest()[:_DIGITS]
        return self.path / f"{_PREFIX}{digest}{_SUFFIX}"

    def remove_stale(self, living: Container[Path]) -> None:
        """Remove the workers' sockets that are not among `living`."""
        for path in self.path.glob(f"{_PREFIX}*{_SUFFIX}"):
            if path not in living:
                remove(path)


def remove(path: Path) -> None:
    """Have no file there; one that cannot be removed does no harm and is left."""
    with suppress(OSError):
        path.unlink()


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise PermissionError(0, f"{folder} is not a folder of user {os.getuid()}")
    if stat.S_IMODE(status.st_mode) & 0o077:
        folder.chmod(0o700)

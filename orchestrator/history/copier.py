"""The child that copies the live file: `python copier.py SOURCE TARGET`; TARGET is made new and private.

A process of its own: one that closes *any* handle of a file loses its POSIX locks on it,
so whoever holds the live file must never read it in passing (docs/history.md#two-files);
and one that hangs on a bad disk can be ended. Needs nothing but the standard library, so
that it starts fast.
"""

import contextlib
import os
import sys
from pathlib import Path
from typing import Final

CHUNK_BYTES: Final = 1 << 26


def copy(source: Path, target: Path) -> None:
    """Copy `source` to `target`, on disk when this returns; shares the blocks where the file system can."""
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    if not _copy_in_kernel(reading, writing):
        os.lseek(reading, 0, os.SEEK_SET)
        os.lseek(writing, 0, os.SEEK_SET)
        with os.fdopen(reading, "rb", closefd=False) as data, os.fdopen(writing, "wb", closefd=False) as out:
            while block := data.read(1 << 20):
                out.write(block)
    os.fsync(writing)


def _copy_in_kernel(reading: int, writing: int) -> bool:
    """Copy without passing the bytes through here; False where this system or file system cannot."""
    if sys.platform != "linux":
        return False
    with contextlib.suppress(OSError):
        if not os.copy_file_range(reading, writing, CHUNK_BYTES):
            return os.fstat(reading).st_size == 0
        while os.copy_file_range(reading, writing, CHUNK_BYTES):
            pass
        return True
    return False


def main() -> int:
    """Copy as the two arguments say; 1 with the reason on standard error where that fails."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        copy(source, target)
    except OSError as error:
        target.unlink(missing_ok=True)
        sys.stderr.write(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

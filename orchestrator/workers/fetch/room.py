"""Room on the disk: asked for before the first byte, and what is said when it ends."""

import errno
import os
from pathlib import Path
from typing import Final

from orchestrator.workers.errand import Trouble, TroubleKind

# What stays free besides the file, for whatever else writes to that disk. A guess.
MARGIN_BYTES: Final = 256 * 1024 * 1024
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
FIX: Final = "free some, or set `cache` in the settings file to a folder on a larger disk"


def check_room(folder: Path, needed_bytes: int) -> None:
    """Return if the disk of `folder` has room for so many bytes more, and a margin.

    Raises:
        Trouble: it has not.
    """
    status = os.statvfs(folder)
    free_bytes = status.f_bavail * status.f_frsize
    if needed_bytes + MARGIN_BYTES > free_bytes:
        raise Trouble(
            TroubleKind.DISK_FULL,
            f"{sized(needed_bytes)} and {sized(MARGIN_BYTES)} to spare are needed on the disk of {folder}, "
            f"and {sized(free_bytes)} are free",
            fix=FIX,
        )


def is_full(error: OSError) -> bool:
    """Say whether it means that the disk, the quota or the largest file that there can be is full."""
    return error.errno in _FULL


def full(error: OSError, folder: Path, done_bytes: int, total_bytes: int) -> Trouble:
    """Return what is said where the room has ended in the middle."""
    far = f" after {sized(done_bytes)} of {sized(total_bytes)}" if total_bytes else ""
    return Trouble(
        TroubleKind.DISK_FULL,
        f"the disk of {folder} has no room left{far} ({error.strerror}); what has come is kept",
        fix=FIX,
    )


def sized(count: int) -> str:
    """Return a number of bytes as people read it."""
    power = min(max(count.bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    return f"{count / (1 << 10 * power):.{1 if power else 0}f} {_UNITS[power]}"

"""Reading one file so that what was read is known to be one version of it."""

import os
import stat
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, TypeAlias

Stamp: TypeAlias = tuple[int, int, int, int, int]
"""Device, inode, size, and the times of the last write and the last change of any kind (ns)."""

# A file that was written this recently may be written again without a new stamp: clocks of file systems
# advance in steps of some milliseconds. git calls such entries racy.
SETTLED_NS: Final = 100_000_000
# A time stamp may lie a little ahead (scans take time, file servers have clocks of their own); one that
# lies further ahead was set by hand and says nothing about when the file was written.
AHEAD_NS: Final = 2_000_000_000

FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a file held. `moved` says that it changed while it was being read."""

    raw: bytes = field(repr=False)
    stamp: Stamp
    moved: bool


class NotAFile(OSError):
    """There is something else than a regular file in this place."""


def stamp_of(found: os.stat_result) -> Stamp:
    """Return the stamp that a `stat` result holds."""
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def stamp(path: Path | str) -> Stamp | None:
    """Return the stamp of what the path leads to; None where it leads nowhere."""
    try:
        return stamp_of(os.stat(path))  # noqa: PTH116 (a thousand times in a scan, and Path costs more than it)
    except (OSError, ValueError):
        return None


def is_young(found: Stamp | None, now: datetime) -> bool:
    """Say whether the stamp is too recent to tell the next version of the file from this one."""
    if found is None:
        return False
    now_ns = int(now.timestamp() * 1e9)
    return any(-AHEAD_NS < now_ns - time_ns < SETTLED_NS for time_ns in found[3:])


def read(path: Path | str, most_bytes: int) -> Contents:
    """Return the first `most_bytes + 1` bytes of a regular file, links followed.

    Never waits, as a pipe or a device would make it.

    Raises:
        NotAFile: a folder, a pipe, a device.
        OSError: as the system says.
    """
    # Asked before it is opened, since opening alone makes some devices act.
    _refuse_other_than_file(os.stat(path))  # noqa: PTH116 (see above)
    descriptor = os.open(path, FLAGS)
    with os.fdopen(descriptor, "rb") as file:
        before = os.fstat(descriptor)
        _refuse_other_than_file(before)
        raw = file.read(most_bytes + 1)
        after = os.fstat(descriptor)
    return Contents(raw=raw, stamp=stamp_of(after), moved=stamp_of(before) != stamp_of(after))


def _refuse_other_than_file(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, a socket or a device"
        raise NotAFile(0, f"it is {kind}, not a file")

"""The memory limits of the control groups that this process is in (Linux, versions 1 and 2).

A service manager or a container may allow far less than the machine has; whoever goes beyond is killed. Every
group on the way up counts, for each may be limited.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orchestrator.engines.memory.gauge import Level

_PROC: Final = Path("/proc/self")
# Version 1 says "no limit" with the largest multiple of a page that fits: nothing above this is meant.
_ABSURD: Final = 1 << 60
# What is on loan: pages of files, and of the kernel's caches, go when memory runs short.
_ON_LOAN: Final = frozenset({"inactive_file", "active_file", "slab_reclaimable"})


def levels(proc: Path = _PROC) -> list[Level]:
    """Return the limits that hold for this process, the innermost first; none where nothing is limited.

    Args:
        proc: the folder of this process in /proc; others only in tests.
    """
    try:
        mounts = (proc / "mountinfo").read_text().splitlines()
        groups = (proc / "cgroup").read_text().splitlines()
    except OSError:
        return []
    return [level for folder, top, new in _folders(mounts, groups) for level in _up(folder, top, new=new)]


def _folders(mounts: list[str], groups: list[str]) -> Iterator[tuple[Path, Path, bool]]:
    """Yield the folder of our group, the top of its tree, and whether it is of version 2; for each tree."""
    paths: dict[bool, str] = {}
    for line in groups:
        _, names, path = (*line.split(":", 2), "", "", "")[:3]
        if path and (not names or "memory" in names.split(",")):
            paths[not names] = path
    for line in mounts:
        before, _, after = line.partition(" - ")
        kind, _, options = (*after.split(" ", 2), "", "", "")[:3]
        new = kind == "cgroup2"
        if new not in paths or not (new or kind == "cgroup"):
            continue
        if new or "memory" in options.replace(" ", ",").split(","):
            root, point = before.split(" ")[3:5]
            path = paths[new]
            # In a container the tree may begin at our own group, and paths in it are the host's.
            inside = path.removeprefix(root) if root != "/" else path
            yield Path(point) / inside.lstrip("/"), Path(point), new


def _up(folder: Path, top: Path, *, new: bool) -> Iterator[Level]:
    """Yield the limits from our group up to the top. A group that cannot be seen is passed over."""
    while True:
        if level := _level(folder, new=new):
            yield level
        if folder == top or top not in folder.parents:
            return
        folder = folder.parent


def _level(folder: Path, *, new: bool) -> Level | None:
    limit = _number(folder / ("memory.max" if new else "memory.limit_in_bytes"))
    used = _number(folder / ("memory.current" if new else "memory.usage_in_bytes"))
    if limit is None or used is None or limit >= _ABSURD:
        return None
    in_use = max(used - _on_loan(folder / "memory.stat", new=new), 0)
    return Level(total_bytes=limit, available_bytes=max(limit - in_use, 0))


def _on_loan(path: Path, *, new: bool) -> int:
    try:
        pairs = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return 0
    prefix = "" if new else "total_"
    return sum(
        int(pair[1])
        for pair in pairs
        if pair[0].removeprefix(prefix) in _ON_LOAN and pair[0].startswith(prefix)
    )


def _number(path: Path) -> int | None:
    """Return the number in a file; None where there is none, "max" included."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None

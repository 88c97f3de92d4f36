"""How much memory this process has, and may have."""

import resource
import sys
from pathlib import Path

_STATM = Path("/proc/self/statm")


def own_bytes() -> int:
    """Return the resident memory of this process, pages that it shares with others counted in full."""
    if sys.platform == "linux":
        pages = int(_STATM.read_text().split()[1])
        return pages * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # on macOS in bytes, the most it has been


def bound_memory(most_bytes: int) -> None:
    """Have the kernel refuse this process more memory than that; mapped files do not count (Linux)."""
    if sys.platform == "linux":
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = most_bytes if hard == resource.RLIM_INFINITY else min(most_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))

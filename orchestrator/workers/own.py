"""How much memory this process has."""

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

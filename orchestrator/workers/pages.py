"""Letting go of a model file's pages that have been copied out of it. Linux only.

llama.cpp maps the file and then rearranges the matrices that the processor multiplies faster in another
order; of the common quantisations that is most of the file. It keeps the whole map, and so the process goes
on counting both: a replica of a q4_K_M file took 230 MB where it needed 167. What is still used comes back
from the page cache.
"""

import ctypes
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_MAPS: Final = Path("/proc/self/maps")
_DONTNEED: Final = 4  # MADV_DONTNEED
_COPIED: Final = re.compile(r"load_tensors:\s+(?!\S*_Mapped)\S+ model buffer size\s*=\s*(?!0\.00 )[\d.]+ MiB")


def any_copied(lines: Iterable[str]) -> bool:
    """Say whether llama.cpp's log of a load tells of weights that are not used where the file is mapped."""
    return any(_COPIED.search(line) for line in lines)


def let_go(path: Path) -> None:
    """Let go of all pages of a mapped file."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    name = os.fsencode(path.resolve())
    for line in _MAPS.read_bytes().splitlines():
        place, _, rest = line.partition(b" ")
        if rest.endswith(b" " + name):
            first, end = (int(number, 16) for number in place.split(b"-"))
            libc.madvise(first, end - first, _DONTNEED)

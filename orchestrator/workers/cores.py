"""How many cores there are to compute with."""

import ctypes
import os
import sys
from pathlib import Path
from typing import Final

_TOPOLOGY: Final = Path("/sys/devices/system/cpu")


def physical_cores() -> int:
    """Return how many cores this process may use: two threads of one core share what decoding needs."""
    if sys.platform == "darwin":
        count, size = ctypes.c_int(0), ctypes.c_size_t(4)
        for name in (b"hw.perflevel0.physicalcpu", b"hw.physicalcpu"):  # slow cores hold the fast ones up
            if not ctypes.CDLL(None).sysctlbyname(name, ctypes.byref(count), ctypes.byref(size), None, 0):
                return max(count.value, 1)
    if sys.platform != "linux":
        return max((os.cpu_count() or 2) // 2, 1)
    cpus = os.sched_getaffinity(0)
    cores = set()
    for cpu in cpus:
        try:
            cores.add((_TOPOLOGY / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text())
        except OSError:
            return len(cpus)
    return len(cores)

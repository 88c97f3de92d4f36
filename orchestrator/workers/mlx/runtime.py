"""mlx and mlx-lm, imported once and without what the import does besides."""

import ctypes
import gc
import importlib
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

# From what size on a freed buffer goes back to the system; glibc's own number for that setting.
_LARGE_BYTES: Final = 256 << 10
_M_MMAP_THRESHOLD: Final = -3


@contextmanager
def _limits_kept() -> Iterator[None]:
    """Keep mlx-lm's import from setting the limits on open files, which fails where they are low already."""
    own = resource.setrlimit
    resource.setrlimit = lambda _resource, _limits: None
    try:
        yield
    finally:
        resource.setrlimit = own


# What it loads is here: nothing is looked up, asked for or reported anywhere.
os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

with _limits_kept():
    import mlx.core as mx

    # Untyped, or typed as something that they do not return.
    GENERATE: Any = importlib.import_module("mlx_lm.generate")
    CACHE: Any = importlib.import_module("mlx_lm.models.cache")
    CONVERT: Any = importlib.import_module("mlx_lm.convert")
    SAMPLE: Any = importlib.import_module("mlx_lm.sample_utils")
    UTILS: Any = importlib.import_module("mlx_lm.utils")


def device_bytes() -> int:
    """Return what Metal holds for this process, freed buffers included; 0 where there is no Metal.

    Resident memory does not show it. Written from the documented counters; never run on Apple silicon.
    """
    return int(mx.get_active_memory() + mx.get_cache_memory()) if mx.metal.is_available() else 0


def give_back_large() -> None:
    """Have large buffers given back to the system as soon as they are freed.

    glibc moves the limit from which it does so up to 32 MB by itself, and keeps what is freed below it: a
    third more was measured where caches of keys and values grow and move.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def give_back_freed() -> None:
    """Give what Python has freed back to the system; glibc keeps it otherwise."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)

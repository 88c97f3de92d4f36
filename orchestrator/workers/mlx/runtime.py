"""mlx and mlx-lm, imported once and without what the import does besides."""

import ctypes
import gc
import importlib
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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


def give_back_freed() -> None:
    """Give what Python has freed back to the system; glibc keeps it otherwise."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)

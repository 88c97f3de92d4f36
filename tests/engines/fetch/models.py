"""Files that pass for models, and specs that name them."""

import hashlib
import random
import struct

from orchestrator.values.spec import ModelSpec, Source
from tests.builders import spec

HEADER = struct.pack("<4sIQQ", b"GGUF", 3, 1, 1)


def gguf(mark: int = 0, size: int = 100_000) -> bytes:
    """Bytes that pass for a model at first sight; others for each mark."""
    return HEADER + random.Random(mark).randbytes(size - len(HEADER))  # noqa: S311 (noise, no secret)


def hub(location: str, name: str = "fast", *, sha256: str | None = None) -> ModelSpec:
    """A model that is on the hub."""
    source = Source(written=f"hf:{location}", scheme="hf", location=location, sha256=sha256)
    return spec(name, source=source)


def web(url: str, content: bytes, name: str = "fast") -> ModelSpec:
    """A model that is on the web, pinned to `content`."""
    written = f"{url.partition('?')[0]}?${{env:KEY}}"
    source = Source(written=written, scheme="https", location=url, sha256=sha256_of(content))
    return spec(name, source=source)


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

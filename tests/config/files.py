"""Small configuration folders."""

import os
import tempfile
import time
from pathlib import Path

MODEL = "engine: llama-cpp\nsource: demo:tiny\ncontext: {context}\n"


def put(folder: Path, name: str, text: str) -> Path:
    """Write one file in place, as a simple editor does."""
    path = folder / f"{name}.yaml"
    path.write_text(text)
    # On older kernels two writes within some milliseconds get the same time, and tests are that fast.
    os.utime(path, ns=(time.time_ns(), time.time_ns()))
    return path


def permissions_bind() -> bool:
    """Say whether a file without permissions cannot be read here: root reads it all the same."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).chmod(0)
        return not os.access(file.name, os.R_OK)


def start(root: Path, **models: str) -> Path:
    """Make a configuration folder with these model files."""
    (root / "models.d").mkdir(parents=True, exist_ok=True)
    for name, text in models.items():
        put(root / "models.d", name, text)
    return root

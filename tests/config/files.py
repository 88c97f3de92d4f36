"""Small configuration folders."""

import os
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from orchestrator import clock
from orchestrator.config import contents
from orchestrator.config.contents import Contents
from orchestrator.config.scan import Scanner
from orchestrator.values.catalog import Catalog, Reading
from tests.config.engines import ENGINES

MODEL = "engine: llama-cpp\nsource: demo:tiny\ncontext: {context}\n"
ONE, TWO = MODEL.format(context=1), MODEL.format(context=2)
POLICY = "kind: routing\notherwise: [{models}]\n"
DEFAULT = "kind: routing\ndefault: true\notherwise: [fast]\n"
BROKEN = "engine: llama-cpp\nsource: [\n"


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


class Folder:
    """A configuration folder, its scanner, and a clock that goes on by hand.

    The clock is an hour ahead of the file system's, so that no file is too
    young; tests of young files have a clock of their own.
    """

    def __init__(self, root: Path, accepted: Catalog | None = None, **models: str) -> None:
        self.root = start(root, **models)
        self.models = root / "models.d"
        self.policies = root / "policies"
        self.policies.mkdir(exist_ok=True)
        self.reads: list[str] = []
        self.now = clock.now() + timedelta(hours=1)
        self.scanner = Scanner(root, accepted, env={}, read=self._read, engines=ENGINES)

    def _read(self, path: Path | str, most_bytes: int) -> Contents:
        self.reads.append(os.path.basename(path))  # noqa: PTH119 (the seam takes strings)
        return contents.read(path, most_bytes)

    def scan(self, after_s: float = 0.0) -> Reading:
        self.now += timedelta(seconds=after_s)
        return self.scanner.scan(self.now)

    def generations(self, after_s: float = 0.0) -> dict[str, int]:
        return {name: d.generation for name, d in self.scan(after_s).catalog.models.items()}

    def where(self, after_s: float = 0.0) -> list[str]:
        return [problem.where for problem in self.scan(after_s).problems]

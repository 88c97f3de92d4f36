"""One checkout: where its environment lies, whether it is what the lock says, and who may change it."""

import contextlib
import fcntl
import json
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tools.environment.locks import digest_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """One checkout and the environment that a set-up makes in it."""

    root: Path
    dev: bool

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def lock(self) -> Path:
        return self.root / ("requirements-dev.lock" if self.dev else "requirements.lock")

    @property
    def stamp(self) -> Path:
        return self.venv / "set-up.json"

    def log(self, name: str) -> Path:
        return self.root / ".cache" / "set-up" / f"{name}.log"


def stamp_of(checkout: Checkout, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the environment depends on; equal stamps mean that there is nothing to do.

    An environment for development has everything that running needs.
    """
    locks = ["requirements.lock", "requirements-dev.lock"] if checkout.dev else ["requirements.lock"]
    project = checkout.root / "pyproject.toml"
    return {
        "root": str(checkout.root),
        "python": f"{sys.base_prefix} {platform.python_version()}",
        "cmake_args": environ.get("CMAKE_ARGS", ""),
        **{name: digest_of([checkout.root / name, project]) for name in locks},
    }


def is_current(checkout: Checkout, environ: Mapping[str, str], *, python_given: bool) -> bool:
    """Whether a finished set-up of the same inputs is there.

    The Python and CMAKE_ARGS count only where this run names them: an
    environment made once with `PYTHON=` or `CMAKE_ARGS=` stays.
    """
    if not checkout.python.exists():
        return False
    try:
        found = json.loads(checkout.stamp.read_text())
    except (OSError, ValueError):
        return False
    passed_over = set() if python_given else {"python"}
    passed_over |= set() if "CMAKE_ARGS" in environ else {"cmake_args"}
    wanted = stamp_of(checkout, environ)
    return all(found.get(name) == value for name, value in wanted.items() if name not in passed_over)


def same_python(checkout: Checkout) -> bool:
    """Whether `.venv` was made by the interpreter that runs now."""
    with contextlib.suppress(OSError):
        lines = (checkout.venv / "pyvenv.cfg").read_text().splitlines()
        pairs = dict(line.partition(" = ")[::2] for line in lines)
        return pairs.get("version") == platform.python_version()
    return False


@contextlib.contextmanager
def one_at_a_time(checkout: Checkout, stream: TextIO) -> Iterator[None]:
    """Let a second set-up of the same checkout wait for the first."""
    folder = checkout.root / ".cache"
    folder.mkdir(exist_ok=True)
    with (folder / "set-up.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.write("setup: another set-up of this checkout is running; waiting for it\n")
            stream.flush()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield

"""The command line as a user has it: a process of its own, in an environment of its own."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import IO

import pytest

from tests.cli.admin_server import Script, serve

ROOT = Path(__file__).parents[2]


@dataclass
class Shell:
    """Runs `orchestrator` in `home`, with nothing of the caller's own configuration."""

    home: Path

    @property
    def env(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "XDG_STATE_HOME": str(self.home / "state"),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "XDG_RUNTIME_DIR": str(self.home),
            "PYTHONPATH": str(ROOT),
            "PYTHONUTF8": "1",
            "COLUMNS": "100",
        }

    def __call__(
        self, *args: str, stdin: str = "", env: dict[str, str] | None = None, stdout: IO[str] | int = PIPE
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "orchestrator", *args],
            input=stdin,
            env=self.env | (env or {}),
            cwd=self.home,
            stdout=stdout,
            stderr=PIPE,
            text=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )


@pytest.fixture
def shell() -> Iterator[Shell]:
    # Not tmp_path: a Unix socket's path may have 107 bytes, and pytest's folders have long names.
    with tempfile.TemporaryDirectory(prefix="cli-", dir="/tmp") as home:
        yield Shell(home=Path(home))


@pytest.fixture
def daemon(shell: Shell) -> Iterator[Script]:
    """A daemon that `shell` finds with `--socket admin.sock`."""
    script = Script()
    with serve(shell.home / "admin.sock", script):
        yield script

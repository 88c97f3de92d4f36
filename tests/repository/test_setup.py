"""The set-up as a whole, on machines that lack something; nothing here needs a network."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.environment.checkout import Checkout, stamp_of

ROOT = Path(__file__).parents[2]
COPIED = ("pyproject.toml", "requirements.lock", "requirements-dev.lock", "tools/setup.py")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    without_caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "tools" / "environment", root / "tools" / "environment", ignore=without_caches)
    for name in COPIED:
        shutil.copy(ROOT / name, root / name)
    return root


def set_up(checkout: Path, *arguments: str, path: str = "") -> "subprocess.CompletedProcess[str]":
    environ = {"PATH": path, "HOME": str(checkout.parent), "XDG_CACHE_HOME": str(checkout.parent / "cache")}
    command = [sys.executable, str(checkout / "tools" / "setup.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environ, timeout=60)


def test_a_missing_compiler_is_told_in_one_line_before_anything_is_made(
    checkout: Path, tmp_path: Path
) -> None:
    done = set_up(checkout, path=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("setup: no C compiler found")
    assert "fix: " in done.stderr
    assert not (checkout / ".venv").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not stop root")
def test_a_read_only_checkout_is_told_in_one_line(checkout: Path) -> None:
    checkout.chmod(0o555)
    try:
        done = set_up(checkout)
    finally:
        checkout.chmod(0o755)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"setup: cannot write in {checkout}")


def test_a_folder_that_cannot_be_made_is_one_line_and_no_traceback(checkout: Path) -> None:
    (checkout / ".cache").write_text("")
    done = set_up(checkout)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert str(checkout / ".cache") in done.stderr


def test_a_finished_set_up_is_left_alone_and_silent(checkout: Path) -> None:
    here = Checkout(root=checkout, dev=True)
    here.python.parent.mkdir(parents=True)
    here.python.symlink_to(sys.executable)
    here.stamp.write_text(json.dumps(stamp_of(here, {})))
    before = sorted(checkout.rglob("*"))
    for arguments in ((), ("--dev",), ("--dev", "--python-given")):
        done = set_up(checkout, *arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), arguments
    assert [path for path in sorted(checkout.rglob("*")) if "__pycache__" not in path.parts] == before


def test_an_unknown_argument_is_a_usage_error(checkout: Path) -> None:
    assert set_up(checkout, "--nonsense").returncode == 2

"""`tools/setup.py` as an old Python meets it."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENTRY = ROOT / "tools" / "setup.py"
OLD = [path for minor in range(6, 11) if (path := shutil.which(f"python3.{minor}"))]
AS_IF_OLD = """
import runpy, sys
sys.version_info = (3, 9, 2)
sys.argv = [{0!r}]
runpy.run_path({0!r}, run_name="__main__")
"""


def as_if_old(path: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", AS_IF_OLD.format(str(ENTRY))]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": str(path)})


def test_an_old_python_gets_one_line_with_the_fix(tmp_path: Path) -> None:
    done = as_if_old(tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("setup: Python 3.11 or newer is needed, this is 3.9.2 (")
    assert done.stderr.endswith("fix: install one, then name it: make run PYTHON=python3.12\n")
    assert done.stderr.count("\n") == 1


def test_a_newer_python_on_path_takes_over_and_one_that_does_not_start_is_passed_over(tmp_path: Path) -> None:
    for name, script in (
        ("python3.14", "exit 127"),
        ("python3.12", '[ "$1" = -c ] || echo "taken over: $*"'),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    done = as_if_old(tmp_path)
    assert (done.returncode, done.stdout) == (0, f"taken over: {ENTRY}\n")


def test_old_pythons_can_read_the_file() -> None:
    ast.parse(ENTRY.read_text(), feature_version=(3, 6))


@pytest.mark.skipif(not OLD, reason="no old Python on this machine")
def test_a_real_old_python_says_the_same(tmp_path: Path) -> None:
    for python in OLD:
        starts = subprocess.run([python, "-c", ""], capture_output=True, check=False)
        if starts.returncode != 0:
            continue  # a version manager's name for something that is not there
        command = [python, str(ENTRY)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={"PATH": str(tmp_path)}
        )
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), python
        assert "Python 3.11 or newer is needed" in done.stderr

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Makefile").read_text()

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")


def make(*arguments: str) -> "subprocess.CompletedProcess[str]":
    make_itself = shutil.which("make")
    assert make_itself
    command = [make_itself, "--no-print-directory", *arguments]
    environ = {"PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environ)


def targets() -> set[str]:
    phony = re.search(r"^\.PHONY: (.*)$", TEXT, re.MULTILINE)
    assert phony
    return set(phony[1].split())


def test_help_is_the_default_and_lists_every_target_but_the_internal_one() -> None:
    shown = make()
    assert shown.returncode == 0
    assert set(re.findall(r"^  make (\w+) +\w", shown.stdout, re.MULTILINE)) >= targets() - {"python"}
    assert make("help").stdout == shown.stdout


def test_every_rule_is_phony() -> None:
    assert set(re.findall(r"^([a-z]+):", TEXT, re.MULTILINE)) == targets()


def test_run_passes_the_port_and_the_arguments_on() -> None:
    assert make("-n", "run", "PORT=8080", "ARGS=--log-format json").stdout.splitlines()[-1] == (
        "exec .venv/bin/orchestrator run --config . --port 8080 --log-format json"
    )
    assert " --port" not in make("-n", "run").stdout


def test_only_a_python_that_was_named_replaces_the_one_that_made_the_environment() -> None:
    assert "python3 tools/setup.py --dev" in re.sub(" +", " ", make("-n", "setup").stdout)
    assert "python3.12 tools/setup.py --python-given --dev" in make("-n", "setup", "PYTHON=python3.12").stdout


def test_no_python_at_all_is_one_line_with_the_fix() -> None:
    done = make("test", "PYTHON=python-that-is-not-there")
    first, *rest = done.stderr.splitlines()
    assert done.returncode != 0
    assert first.startswith("setup: python-that-is-not-there is not on PATH. fix: install Python 3.11")
    assert all(line.startswith("make") for line in rest)


def test_lint_and_test_set_up_first() -> None:
    for target in ("lint", "test", "bench"):
        assert re.search(rf"^{target}: setup\b", TEXT, re.MULTILINE), target


def test_ci_calls_the_two_commands_of_the_readme_and_stops_at_the_first_that_fails() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "set -euo pipefail" in script
    calls = re.findall(r"^make --no-print-directory (\w+)", script, re.MULTILINE)
    assert calls == ["lint", "test"]

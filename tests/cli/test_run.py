"""The command line and the real daemon: that both mean the same by every answer, and how a start can fail."""

import json
import signal
import socket
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest

from orchestrator.cli import wire
from tests.cli.conftest import Shell

READY_S = 60


def _differences(value: object, kind: object, at: str = "") -> list[str]:
    """Return where `value` is not what the TypedDict (or simpler type) `kind` says; a missing key counts."""
    if is_typeddict(kind):
        if not isinstance(value, dict):
            return [f"{at}: {value!r} is no object"]
        hints = get_type_hints(kind)
        missing = [f"{at}.{name}: missing" for name in hints if name not in value]
        present = [name for name in hints if name in value]
        return missing + [
            d for name in present for d in _differences(value[name], hints[name], f"{at}.{name}")
        ]
    origin, args = get_origin(kind), get_args(kind)
    if origin is list:
        if not isinstance(value, list):
            return [f"{at}: {value!r} is no list"]
        return [
            d for number, item in enumerate(value) for d in _differences(item, args[0], f"{at}[{number}]")
        ]
    if origin in {Union, types.UnionType}:
        found = [_differences(value, arg, at) for arg in args]
        return [] if [] in found else found[0]
    accepted = (int, float) if kind is float else kind if isinstance(kind, type) else origin
    assert isinstance(accepted, type | tuple)
    return [] if isinstance(value, accepted) else [f"{at}: {value!r} is no {kind}"]


@pytest.fixture(scope="module")
def running() -> Iterator[Shell]:
    """A daemon with the configuration that `init` writes, in the default places of `shell`."""
    with tempfile.TemporaryDirectory(prefix="cli-", dir="/tmp") as home:
        shell = Shell(home=Path(home))
        assert shell("init", "config/orchestrator").returncode == 0
        with (shell.home / "log").open("w") as log:
            daemon = subprocess.Popen(
                [sys.executable, "-m", "orchestrator", "run", "--port", "0"],
                env=shell.env,
                cwd=shell.home,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
            try:
                assert daemon.stdout is not None
                first = daemon.stdout.readline()
                assert first.startswith("ready: http://127.0.0.1:"), (shell.home / "log").read_text()
                yield shell
            finally:
                daemon.send_signal(signal.SIGTERM)
                daemon.communicate(timeout=READY_S)
            assert daemon.returncode == 0


ANSWERS: list[tuple[tuple[str, ...], object]] = [
    (("status", "--json"), wire.Status),
    (("describe", "fast", "--json"), wire.Described),
    (("reload", "--wait", "--json"), wire.Reloaded),
    (("plan", "--json"), wire.Plan),
]


@pytest.mark.parametrize(
    ("args", "kind"), ANSWERS, ids=lambda part: part[0] if isinstance(part, tuple) else ""
)
def test_the_daemon_answers_what_the_command_line_reads(
    args: tuple[str, ...], kind: object, running: Shell
) -> None:
    done = running(*args)
    assert (done.returncode, done.stderr) == (0, "")
    assert _differences(json.loads(done.stdout), kind) == []


def test_an_edit_is_planned_reloaded_and_seen(running: Shell) -> None:
    small = running.home / "small"
    running("init", "small")
    fast = small / "models.d" / "fast.yaml"
    fast.write_text(fast.read_text().replace("demo:tiny", "demo:small"))
    planned = running("plan", "small")
    assert planned.returncode == 2
    [line] = [line for line in planned.stdout.splitlines() if "source: demo:tiny → demo:small" in line]
    assert line.split()[:2] == ["-/+", "replace"]
    assert "models.d/fast.yaml:8" in line
    (running.home / "config" / "orchestrator" / "models.d" / "fast.yaml").write_text(fast.read_text())
    reloaded = running("reload", "--wait")
    assert reloaded.returncode == 0, reloaded.stdout
    assert "settled" in reloaded.stdout
    assert "demo:small" in running("status").stdout
    assert running("status", "--check").returncode == 0


def test_describe_suggests_the_model_that_was_meant(running: Shell) -> None:
    done = running("describe", "fats")
    assert done.returncode == 1
    assert "fast" in done.stderr


def test_chat_and_then_the_history_knows_of_it(running: Shell) -> None:
    answered = running("chat", "fast", "-m", "Is 7 greater than 3?")
    assert (answered.returncode, answered.stderr) == (0, "")
    assert answered.stdout.strip()
    asked = running("sql", "--csv", "select model, status from requests")
    assert (asked.returncode, asked.stderr) == (0, "")
    assert "fast,200" in asked.stdout


def test_a_second_daemon_on_the_same_state_is_refused(running: Shell) -> None:
    done = running("run", "--port", "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert "another daemon" in done.stderr
    assert "fix:" in done.stderr


def test_a_broken_settings_file_is_exit_code_78(shell: Shell) -> None:
    shell("init", ".")
    (shell.home / "orchestrator.yaml").write_text("lisen: 127.0.0.1:0\n")
    done = shell("run")
    assert (done.returncode, done.stdout) == (78, "")
    assert "orchestrator.yaml:1:1" in done.stderr
    assert "did you mean 'listen'?" in done.stderr


def test_a_taken_port_is_one_clear_line_with_the_fix(shell: Shell) -> None:
    shell("init", ".")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = shell("run", "--port", str(taken.getsockname()[1]))
    assert done.returncode != 0
    what, fix = done.stderr.splitlines()
    assert "is taken" in what
    assert fix.startswith("  fix: ")


def test_a_state_folder_that_cannot_be_made_is_one_clear_line_with_the_fix(shell: Shell) -> None:
    shell("init", ".")
    (shell.home / "file").write_text("")
    done = shell("run", "--state", "file/state", "--port", "0")
    assert done.returncode == 1
    what, fix = done.stderr.splitlines()
    assert "cannot make or use the folder" in what
    assert fix.startswith("  fix: ")

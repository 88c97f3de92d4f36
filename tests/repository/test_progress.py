import io
import os
import sys
from pathlib import Path

import pytest

from tools.environment.progress import Step, run_logged


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_log_gets_a_line_for_every_tenth() -> None:
    stream = io.StringIO()
    step = Step("building", stream, clock=Clock())
    for done in range(1, 84):
        step.at(done, 83)
    lines = stream.getvalue().splitlines()
    assert 8 <= len(lines) <= 10
    assert lines[0] == "setup: building [9/83] 10 % 0 s"


def test_a_log_gets_a_line_every_fifteen_seconds_of_silence() -> None:
    stream, clock = io.StringIO(), Clock()
    step = Step("building", stream, clock=clock)
    for _ in range(60):
        clock.now += 1
        step.tick()
    assert len(stream.getvalue().splitlines()) == 4


def test_a_terminal_has_one_line_that_moves_and_then_says_what_came_of_it() -> None:
    stream, clock = Terminal(), Clock()
    step = Step("building", stream, clock=clock)
    step.at(1, 4)
    clock.now = 61.5
    step.finish("built")
    assert stream.getvalue() == "\r\x1b[Ksetup: building [1/4] 25 % 0 s\r\x1b[Ksetup: built (61.5 s)\n"


SCRIPT = """
import sys
print("[1/2] compiling", flush=True)
print("[2/2] linking", file=sys.stderr, flush=True)
print("read:", repr(sys.stdin.read()))
sys.stdout.write("no newline at the end")
sys.exit(3)
"""


def test_a_command_is_logged_counted_and_gets_no_standard_input(tmp_path: Path) -> None:
    stream = Terminal()
    log = tmp_path / "logs" / "step.log"
    status, lines = run_logged(
        [sys.executable, "-c", SCRIPT], log=log, step=Step("building", stream), environ=os.environ
    )
    assert status == 3
    assert lines == ["[1/2] compiling", "[2/2] linking", "read: ''", "no newline at the end"]
    assert log.read_text().splitlines() == lines
    assert "[2/2] 100 %" in stream.getvalue()


def test_a_command_that_is_given_up_does_not_run_on(tmp_path: Path) -> None:
    def give_up(_: str) -> None:
        raise KeyboardInterrupt

    script = "import sys, time; print('begun', flush=True); time.sleep(600)"
    step = Step("waiting", io.StringIO())
    with pytest.raises(KeyboardInterrupt):
        run_logged(
            [sys.executable, "-c", script],
            log=tmp_path / "log",
            step=step,
            environ=os.environ,
            on_line=give_up,
        )

"""Log lines: text for people, JSON lines for everything else."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from orchestrator.log import JsonLines, Text, set_up

QUIET = ("asyncio", "uvicorn", "watchdog")


def record(
    level: int = logging.INFO, message: str = "%s loads", name: str = "orchestrator.control.loop"
) -> logging.LogRecord:
    made = logging.LogRecord(name, level, "loop.py", 1, message, ("fast",), None)
    made.created = 1_763_640_000.125
    return made


def test_a_json_line_has_the_time_the_level_the_place_and_the_message() -> None:
    line = JsonLines(prefixed=False).format(record())
    assert json.loads(line) == {
        "at": "2025-11-20T12:00:00.125+00:00",
        "level": "info",
        "from": "control.loop",
        "message": "fast loads",
    }


def test_names_outside_the_daemon_stay_whole() -> None:
    assert (
        json.loads(JsonLines(prefixed=False).format(record(name="uvicorn.error")))["from"] == "uvicorn.error"
    )


@pytest.mark.parametrize(
    ("level", "priority"),
    [
        (logging.DEBUG, 7),
        (logging.INFO, 6),
        (logging.WARNING, 4),
        (logging.ERROR, 3),
        (logging.CRITICAL, 2),
        (25, 6),
    ],
)
def test_under_systemd_a_line_begins_with_its_priority(level: int, priority: int) -> None:
    line = JsonLines(prefixed=True).format(record(level))
    assert line.startswith(f'<{priority}>{{"at"')
    assert json.loads(line[3:])["message"] == "fast loads"


def test_a_line_stays_one_line_whatever_is_in_it() -> None:
    made = record(logging.ERROR, "it broke:\n%s é\u2028")
    with pytest.raises(ValueError, match="first") as caught:
        int("first\nsecond")
    made.exc_info = (caught.type, caught.value, caught.tb)
    line = JsonLines(prefixed=False).format(made)
    assert "\n" not in line
    found = json.loads(line)
    assert found["message"] == "it broke:\nfast é\u2028"
    assert found["trace"].startswith("Traceback")
    assert "ValueError: " in found["trace"]
    assert "é" in line, "people read it, too"


def test_text_has_the_time_the_level_and_the_message() -> None:
    line = Text().format(record(logging.WARNING))
    assert line[2] == line[5] == ":"
    assert line[8:] == " WARNING fast loads"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def restored() -> Iterator[None]:
    """The loggers as they were before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in QUIET}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize(
    ("log_format", "stderr", "is_json"),
    [
        pytest.param("auto", Terminal(), False, id="text at a terminal"),
        pytest.param("auto", io.StringIO(), True, id="else JSON"),
        pytest.param("text", io.StringIO(), False, id="text where it is asked for"),
        pytest.param("json", Terminal(), True, id="JSON where it is asked for"),
    ],
)
def test_the_format(
    monkeypatch: pytest.MonkeyPatch, log_format: str, stderr: io.StringIO, *, is_json: bool
) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    set_up(log_format, under_systemd=False)
    logging.getLogger("orchestrator.daemon").info("hello")
    (line,) = stderr.getvalue().splitlines()
    assert line.startswith("{") == is_json
    assert "hello" in line


@pytest.mark.usefixtures("restored")
def test_text_has_no_priority_and_a_second_set_up_replaces_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", first)
    set_up("json", under_systemd=True)
    logging.getLogger("orchestrator").debug("not unless it is asked for")
    logging.getLogger("orchestrator").info("one")
    monkeypatch.setattr(sys, "stderr", second)
    set_up("text", under_systemd=True)
    logging.getLogger("orchestrator").info("two")
    assert first.getvalue().startswith('<6>{"at"')
    assert "two" not in first.getvalue()
    assert not second.getvalue().startswith("<")


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("verbose", [False, True])
def test_debug_lines_are_for_the_verbose_and_libraries_never_chat(
    monkeypatch: pytest.MonkeyPatch, *, verbose: bool
) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    set_up("text", under_systemd=False, verbose=verbose)
    logging.getLogger("orchestrator.engines").debug("its words")
    for name in QUIET:
        logging.getLogger(f"{name}.access").info("GET /")
        logging.getLogger(name).warning("trouble in %s", name)
    written = stderr.getvalue()
    assert ("its words" in written) == verbose
    assert "GET /" not in written
    assert written.count("trouble in") == len(QUIET)

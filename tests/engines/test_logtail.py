"""The end of a child's log."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engines.children.logtail import KEPT_LINES, LINE_BYTES, LogTail


def tail_of(data: bytes) -> LogTail:
    tail = LogTail("child", lambda line: line)
    tail.feed(data)
    tail.end()
    return tail


CASES = [
    ("the last line that speaks of something wrong", b"a\nerror: one\nFailed: two\nbye\n", "Failed: two"),
    ("else the last line", b"one\ntwo\n\n", "two"),
    ("a line without an end counts", b"one\nabort", "abort"),
    ("nothing was said", b"", ""),
]


@pytest.mark.parametrize(("why", "data", "line"), CASES, ids=[case[0] for case in CASES])
def test_the_line_that_matters(why: str, data: bytes, line: str) -> None:
    assert tail_of(data).line_that_matters == line, why


@given(st.lists(st.binary(max_size=3 * LINE_BYTES), max_size=8))
def test_whatever_comes_in_pieces_of_any_size_stays_small(pieces: list[bytes]) -> None:
    tail = LogTail("child", lambda line: line)
    for piece in pieces:
        tail.feed(piece)
    tail.end()
    assert len(tail.lines) <= KEPT_LINES
    assert all(len(line) <= LINE_BYTES for line in tail.lines)


@given(st.lists(st.sampled_from(["a", "bb", "error"]), min_size=1, max_size=KEPT_LINES), st.integers(1, 9))
def test_how_a_log_is_cut_into_pieces_does_not_matter(lines: list[str], size: int) -> None:
    data = "".join(f"{line}\n" for line in lines).encode()
    tail = LogTail("child", lambda line: line)
    for start in range(0, len(data), size):
        tail.feed(data[start : start + size])
    tail.end()
    assert tail.lines == tuple(lines)


def test_every_line_goes_to_the_daemon_s_log_after_redaction(caplog: pytest.LogCaptureFixture) -> None:
    tail = LogTail("r1", lambda line: line.replace("secret", "***"))
    with caplog.at_level(logging.DEBUG):
        tail.feed(b"loading secret\n")
    assert caplog.messages == ["r1: loading ***"]
    assert tail.lines == ("loading ***",)


@pytest.mark.parametrize("start", [0, LINE_BYTES - 20, LINE_BYTES - 1, LINE_BYTES, 4 * LINE_BYTES - 3])
@pytest.mark.parametrize("size", [7, LINE_BYTES, 9 * LINE_BYTES])
def test_half_of_a_secret_is_not_left_where_a_line_is_cut(start: int, size: int) -> None:
    hidden = "0123456789abcdefghij"
    tail = LogTail("r1", lambda line: line.replace(hidden, "***"))
    data = f"{'x' * start}{hidden}{'y' * 3 * LINE_BYTES}\nnext\n".encode()
    for at in range(0, len(data), size):
        tail.feed(data[at : at + size])
    assert "012" not in "".join(tail.lines)
    assert "hij" not in "".join(tail.lines)
    assert len(tail.lines) == 2
    assert tail.lines[1] == "next"

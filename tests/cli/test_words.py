from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli import words

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "-"),
        (512, "512 B"),
        (9 * 1024, "9.0 KiB"),
        (95 * 1024**2, "95 MiB"),
        (int(1.4 * 1024**3), "1.4 GiB"),
        (3 * 1024**4, "3.0 TiB"),
    ],
)
def test_sizes(count: int, said: str) -> None:
    assert words.size(count) == said


@given(st.integers(1, 1 << 49))
def test_a_size_is_never_longer_than_its_column(count: int) -> None:
    assert len(words.size(count)) <= len("512.0 TiB")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0004, "0 ms"),
        (0.84, "840 ms"),
        (12.4, "12 s"),
        (60, "1 min"),
        (3600, "1 h"),
        (12_000, "3 h 20 min"),
        (187_200, "2 d 4 h"),
    ],
)
def test_spans(seconds: float, said: str) -> None:
    assert words.span(seconds) == said


@given(st.floats(0, 1.1) | st.floats(0, 4000) | st.floats(0, 1e9))
def test_a_span_never_counts_more_of_a_unit_than_fits_into_the_next(seconds: float) -> None:
    number, unit, *_ = words.span(seconds).split()
    most = {"ms": 999, "s": 59, "min": 59, "h": 23, "d": 100_000}
    assert int(number) <= most[unit]


def test_an_instant_is_told_from_now() -> None:
    assert words.ago("2026-11-20T11:48:00+00:00", NOW) == "12 min"
    assert words.ago("2026-11-20T12:00:05+00:00", NOW) == "1 s", "a clock that is ahead does no harm"
    assert words.until("2026-11-20T12:00:12+00:00", NOW) == "in 12 s"
    assert words.until("2026-11-20T11:00:00+00:00", NOW) == "now"


def test_values_are_shown_as_a_file_has_them() -> None:
    assert words.shown(None) == "(none)"
    assert words.shown(value=True) == "true"
    assert words.shown(["chat", 2]) == "[chat, 2]"
    assert words.shown({"top_k": 40, "stop": ["a"]}) == "{top_k: 40, stop: [a]}"

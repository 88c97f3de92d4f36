"""When a launch is tried again: the waits, the count, and giving up."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.decide.backoff import delay_s, reject
from orchestrator.values.state import Rejection
from tests.builders import NOW, rejection

DRAWS = st.floats(0, 1 - 1e-9)  # a draw still nearer to 1 is rounded up to it
FAILURES = st.integers(1, 5000)


@pytest.mark.parametrize(
    ("failures", "draw", "was_ready", "expected_s"),
    [
        pytest.param(1, 0.0, True, 0.0, id="the first crash of a ready replica is answered at once"),
        pytest.param(1, 0.9, True, 0.0, id="whatever is drawn"),
        pytest.param(2, 0.0, True, 1.0, id="the second crash waits"),
        pytest.param(1, 0.0, False, 0.5, id="a load that fails waits from the first time on"),
        pytest.param(1, 0.5, False, 0.75, id="the draw spreads the wait"),
        pytest.param(2, 0.0, False, 1.0, id="waits double"),
        pytest.param(3, 0.0, False, 2.0, id="and double again"),
        pytest.param(9, 0.0, False, 128.0, id="the last one below the cap"),
        pytest.param(10, 0.0, False, 150.0, id="the cap"),
        pytest.param(100, 0.0, False, 150.0, id="the cap holds"),
        pytest.param(5000, 0.0, False, 150.0, id="for ever"),
    ],
)
def test_delay(failures: int, draw: float, *, was_ready: bool, expected_s: float) -> None:
    assert delay_s(failures, draw, was_ready=was_ready) == expected_s


@given(FAILURES, DRAWS)
def test_a_wait_is_scaled_into_the_upper_half_of_its_doubling(failures: int, draw: float) -> None:
    whole = min(300, 2.0 ** min(failures - 1, 20))
    assert whole / 2 <= delay_s(failures, draw, was_ready=False) < whole


@given(FAILURES, DRAWS, st.booleans())
def test_one_more_failure_never_shortens_the_wait(failures: int, draw: float, was_ready: bool) -> None:  # noqa: FBT001 (drawn)
    now, next_time = (delay_s(n, draw, was_ready=was_ready) for n in (failures, failures + 1))
    assert now <= next_time


def fail(
    earlier: Rejection | None,
    *,
    after_s: float = 1.0,
    ready_for_s: float | None = None,
    terminal: bool = False,
) -> Rejection:
    """A failure `after_s` after NOW, which is when the first one of `earlier` was."""
    new = rejection(terminal=terminal, failures=0, reason="LoadFailed", message="it broke")
    return reject(earlier, NOW + timedelta(seconds=after_s), 0.0, new=new, ready_for_s=ready_for_s)


def test_the_first_failure_is_counted_from_itself() -> None:
    found = fail(None, after_s=7)
    assert found == rejection(
        failures=1,
        first_at=NOW + timedelta(seconds=7),
        last_at=NOW + timedelta(seconds=7),
        retry_at=NOW + timedelta(seconds=7.5),
    )


def test_the_next_failure_counts_on_and_remembers_the_first() -> None:
    found = fail(rejection(failures=2), after_s=7)
    assert found == rejection(
        failures=3,
        first_at=NOW,
        last_at=NOW + timedelta(seconds=7),
        retry_at=NOW + timedelta(seconds=9),
    )


@pytest.mark.parametrize(
    ("ready_for_s", "failures"),
    [
        pytest.param(None, 4, id="a load that failed is no sign of stability"),
        pytest.param(0.0, 4, id="nor is a replica that crashed at once"),
        pytest.param(59.9, 4, id="nor one that was ready not quite long enough"),
        pytest.param(60, 1, id="a replica that was ready long enough starts the count anew"),
    ],
)
def test_stability_resets_the_count(ready_for_s: float | None, failures: int) -> None:
    found = fail(rejection(failures=3), after_s=90, ready_for_s=ready_for_s)
    assert found.failures == failures
    assert found.first_at == (NOW if failures > 1 else NOW + timedelta(seconds=90))


def test_the_crash_of_a_stable_replica_is_answered_at_once_however_often_it_failed_before() -> None:
    found = fail(rejection(failures=4), after_s=90, ready_for_s=60)
    assert found.retry_at == NOW + timedelta(seconds=90)


@pytest.mark.parametrize(
    ("before", "after_s", "given_up"),
    [
        pytest.param(3, 1, False, id="one failure too few"),
        pytest.param(4, 1, True, id="enough of them"),
        pytest.param(4, 600, True, id="just within the window"),
        pytest.param(4, 600.1, False, id="too slow for a loop"),
        pytest.param(14, 1, True, id="more than enough"),
    ],
)
def test_many_failures_in_a_row_are_given_up(before: int, after_s: float, *, given_up: bool) -> None:
    found = fail(rejection(failures=before), after_s=after_s)
    assert (found.retry_at is None) == given_up
    assert found.reason == ("CrashLoop" if given_up else "LoadFailed")
    expected = f"{before + 1} failures in a row, the last: it broke" if given_up else "it broke"
    assert found.message == expected
    assert not found.terminal


def test_a_terminal_failure_is_given_up_at_once_and_keeps_its_own_words() -> None:
    for earlier in (None, rejection(failures=9)):
        found = fail(earlier, terminal=True)
        assert (found.reason, found.message, found.retry_at) == ("LoadFailed", "it broke", None)
        assert found.terminal


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.floats(0, 2000), st.none() | st.floats(0, 200), st.booleans(), DRAWS), min_size=1)
)
def test_whatever_happens_a_retry_is_neither_early_nor_beyond_the_cap(
    story: list[tuple[float, float | None, bool, float]],
) -> None:
    known, now = None, NOW
    for wait_s, ready_for_s, terminal, draw in story:
        now += timedelta(seconds=wait_s)
        known = reject(known, now, draw, new=rejection(terminal=terminal), ready_for_s=ready_for_s)
        assert known.first_at <= known.last_at == now
        assert known.failures >= 1
        if known.retry_at is None:
            assert known.terminal or known.failures >= 5
        else:
            assert now <= known.retry_at < now + timedelta(seconds=300)

"""How fast a fetch is, and how long it will take."""

import pytest

from orchestrator.control.headway import MEMORY_S, Headway
from orchestrator.engines.base import Progress

GIB = 1 << 30


def at(done: int, total: int = 100, doing: str = "downloading") -> Progress:
    return Progress(doing=doing, done_bytes=done, total_bytes=total)


def followed(*reports: tuple[float, Progress]) -> Headway:
    headway = Headway()
    for now_s, news in reports:
        headway.take(news, now_s)
    return headway


CASES = [
    ("nothing is known before the first report", [], 0.0, None),
    ("one report tells no rate", [(0, at(10))], 0.0, None),
    ("two reports tell one", [(0, at(10)), (2, at(30))], 10.0, 7.0),
    ("what was here before the first report was not that fast", [(0, at(90)), (1, at(91))], 1.0, 9.0),
    ("reports at one instant tell nothing", [(0, at(10)), (0, at(30))], 0.0, None),
    ("without a size there is no end", [(0, at(10, 0)), (2, at(30, 0))], 10.0, None),
    ("what is all here takes no time", [(0, at(0)), (1, at(100))], 100.0, 0.0),
    ("more than was said takes no time either", [(0, at(0)), (1, at(200))], 200.0, 0.0),
    ("a standing download has no end", [(0, at(10)), (1, at(10))], 0.0, None),
    ("another part begins anew", [(0, at(0)), (1, at(90)), (2, at(10))], 0.0, None),
    (
        "checking is not as fast as downloading was",
        [(0, at(0)), (1, at(100)), (2, at(10, doing="checking")), (3, at(60, doing="checking"))],
        50.0,
        0.8,
    ),
    ("after a long silence only what came since counts", [(0, at(0)), (1, at(50)), (11, at(60))], 1.0, 40.0),
]


@pytest.mark.parametrize(("reports", "rate", "left_s"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_rate_and_time_left(reports: list[tuple[float, Progress]], rate: float, left_s: float | None) -> None:
    headway = followed(*reports)
    assert headway.rate == pytest.approx(rate)
    assert headway.left_s == (None if left_s is None else pytest.approx(left_s))


def test_the_newest_report_is_kept_as_it_came() -> None:
    assert followed((0, at(1)), (0, at(2, doing="checking"))).news == at(2, doing="checking")


def test_the_rate_follows_within_its_memory_and_does_not_flicker() -> None:
    steady = [(float(s), at(s * 100, 10_000)) for s in range(10)]
    hiccup = followed(*steady, (10.0, at(900, 10_000)))
    assert 75 <= hiccup.rate < 100, "one second without a byte is no standstill"
    slow = [(9.0 + s, at(900 + s * 10, 10_000)) for s in range(1, 31)]
    assert followed(*steady, *slow).rate == pytest.approx(10, abs=1)
    assert MEMORY_S < 30

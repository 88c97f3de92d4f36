"""The batch thread of mlx with a shipped model, and a generator that fails when it is told to."""

import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlx.core", reason="mlx is not made for this machine")

from orchestrator import demo
from orchestrator.workers.frames import FailureKind, LoadRefused
from orchestrator.workers.inbox import QueueFull
from orchestrator.workers.mlx.batch import FAILURES_ALLOWED, MlxBatch
from orchestrator.workers.mlx.model import MlxModel
from orchestrator.workers.mlx.sampling import Choice, MlxSampler
from orchestrator.workers.params import SamplingParams
from orchestrator.workers.stops import TextFlow
from orchestrator.workers.work import Generation, Progress, Work

TINY = Path(demo.__file__).with_name("tiny-mlx")
DEADLINE_S = 20


class Faulty:
    """A generator that fails its next `faults` steps, and stands still in one while `gate` is closed."""

    def __init__(self, bench: "Bench", real: Any) -> None:  # noqa: ANN401 (an untyped library's)
        self._bench = bench
        self._real = real

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (an untyped library's)
        return getattr(self._real, name)

    def next(self) -> Any:  # noqa: ANN401 (an untyped library's)
        assert self._bench.gate.wait(DEADLINE_S)
        if self._bench.faults:
            self._bench.faults -= 1
            raise RuntimeError("told to")
        return self._real.next()


class FaultyBatch(MlxBatch):
    bench: "Bench"

    def _new_generator(self) -> Any:  # noqa: ANN401 (an untyped library's)
        return Faulty(self.bench, super()._new_generator())


class Bench:
    """A batch thread, and what it delivered."""

    def __init__(self, *, parallel: int = 2, queue_limit: int = 4) -> None:
        self.faults = 0
        self.gate = threading.Event()
        self.gate.set()
        self.texts: dict[Work, str] = {}
        self.ends: dict[Work, Progress] = {}
        self.news = threading.Condition()
        self.broken = threading.Event()
        FaultyBatch.bench = self
        self.batch = FaultyBatch(
            partial(MlxModel, TINY),
            context=256,
            parallel=parallel,
            queue_limit=queue_limit,
            warm=False,
            broken=self.broken.set,
        )
        self.model = self.batch.model()
        self.batch.deliver = self._deliver

    def _deliver(self, news: list[Progress]) -> None:
        with self.news:
            for progress in news:
                self.texts[progress.work] = self.texts.get(progress.work, "") + progress.text
                if progress.ended:
                    self.ends[progress.work] = progress
            self.news.notify_all()

    def generation(self, prompt: str = "hello", tokens: int = 10) -> Generation[Choice]:
        params = SamplingParams(temperature=0, ignore_eos=True)
        return Generation(
            prompt=self.model.tokenize(prompt, add_bos=True),
            max_tokens=tokens,
            sampler=MlxSampler(params, self.model.ending_tokens),
            text=TextFlow(),
            arrived_s=time.monotonic(),
        )

    def submitted(self, prompt: str = "hello", tokens: int = 10) -> Generation[Choice]:
        work = self.generation(prompt, tokens)
        self.batch.submit(work)
        return work

    def end_of(self, work: Work) -> Progress:
        with self.news:
            assert self.news.wait_for(lambda: work in self.ends, DEADLINE_S)
            return self.ends[work]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.gate.set()
    made.batch.close()


def test_a_failed_step_fails_its_requests_with_the_cause_and_the_next_one_is_served(bench: Bench) -> None:
    expected = bench.submitted()
    assert bench.end_of(expected).error == ""
    bench.faults = 1
    assert "told to" in bench.end_of(bench.submitted("hello and more")).error
    again = bench.submitted()
    assert bench.end_of(again).error == ""
    assert again.cached == 0  # nothing of a broken state is used again
    assert bench.texts[again] == bench.texts[expected]
    assert not bench.broken.is_set()


def test_steps_that_fail_again_and_again_break_the_worker(bench: Bench) -> None:
    bench.faults = FAILURES_ALLOWED
    for _ in range(FAILURES_ALLOWED):
        assert not bench.broken.is_set()
        assert bench.end_of(bench.submitted()).error
    assert bench.broken.wait(DEADLINE_S)


def test_a_full_queue_takes_nothing_more(bench: Bench) -> None:
    bench.gate.clear()
    taken = [bench.submitted() for _ in range(6)]
    refused = bench.generation()
    with pytest.raises(QueueFull):
        bench.batch.submit(refused)
    bench.gate.set()
    assert [bench.end_of(work).error for work in taken] == [""] * 6
    bench.batch.submit(refused)
    assert bench.end_of(refused).error == ""


def test_cancelled_requests_leave_whether_they_run_or_wait(bench: Bench) -> None:
    bench.gate.clear()
    running, waiting = [bench.submitted(tokens=200) for _ in range(2)], bench.submitted()
    staying = bench.submitted()
    for work in (*running, waiting):
        bench.batch.cancel(work)
    bench.gate.set()
    assert bench.end_of(staying).error == ""
    assert set(bench.ends) == {staying}
    assert bench.batch.empty


def test_a_stuck_step_shows_as_age_and_idleness_does_not(bench: Bench) -> None:
    bench.end_of(bench.submitted())
    bench.gate.clear()
    work = bench.submitted()
    deadline_s = time.monotonic() + DEADLINE_S
    while bench.batch.vital().progress_age_ms < 50:
        assert time.monotonic() < deadline_s
    assert bench.batch.vital().active == 1
    bench.gate.set()
    bench.end_of(work)
    while bench.batch.vital().progress_age_ms:
        assert time.monotonic() < deadline_s


def test_a_long_prompt_is_read_in_parts_and_does_not_stop_the_answers_of_others(bench: Bench) -> None:
    bench.gate.clear()
    talking = bench.submitted(tokens=100)
    reading = bench.submitted("y" * 240, tokens=1)
    bench.gate.set()
    bench.end_of(reading)
    assert bench.end_of(talking).error == ""
    assert (talking.generated, reading.generated) == (100, 1)


def test_what_is_kept_of_ended_requests_has_a_bound(bench: Bench) -> None:
    for number in range(8):
        bench.end_of(bench.submitted(f"{number}" * 200, tokens=2))
    first = bench.submitted("0" * 200, tokens=2)
    bench.end_of(first)
    last = bench.submitted("7" * 200, tokens=2)
    bench.end_of(last)
    assert first.cached == 0
    assert last.cached == 199


def test_a_folder_that_is_none_is_refused_with_its_cause(tmp_path: Path) -> None:
    batch = MlxBatch(
        partial(MlxModel, tmp_path / "nothing"),
        context=256,
        parallel=1,
        queue_limit=1,
        warm=True,
        broken=lambda: None,
    )
    with pytest.raises(LoadRefused, match="there is no folder") as caught:
        batch.model()
    assert caught.value.kind is FailureKind.NOT_FOUND

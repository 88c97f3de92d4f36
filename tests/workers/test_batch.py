"""The batch thread with a real model, and a context that refuses to decode when it is told to."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.workers.batch import FAILURES_ALLOWED, Batch
from orchestrator.workers.context import Context, DecodeFailed
from orchestrator.workers.embed import Embedder
from orchestrator.workers.inbox import QueueFull
from orchestrator.workers.llama_cpp import Model
from orchestrator.workers.params import SamplingParams
from orchestrator.workers.sampling import Sampler, make_sampler
from orchestrator.workers.shape import Shape
from orchestrator.workers.stops import TextFlow
from orchestrator.workers.work import Embedding, Generation, Progress, Work

DEADLINE_S = 20


class FaultyContext(Context):
    """Fails the next `faults` decodes, and stands still in one while `gate` is closed."""

    faults = 0
    gate = threading.Event()

    def decode(self) -> None:
        assert self.gate.wait(DEADLINE_S)
        if self.faults:
            self.faults -= 1
            self.rows = 0
            raise DecodeFailed("told to")
        super().decode()


class Bench:
    """A batch thread, and what it delivered."""

    def __init__(self, model: Model, *, parallel: int = 2, queue_limit: int = 4) -> None:
        self.model = model
        self.context = FaultyContext(model, Shape(cells=parallel * 256, batch=512, sequences=6, threads=1))
        self.context.gate = threading.Event()
        self.context.gate.set()
        self.texts: dict[Work, str] = {}
        self.ends: dict[Work, Progress] = {}
        self.news = threading.Condition()
        self.broken = threading.Event()
        self.batch = Batch(
            model,
            self.context,
            Embedder(model, threads=1),
            cells=parallel * 256,
            parallel=parallel,
            queue_limit=queue_limit,
            deliver=self._deliver,
            broken=self.broken.set,
        )

    def _deliver(self, news: list[Progress]) -> None:
        with self.news:
            for progress in news:
                self.texts[progress.work] = self.texts.get(progress.work, "") + progress.text
                if progress.ended:
                    self.ends[progress.work] = progress
            self.news.notify_all()

    def generation(self, prompt: str = "hello", tokens: int = 10) -> Generation[Sampler]:
        ids = self.model.tokenize(prompt, add_bos=True)
        params = SamplingParams(temperature=0, ignore_eos=True)
        return Generation(
            prompt=ids,
            max_tokens=tokens,
            sampler=make_sampler(self.model, params, ids),
            text=TextFlow(),
            arrived_s=time.monotonic(),
        )

    def submitted(self, prompt: str = "hello", tokens: int = 10) -> Generation[Sampler]:
        work = self.generation(prompt, tokens)
        self.batch.submit(work)
        return work

    def end_of(self, work: Work) -> Progress:
        with self.news:
            assert self.news.wait_for(lambda: work in self.ends, DEADLINE_S)
            return self.ends[work]


@pytest.fixture(scope="module")
def model(models: Path) -> Model:
    return Model(models / "tiny.gguf")


@contextmanager
def bench_of(model: Model, **changes: int) -> Iterator[Bench]:
    bench = Bench(model, **changes)
    try:
        yield bench
    finally:
        bench.context.gate.set()
        bench.batch.close()
        bench.context.close()


def test_a_refused_decode_fails_its_requests_with_the_cause_and_the_next_one_is_served(model: Model) -> None:
    with bench_of(model) as bench:
        expected = bench.submitted()
        assert bench.end_of(expected).error == ""
        bench.context.faults = 1
        failed = bench.submitted("hello and more")
        assert "told to" in bench.end_of(failed).error
        again = bench.submitted()
        assert bench.end_of(again).error == ""
        assert again.cached == 0  # nothing of a broken state is used again
        assert bench.texts[again] == bench.texts[expected]
        assert not bench.broken.is_set()


def test_decodes_that_fail_again_and_again_break_the_worker(model: Model) -> None:
    with bench_of(model) as bench:
        bench.context.faults = FAILURES_ALLOWED
        for _ in range(FAILURES_ALLOWED):
            assert not bench.broken.is_set()
            assert bench.end_of(bench.submitted()).error
        assert bench.broken.wait(DEADLINE_S)


def test_a_full_queue_takes_nothing_more(model: Model) -> None:
    with bench_of(model, parallel=2, queue_limit=1) as bench:
        bench.context.gate.clear()
        taken = [bench.submitted() for _ in range(3)]
        refused = bench.generation()
        with pytest.raises(QueueFull):
            bench.batch.submit(refused)
        bench.context.gate.set()
        assert [bench.end_of(work).error for work in taken] == ["", "", ""]
        bench.batch.submit(refused)
        assert bench.end_of(refused).error == ""


def test_cancelled_requests_leave_whether_they_run_or_wait(model: Model) -> None:
    with bench_of(model, parallel=1) as bench:
        bench.context.gate.clear()
        running, waiting, staying = bench.submitted(tokens=200), bench.submitted(), bench.submitted()
        embedding = Embedding(inputs=[[1, 2]])
        bench.batch.submit(embedding)
        for work in (running, waiting, embedding):
            bench.batch.cancel(work)
        bench.context.gate.set()
        assert bench.end_of(staying).error == ""
        assert set(bench.ends) == {staying}
        assert bench.batch.empty


def test_a_stuck_decode_shows_as_age_and_idleness_does_not(model: Model) -> None:
    with bench_of(model) as bench:
        bench.end_of(bench.submitted())
        bench.context.gate.clear()
        work = bench.submitted()
        ages = [0.0]
        deadline_s = time.monotonic() + DEADLINE_S
        while ages[-1] < 50:
            assert time.monotonic() < deadline_s
            ages.append(bench.batch.vital().progress_age_ms)
        assert bench.batch.vital().active == 1
        bench.context.gate.set()
        bench.end_of(work)
        bench.end_of(bench.submitted())
        while bench.batch.vital().progress_age_ms:
            assert time.monotonic() < deadline_s


def test_a_long_prompt_does_not_stop_the_answers_of_others(model: Model) -> None:
    with bench_of(model, parallel=2) as bench:
        bench.context.gate.clear()
        talking = bench.submitted(tokens=200)
        reading = bench.submitted("y" * 200, tokens=1)
        bench.context.gate.set()
        bench.end_of(reading)
        assert bench.end_of(talking).error == ""
        assert talking.generated == 200


def test_requests_are_served_in_their_order(model: Model) -> None:
    with bench_of(model, parallel=1) as bench:
        bench.context.gate.clear()
        works = [bench.submitted(f"number {number}") for number in range(4)]
        bench.context.gate.set()
        for work in works:
            bench.end_of(work)
        assert list(bench.ends) == works

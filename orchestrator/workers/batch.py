"""Continuous batching: one thread owns the context and decodes all active requests together, step by step."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from orchestrator.workers.context import Context, DecodeFailed
from orchestrator.workers.embed import Embedder
from orchestrator.workers.inbox import Inbox, Vital
from orchestrator.workers.llama_cpp import Model
from orchestrator.workers.pace import Pace
from orchestrator.workers.sampling import NoToken, Sampler
from orchestrator.workers.slots import Slots
from orchestrator.workers.work import Embedding, Finish, Generation, Progress, Work

LOG = logging.getLogger(__name__)
# Refused decodes in a row after which the process gives up and leaves it to a fresh one. A guess.
FAILURES_ALLOWED: Final = 3


class Batch:
    """Decodes what is submitted, at most `parallel` requests at once, each of at most `context` tokens.

    `deliver` is called on the batch thread, once per step, with everything new. `broken` is called, on that
    thread too, when decoding fails again and again.
    """

    def __init__(  # noqa: PLR0913 (wired in one place)
        self,
        model: Model,
        context: Context,
        embedder: Embedder,
        *,
        cells: int,
        parallel: int,
        queue_limit: int,
        deliver: Callable[[list[Progress]], None],
        broken: Callable[[], None],
    ) -> None:
        self._model = model
        self._context = context
        self._embedder = embedder
        self._deliver = deliver
        self._broken = broken
        self._slots = Slots(cells=cells, sequences=context.sequences, active_limit=parallel)
        self._pace = Pace(context.batch)
        self._inbox = Inbox(queue_limit + parallel)
        self._waiting: deque[Generation[Sampler]] = deque()
        self._active: list[Generation[Sampler]] = []
        self._embedding: deque[Embedding] = deque()
        self._news: list[Progress] = []
        self._failures = 0
        self._steps = 0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="batch", daemon=True)
        self._thread.start()

    # Called by the event loop.

    def submit(self, work: Work) -> None:
        """Have it done, in the order of submission.

        Raises:
            QueueFull: the work is not taken.
        """
        self._inbox.submit(work)

    def cancel(self, work: Work) -> None:
        """Have its decoding end with the step under way; no end of it will be delivered."""
        self._inbox.cancel(work)

    def vital(self) -> Vital:
        """Return how the thread is doing."""
        return self._inbox.vital(active=len(self._active) + len(self._embedding), steps=self._steps)

    @property
    def empty(self) -> bool:
        """True where nothing is left to do."""
        return self._inbox.empty

    def close(self) -> None:
        """End the thread after the step under way; what is left undone stays so."""
        self._closing = True
        self._inbox.wake()
        self._thread.join()

    # Everything below runs on the batch thread.

    def _run(self) -> None:
        try:
            while not self._closing:
                self._take_in()
                self._admit()
                self._embed()
                if self._active:
                    self._step()
                self._inbox.beat()
                if self._news:
                    news, self._news = self._news, []
                    self._deliver(news)
        except Exception:
            LOG.exception("the batch thread failed")
            self._broken()

    def _take_in(self) -> None:
        idle = not (self._active or self._waiting or self._embedding)
        for work in self._inbox.take(idle=idle):
            if work.cancelled:
                self._drop(work)
            elif isinstance(work, Generation):
                self._waiting.append(work)
            else:
                self._embedding.append(work)

    def _drop(self, work: Work) -> None:
        if not self._inbox.forget(work):
            return  # it ended before its cancellation came
        if isinstance(work, Embedding):
            if work in self._embedding:
                self._embedding.remove(work)
            return
        if work in self._active:
            self._retire(work)
        elif work in self._waiting:
            self._waiting.remove(work)
        work.sampler.close()

    def _admit(self) -> None:
        while self._waiting:
            work = self._waiting[0]
            cells = len(work.prompt) + work.max_tokens
            placement = self._slots.place(work.prompt, cells)
            if placement is None:
                return  # first come, first served: a small request may not starve a large one
            self._waiting.popleft()
            slot = placement.slot
            if placement.source is slot or not placement.kept:
                work.cached = self._context.keep(slot.sequence, placement.kept)
            else:
                work.cached = self._context.share(placement.source.sequence, slot.sequence, placement.kept)
            for idle in placement.evict:
                self._context.keep(idle.sequence, 0)
                self._slots.forget(idle)
            self._slots.take(slot, work.prompt[: work.cached], cells)
            work.slot, work.pending = slot, work.prompt[work.cached :]
            work.admitted_s = time.monotonic()
            self._active.append(work)

    def _step(self) -> None:
        """Decode one token of every answer, and in what room is left a part of the prompts."""
        context = self._context
        prefilling: list[Generation[Sampler]] = []
        for work in self._active:
            if work.first_token_s:
                work.row = self._add(work, 1)
            else:
                prefilling.append(work)
        room = min(context.batch - context.rows, self._pace.limit(others=context.rows > 0))
        prefilled = 0
        for work in prefilling:
            count = min(len(work.pending), room - prefilled)
            work.row = self._add(work, count) if count else -1
            prefilled += count
        began_s = time.monotonic()
        try:
            context.decode()
        except DecodeFailed as error:
            self._fail_all(str(error))
            return
        self._failures = 0
        self._steps += 1
        now_s = time.monotonic()
        self._pace.measured(prefilled, now_s - began_s)
        ended = [work for work in self._active if work.row >= 0 and self._advance(work, now_s)]
        for work in ended:
            self._retire(work)

    def _add(self, work: Generation[Sampler], count: int) -> int:
        """Put the next tokens into the batch; return the row of the logits to come, -1 for none."""
        slot = work.slot
        if slot is None:
            raise AssertionError("an active request without a slot")
        tokens, work.pending = work.pending[:count], work.pending[count:]
        complete = not work.pending
        row = self._context.add(tokens, start=len(slot.tokens), sequence=slot.sequence, wanted=complete)
        slot.tokens += tokens
        return row if complete else -1

    def _advance(self, work: Generation[Sampler], now_s: float) -> bool:
        """Take the next token of an answer; return whether that was the end."""
        try:
            token = work.sampler.sample(self._context, work.row)
        except NoToken as error:
            self._inbox.forget(work)
            work.sampler.close()
            self._news.append(Progress(work, ended=True, error=str(error)))
            return True
        piece = None if token is None else self._model.piece(token)
        text, finish = work.take(piece, now_s)
        if finish is not None:
            self._end(work, text, finish)
            return True
        if text:
            self._news.append(Progress(work, text))
        work.pending = [] if token is None else [token]
        return False

    def _end(self, work: Generation[Sampler], text: str, finish: Finish) -> None:
        self._inbox.forget(work)
        work.sampler.close()
        self._news.append(Progress(work, text, ended=True, finish=finish))

    def _retire(self, work: Generation[Sampler]) -> None:
        self._active.remove(work)
        if work.slot is not None:
            self._slots.release(work.slot)

    def _fail_all(self, cause: str) -> None:
        """Give up the active requests: after a refused decode their cells are in no known state."""
        LOG.error("decoding failed: %s", cause)
        self._context.clear()
        for slot in self._slots.all:
            self._slots.forget(slot)
        for work in self._active:
            self._inbox.forget(work)
            work.sampler.close()
            self._news.append(Progress(work, ended=True, error=f"decoding failed: {cause}"))
        self._active.clear()
        self._failures += 1
        if self._failures >= FAILURES_ALLOWED:
            self._broken()

    def _embed(self) -> None:
        """Embed one batch of texts; the others' answers go on in between."""
        if not self._embedding:
            return
        work = self._embedding[0]
        try:
            work.vectors += self._embedder.embed(work.inputs[len(work.vectors) :])
        except DecodeFailed as error:
            self._news.append(Progress(work, ended=True, error=f"embedding failed: {error}"))
        else:
            self._steps += 1
            if len(work.vectors) < len(work.inputs):
                return
            self._news.append(Progress(work, ended=True))
        self._embedding.popleft()
        self._inbox.forget(work)

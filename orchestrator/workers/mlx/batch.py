"""Continuous batching in mlx: one thread owns the model and mlx-lm's batch generator.

Requests join it and leave it while others are being decoded.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

import mlx.core as mx

from orchestrator.workers.frames import FailureKind, LoadRefused
from orchestrator.workers.inbox import Inbox, Vital
from orchestrator.workers.mlx.kept import Kept
from orchestrator.workers.mlx.memory import (
    BUFFERS_BYTES,
    GROWTH_TOKENS,
    PROMPTS_AT_ONCE,
    STEP_TOKENS,
    kv_bytes,
    slot_bytes,
)
from orchestrator.workers.mlx.model import MlxModel
from orchestrator.workers.mlx.runtime import CACHE, GENERATE, device_bytes, give_back_large
from orchestrator.workers.mlx.sampling import Choice, greedy
from orchestrator.workers.pace import Pace
from orchestrator.workers.work import Generation, Progress, Work

LOG = logging.getLogger(__name__)
# Refused steps in a row after which the process gives up and leaves it to a fresh one. A guess.
FAILURES_ALLOWED: Final = 3
WARM_TOKENS: Final = 48

Answer = Generation[Choice]


class MlxBatch:
    """Decodes what is submitted, at most `parallel` requests at once, each of at most `context` tokens.

    `deliver` is called on the batch thread, once per step, with everything new; it is set before the first
    submission. `broken` is called, on that thread too, when decoding fails again and again.
    """

    def __init__(
        self,
        load: Callable[[], MlxModel],
        *,
        context: int,
        parallel: int,
        queue_limit: int,
        warm: bool,
        broken: Callable[[], None],
    ) -> None:
        self.deliver: Callable[[list[Progress]], None] = lambda _: None
        self._load = load
        self._context = context
        self._parallel = parallel
        self._warm = warm
        self._broken = broken
        self._inbox = Inbox(queue_limit + parallel)
        self._loaded: Future[MlxModel] = Future()
        self._waiting: deque[Answer] = deque()
        self._active: dict[int, Answer] = {}  # by the generator's number
        self._reading: dict[int, int] = {}  # how much of its prompt is read, for those that are not through
        self._kept = Kept()
        self._pace = Pace(STEP_TOKENS)
        self._news: list[Progress] = []
        self._failures = 0
        self._steps = 0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="batch", daemon=True)
        self._thread.start()

    # Called by the event loop.

    def model(self) -> MlxModel:
        """Return the model once it is loaded.

        Raises:
            LoadRefused: it will not load.
        """
        return self._loaded.result()

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
        return self._inbox.vital(active=len(self._active), steps=self._steps, memory_bytes=device_bytes())

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
        give_back_large()
        mx.set_cache_limit(BUFFERS_BYTES)
        for kind in (CACHE.KVCache, CACHE.BatchKVCache, CACHE.RotatingKVCache, CACHE.BatchRotatingKVCache):
            kind.step = GROWTH_TOKENS
        try:
            self._model = self._load()
            self._slot_bytes = slot_bytes(self._model.folder, self._context)
            self._kept_bytes = kv_bytes(self._model.folder, self._context)
            # Caches of other kinds cannot be cut back to the end of the prompt, and are kept there as well.
            caches = CACHE.make_prompt_cache(self._model.network)
            self._rewindable = all(type(cache) is CACHE.KVCache for cache in caches)
            self._generator = self._new_generator()
            if self._warm:
                self._warm_up()
        except Exception as error:  # noqa: BLE001 (whoever waits for the model gets it)
            self._loaded.set_exception(error)
            return
        self._loaded.set_result(self._model)
        try:
            while not self._closing:
                self._take_in()
                self._admit()
                if self._active:
                    self._step()
                self._inbox.beat()
                if self._news:
                    news, self._news = self._news, []
                    self.deliver(news)
        except Exception:
            LOG.exception("the batch thread failed")
            self._broken()

    def _warm_up(self) -> None:
        """Decode twice: the first time compiles kernels, the second one shows how fast prompts are read."""
        began_s = 0.0
        for _ in range(2):
            began_s = time.monotonic()
            self._generator.insert([[0] * WARM_TOKENS], max_tokens=[2])
            try:
                while any(self._generator.next()):
                    pass
            except (RuntimeError, ValueError, TypeError) as error:
                message = f"the model loads but does not decode: {error}"
                raise LoadRefused(FailureKind.FAILED, message) from error
        self._pace.measured(WARM_TOKENS, time.monotonic() - began_s)

    def _new_generator(self) -> Any:  # noqa: ANN401 (an untyped library)
        return GENERATE.BatchGenerator(
            self._model.network,
            stop_tokens=[[token] for token in self._model.ending_tokens],
            sampler=greedy,
            completion_batch_size=self._parallel,
            prefill_batch_size=min(self._parallel, PROMPTS_AT_ONCE),
            prefill_step_size=STEP_TOKENS,
        )

    def _take_in(self) -> None:
        for work in self._inbox.take(idle=not (self._active or self._waiting)):
            if work.cancelled:
                self._drop(work)
            elif isinstance(work, Generation):
                self._waiting.append(work)

    def _drop(self, work: Work) -> None:
        if not self._inbox.forget(work):
            return  # it ended before its cancellation came
        if not isinstance(work, Generation):
            return
        for number, active in self._active.items():
            if active is work:
                self._generator.remove([number])
                self._forget(number)
                break
        if work in self._waiting:
            self._waiting.remove(work)
        work.sampler.close()

    def _admit(self) -> None:
        while self._waiting and len(self._active) < self._parallel:
            work = self._waiting.popleft()
            caches, work.cached = self._kept.find(work.prompt)
            self._kept.trim(self._room(active=len(self._active) + 1))
            (number,) = self._generator.insert(
                [work.prompt[work.cached :]],
                max_tokens=[work.max_tokens],
                caches=[caches],
                all_tokens=[work.prompt[: work.cached]],
                samplers=[work.sampler.choose],
                logits_processors=[work.sampler.processors],
            )
            work.admitted_s = time.monotonic()
            self._active[number] = work
            self._reading[number] = 0

    def _room(self, *, active: int) -> int:
        """Return what may be kept: active requests and that have one place more than can be active."""
        return (self._parallel - active) * self._slot_bytes + self._kept_bytes

    def _step(self) -> None:
        """Decode one token of every answer, and in what room is left a part of the prompts."""
        room = self._pace.limit(others=len(self._active) > len(self._reading))
        self._generator.prefill_step_size = max(1, room // max(1, min(len(self._reading), PROMPTS_AT_ONCE)))
        began_s = time.monotonic()
        try:
            prompts, responses = self._generator.next()
        except Exception as error:
            LOG.exception("decoding failed")
            self._fail_all(str(error))
            return
        self._failures = 0
        self._steps += 1
        now_s = time.monotonic()
        self._pace.measured(sum(map(self._has_read, prompts)), now_s - began_s)
        active = len(self._active)
        for response in responses:
            work = self._active[response.uid]
            ended = response.finish_reason == "stop"
            text, finish = work.take(None if ended else self._model.piece(response.token), now_s)
            if finish is not None:
                self._retire(response, active=active)
                self._inbox.forget(work)
                work.sampler.close()
                failure = work.sampler.failure
                self._news.append(Progress(work, text, ended=True, finish=finish, error=failure))
            elif text:
                self._news.append(Progress(work, text))

    def _has_read(self, response: Any) -> int:  # noqa: ANN401 (an untyped library)
        """Take note of how far a prompt is read; return how many tokens that was."""
        done, of = response.progress
        count: int = done - self._reading.get(response.uid, done)
        if count and done == of - 1 and not self._rewindable:
            caches, tokens = self._generator.extract_cache([response.uid])[response.uid]
            self._kept.keep(list(tokens), caches, limit_bytes=self._room(active=len(self._active)))
        if response.end_of_prompt:
            self._reading.pop(response.uid, None)
        else:
            self._reading[response.uid] = done
        return count

    def _retire(self, response: Any, *, active: int) -> None:  # noqa: ANN401 (an untyped library)
        """Keep what an ended request leaves behind; the step had so many in its batch."""
        caches, tokens = response.prompt_cache, response.all_tokens
        if response.finish_reason is None:  # it met a stop string, of which the generator knows nothing
            number = response.uid
            caches, tokens = self._generator.remove([number], return_prompt_caches=True)[number]
        self._forget(response.uid)
        self._kept.keep(list(tokens), caches, limit_bytes=self._room(active=active))

    def _forget(self, number: int) -> None:
        self._active.pop(number)
        self._reading.pop(number, None)

    def _fail_all(self, cause: str) -> None:
        """Give up the active requests: after a failed step the generator is in no known state."""
        self._generator = self._new_generator()
        self._kept.clear()
        for work in self._active.values():
            self._inbox.forget(work)
            work.sampler.close()
            self._news.append(Progress(work, ended=True, error=f"decoding failed: {cause}"))
        self._active.clear()
        self._reading.clear()
        self._failures += 1
        if self._failures >= FAILURES_ALLOWED:
            self._broken()

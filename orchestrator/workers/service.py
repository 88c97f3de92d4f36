"""What a worker answers: requests into work for the batch thread, its progress into answers."""

import asyncio
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

from orchestrator.workers import answers
from orchestrator.workers.answers import dump
from orchestrator.workers.fields import BadRequest
from orchestrator.workers.inbox import QueueFull, Vital
from orchestrator.workers.prepare import Prepared, Preparer
from orchestrator.workers.wire import Exchange
from orchestrator.workers.work import Embedding, Generation, Progress, Work

# Bodies over this are read on another thread, and so are schemas: other answers' tokens must not wait.
_INLINE_BYTES: Final = 65_536
_RETRY_AFTER: Final = "retry-after: 1\r\n"
_PATHS: Final = {"/v1/chat/completions", "/v1/completions", "/v1/embeddings"}


class Batch(Protocol):
    """A thread that does work; it says what comes of it through `Service.deliver`."""

    def submit(self, work: Work) -> None:
        """Have it done.

        Raises:
            QueueFull: too much waits already.
        """

    def cancel(self, work: Work) -> None:
        """Have it end with the step under way."""

    def vital(self) -> Vital:
        """Return how the thread is doing."""


@dataclass(slots=True)
class Reply:
    """An answer under way. `texts` gathers the parts where they are not streamed."""

    exchange: Exchange
    prepared: Prepared
    opened: bool = False
    texts: list[str] = field(default_factory=list)


class Service:
    """Everything here runs on the event loop's thread, except `deliver`."""

    def __init__(self, name: str, preparer: Preparer, loop: asyncio.AbstractEventLoop) -> None:
        self._name = name
        self._preparer = preparer
        self._loop = loop
        self._batch: Batch | None = None
        self._replies: dict[Work, Reply] = {}
        self._mail: deque[list[Progress]] = deque()
        self._called = False
        self._created = int(time.time())
        self.preparing = 0
        self.draining = False
        self.reserved_bytes = 0  # see Ready

    def attach(self, batch: Batch) -> None:
        """Use this batch thread from now on."""
        self._batch = batch

    @property
    def batch(self) -> Batch:
        if self._batch is None:
            raise AssertionError("a request came before the batch thread was there")
        return self._batch

    @property
    def idle(self) -> bool:
        """True where no answer is under way."""
        return not self._replies and not self.preparing

    def handle(self, exchange: Exchange) -> None:
        """Answer a request, now or later."""
        if exchange.path in _PATHS:
            if exchange.method == "POST":
                self._take(exchange)
            else:
                _refuse(exchange, 405, f"{exchange.path} takes POST", code="method_not_allowed")
        elif exchange.path == "/health":
            vital = asdict(self.batch.vital())
            exchange.answer(200, dump({"status": "draining" if self.draining else "ok"} | vital))
        elif exchange.path == "/v1/models":
            exchange.answer(200, dump(answers.models(self._name, self._created)))
        else:
            _refuse(exchange, 404, f"there is nothing at {exchange.path}", code="not_found")

    def deliver(self, news: list[Progress]) -> None:
        """Take news from the batch thread; one wake-up of the loop serves all that is there by then."""
        self._mail.append(news)
        if not self._called:
            self._called = True
            self._loop.call_soon_threadsafe(self._receive)

    def _take(self, exchange: Exchange) -> None:
        if self.draining:
            _refuse(exchange, 503, "this worker is shutting down", code="shutting_down", headers=_RETRY_AFTER)
            return
        path, body = exchange.path, exchange.body
        if len(body) <= _INLINE_BYTES and b'"response_format"' not in body:
            try:
                prepared = self._preparer.prepare(path, body)
            except BadRequest as mistake:
                _refuse(exchange, 400, str(mistake), code=mistake.code, param=mistake.param)
            else:
                self._submit(exchange, prepared)
            return
        self.preparing += 1
        future = self._loop.run_in_executor(None, self._preparer.prepare, path, body)
        future.add_done_callback(lambda done: self._prepared(exchange, done))

    def _prepared(self, exchange: Exchange, done: "asyncio.Future[Prepared]") -> None:
        self.preparing -= 1
        try:
            prepared = done.result()
        except BadRequest as mistake:
            _refuse(exchange, 400, str(mistake), code=mistake.code, param=mistake.param)
        else:
            self._submit(exchange, prepared)

    def _submit(self, exchange: Exchange, prepared: Prepared) -> None:
        work = prepared.work
        try:
            if exchange.done:
                prepared.close()
                return
            self.batch.submit(work)
        except QueueFull:
            prepared.close()
            message = "too many requests wait for this model"
            _refuse(exchange, 503, message, code="queue_full", headers=_RETRY_AFTER, kind="server_error")
            return
        self._replies[work] = Reply(exchange, prepared)
        exchange.gone = lambda: self._abandon(work)

    def _abandon(self, work: Work) -> None:
        self._replies.pop(work, None)
        self.batch.cancel(work)

    def _receive(self) -> None:
        self._called = False
        merged: dict[Work, tuple[list[str], Progress]] = {}
        while self._mail:
            for progress in self._mail.popleft():
                texts = merged[progress.work][0] if progress.work in merged else []
                texts.append(progress.text)
                merged[progress.work] = (texts, progress)
        for work, (texts, last) in merged.items():
            reply = self._replies.get(work)
            if reply is None:
                continue  # its client has left
            text = texts[0] if len(texts) == 1 else "".join(texts)
            if last.ended:
                del self._replies[work]
            if last.error:
                _fail(reply, last.error)
            elif isinstance(work, Embedding):
                self._send_vectors(reply, work)
            else:
                _send(reply, work, text, last)

    def _send_vectors(self, reply: Reply, work: Embedding) -> None:
        tokens = sum(map(len, work.inputs))
        as_base64 = reply.prepared.as_base64
        content = answers.embeddings(self._name, work.vectors, tokens=tokens, as_base64=as_base64)
        reply.exchange.answer(200, dump(content))


def _send(reply: Reply, work: Generation[Any], text: str, last: Progress) -> None:
    """Send what is new of an answer, or keep it until the answer is whole."""
    exchange, prepared = reply.exchange, reply.prepared
    answer = prepared.answer
    if not prepared.stream:
        reply.texts.append(text)
        if last.ended:
            exchange.answer(200, dump(answer.whole(work, "".join(reply.texts), last.finish)))
        return
    chunk = answer.piece(text) if text else b""
    if last.ended:
        chunk += answer.closing(work, last.finish, usage=prepared.include_usage)
    if not reply.opened:
        reply.opened = True
        exchange.open_stream(answer.opening() + (b"" if last.ended else chunk))
        chunk = chunk if last.ended else b""
    if last.ended:
        exchange.close_stream(chunk)
    elif chunk:
        exchange.send(chunk)


def _fail(reply: Reply, cause: str) -> None:
    content = answers.error(cause, kind="server_error", code="engine_error")
    if reply.opened:
        reply.exchange.close_stream(b"data: " + dump(content) + b"\n\n")
    else:
        reply.exchange.answer(500, dump(content))


def _refuse(  # noqa: PLR0913 (the parts of OpenAI's error)
    exchange: Exchange,
    status: int,
    message: str,
    *,
    code: str,
    param: str | None = None,
    headers: str = "",
    kind: str = "invalid_request_error",
) -> None:
    exchange.answer(status, dump(answers.error(message, kind=kind, code=code, param=param)), headers=headers)

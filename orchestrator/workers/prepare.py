"""From a request's bytes to work that fits: read, render, tokenise, check against the context."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Protocol

from orchestrator.workers.answers import Answer
from orchestrator.workers.fields import BadRequest, Fields
from orchestrator.workers.openai import (
    EmbeddingRequest,
    Options,
    read_body,
    read_chat,
    read_completion,
    read_embedding,
)
from orchestrator.workers.params import GrammarRefused, SamplingParams
from orchestrator.workers.stops import TextFlow
from orchestrator.workers.template import ChatTemplate, TemplateRefused
from orchestrator.workers.work import Closable, Embedding, Generation, Work

_LONG_TEXT: Final = 65_536  # shorter ones are read in milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Work, and how its answer is to look."""

    work: Work
    answer: Answer
    stream: bool = False
    include_usage: bool = False
    as_base64: bool = False

    def close(self) -> None:
        """Free what the work holds; for work that nobody will do."""
        if isinstance(self.work, Generation):
            self.work.sampler.close()


class Vocabulary(Protocol):
    """What a loaded model knows of text. Safe to use from several threads at once."""

    n_vocab: int

    @property
    def longest_piece(self) -> int:
        """The most bytes that one token of a text stands for."""

    @property
    def bos_text(self) -> str:
        """The text of the token in front of everything, as chat templates write it; "" for none."""

    def tokenize(self, text: str, *, add_bos: bool) -> list[int]:
        """Return the tokens of `text`, control tokens written in it recognised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What a request is prepared for.

    `make_sampler` may raise GrammarRefused. `lacks` says, by path or by field of a body, why this runtime
    cannot do what others can.
    """

    vocabulary: Vocabulary
    template: ChatTemplate
    make_sampler: Callable[[SamplingParams, list[int]], Closable]
    lacks: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


class Preparer:
    """Safe to use from several threads at once."""

    def __init__(self, runtime: Runtime, *, name: str, context: int) -> None:
        self._model = runtime.vocabulary
        self._template = runtime.template
        self._make_sampler = runtime.make_sampler
        self._lacks = runtime.lacks
        self._name = name
        self._context = context

    def prepare(self, path: str, body: bytes) -> Prepared:
        """Read the body of a POST to one of the three paths.

        Raises:
            BadRequest: with the field, where there is one.
        """
        arrived_s = time.monotonic()
        fields = read_body(body)
        self._check_lacks(path, fields)
        if path == "/v1/embeddings":
            return self._embedding(read_embedding(fields))
        if path == "/v1/chat/completions":
            chat = read_chat(fields)
            prompt = self._chat_tokens(chat.messages)
            return self._generation(prompt, chat.options, chat=True, param="messages", arrived_s=arrived_s)
        completion = read_completion(fields)
        prompt = self._tokens(completion.prompt, "prompt")
        return self._generation(prompt, completion.options, chat=False, param="prompt", arrived_s=arrived_s)

    def _check_lacks(self, path: str, fields: Fields) -> None:
        for name, why in self._lacks.items():
            if path == name:
                raise BadRequest(why, code="unsupported_endpoint")
            if fields.get(name) not in (None, {"type": "text"}):
                raise BadRequest(why, param=name, code="unsupported_parameter")

    def _chat_tokens(self, messages: Any) -> list[int]:  # noqa: ANN401 (a sequence of mappings)
        try:
            text = self._template.render(messages)
        except TemplateRefused as error:
            raise BadRequest(str(error), param="messages", code="template_error") from error
        self._check_size(text, "messages")
        bos = self._model.bos_text
        return self._model.tokenize(text, add_bos=not (bos and text.startswith(bos)))

    def _tokens(self, text: str | tuple[int, ...], param: str) -> list[int]:
        if isinstance(text, str):
            self._check_size(text, param)
            tokens = self._model.tokenize(text, add_bos=True)
            if not tokens:
                raise BadRequest(f"{param} is empty", param=param)
            return tokens
        if any(token >= self._model.n_vocab for token in text):
            raise BadRequest(f"{param}: this model has tokens 0 to {self._model.n_vocab - 1}", param=param)
        return list(text)

    def _generation(
        self, prompt: list[int], options: Options, *, chat: bool, param: str, arrived_s: float
    ) -> Prepared:
        room = self._context - len(prompt)
        if room < 1:
            raise self._too_long(len(prompt), param, "leave no room for an answer in")
        unknown = [token for token in options.sampling.bias if token >= self._model.n_vocab]
        if unknown:
            raise BadRequest(f"logit_bias: this model has no token {unknown[0]}", param="logit_bias")
        try:
            sampler = self._make_sampler(options.sampling, prompt)
        except GrammarRefused as error:
            raise BadRequest(str(error), param="response_format", code="unsupported_schema") from error
        work = Generation(
            prompt=prompt,
            max_tokens=min(options.max_tokens or room, room),
            sampler=sampler,
            text=TextFlow(options.stops),
            arrived_s=arrived_s,
        )
        return Prepared(
            work=work,
            answer=Answer(self._name, chat=chat),
            stream=options.stream,
            include_usage=options.include_usage,
        )

    def _embedding(self, request: EmbeddingRequest) -> Prepared:
        inputs = [self._tokens(text, "input") for text in request.inputs]
        longest = max(map(len, inputs))
        if longest > self._context:
            raise self._too_long(longest, "input", "are more than")
        answer = Answer(self._name, chat=False)
        return Prepared(work=Embedding(inputs=inputs), answer=answer, as_base64=request.base64)

    def _check_size(self, text: str, param: str) -> None:
        """Refuse what can never fit, unread: many control tokens take llama.cpp their square in time."""
        if len(text) <= _LONG_TEXT:
            return
        least = len(text) // self._model.longest_piece
        if least > self._context:
            raise BadRequest(
                f"{param} has over {least} tokens, and this model's context is {self._context} tokens",
                param=param,
                code="context_length_exceeded",
            )

    def _too_long(self, tokens: int, param: str, what: str) -> BadRequest:
        return BadRequest(
            f"the {tokens} tokens of {param} {what} this model's context of {self._context} tokens",
            param=param,
            code="context_length_exceeded",
        )

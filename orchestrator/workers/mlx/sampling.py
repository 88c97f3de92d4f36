"""Choosing the next token in mlx: one sampler per request, in llama.cpp's order and with its defaults."""

import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import mlx.core as mx

from orchestrator.workers.mlx.runtime import SAMPLE
from orchestrator.workers.params import SamplingParams

_PENALTY_TOKENS: Final = 64  # llama.cpp's default window
_FORBIDDEN: Final = -1e9  # and not infinity: a client may add 100 to it without a NaN


def greedy(logprobs: mx.array) -> mx.array:
    """Take the likeliest token. One function for all: the generator then asks once for all requests."""
    return mx.argmax(logprobs, axis=-1)


class Choice(Protocol):
    """Chooses the tokens of one answer.

    `processors` change the logits, then `choose` takes a token from them. `failure` is the cause where the
    answer ended because there was no way to go on.
    """

    @property
    def choose(self) -> Callable[[mx.array], mx.array]: ...

    @property
    def processors(self) -> Sequence[Callable[[Any, mx.array], mx.array]]: ...

    @property
    def failure(self) -> str: ...

    def close(self) -> None:
        """Free it; not to be used again."""


class MlxSampler:
    """Chooses the tokens of one answer; `processors` change the logits before that."""

    def __init__(self, params: SamplingParams, ending: Sequence[int]) -> None:
        self.choose: Callable[[mx.array], mx.array] = greedy if params.temperature <= 0 else self._draw
        self.processors: list[Callable[[Any, mx.array], mx.array]] = _processors(params, ending)
        self.failure = ""  # there is nothing that it could not do
        self._params = params
        self._key = mx.random.key(secrets.randbits(32) if params.seed is None else params.seed & 0xFFFFFFFF)

    def close(self) -> None:
        """Nothing is held."""

    def _draw(self, logprobs: mx.array) -> mx.array:
        """Draw from the likeliest tokens, of logits in the shape (1, vocabulary)."""
        params, vocabulary = self._params, logprobs.shape[-1]
        count = params.top_k if 0 < params.top_k < vocabulary else vocabulary
        scores = logprobs.astype(mx.float32)
        if count < vocabulary:
            likeliest = mx.argpartition(-scores, kth=count - 1, axis=-1)[..., :count]
            order = mx.argsort(-mx.take_along_axis(scores, likeliest, axis=-1), axis=-1)
            tokens = mx.take_along_axis(likeliest, order, axis=-1)
        else:
            tokens = mx.argsort(-scores, axis=-1)
        logits = mx.take_along_axis(scores, tokens, axis=-1)
        chances = mx.softmax(logits, axis=-1)
        before = mx.cumsum(chances, axis=-1) - chances
        kept = mx.logical_and(before < params.top_p, chances >= params.min_p * chances[..., :1])
        kept = mx.logical_or(kept, mx.arange(count) == 0)  # the likeliest one always
        self._key, key = mx.random.split(self._key)
        drawn = mx.random.categorical(mx.where(kept, logits / params.temperature, -mx.inf), key=key)
        return mx.take_along_axis(tokens, drawn[..., None], axis=-1)[..., 0]


def _processors(params: SamplingParams, ending: Sequence[int]) -> list[Callable[[Any, mx.array], mx.array]]:
    bias = dict(params.bias)
    if params.ignore_eos:
        bias |= dict.fromkeys(ending, _FORBIDDEN)
    found: list[Callable[[Any, mx.array], mx.array]] = SAMPLE.make_logits_processors(
        logit_bias=bias or None,
        repetition_penalty=None if params.repeat_penalty == 1 else params.repeat_penalty,
        repetition_context_size=_PENALTY_TOKENS,
        presence_penalty=params.presence_penalty or None,
        presence_context_size=_PENALTY_TOKENS,
        frequency_penalty=params.frequency_penalty or None,
        frequency_context_size=_PENALTY_TOKENS,
    )
    return found

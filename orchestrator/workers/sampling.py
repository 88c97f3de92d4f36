"""Choosing the next token: one llama.cpp sampler chain per request, and grammars on top of it."""

import codecs
import ctypes
import time
from array import array
from collections.abc import Callable
from typing import Any, Protocol

from orchestrator.workers.context import Context
from orchestrator.workers.llama_cpp import FAST, LOG, C
from orchestrator.workers.params import GrammarRefused, SamplingParams

FAST.llama_sampler_sample.argtypes = C.llama_sampler_sample.argtypes
FAST.llama_sampler_sample.restype = C.llama_sampler_sample.restype

_PENALTY_TOKENS = 64  # llama.cpp's default window
_FORBIDDEN = -1e30
_FOUR_BYTES = 0xF0  # the first byte of a character of four
# All requests of the model wait for a choice. A schema whose choices take longer than the first of
# these, by more than the second in all, is given up. Guesses.
_CHOICE_S = 0.5
_OVERTIME_S = 3.0
# Up to this vocabulary choosing is a matter of microseconds, and not worth giving up the interpreter lock.
_SMALL_VOCAB = 16_384


class NoToken(Exception):
    """There is no way to go on."""


class Lexicon(Protocol):
    """A vocabulary of which llama.cpp knows as well: `vocab` is its pointer."""

    vocab: Any
    n_vocab: int

    @property
    def ending_tokens(self) -> tuple[int, ...]:
        """All tokens that end an answer."""

    @property
    def piece(self) -> Callable[[int], bytes | None]:
        """What a token stands for: None for the end of the answer, b"" for other control tokens."""


class Logits(Protocol):
    """Where the logits of a decode are, as in a context."""

    def logits(self, row: int) -> memoryview:
        """Return the bytes of a row's logits, float32."""


class Sampler(Protocol):
    """Chooses the tokens of one answer, in order."""

    def sample(self, context: Context, row: int) -> int | None:
        """Return the next token, from the logits of a row; None where the grammar allows none any more.

        Raises:
            NoToken: the grammar is not complete, and no token of the model continues it in time.
        """

    def close(self) -> None:
        """Free it; not to be used again."""


def make_sampler(model: Lexicon, params: SamplingParams, prompt: list[int]) -> Sampler:
    """Build the sampler of one request.

    Raises:
        GrammarRefused: the grammar is not one that llama.cpp understands.
    """
    if params.grammar:
        return make_grammar_sampler(model, params, prompt)
    return ChainSampler(_chain(model, params, prompt), small=model.n_vocab <= _SMALL_VOCAB)


def make_grammar_sampler(model: Lexicon, params: SamplingParams, prompt: list[int]) -> "GrammarSampler":
    """Build the sampler of one request that has a grammar; it asks for logits and nothing else.

    Raises:
        GrammarRefused: the grammar is not one that llama.cpp understands.
    """
    chain = _chain(model, params, prompt)
    with LOG.kept_apart():  # it would print the whole grammar, which is a client's text
        grammar = C.llama_sampler_init_grammar(model.vocab, params.grammar.encode(), b"root")
    if not grammar:
        C.llama_sampler_free(chain)
        raise GrammarRefused("llama.cpp cannot read the grammar made from the schema")
    return GrammarSampler(model, chain, grammar)


class ChainSampler:
    """llama.cpp's chain alone: all in C."""

    __slots__ = ("_chain", "_sample")

    def __init__(self, chain: int, *, small: bool) -> None:
        self._chain = chain
        self._sample = (FAST if small else C).llama_sampler_sample

    def sample(self, context: Context, row: int) -> int | None:
        token: int = self._sample(self._chain, context.pointer, row)
        return token

    def close(self) -> None:
        C.llama_sampler_free(self._chain)


class GrammarSampler:
    """A chain whose choices must fit a grammar, and be UTF-8.

    The chain chooses first and the grammar looks at that one token; only when it refuses is the whole
    vocabulary tried, which costs milliseconds with a large one. llama.cpp's grammars count a broken
    multi-byte character as one; a decoder sees a broken one and whatever comes, a closing quote say.
    So tokens that would break a character are refused as well.
    """

    def __init__(self, model: Lexicon, chain: int, grammar: int) -> None:
        self._model = model
        self._chain = chain
        self._grammar = grammar
        self._overtime_s = 0.0
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")
        # An array of C structures (id, logit, p), each 4 bytes; views of one column copy in C, without numpy.
        self._data = (C.llama_token_data * model.n_vocab)()
        table = memoryview(self._data).cast("B")
        self._ids_column = table.cast("i")[0::3]
        self._logits_column = table.cast("f")[1::3]
        self._ids = memoryview(array("i", range(model.n_vocab)))

    def sample(self, context: Logits, row: int) -> int | None:
        began_s = time.monotonic()
        logits = _floats(context.logits(row))
        token = self._choose(logits, constrained=False)
        while not self._fits(token):
            logits[token] = float("-inf")
            token = self._choose(logits, constrained=True)
            if logits[token] <= _FORBIDDEN:  # by rounding, or because nothing is left
                token = max(range(len(logits)), key=logits.__getitem__)
            if logits[token] <= _FORBIDDEN:
                self._check_complete()
                return None
        C.llama_sampler_accept(self._chain, token)
        piece = self._model.piece(token)
        if piece is not None:
            C.llama_sampler_accept(self._grammar, token)
            self._decoder.decode(piece)
        self._overtime_s += max(time.monotonic() - began_s - _CHOICE_S, 0.0)
        if self._overtime_s > _OVERTIME_S:
            raise NoToken("the schema leaves so many ways open that choosing among them takes too long")
        return token

    def close(self) -> None:
        C.llama_sampler_free(self._chain)
        C.llama_sampler_free(self._grammar)

    def _choose(self, logits: "memoryview[float]", *, constrained: bool) -> int:
        self._ids_column[:] = self._ids
        self._logits_column[:] = logits
        candidates = C.llama_token_data_array(self._data, len(self._ids), -1, False)  # noqa: FBT003 (a C struct)
        if constrained:
            C.llama_sampler_apply(self._grammar, ctypes.byref(candidates))
            logits[:] = self._logits_column  # what was refused once need not be tried again
        C.llama_sampler_apply(self._chain, ctypes.byref(candidates))
        return int(candidates.data[max(candidates.selected, 0)].id)

    def _check_complete(self) -> None:
        """Tell the end, which may be allowed by the grammar and forbidden otherwise, from a dead end."""
        if not any(self._fits(token) for token in self._model.ending_tokens):
            raise NoToken("no token of this model continues what the grammar asks for")

    def _fits(self, token: int) -> bool:
        """Tell whether the grammar allows the token next, and the bytes so far go on being UTF-8."""
        one = C.llama_token_data(token, 1.0, 0.0)
        candidates = C.llama_token_data_array(ctypes.pointer(one), 1, -1, False)  # noqa: FBT003 (a C struct)
        C.llama_sampler_apply(self._grammar, ctypes.byref(candidates))
        if one.logit <= _FORBIDDEN:
            return False
        piece = self._model.piece(token)
        if not piece:
            return piece is None  # the end fits where the grammar says so; a control token never does
        state = self._decoder.getstate()
        try:
            self._decoder.decode(piece)
            begun = self._decoder.getstate()[0]
            if len(begun) > 1:  # two bytes of a surrogate pass for a beginning, and have no end
                self._decoder.decode(b"\x80" * ((4 if begun[0] >= _FOUR_BYTES else 3) - len(begun)))
        except UnicodeDecodeError:
            return False
        finally:
            self._decoder.setstate(state)
        return True


def _floats(content: memoryview) -> "memoryview[float]":
    return memoryview(bytearray(content)).cast("f")


def _chain(model: Lexicon, params: SamplingParams, prompt: list[int]) -> int:
    chain: int = C.llama_sampler_chain_init(C.llama_sampler_chain_default_params())

    def add(sampler: int) -> None:
        C.llama_sampler_chain_add(chain, sampler)

    bias = dict(params.bias)
    if params.ignore_eos:
        bias |= dict.fromkeys(model.ending_tokens, float("-inf"))
    if bias:
        entries = (C.llama_logit_bias * len(bias))(*bias.items())
        add(C.llama_sampler_init_logit_bias(model.n_vocab, len(bias), entries))
    penalties = (params.repeat_penalty, params.frequency_penalty, params.presence_penalty)
    if penalties != (1.0, 0.0, 0.0):
        add(C.llama_sampler_init_penalties(model.n_vocab, _PENALTY_TOKENS, *penalties))
    if params.temperature <= 0:
        add(C.llama_sampler_init_greedy())
    else:
        add(C.llama_sampler_init_top_k(params.top_k))  # 0 and 1.0 and 0.0 switch these off
        add(C.llama_sampler_init_top_p(params.top_p, 1))
        add(C.llama_sampler_init_min_p(params.min_p, 1))
        add(C.llama_sampler_init_temp(params.temperature))
        seed = C.LLAMA_DEFAULT_SEED if params.seed is None else params.seed & 0xFFFFFFFF
        add(C.llama_sampler_init_dist(seed))
    if penalties != (1.0, 0.0, 0.0):
        for token in prompt[-_PENALTY_TOKENS:]:
            C.llama_sampler_accept(chain, token)
    return chain

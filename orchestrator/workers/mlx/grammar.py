"""Answers held to a form in mlx: llama.cpp's grammars, over the vocabulary of the model that mlx has loaded.

llama.cpp takes a vocabulary from a GGUF file only. So one is written that holds nothing else, with each token
spelled by the bytes that it stands for, and loaded when the first such answer is asked for.
"""

import os
import struct
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import mlx.core as mx

from orchestrator.workers.llama_cpp import LOG, C
from orchestrator.workers.mlx.model import MlxModel
from orchestrator.workers.mlx.pieces import spelled
from orchestrator.workers.params import GrammarRefused, SamplingParams
from orchestrator.workers.sampling import NoToken, make_grammar_sampler

_NORMAL, _CONTROL, _LITERAL = 1, 3, 4  # llama.cpp's kinds of token
_UINT32, _INT32, _STRING, _ARRAY = 4, 5, 8, 9  # GGUF's kinds of value
_ENDS: Final = ("eos", "eot", "eom")  # those that a GGUF file can name; a model with more has had its reasons


class FormSampler:
    """Chooses as MlxSampler does. `failure` says why the form could not be kept to, "" where it was."""

    def __init__(self, lexicon: "MlxLexicon", params: SamplingParams, prompt: list[int]) -> None:
        """Build the sampler of one request, whose `params` have a grammar.

        Raises:
            GrammarRefused: the grammar is not one that llama.cpp understands.
        """
        self.processors: list[Any] = []  # llama.cpp's chain has them all
        self.failure = ""
        self._sampler = make_grammar_sampler(lexicon, params, prompt)
        self._ending = lexicon.ending_tokens
        self._ended = False
        self._row = memoryview(b"")

    def choose(self, logprobs: mx.array) -> mx.array:
        """Take the next token, of logits in the shape (1, vocabulary); once the end came, that again."""
        if not self._ended:
            row: Any = mx.contiguous(logprobs.astype(mx.float32))
            self._row = memoryview(row)
            try:
                token = self._sampler.sample(self, 0)
            except NoToken as cause:
                self.failure, token = str(cause), None
            self._ended = token is None or token in self._ending
            if token is not None:
                return mx.array([token], dtype=mx.uint32)
        return mx.array([self._ending[0]], dtype=mx.uint32)

    def logits(self, row: int) -> memoryview:
        """Return what llama.cpp's context would: the bytes of a row of float32."""
        del row  # there is one
        return self._row.cast("B")

    def close(self) -> None:
        """Free what llama.cpp holds of it."""
        self._sampler.close()


class MlxLexicon:
    """The vocabulary of a model, as llama.cpp reads it; for the life of the process."""

    def __init__(self, model: MlxModel) -> None:
        """Write it and have it read.

        Raises:
            GrammarRefused: llama.cpp cannot read it.
        """
        self.n_vocab = model.n_vocab
        self.ending_tokens = model.ending_tokens
        self.piece = model.piece
        if not self.ending_tokens:
            raise GrammarRefused("this model has no token with which an answer could end")
        C.llama_backend_init()
        params = C.llama_model_default_params()
        params.vocab_only = True
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vocabulary.gguf"
            path.write_bytes(_file(model))
            with LOG.kept_apart():
                self._pointer = C.llama_model_load_from_file(os.fsencode(path), params)
        if not self._pointer:
            raise GrammarRefused("llama.cpp cannot read this model's vocabulary")
        self.vocab = C.llama_model_get_vocab(self._pointer)


def _file(model: MlxModel) -> bytes:
    names, kinds = zip(*_tokens(model), strict=True)
    pairs = [
        _string("general.architecture") + _typed(_STRING, _string("llama")),
        _string("tokenizer.ggml.model") + _typed(_STRING, _string("gpt2")),
        _string("tokenizer.ggml.pre") + _typed(_STRING, _string("gpt-2")),
        _string("tokenizer.ggml.tokens") + _array(_STRING, [_string(name) for name in names]),
        _string("tokenizer.ggml.token_type") + _array(_INT32, [struct.pack("<i", kind) for kind in kinds]),
        _string("tokenizer.ggml.merges") + _array(_STRING, [_string("Ġ Ġ")]),  # required, and never used
    ]
    for name, token in zip(_ENDS, model.ending_tokens, strict=False):
        pairs.append(_string(f"tokenizer.ggml.{name}_token_id") + _typed(_UINT32, struct.pack("<I", token)))
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + b"".join(pairs)


def _tokens(model: MlxModel) -> Iterator[tuple[str, int]]:
    """Yield the name and kind of each token. No name may come twice, though two may mean the same bytes."""
    seen: set[str] = set()
    for token in range(model.n_vocab):
        piece = model.piece(token) or b""
        name, kind = spelled(piece), _NORMAL
        if name in seen:
            name, kind = piece.decode(errors="ignore"), _LITERAL
        if not piece or name in seen or (kind == _LITERAL and name.encode() != piece):
            name, kind = f"<control {token}>", _CONTROL
        seen.add(name)
        yield name, kind


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _typed(kind: int, content: bytes) -> bytes:
    return struct.pack("<I", kind) + content


def _array(kind: int, items: Sequence[bytes]) -> bytes:
    return struct.pack("<IIQ", _ARRAY, kind, len(items)) + b"".join(items)

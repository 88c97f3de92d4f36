"""A model's vocabulary as llama.cpp's grammars read it, whatever its tokenizer is like."""

import ctypes
from collections.abc import Mapping
from pathlib import Path

import pytest

pytest.importorskip("mlx.core", reason="mlx is not made for this machine")

import mlx.core as mx

from orchestrator import demo
from orchestrator.workers.llama_cpp import C
from orchestrator.workers.mlx.grammar import FormSampler, MlxLexicon
from orchestrator.workers.mlx.model import MlxModel
from orchestrator.workers.params import GrammarRefused, SamplingParams

WORDS: Mapping[int, bytes | None] = {
    0: None,  # the end
    1: b"yes",
    2: b"y",
    3: b"es",
    4: b" ",
    5: b" ",  # once more: some vocabularies have two ways to say it
    6: b"\xc3",
    7: b"\xa9",
    8: "é".encode(),
    9: b"",
    10: None,  # another end
    11: b"no",
}


class Words(MlxModel):
    """A model that is nothing but its words."""

    def __init__(self, ending: tuple[int, ...] = (0, 10)) -> None:
        self.n_vocab = len(WORDS)
        self.ending_tokens = ending

    def piece(self, token: int) -> bytes | None:
        return WORDS[token]


def render(lexicon: MlxLexicon, token: int) -> bytes:
    buffer = ctypes.create_string_buffer(64)
    length = C.llama_token_to_piece(lexicon.vocab, token, buffer, 64, 0, False)  # noqa: FBT003 (a C function)
    return buffer.raw[:length]


def test_every_word_means_to_llama_cpp_what_it_means_to_the_model() -> None:
    lexicon = MlxLexicon(Words())
    assert {token: render(lexicon, token) for token, piece in WORDS.items() if piece} == {
        token: piece for token, piece in WORDS.items() if piece
    }
    assert [token for token in WORDS if C.llama_vocab_is_eog(lexicon.vocab, token)] == [0, 10]


def said(grammar: str, likeliest: list[int], **params: float) -> tuple[list[int], str]:
    """Return what is chosen, up to the end, where the first of some words is the likeliest, and so on."""
    lexicon = MlxLexicon(Words())
    sampler = FormSampler(lexicon, SamplingParams(temperature=0, grammar=grammar, **params), [4])  # type: ignore[arg-type]  # numbers
    logits = mx.array([[-float(likeliest.index(t)) if t in likeliest else -50.0 for t in WORDS]])
    tokens: list[int] = []
    while len(tokens) < 9 and (not tokens or tokens[-1] not in lexicon.ending_tokens):
        chosen: list[int] = sampler.choose(logits).tolist()  # type: ignore[assignment]  # of one dimension
        tokens += chosen
    again = sampler.choose(logits).tolist()  # as the generator does, which is one step ahead
    assert again == [lexicon.ending_tokens[0]] or tokens[-1] not in lexicon.ending_tokens
    sampler.close()
    return tokens, sampler.failure


@pytest.mark.parametrize(
    ("grammar", "likeliest", "tokens"),
    [
        ('root ::= "yes"', [11, 1], [1, 0]),
        ('root ::= "yes"', [11, 2, 1, 3], [2, 3, 0]),  # in pieces
        ('root ::= "yes" " "', [1, 5], [1, 5, 0]),  # either way to say it
        ('root ::= "é"', [6, 7], [6, 7, 0]),  # a character in two tokens
        ('root ::= "no" | "yes"', [11, 10], [11, 10]),  # the other end will do
        ('root ::= ("y")*', [2], [2] * 9),
    ],
)
def test_only_what_the_grammar_allows_is_chosen(
    grammar: str, likeliest: list[int], tokens: list[int]
) -> None:
    assert said(grammar, likeliest) == (tokens, "")


def test_a_way_without_an_exit_is_a_failure_of_that_answer() -> None:
    tokens, failure = said('root ::= "yes!"', [1])
    assert tokens == [1, 0]
    assert "no token" in failure


def test_what_llama_cpp_cannot_read_is_refused() -> None:
    with pytest.raises(GrammarRefused):
        said('root ::= ("yes"', [1])
    with pytest.raises(GrammarRefused, match="no token"):
        MlxLexicon(Words(ending=()))


def test_the_shipped_vocabulary_is_read_byte_by_byte() -> None:
    model = MlxModel(Path(demo.__file__).with_name("tiny-mlx"))
    lexicon = MlxLexicon(model)
    assert [render(lexicon, token) for token in range(256)] == [bytes([byte]) for byte in range(256)]

"""Embeddings: a context of its own on the same model, made when the first text comes."""

import math
from collections.abc import Sequence

from orchestrator.workers.context import Context, DecodeFailed
from orchestrator.workers.frames import LoadRefused
from orchestrator.workers.llama_cpp import Model
from orchestrator.workers.shape import embedding


class Embedder:
    """Mean-pooled (or as the model's file says), normalised vectors. One thread may use it at a time."""

    def __init__(self, model: Model, *, threads: int) -> None:
        self._model = model
        self._threads = threads
        self._context: Context | None = None

    def embed(self, inputs: Sequence[list[int]]) -> list[list[float]]:
        """Return the vectors of the first few texts, at least one: as many as one decode takes.

        Raises:
            DecodeFailed: they cannot be embedded.
        """
        context = self._context_for(len(inputs[0]))
        count = 0
        for tokens in inputs[: context.sequences]:
            if context.rows + len(tokens) > context.batch:
                break
            context.add(tokens, start=0, sequence=count, wanted=True)
            count += 1
        try:
            context.decode()
            return [_normalised(context.embedding(sequence)) for sequence in range(count)]
        finally:
            context.clear()

    def _context_for(self, tokens: int) -> Context:
        """Return a context in which so many tokens are one batch: pooling needs the whole text at once."""
        if self._context is None or self._context.batch < tokens:
            if self._context is not None:
                self._context.close()
                self._context = None
            try:
                self._context = Context(self._model, embedding(tokens, threads=self._threads))
            except LoadRefused as error:
                raise DecodeFailed(str(error)) from error
        return self._context


def _normalised(vector: list[float]) -> list[float]:
    length = math.sqrt(math.fsum(value * value for value in vector))
    return [value / length for value in vector] if length else vector

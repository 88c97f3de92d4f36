"""A decoding context: KV cells, one batch of tokens at a time, and what comes out of it."""

import ctypes
from collections.abc import Sequence

from orchestrator.workers.frames import FailureKind, LoadRefused
from orchestrator.workers.ledger import reserved
from orchestrator.workers.llama_cpp import FAST, LOG, C, Model, logged_cause
from orchestrator.workers.shape import Shape, context_parameters

FAST.llama_memory_seq_rm.argtypes = C.llama_memory_seq_rm.argtypes
FAST.llama_memory_seq_rm.restype = C.llama_memory_seq_rm.restype


class DecodeFailed(Exception):
    """llama.cpp refused a batch; the text says which way."""


_CAUSES = {1: "no room in the KV cache", 2: "the decode was aborted", -1: "the batch is invalid"}


class Context:
    """Token sequences that share KV cells, as its shape says. One thread may use it at a time.

    In one decode, one token per sequence may ask for logits.
    """

    def __init__(self, model: Model, shape: Shape) -> None:
        """Allocate it.

        Raises:
            LoadRefused: there is not enough memory, or the model cannot work like this.
        """
        batch = self.batch = shape.batch
        self.sequences = shape.sequences
        params = context_parameters(shape, pooling_is_set=model.pooling_is_set)
        with LOG.kept_apart():
            self.pointer = C.llama_init_from_model(model.pointer, params)
        if not self.pointer:
            cause, out_of_memory = logged_cause()
            kind = FailureKind.OUT_OF_MEMORY if out_of_memory else FailureKind.FAILED
            raise LoadRefused(kind, f"there is no room for a context of {shape.cells} tokens: {cause}")
        self.reserved_bytes = reserved(line for _, line in LOG.kept)
        self._memory = C.llama_get_memory(self.pointer)
        self._n_embd, self._n_vocab = model.n_embd, model.n_vocab
        self._pooled = shape.pooled
        self._rewindable = model.rewindable
        self._tokens = (ctypes.c_int32 * batch)()
        self._positions = (ctypes.c_int32 * batch)()
        self._counts = (ctypes.c_int32 * batch)(*([1] * batch))
        self._sequence = (ctypes.c_int32 * batch)()
        self._wanted = (ctypes.c_int8 * batch)()
        pointer, width = ctypes.POINTER(ctypes.c_int32), ctypes.sizeof(ctypes.c_int32)
        first = ctypes.addressof(self._sequence)
        rows = [ctypes.cast(first + width * row, pointer) for row in range(batch)]
        self._sequence_rows = (pointer * batch)(*rows)
        self._batch = C.llama_batch()
        self._batch.token = ctypes.cast(self._tokens, type(self._batch.token))
        self._batch.pos = ctypes.cast(self._positions, type(self._batch.pos))
        self._batch.n_seq_id = ctypes.cast(self._counts, type(self._batch.n_seq_id))
        self._batch.seq_id = ctypes.cast(self._sequence_rows, type(self._batch.seq_id))
        self._batch.logits = ctypes.cast(self._wanted, type(self._batch.logits))
        self.rows = 0

    def add(self, tokens: Sequence[int], *, start: int, sequence: int, wanted: bool) -> int:
        """Put tokens at positions `start`… of a sequence into the next decode; return the row of the last.

        `wanted` asks for the last one's logits; in a pooled context every token counts and it is ignored.
        """
        first, end = self.rows, self.rows + len(tokens)
        if end == first + 1:
            self._tokens[first], self._positions[first] = tokens[0], start
            self._sequence[first], self._wanted[first] = sequence, wanted
        else:
            count = end - first
            self._tokens[first:end] = list(tokens)
            self._positions[first:end] = list(range(start, start + count))
            self._sequence[first:end] = [sequence] * count
            self._wanted[first:end] = [self._pooled] * count
            self._wanted[end - 1] = wanted
        self.rows = end
        return end - 1

    def decode(self) -> None:
        """Decode the rows added since the last time; gives up the interpreter lock meanwhile.

        Raises:
            DecodeFailed: the sequences in the batch are in no known state and must be forgotten.
        """
        self._batch.n_tokens, self.rows = self.rows, 0
        code = C.llama_decode(self.pointer, self._batch)
        if code:
            raise DecodeFailed(_CAUSES.get(code, f"llama_decode returned {code}"))

    def keep(self, sequence: int, count: int) -> int:
        """Cut a sequence back to its first `count` tokens; return how many it has now: those, or 0."""
        if count and self._rewindable and FAST.llama_memory_seq_rm(self._memory, sequence, count, -1):
            return count
        FAST.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        return 0

    def share(self, source: int, target: int, count: int) -> int:
        """Let `target` be the first `count` tokens of `source`, in the same cells; return as `keep` does."""
        FAST.llama_memory_seq_rm(self._memory, target, -1, -1)
        if not self._rewindable:
            return 0
        C.llama_memory_seq_cp(self._memory, source, target, 0, count)
        return count

    def clear(self) -> None:
        """Forget all sequences."""
        if self._memory:
            C.llama_memory_clear(self._memory, True)  # noqa: FBT003 (a C function)

    def logits(self, row: int) -> memoryview:
        """Return the bytes of a row's logits, float32; they change with the next decode."""
        pointer = C.llama_get_logits_ith(self.pointer, row)
        floats = (ctypes.c_float * self._n_vocab).from_address(ctypes.addressof(pointer.contents))
        return memoryview(floats).cast("B")

    def embedding(self, sequence: int) -> list[float]:
        """Return the pooled vector of a sequence of the last decode, as the model made it."""
        values: list[float] = C.llama_get_embeddings_seq(self.pointer, sequence)[: self._n_embd]
        return values

    def close(self) -> None:
        """Free the memory."""
        C.llama_free(self.pointer)

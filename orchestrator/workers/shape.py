"""How contexts are laid out: one place for the worker and for the estimate of its memory.

What is not built here would let the two drift apart.
"""

import os
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.workers.cores import physical_cores
from orchestrator.workers.frames import FailureKind, Launch, LoadRefused
from orchestrator.workers.llama_cpp import C

BATCH_TOKENS: Final = 512  # llama.cpp's own default of a physical batch
_MOST_CELLS: Final = 1 << 24
_EMBEDDING_SEQUENCES: Final = 16
_LEAST_EMBEDDING_CELLS: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """`sequences` token sequences share `cells` KV cells; `batch` is the most tokens of one decode.

    With `pooled`, decoding yields one embedding per sequence instead of logits.
    """

    cells: int
    batch: int
    sequences: int
    threads: int
    pooled: bool = False


def generating(launch: Launch, *, sequences: int) -> Shape:
    """Return the shape of the context that answers; for `sequences` see slots.sequences_of.

    Raises:
        LoadRefused: there are too many cells: the bookkeeping alone would fill the memory.
    """
    cells = launch.context * launch.parallel
    if cells > _MOST_CELLS:
        message = f"context times parallel is {cells} tokens, and the most is {_MOST_CELLS}"
        raise LoadRefused(FailureKind.FAILED, message)
    sequences = max(sequences, launch.parallel)
    return Shape(cells=cells, batch=BATCH_TOKENS, sequences=sequences, threads=threads_of(launch))


def embedding(tokens: int, *, threads: int) -> Shape:
    """Return the shape of a context in which so many tokens are one batch: pooling needs the whole text."""
    cells = max(_LEAST_EMBEDDING_CELLS, 1 << (tokens - 1).bit_length())
    return Shape(cells=cells, batch=cells, sequences=_EMBEDDING_SEQUENCES, threads=threads, pooled=True)


def threads_of(launch: Launch) -> int:
    """Return how many threads decode."""
    return launch.threads or int(os.environ.get("ORCHESTRATOR_WORKER_THREADS") or 0) or physical_cores()


def context_parameters(shape: Shape, *, pooling_is_set: bool) -> Any:  # noqa: ANN401 (a C struct)
    """Return llama.cpp's parameters of a context.

    Flash attention is left to llama.cpp, which takes it wherever it can: without it a buffer grows with the
    context that no forecast counts.
    """
    params = C.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = shape.cells, shape.batch, shape.batch
    params.n_seq_max = shape.sequences
    params.n_outputs_max = 0 if shape.pooled else shape.sequences  # all rows: a large vocabulary times 512
    params.n_threads = params.n_threads_batch = shape.threads
    params.kv_unified = True
    params.no_perf = True
    params.embeddings = shape.pooled
    params.flash_attn_type = C.LLAMA_FLASH_ATTN_TYPE_AUTO
    if shape.pooled and not pooling_is_set:
        params.pooling_type = C.LLAMA_POOLING_TYPE_MEAN
    return params

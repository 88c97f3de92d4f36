"""How much memory a worker would take: `python -m orchestrator.workers.estimate`, a `Launch` on its input.

llama.cpp goes through the motions of loading without allocating anything, in this short-lived process: a file
that makes it abort ends nothing else. What is neither weights nor buffers (the interpreter, the libraries,
the vocabulary, the books that contexts keep) this process has as well as the worker, and so it weighs itself.
"""

import os
import sys
from pathlib import Path
from typing import Final

from orchestrator.workers.frames import (
    EXIT_REFUSED,
    DryRun,
    Failed,
    FailureKind,
    Launch,
    LoadRefused,
    decode_launch,
    encode_dry_run,
)
from orchestrator.workers.ledger import RAM, contexts, weights
from orchestrator.workers.own import bound_memory, own_bytes
from orchestrator.workers.parent import die_with_parent, hold_lifeline, read_line, take_stdout

# What the books of the KV cache and the lists of the worker take for each token, in bytes.
_CELL_BYTES: Final = 160
# What a sampler with a grammar keeps for each token of the vocabulary, in bytes.
_CANDIDATE_BYTES: Final = 16
_LOGIT_BYTES: Final = 4
# Threads, connections, and what the allocator keeps for later; measured: 4 MB, with one request and eight.
_WORK_BYTES: Final = 6 << 20
# What this process may take itself, in bytes. A guess, far above the vocabulary and the tensors of any
# model: a file that claims to have more is wrong, and nobody has made room for it.
_MOST_BYTES: Final = 4 << 30
# A GPU's own books for a process that uses it, in bytes. A guess, for NVIDIA's driver: about 0.5 GB.
_GPU_BYTES: Final = 512 << 20


def main() -> None:
    """Read the launch, answer with one line, and leave without tidying up."""
    report_fd = take_stdout()
    die_with_parent()
    try:
        launch = decode_launch(read_line(0))
    except ValueError as error:
        sys.stderr.write(f"{error}\nThis program is started by the daemon.\n")
        os._exit(2)
    hold_lifeline(0)
    bound_memory(_MOST_BYTES)
    try:
        found: DryRun | Failed = dry_run(launch)
    except LoadRefused as refused:
        found = Failed(kind=refused.kind, message=str(refused))
    except MemoryError:
        found = Failed(kind=FailureKind.CORRUPT, message=f"its header takes over {_MOST_BYTES >> 30} GiB")
    except (ImportError, OSError, RuntimeError) as error:
        found = Failed(kind=FailureKind.UNAVAILABLE, message=f"llama-cpp-python does not work: {error}")
    os.write(report_fd, encode_dry_run(found))
    os._exit(EXIT_REFUSED if isinstance(found, Failed) else 0)


def dry_run(launch: Launch) -> DryRun:
    """Return an upper bound of the memory that a worker for `launch` comes to take, by pool.

    Raises:
        LoadRefused: it would not load.
        ImportError, OSError, RuntimeError: there is no llama.cpp that works.
    """
    # All that a worker has, so that this process weighs as much without a model.
    import orchestrator.workers.engine  # noqa: PLC0415
    import orchestrator.workers.wire  # noqa: F401, PLC0415
    from orchestrator.workers.context import Context  # noqa: PLC0415
    from orchestrator.workers.llama_cpp import LOG, C, Model  # noqa: PLC0415
    from orchestrator.workers.shape import embedding, generating  # noqa: PLC0415
    from orchestrator.workers.slots import sequences_of  # noqa: PLC0415
    from orchestrator.workers.tensors import sizes  # noqa: PLC0415

    path = Path(launch.path)
    shape = generating(launch, sequences=sequences_of(launch.parallel))
    with LOG.all_kept():
        model = Model(path, accelerator=launch.accelerator, dry=True)
        model.longest_piece  # noqa: B018 (the worker asks for it, and it fills a table)
        Context(model, shape)
        logits = 0
        if launch.embeds:
            pooled = embedding(launch.context, threads=shape.threads)
            Context(model, pooled)
            # Asked for embeddings, llama.cpp makes and keeps the logits of every token as well, and makes the
            # room for them only then. Models that can do nothing else have no logits.
            logits = 0 if "bert" in model.architecture else pooled.batch * model.n_vocab * _LOGIT_BYTES
    lines = [line for _, line in LOG.kept]
    tensors = sizes(path)
    known = sum(tensors.values())
    pools = contexts(lines)
    for pool, size in weights(lines, tensors).items():
        # Of a file in several parts only the first was looked at: the others are like it.
        pools[pool] = pools.get(pool, 0) + size * max(model.size_bytes, known) // known
    for pool in pools.keys() - {RAM}:
        pools[pool] += _GPU_BYTES
    books = shape.cells * _CELL_BYTES + launch.parallel * model.n_vocab * _CANDIDATE_BYTES
    pools[RAM] = pools.get(RAM, 0) + own_bytes() + books + logits + _WORK_BYTES
    return DryRun(pools=pools, system=C.llama_print_system_info().decode(errors="replace").strip())


if __name__ == "__main__":
    main()

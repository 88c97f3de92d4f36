"""Putting a worker together: model, context, batch thread and service."""

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from orchestrator.workers.batch import BATCH_TOKENS, Batch
from orchestrator.workers.context import Context, DecodeFailed
from orchestrator.workers.embed import Embedder
from orchestrator.workers.frames import FailureKind, Launch, LoadRefused
from orchestrator.workers.llama_cpp import Model
from orchestrator.workers.prepare import Preparer, Runtime
from orchestrator.workers.sampling import make_sampler
from orchestrator.workers.service import Service
from orchestrator.workers.template import ChatTemplate, TemplateRefused

_MOST_CELLS: Final = 1 << 24
_TOPOLOGY: Final = Path("/sys/devices/system/cpu")


def load(
    launch: Launch,
    *,
    loop: asyncio.AbstractEventLoop,
    sequences: int,
    queue_limit: int,
    broken: Callable[[], None],
) -> tuple[Service, Model]:
    """Load the model and start its batch thread.

    `sequences` is how many token sequences, idle ones included, the cache holds; `broken` is called when the
    process should give up.

    Raises:
        LoadRefused: with the cause in one sentence.
    """
    threads = launch.threads or int(os.environ.get("ORCHESTRATOR_WORKER_THREADS") or 0) or physical_cores()
    cells = launch.context * launch.parallel
    if cells > _MOST_CELLS:  # the bookkeeping alone would fill the memory before anything failed
        message = f"context times parallel is {cells} tokens, and the most is {_MOST_CELLS}"
        raise LoadRefused(FailureKind.FAILED, message)
    model = Model(Path(launch.path))
    context = Context(
        model, cells=cells, batch=BATCH_TOKENS, sequences=max(sequences, launch.parallel), threads=threads
    )
    template = ChatTemplate(model.chat_template, bos=model.bos_text, eos=model.eos_text)
    if launch.warm:
        _warm(context, template)
    runtime = Runtime(vocabulary=model, template=template, make_sampler=partial(make_sampler, model))
    service = Service(launch.model, Preparer(runtime, name=launch.model, context=launch.context), loop)
    batch = Batch(
        model,
        context,
        Embedder(model, threads=threads),
        cells=cells,
        parallel=launch.parallel,
        queue_limit=queue_limit,
        deliver=service.deliver,
        broken=broken,
    )
    service.attach(batch)
    return service, model


def _warm(context: Context, template: ChatTemplate) -> None:
    """Decode once and compile the template, so that the first request does not pay for either."""
    context.add([0], start=0, sequence=0, wanted=True)
    try:
        context.decode()
    except DecodeFailed as error:
        raise LoadRefused(FailureKind.FAILED, f"the model loads but does not decode: {error}") from error
    context.clear()
    try:
        template.compile()
    except TemplateRefused:
        return  # completions and embeddings work without one; chats are told


def physical_cores() -> int:
    """Return how many cores this process may use: two threads of one core share what decoding needs."""
    if sys.platform == "darwin":
        count, size = ctypes.c_int(0), ctypes.c_size_t(4)
        for name in (b"hw.perflevel0.physicalcpu", b"hw.physicalcpu"):  # slow cores hold the fast ones up
            if not ctypes.CDLL(None).sysctlbyname(name, ctypes.byref(count), ctypes.byref(size), None, 0):
                return max(count.value, 1)
    if sys.platform != "linux":
        return max((os.cpu_count() or 2) // 2, 1)
    cpus = os.sched_getaffinity(0)
    cores = set()
    for cpu in cpus:
        try:
            cores.add((_TOPOLOGY / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text())
        except OSError:
            return len(cpus)
    return len(cores)

"""Putting a worker together: model, context, batch thread and service."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

from orchestrator.workers.batch import Batch
from orchestrator.workers.context import Context, DecodeFailed
from orchestrator.workers.embed import Embedder
from orchestrator.workers.frames import FailureKind, Launch, LoadRefused
from orchestrator.workers.llama_cpp import Model
from orchestrator.workers.prepare import Preparer, Runtime
from orchestrator.workers.sampling import make_sampler
from orchestrator.workers.service import Service
from orchestrator.workers.shape import generating
from orchestrator.workers.template import ChatTemplate, TemplateRefused


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
    shape = generating(launch, sequences=sequences)
    model = Model(Path(launch.path), accelerator=launch.accelerator)
    context = Context(model, shape)
    template = ChatTemplate(model.chat_template, bos=model.bos_text, eos=model.eos_text)
    if launch.warm:
        _warm(context, template)
    runtime = Runtime(vocabulary=model, template=template, make_sampler=partial(make_sampler, model))
    service = Service(launch.model, Preparer(runtime, name=launch.model, context=launch.context), loop)
    batch = Batch(
        model,
        context,
        Embedder(model, threads=shape.threads),
        cells=shape.cells,
        parallel=launch.parallel,
        queue_limit=queue_limit,
        deliver=service.deliver,
        broken=broken,
    )
    service.attach(batch)
    service.reserved_bytes = context.reserved_bytes
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

"""Putting an mlx worker together: model, batch thread and the same service as llama.cpp's."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

from orchestrator.workers.frames import Launch
from orchestrator.workers.mlx_batch import MlxBatch
from orchestrator.workers.mlx_model import MlxModel
from orchestrator.workers.mlx_sampling import MlxSampler
from orchestrator.workers.params import SamplingParams
from orchestrator.workers.prepare import Preparer, Runtime
from orchestrator.workers.service import Service
from orchestrator.workers.template import ChatTemplate, TemplateRefused

_LACKS: Final = MappingProxyType(
    {
        "/v1/embeddings": "the engine mlx makes no embeddings: use a model of the engine llama-cpp",
        "response_format": "the engine mlx cannot hold an answer to a form: ask for it in the prompt, or use "
        "a model of the engine llama-cpp",
    }
)


def load(
    launch: Launch,
    *,
    loop: asyncio.AbstractEventLoop,
    sequences: int,
    queue_limit: int,
    broken: Callable[[], None],
) -> tuple[Service, MlxModel]:
    """Load the model and start its batch thread.

    `sequences` is of no concern here: what is kept for later is bounded in bytes. `broken` is called when
    the process should give up.

    Raises:
        LoadRefused: with the cause in one sentence.
    """
    del sequences
    batch = MlxBatch(
        partial(MlxModel, Path(launch.path)),
        context=launch.context,
        parallel=launch.parallel,
        queue_limit=queue_limit,
        warm=launch.warm,
        broken=broken,
    )
    model = batch.model()
    template = ChatTemplate(model.chat_template, bos=model.bos_text, eos=model.eos_text)
    if launch.warm:
        with suppress(TemplateRefused):  # completions work without one; chats are told
            template.compile()

    def sampler(params: SamplingParams, _prompt: list[int]) -> MlxSampler:
        return MlxSampler(params, model.ending_tokens)

    runtime = Runtime(vocabulary=model, template=template, make_sampler=sampler, lacks=_LACKS)
    service = Service(launch.model, Preparer(runtime, name=launch.model, context=launch.context), loop)
    batch.deliver = service.deliver
    service.attach(batch)
    return service, model

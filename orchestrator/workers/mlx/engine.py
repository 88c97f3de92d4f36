"""Putting an mlx worker together: model, batch thread and the same service as llama.cpp's."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from orchestrator.workers.frames import Launch
from orchestrator.workers.mlx.batch import MlxBatch
from orchestrator.workers.mlx.memory import moving_bytes
from orchestrator.workers.mlx.model import MlxModel
from orchestrator.workers.mlx.sampling import Choice, MlxSampler
from orchestrator.workers.params import SamplingParams
from orchestrator.workers.prepare import Preparer, Runtime
from orchestrator.workers.service import Service
from orchestrator.workers.template import ChatTemplate, TemplateRefused

if TYPE_CHECKING:
    from orchestrator.workers.mlx.grammar import MlxLexicon

_LACKS: Final = MappingProxyType(
    {"/v1/embeddings": "the engine mlx makes no embeddings: use a model of the engine llama-cpp"}
)


class Samplers:
    """Makes the sampler of each request. Safe to use from several threads at once."""

    def __init__(self, model: MlxModel) -> None:
        self._model = model
        self._lexicon: MlxLexicon | None = None
        self._lock = threading.Lock()

    def make(self, params: SamplingParams, prompt: list[int]) -> Choice:
        """Return a sampler for these parameters.

        Raises:
            GrammarRefused: the form of the answer cannot be kept to.
        """
        if not params.grammar:
            return MlxSampler(params, self._model.ending_tokens)
        # Imported here because it loads llama.cpp, for which a model that is never asked for JSON has no use.
        from orchestrator.workers.mlx.grammar import FormSampler, MlxLexicon  # noqa: PLC0415

        with self._lock:
            if self._lexicon is None:
                self._lexicon = MlxLexicon(self._model)
        return FormSampler(self._lexicon, params, prompt)


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
    runtime = Runtime(vocabulary=model, template=template, make_sampler=Samplers(model).make, lacks=_LACKS)
    service = Service(launch.model, Preparer(runtime, name=launch.model, context=launch.context), loop)
    batch.deliver = service.deliver
    service.attach(batch)
    # Caches grow as requests come: the parent counts on all of it from the start.
    service.reserved_bytes = moving_bytes(model.folder, context=launch.context, parallel=launch.parallel)
    return service, model

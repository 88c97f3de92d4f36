"""A file's chat template in Ollama's language, found out in a child: templates are programs of strangers.

One that loops, or takes all memory, ends the child and nothing else; Ollama then goes by its own lights.
"""

import resource
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from orchestrator.engines.children.errand import Errand
from orchestrator.engines.children.errand import run as send
from orchestrator.engines.ollama.header import header_of
from orchestrator.engines.ollama.templates import template_for
from orchestrator.errors import EngineError
from orchestrator.workers.errand import Reporter
from orchestrator.workers.errand import run as serve

# Mostly it takes a tenth of a second; a large vocabulary has to be read first.
WITHIN_S: Final = 60.0
_CPU_S: Final = 30
_MEMORY_BYTES: Final = 1 << 30


async def translated(path: Path, folder: Path, own: Mapping[str, str]) -> str:
    """Return the template in Ollama's language, "" where that is left to Ollama.

    Args:
        path: the GGUF file.
        folder: a private one, for the child.
        own: the daemon's environment.
    """
    errand = Errand(
        name="chat template",
        module=__name__,
        job=_job(path),
        folder=folder,
        quiet_s=WITHIN_S,
        own=own,
        further={},
        redact=lambda text: text.replace(str(path), path.name),
    )
    with suppress(EngineError):
        answer = await send(errand, lambda _: None)
        return str(answer.get("template", ""))
    return ""


def _job(path: Path) -> Mapping[str, object]:
    return {"path": str(path.absolute())}


def work(job: Mapping[str, Any], _: Reporter) -> Mapping[str, object]:
    """Answer with the template."""
    with suppress(ValueError, OSError):  # macOS knows no limit on memory
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    return {"template": template_for(header_of(Path(job["path"])))}


if __name__ == "__main__":
    sys.setrecursionlimit(500)
    serve(work)

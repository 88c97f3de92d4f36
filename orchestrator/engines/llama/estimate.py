"""How much memory a replica would take, asked of a child that goes through the motions of loading it."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from orchestrator.engines.children.child import Child
from orchestrator.engines.children.launching import Workplace, babble, command_of, redacted, refusal
from orchestrator.engines.children.logtail import LogTail
from orchestrator.engines.children.processes import offer_to_oom_killer
from orchestrator.errors import EngineError, LoadFailed
from orchestrator.values.spec import ModelSpec
from orchestrator.workers.frames import DryRun, Failed, decode_dry_run

CHILD: Final = (sys.executable, "-m", "orchestrator.workers.estimate")
# A dry run takes a fraction of a second; a slow disk has to bring the file's header and llama.cpp first.
DEADLINE_S: Final = 60.0
# A child that closes its output without a word is about to end; so long is its end waited for, in seconds.
LAST_WORDS_S: Final = 1.0
_OVERRIDE: Final = "say `memory:` in the model's file, which is taken in place of the estimate"


async def dry_run(
    spec: ModelSpec, place: Workplace, *, command: Sequence[str] = CHILD, deadline_s: float = DEADLINE_S
) -> DryRun:
    """Return what a worker for `spec` would come to take; no process is left, however this ends.

    Raises:
        EngineError: what a load of it would come to; or it cannot be told.
    """
    path = await asyncio.to_thread(place.path_of, spec)
    place.runtime.make()
    log = LogTail(f"{spec.name} (estimate)", lambda line: redacted(line, spec, path))
    try:
        child = await Child.start(
            command_of(tuple(command), spec, place, path=path), log, on_end=lambda: None
        )
    except OSError as error:
        raise EngineError(
            f"no process could be started: {error.strerror}",
            where=spec.name,
            fix="check the limits on processes and memory",
        ) from None
    offer_to_oom_killer(child.pid)
    try:
        async with asyncio.timeout(deadline_s):
            line = await child.answer()
            return _said(line, spec, place, path) if line else await _nothing(child, spec)
    except TimeoutError:
        what = f"its memory could not be estimated within {deadline_s:g} s"
        raise EngineError(what, where=spec.name, fix=_OVERRIDE) from None
    finally:
        child.kill()
        await child.ended()


def _said(line: bytes, spec: ModelSpec, place: Workplace, path: Path) -> DryRun:
    try:
        answer = decode_dry_run(line)
    except ValueError:
        raise babble(line, spec, path) from None
    if isinstance(answer, Failed):
        raise refusal(answer, spec, place, path)
    return answer


async def _nothing(child: Child, spec: ModelSpec) -> DryRun:
    """Raise why the child has ended without an answer: llama.cpp aborts over some broken files."""
    cause = child.cause.what if await child.wait_ended(within_s=LAST_WORDS_S) else "it gave no answer"
    raise LoadFailed(f"its memory cannot be estimated: {cause}", where=spec.name, fix=_OVERRIDE)

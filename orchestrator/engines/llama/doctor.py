"""What `orchestrator doctor` finds of llama.cpp on this machine."""

import secrets
from collections.abc import Sequence
from typing import Final

from orchestrator.engines.base import Finding
from orchestrator.engines.children.launching import Workplace
from orchestrator.engines.children.worker import Worker
from orchestrator.engines.llama.build import INSTALL, PACKAGE, Build
from orchestrator.engines.llama.estimate import dry_run
from orchestrator.errors import EngineError
from orchestrator.values.spec import ModelSpec, Source

# The smallest model that is shipped.
_TRIAL: Final = ModelSpec(
    name="doctor",
    engine="llama-cpp",
    source=Source(written="demo:tiny", scheme="demo", location="tiny"),
    context=128,
    parallel=1,
)


async def findings(build: Build | None, place: Workplace) -> Sequence[Finding]:
    """Return whether it is installed, what it was built for, and whether a worker starts; never raises."""
    if build is None:
        return [Finding(what=PACKAGE, ok=False, found="not installed", fix=INSTALL)]
    found = [Finding(what=PACKAGE, ok=True, found=str(build).removeprefix(f"{PACKAGE} "))]
    try:
        system = (await dry_run(_TRIAL, place)).system
    except EngineError as error:
        return [*found, _broken("llama.cpp", error)]
    found.append(Finding(what="llama.cpp", ok=True, found=_features(system)))
    worker = Worker(f"doctor-{secrets.token_hex(4)}", _TRIAL, place, lambda _: None)
    try:
        await worker.start()
        await worker.stop()
    except EngineError as error:
        return [*found, _broken("a worker", error)]
    return [*found, Finding(what="a worker", ok=True, found="starts, loads a model and answers")]


def _broken(what: str, error: EngineError) -> Finding:
    return Finding(what=what, ok=False, found=error.what, fix=error.fix or INSTALL)


def _features(system: str) -> str:
    """Return what is there of "CPU : SSE3 = 1 | AVX = 0 | …", in its own words."""
    parts = [part.strip() for part in system.split("|")]
    return (
        " ".join(part.removesuffix(" = 1") for part in parts if part and not part.endswith(" = 0")) or "works"
    )

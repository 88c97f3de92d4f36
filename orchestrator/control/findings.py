"""What `orchestrator doctor` tells: the machine first, then every engine."""

import asyncio
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from orchestrator.engines import kinds
from orchestrator.engines.base import Engine, Finding, Premises
from orchestrator.engines.memory.machine import machine_findings

Json = dict[str, Any]

# An engine that does not answer must not hold up what the others have to say.
DEADLINE_S: Final = 20.0


async def examine(place: Premises, state_folder: Path, engines: Mapping[str, Engine]) -> Json:
    """Return every finding as JSON, by the part of the machine or the engine that it is about."""
    machine = [Finding(what="versions", ok=True, found=_versions())]
    machine += await asyncio.to_thread(
        machine_findings, place.settings, cache=place.cache, state=state_folder
    )
    found: dict[str, list[Finding]] = {"this machine": machine}
    for name, engine in sorted(engines.items()):
        try:
            async with asyncio.timeout(DEADLINE_S):
                found[name] = list(await engine.diagnose())
        except TimeoutError:
            found[name] = [Finding(what="answer", ok=False, found=f"none within {DEADLINE_S:g} s")]
    return {about: [asdict(finding) for finding in each] for about, each in found.items()}


async def examine_alone(place: Premises, state_folder: Path) -> Json:
    """Return every finding without a daemon."""
    engines = kinds.build_all(place)
    try:
        return await examine(place, state_folder, engines)
    finally:
        for engine in engines.values():
            await engine.close()


def _versions() -> str:
    try:
        own = version("model-orchestrator")
    except PackageNotFoundError:
        own = "not installed"
    return f"orchestrator {own}, Python {platform.python_version()}, {sys.platform} {platform.machine()}"

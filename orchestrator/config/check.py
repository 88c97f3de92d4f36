"""Validation without a daemon: what `orchestrator check` shows."""

from collections.abc import Mapping
from pathlib import Path

from orchestrator import clock
from orchestrator.config.scan import Scanner
from orchestrator.values.catalog import Reading
from orchestrator.values.engine import EngineTraits


def check(folder: Path, env: Mapping[str, str], engines: Mapping[str, EngineTraits]) -> Reading:
    """Return what a daemon would find that starts for the first time on this folder. Writes nothing.

    `engines` are those that there are, by name.
    """
    return Scanner(folder, env=env, engines=engines).scan(clock.now())


def hints(reading: Reading) -> tuple[str, ...]:
    """Return what is allowed and yet probably not meant, one sentence each."""
    catalog = reading.catalog
    found = []
    if not catalog.models and not reading.problems:
        found.append("models.d/ has no model file, so nothing will be served")
    if catalog.models and catalog.default_policy is None:
        found.append("no policy says `default: true`, so the model name `auto` is not served")
    return tuple(found)

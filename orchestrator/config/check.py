"""Validation without a daemon: what `orchestrator check` shows."""

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

from orchestrator import clock
from orchestrator.config.paths import SETTINGS_FILE
from orchestrator.config.scan import Scanner
from orchestrator.config.settle import named_models
from orchestrator.values.catalog import Document, Reading
from orchestrator.values.engine import EngineTraits
from orchestrator.values.policy import Tier
from orchestrator.values.settings import Settings
from orchestrator.values.spec import ModelSpec


def check(folder: Path, env: Mapping[str, str], engines: Mapping[str, EngineTraits]) -> Reading:
    """Return what a daemon would find that starts for the first time on this folder. Writes nothing.

    `engines` are those that there are, by name.
    """
    return Scanner(folder, env=env, engines=engines).scan(clock.now())


def hints(reading: Reading, settings: Settings | None = None) -> tuple[str, ...]:
    """Return what is allowed and yet probably not meant, one sentence each.

    `settings` are those of the folder, None where they are not known.
    """
    catalog = reading.catalog
    found = []
    if not catalog.models and not reading.problems:
        found.append("models.d/ has no model file, so nothing will be served")
    if catalog.models and catalog.default_policy is None:
        found.append("no policy says `default: true`, so the model name `auto` is not served")
    found += chain.from_iterable(_of_model(each, settings) for each in catalog.models.values())
    remote = {name for name, each in catalog.models.items() if each.value.remote}
    for policy in catalog.policies.values():
        named = [name for name in named_models(policy.value) if name in remote]
        if named and Tier.REMOTE not in policy.value.tiers:
            found.append(f"{policy.path}: its `tiers` lack `remote`, so it never picks {', '.join(named)}")
    return tuple(found)


def _of_model(document: Document[ModelSpec], settings: Settings | None) -> Iterator[str]:
    spec, lines = document.value, document.lines
    if not spec.wanted:
        return
    if spec.remote and settings is not None and not settings.egress:
        why = "costs money" if spec.paid else "is beyond the machine's own networks"
        yield f"{document.path}: it {why}, and without `egress: true` in {SETTINGS_FILE} it is never asked"
    if spec.paid and "prices" not in lines:
        yield f"{document.path}: it is paid and has no `prices`, so its requests are counted as free"
    if "idle" in lines and "load" not in lines:
        yield f"{document.path}: `idle` says nothing without `load: on-demand`"

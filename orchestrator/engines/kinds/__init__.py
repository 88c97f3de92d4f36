"""The engines: one module each. A module that has `TRAITS` and `build` is an engine; nothing lists them."""

from collections.abc import Iterator, Mapping
from functools import partial
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from orchestrator.engines.base import Engine, Premises
from orchestrator.engines.sleeping import SleepingEngine
from orchestrator.values.engine import EngineTraits


def traits() -> Mapping[str, EngineTraits]:
    """Return every engine's traits by its name, in name order."""
    found: list[EngineTraits] = [module.TRAITS for module in _modules()]
    return {each.name: each for each in sorted(found, key=lambda each: each.name)}


def build_all(premises: Premises) -> Mapping[str, Engine]:
    """Return every engine, by name; each is built when it is first needed.

    Building starts nothing and cannot fail for what is not installed.
    """
    return {
        module.TRAITS.name: SleepingEngine(module.TRAITS.name, partial(module.build, premises))
        for module in _modules()
    }


def _modules() -> Iterator[ModuleType]:
    for found in iter_modules(__path__):
        module = import_module(f"{__name__}.{found.name}")
        if hasattr(module, "TRAITS"):
            yield module

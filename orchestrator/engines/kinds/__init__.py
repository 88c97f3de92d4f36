"""The engines: one module each. A module that has `TRAITS` and `build` is an engine; nothing lists them."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from orchestrator.engines.base import Engine, Premises
from orchestrator.values.engine import EngineTraits


def traits() -> Mapping[str, EngineTraits]:
    """Return every engine's traits by its name, in name order."""
    found: list[EngineTraits] = [module.TRAITS for module in _modules()]
    return {each.name: each for each in sorted(found, key=lambda each: each.name)}


def build_all(premises: Premises) -> Mapping[str, Engine]:
    """Build every engine, by name; building starts nothing and cannot fail for what is not installed."""
    return {module.TRAITS.name: module.build(premises) for module in _modules()}


def _modules() -> Iterator[ModuleType]:
    for found in iter_modules(__path__):
        module = import_module(f"{__name__}.{found.name}")
        if hasattr(module, "TRAITS"):
            yield module

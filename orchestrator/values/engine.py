"""What the rest of the daemon knows of an engine before any is built."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTraits:
    """One kind of engine, as model files may name it.

    `summary` is one sentence for the configuration reference. `schemes` are
    the kinds of source that it takes (see Source); `bare` is the one that text
    without a scheme stands for, "" where a scheme is needed. `takes` lists the
    fields of a model file that only some engines know and this one does,
    `needs` those of them that it cannot do without: `endpoint`, `api_key`,
    `paid`, `prices`, `command`, `environment`, `health`, `quantize`,
    `accelerator`. `choices` lists, by field, the words that it knows of it; a
    field that is left out there takes any that its schema does.
    """

    name: str
    summary: str
    schemes: tuple[str, ...]
    bare: str = ""
    takes: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

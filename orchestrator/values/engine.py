"""What the rest of the daemon knows of an engine before any is built."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTraits:
    """One kind of engine, as model files may name it.

    `summary` is one sentence for the configuration reference. `schemes` are
    the kinds of source that it takes (see Source); `bare` is the one that text
    without a scheme stands for, "" where a scheme is needed. `takes` lists the
    fields of a model file that only some engines know and this one does,
    `needs` those of them that it cannot do without: `endpoint`, `api_key`,
    `paid`, `prices`, `command`, `environment`, `health`, `quantize`,
    `accelerator`.
    """

    name: str
    summary: str
    schemes: tuple[str, ...]
    bare: str = ""
    takes: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()

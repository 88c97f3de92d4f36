"""How a client wants tokens to be chosen; each runtime makes its own sampler of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How to choose; the defaults are llama.cpp's own. `temperature` 0 takes the likeliest token.

    `seed` None draws one. `bias` adds to the logits of single tokens. `grammar` is GBNF text, "" for none.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None
    bias: Mapping[int, float] = field(default_factory=lambda: MappingProxyType({}))
    ignore_eos: bool = False
    grammar: str = ""


class GrammarRefused(Exception):
    """The runtime cannot read the grammar."""

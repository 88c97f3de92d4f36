"""What mlx can quantise to here; without mlx, so that the parent can know it too."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """`group` is how many weights share a scale, 0 for as many as divide the model's width, 64 at most.

    `mode` and `mixed` are mlx-lm's own words: the kind of number, and which layers get more bits.
    """

    bits: int
    group: int = 0
    mode: str = "affine"
    mixed: str = ""


# llama.cpp's q8_0 is here as well: 8 bits and a scale for a group of weights, 8.5 bits a weight in both. Its
# other types are recipes of their own, for which nothing here would be an honest equal.
RECIPES: Final[Mapping[str, Recipe]] = MappingProxyType(
    {
        "q8": Recipe(bits=8),
        "q8_0": Recipe(bits=8),
        "q6": Recipe(bits=6),
        "q5": Recipe(bits=5),
        "q4": Recipe(bits=4),
        "q3": Recipe(bits=3),
        "mixed_4_6": Recipe(bits=4, mixed="mixed_4_6"),
        "mixed_3_6": Recipe(bits=3, mixed="mixed_3_6"),
        "mxfp8": Recipe(bits=8, group=32, mode="mxfp8"),
        "mxfp4": Recipe(bits=4, group=32, mode="mxfp4"),
    }
)

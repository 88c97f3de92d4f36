"""Keys and values of ended requests, kept for those that begin like them. For the batch thread alone."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Final

import mlx.core as mx

from orchestrator.workers.mlx.runtime import CACHE
from orchestrator.workers.slots import shared_prefix

_MOST: Final = 256


@dataclass(slots=True, eq=False)
class _Entry:
    """`caches` holds one per layer, filled with `tokens`."""

    tokens: list[int]
    caches: list[Any]
    size_bytes: int


class Kept:
    """What mlx-lm calls prompt caches, the least recently used first."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def find(self, prompt: Sequence[int]) -> tuple[list[Any] | None, int]:
        """Return caches filled with the beginning of a prompt, and with how many tokens; None where none is.

        At least the last token of the prompt is left to decode. The caches share their memory with what is
        kept: they may be read and trimmed, which is what mlx-lm's batches do with them.
        """
        wanted = list(prompt[:-1])
        best, count = None, 0
        for entry in self._entries:
            shared = shared_prefix(entry.tokens, wanted)
            usable = shared == len(entry.tokens) or CACHE.can_trim_prompt_cache(entry.caches)
            if usable and shared > count:
                best, count = entry, shared
        if best is None:
            return None, 0
        self._entries.remove(best)
        self._entries.append(best)
        caches = [copy(cache) for cache in best.caches]
        extra = len(best.tokens) - count
        if extra and CACHE.trim_prompt_cache(caches, extra) != extra:
            return None, 0
        return caches, count

    def keep(self, tokens: list[int], caches: list[Any], *, limit_bytes: int) -> None:
        """Keep what a request leaves behind; what is a beginning of it goes, and what then is too much.

        Room is made first: until the batch moves on it has the same keys and values as well.
        """
        if any(shared_prefix(entry.tokens, tokens) == len(tokens) for entry in self._entries):
            return
        if CACHE.can_trim_prompt_cache(caches):
            self._entries = [
                entry for entry in self._entries if shared_prefix(entry.tokens, tokens) < len(entry.tokens)
            ]
        size_bytes = sum(cache.nbytes for cache in caches)
        self.trim(limit_bytes - size_bytes)
        mx.eval([cache.state for cache in caches])  # else each would hold on to the batch it was taken from
        self._entries.append(_Entry(tokens, caches, size_bytes))

    def trim(self, limit_bytes: int) -> None:
        """Forget the least recently used until the rest takes no more than that, and is quickly searched."""
        total = sum(entry.size_bytes for entry in self._entries)
        while self._entries and (total > limit_bytes or len(self._entries) > _MOST):
            total -= self._entries.pop(0).size_bytes

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

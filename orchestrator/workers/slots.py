"""Where each request's tokens lie in the KV cache, and which of them can be used again. Pure bookkeeping."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

# Idle sequences keep prompts for those who come back; more than this many are not worth the search.
_MOST_SEQUENCES: Final = 64


@dataclass(slots=True, eq=False)
class Slot:
    """One sequence of the cache.

    `tokens` are those in it now. `reserved` counts the cells promised to the request that uses it, prompt and
    answer together; 0 means idle, and then its tokens are only kept for a request that begins like them.
    """

    sequence: int
    tokens: list[int] = field(default_factory=list)
    reserved: int = 0
    used: int = 0


@dataclass(frozen=True, slots=True)
class Placement:
    """Use `slot`, with the first `kept` tokens of `source` in it; then `evict` the tokens of these."""

    slot: Slot
    source: Slot
    kept: int
    evict: tuple[Slot, ...]


class Slots:
    """`cells` shared by `sequences` slots, of which `active_limit` may be in use at once.

    The cells promised to active requests never exceed what there is, so a decode cannot run out of them half
    way through an answer. Idle tokens fill the rest, and leave, least recently used first, when it is needed.
    """

    def __init__(self, *, cells: int, sequences: int, active_limit: int) -> None:
        self._cells = cells
        self._active_limit = active_limit
        self._slots = [Slot(sequence) for sequence in range(sequences)]
        self._clock = 0

    def place(self, prompt: Sequence[int], cells: int) -> Placement | None:
        """Find a slot for a request that may come to fill `cells`; None where it has to wait.

        At least the last token of the prompt is left to decode: without it there are no logits.
        """
        active = [slot for slot in self._slots if slot.reserved]
        promised = sum(slot.reserved for slot in active) + cells
        if len(active) >= self._active_limit or promised > self._cells:
            return None
        idle = sorted((slot for slot in self._slots if not slot.reserved), key=lambda slot: slot.used)
        prompt = list(prompt)
        kept, source = 0, idle[0]
        for slot in self._slots:
            shared = min(shared_prefix(slot.tokens, prompt), len(prompt) - 1)
            if shared > kept:
                kept, source = shared, slot
        # Continue an idle sequence where most of it stays; otherwise leave it to those who may come back for
        # it, and share its beginning.
        in_place = not source.reserved and kept * 2 >= len(source.tokens)
        target = source if in_place else next((slot for slot in idle if slot is not source), idle[0])
        room = self._cells - promised
        evict: list[Slot] = []
        for slot in reversed([slot for slot in idle if slot is not target]):
            room -= len(slot.tokens)
            if room < 0 and slot.tokens:
                evict.append(slot)
                room += len(slot.tokens)
        return Placement(target, source, kept, tuple(evict))

    def take(self, slot: Slot, tokens: list[int], cells: int) -> None:
        """Record that a request uses the slot, and that it now holds `tokens`."""
        self._clock += 1
        slot.tokens, slot.reserved, slot.used = tokens, cells, self._clock

    def release(self, slot: Slot) -> None:
        """Record that the request has ended; its tokens stay until the room is needed."""
        self._clock += 1
        slot.reserved, slot.used = 0, self._clock

    def forget(self, slot: Slot) -> None:
        """Record that the slot holds nothing."""
        slot.tokens, slot.reserved, slot.used = [], 0, 0

    @property
    def all(self) -> Sequence[Slot]:
        return self._slots


def sequences_of(parallel: int) -> int:
    """Return how many token sequences, idle ones included, are kept beside so many requests at once."""
    return min(2 * parallel + 2, max(_MOST_SEQUENCES, parallel))


def shared_prefix(one: list[int], other: list[int]) -> int:
    """Return how many tokens two sequences have in common at the beginning."""
    low, high = 0, min(len(one), len(other))
    if not high or one[0] != other[0]:
        return 0
    while low < high:  # the first `low` are equal; compared in slices, which costs no Python step per token
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low

"""How much of a prompt goes into one step, so that nobody waits long for a token."""

from typing import Final

# Guesses, not measurements: while answers are being decoded, a step may take as long as a reader does not
# notice; alone, as long as the parent, which watches for progress, does not worry.
_SHARED_S: Final = 0.12
_ALONE_S: Final = 3.0
_LEAST_TOKENS: Final = 32
_MEASURABLE_TOKENS: Final = 32


class Pace:
    """Learns how fast prompts are read. `batch` is the most that one step can take."""

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._tokens_per_s = 0.0

    def limit(self, *, others: bool) -> int:
        """Return how many prompt tokens to take; `others` says whether answers are waiting for the step.

        A power of two, so that the same prompt is cut in the same places in most runs.
        """
        if not self._tokens_per_s:
            return min(self._batch, 4 * _LEAST_TOKENS) if others else self._batch
        wanted = self._tokens_per_s * (_SHARED_S if others else _ALONE_S)
        return min(self._batch, max(_LEAST_TOKENS, 1 << max(int(wanted), 1).bit_length() - 1))

    def measured(self, tokens: int, seconds: float) -> None:
        """Learn from a step that read `tokens` of prompts."""
        if tokens < _MEASURABLE_TOKENS or seconds <= 0:
            return
        rate = tokens / seconds
        self._tokens_per_s = rate if not self._tokens_per_s else 0.7 * self._tokens_per_s + 0.3 * rate

"""How far a fetch is: what it says of itself, and how fast that grows."""

from dataclasses import dataclass, field
from typing import Final

from orchestrator.engines.base import Progress

# The rate is that of about the last so many seconds: long enough not to flicker, short enough to follow.
MEMORY_S: Final = 5.0


@dataclass(slots=True)
class Headway:
    """Takes reports of progress. `rate` is in bytes per second, 0.0 until two reports have come."""

    news: Progress = field(default_factory=lambda: Progress(doing="starting"))
    rate: float = 0.0
    _at_s: float | None = None

    def take(self, news: Progress, now_s: float) -> None:
        """Note a report that came at `now_s` on the monotonic clock."""
        before, self.news = self.news, news
        if self._at_s is None or news.doing != before.doing or news.done_bytes < before.done_bytes:
            self._at_s, self.rate = now_s, 0.0
            return
        passed_s = now_s - self._at_s
        if passed_s <= 0:
            return
        self._at_s = now_s
        lately = (news.done_bytes - before.done_bytes) / passed_s
        weight = min(1.0, passed_s / MEMORY_S) if self.rate else 1.0
        self.rate += weight * (lately - self.rate)

    @property
    def left_s(self) -> float | None:
        """How long it will take at this rate; None where that cannot be told."""
        if not self.rate or not self.news.total_bytes:
            return None
        return max(0, self.news.total_bytes - self.news.done_bytes) / self.rate

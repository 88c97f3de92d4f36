"""The progress of a fetch over several servers, one after another."""

from collections.abc import Callable
from dataclasses import replace

from orchestrator.engines.base import Progress


class Tally:
    """Adds up what is told of each server; `next` when one has it all."""

    def __init__(self, tell: Callable[[Progress], None]) -> None:
        self._tell = tell
        self._before = 0
        self._last = 0

    def __call__(self, progress: Progress) -> None:
        self._last = max(self._last, progress.total_bytes)
        if progress.total_bytes:
            self._tell(
                replace(
                    progress,
                    done_bytes=self._before + progress.done_bytes,
                    total_bytes=self._before + progress.total_bytes,
                )
            )
        else:
            self._tell(progress)

    def next(self) -> None:
        self._before, self._last = self._before + self._last, 0

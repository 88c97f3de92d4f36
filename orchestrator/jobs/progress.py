"""Says in the log, and so on the terminal of a daemon in the foreground, how far downloads are."""

import asyncio
import logging
from typing import Final

from orchestrator.control.headway import Headway
from orchestrator.control.loop import Loop
from orchestrator.decide.budget import human

log = logging.getLogger(__name__)

# One line per download this often: enough to see it live, few enough for a log that is kept.
EVERY_S: Final = 10.0


class FetchLog:
    """Logs a line for every fetch that has lasted since the last look; short ones leave none."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    async def run(self) -> None:
        """Run until cancelled."""
        seen: frozenset[str] = frozenset()
        while True:
            await asyncio.sleep(EVERY_S)
            lasting = frozenset(self._loop.state.fetching)
            for model in sorted(lasting & seen):
                headway = self._loop.performer.progress(model)
                if headway is not None and headway.news.total_bytes:
                    log.info("%s: %s", model, told(headway))
            seen = lasting


def told(headway: Headway) -> str:
    """Return how far it is: `downloading 42 % of 4.0 GiB, 12 MiB/s, 3 min left`."""
    news = headway.news
    share = 100 * news.done_bytes // max(news.total_bytes, 1)
    said = f"{news.doing} {share} % of {human(news.total_bytes)}"
    if headway.rate:
        said += f", {human(round(headway.rate))}/s"
    if headway.left_s is not None:
        minutes, seconds = divmod(round(headway.left_s), 60)
        said += f", {minutes} min left" if minutes else f", {seconds} s left"
    return said

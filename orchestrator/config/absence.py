"""When a file that is gone counts as deleted.

An editor takes a file away for a moment; an unmounted disk takes all of them
away. So an absence must last before it is obeyed, and a suspicious one is held
until somebody confirms it or the files come back.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from orchestrator.values.catalog import Held

# Longer than any editor or `git checkout` was seen to take between removing a file and writing it anew.
LASTING: Final = timedelta(seconds=2)
MOST_NAMED: Final = 5


class Absences:
    """The names of one folder that are in force and have no file.

    Held, not obeyed: the folder itself is missing, unreadable, or on another
    device than when it was last complete; or two or more files, and more than
    half of those in force, are gone at once. One file alone is never held for
    its number, even where it was the only one.

    Attributes:
        held: what is held now, or None.
    """

    def __init__(self, path: str) -> None:
        self.held: Held | None = None
        self._path = path
        self._since: dict[str, datetime] = {}
        self._device: int | None = None
        self._suspects: frozenset[str] = frozenset()
        self._confirmed: frozenset[str] = frozenset()

    def judge(
        self, in_force: Collection[str], present: Collection[str], *, lost: str, device: int, now: datetime
    ) -> frozenset[str]:
        """Return the names whose deletion is to be obeyed now.

        Args:
            in_force: names with an accepted version.
            present: names that have a file, valid or not.
            lost: why the folder cannot be listed, or "".
            device: the device it is on.
            now: the instant of the scan.
        """
        gone = frozenset(in_force) - frozenset(present)
        confirmed = gone & self._confirmed
        waiting = gone - confirmed
        self._confirmed = frozenset()
        if not gone and not lost:
            self._device = device
        elif not lost and self._device not in {None, device}:
            lost = "is on another device than before"
        half = len(waiting) > 1 and 2 * len(waiting) > len(in_force) - len(confirmed)
        if waiting and (lost or half):
            self._hold(waiting, len(in_force), lost, now)
            return confirmed
        self.held, self._suspects = None, frozenset()
        self._since = {name: min(self._since.get(name, now), now) for name in waiting}
        lasting = frozenset(name for name, since in self._since.items() if now - since >= LASTING)
        self._since = {name: since for name, since in self._since.items() if name not in lasting}
        return confirmed | lasting

    def confirm(self) -> tuple[Held, ...]:
        """Have the next scan obey what is held now; return it."""
        self._confirmed = self._suspects
        return (self.held,) if self.held else ()

    def again_in_s(self, now: datetime) -> float | None:
        """Return the time until an absence may be obeyed, in seconds; None where none is waited for."""
        if self.held or not self._since:
            return None
        return max(0.0, min((since + LASTING - now).total_seconds() for since in self._since.values()))

    def _hold(self, gone: frozenset[str], of: int, lost: str, now: datetime) -> None:
        self._suspects, self._since = gone, {}
        names = ", ".join(sorted(gone)[:MOST_NAMED]) + (", …" if len(gone) > MOST_NAMED else "")
        cause = f"the folder {lost}" if lost else f"{len(gone)} of {of} files are gone at once"
        why = f"{cause}; still in force: {names}"
        since = self.held.since if self.held else now
        self.held = Held(path=self._path, why=why, since=since, names=gone)

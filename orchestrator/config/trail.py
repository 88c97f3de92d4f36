"""The links on the way to a file: the places where a change leads the path elsewhere."""

import os
from typing import Final

# As many as Linux follows before it gives up.
MOST_LINKS: Final = 40


def trail(path: str) -> list[tuple[str, str]]:
    """Return the folder and the name of every link on the way to `path`, and of what it leads to in the end.

    All folders are free of links themselves. `path` is absolute; what it leads
    to need not exist.
    """
    steps: list[tuple[str, str]] = []
    here, ahead = "/", _names(path)
    while ahead:
        name = ahead.pop(0)
        if name == "..":
            here = os.path.dirname(here)  # noqa: PTH120 (strings, as everywhere in the scan)
            continue
        step = os.path.join(here, name)  # noqa: PTH118
        try:
            target = os.readlink(step)  # noqa: PTH115
        except OSError:  # no link, or nothing at all
            here = step
            continue
        steps.append((here, name))
        if len(steps) > MOST_LINKS:
            return steps
        here = "/" if target.startswith("/") else here
        ahead = _names(target) + ahead
    return [*steps, os.path.split(here)]


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in {"", "."}]

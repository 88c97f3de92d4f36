"""What this daemon has done to servers, written down for the next one: a server outlives a daemon."""

import json
from collections import Counter
from contextlib import suppress
from pathlib import Path

Pin = tuple[str, str]  # a server's URL, and a model's name on it


class Noted:
    """A set of pins in a small file; where that cannot be written, it is kept in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pins: set[Pin] | None = None  # not read yet

    def all(self) -> frozenset[Pin]:
        return frozenset(self._read())

    def add(self, pin: Pin) -> None:
        self._write(self._read() | {pin})

    def discard(self, pin: Pin) -> None:
        self._write(self._read() - {pin})

    def _read(self) -> set[Pin]:
        if self._pins is None:
            self._pins = set()
            with suppress(OSError, ValueError, TypeError):
                self._pins = {(str(url), str(name)) for url, name in json.loads(self._path.read_text())}
        return self._pins

    def _write(self, pins: set[Pin]) -> None:
        if pins == self._pins:
            return
        self._pins = pins
        unfinished = self._path.with_suffix(".new")
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            unfinished.write_text(json.dumps(sorted(pins)))
            unfinished.replace(self._path)


class Pins:
    """What is loaded on servers: noted before the load, and until it is proven to be gone."""

    def __init__(self, path: Path) -> None:
        self._noted = Noted(path)
        self._mine: Counter[Pin] = Counter()

    def left(self) -> tuple[Pin, ...]:
        """Return what an earlier daemon has loaded, as far as it is not ours by now."""
        return tuple(sorted(pin for pin in self._noted.all() if not self._mine[pin]))

    def add(self, pin: Pin) -> None:
        """Note a load that is about to begin."""
        self._mine[pin] += 1
        self._noted.add(pin)

    def remove(self, pin: Pin) -> None:
        """Note that one of ours is gone."""
        self._mine[pin] -= 1
        if not self._mine[pin]:
            self._noted.discard(pin)

    def forget(self, pin: Pin) -> None:
        """Note that an earlier daemon's is gone."""
        if not self._mine[pin]:
            self._noted.discard(pin)

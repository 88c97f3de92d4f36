"""The lock files: which packages, in which version, with which hashes."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FIRST_LINE = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One requirement of a lock, with `text` as it stands there: version, marker and hashes."""

    name: str
    version: str
    text: str

    @property
    def hashes(self) -> tuple[str, ...]:
        return tuple(re.findall(r"--hash=(\S+)", self.text))


def read_lock(path: Path) -> tuple[Pin, ...]:
    """Return the pins of a lock in its order; a line that starts with a name starts a pin."""
    pins: list[Pin] = []
    for line in path.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        first = FIRST_LINE.match(line)
        if first:
            pins.append(Pin(name=first["name"], version=first["version"], text=line))
        elif line.startswith(" ") and pins:
            last = pins.pop()
            pins.append(Pin(name=last.name, version=last.version, text=f"{last.text}\n{line}"))
        else:
            raise ValueError(f"{path.name}: not a pinned requirement: {line!r}")
    return tuple(pins)


def write_requirements(path: Path, pins: Iterable[Pin]) -> None:
    """Write `pins` as a requirements file that pip checks hash by hash."""
    path.write_text("".join(f"{pin.text}\n" for pin in pins))


def digest_of(paths: Iterable[Path]) -> str:
    """Return one SHA-256 over the names and contents of `paths`."""
    digest = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()

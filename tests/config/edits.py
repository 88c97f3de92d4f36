"""Ways in which people and programs write a file, the good ones and the bad ones."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

Way: TypeAlias = Callable[[Path, str], None]


def overwrite(path: Path, text: str) -> None:
    path.write_text(text)


def replace(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    beside.replace(path)


def like_vim(path: Path, text: str) -> None:
    probe = path.with_name("4913")
    probe.write_text("")
    probe.unlink()
    backup = path.with_name(f"{path.name}~")
    path.rename(backup)
    path.write_text(text)
    backup.unlink()


def like_git(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


def there_and_back(path: Path, text: str) -> None:
    path.rename(path.with_suffix(".off"))
    path.with_suffix(".off").rename(path)
    path.write_text(text)


def emptied(path: Path, _text: str) -> None:
    path.write_text("")


def without_permission(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0)


GOOD: Final[Sequence[Way]] = (overwrite, replace, like_vim, like_git)


def any_way(draw: random.Random, elsewhere: Path) -> Way:
    """Return one way, drawn; `elsewhere` is a folder for the targets of links."""

    def truncated(path: Path, text: str) -> None:
        path.write_text(text[: draw.randrange(len(text))])

    def flipped(path: Path, text: str) -> None:
        raw = bytearray(text.encode())
        raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
        path.write_bytes(raw)

    def behind_a_link(path: Path, text: str) -> None:
        target = elsewhere / f"{draw.random()}.yaml"
        target.write_text(text)
        link = path.with_name(".link")
        link.symlink_to(target)
        link.replace(path)

    bad = (truncated, flipped, there_and_back, emptied, without_permission, behind_a_link)
    return draw.choice((*GOOD, *bad))

"""A source as the cache knows it. Pure."""

import re
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from orchestrator.values.hidden import is_substituted
from orchestrator.values.spec import ModelSpec, Source, digest

REMOTE: Final = frozenset({"hf", "https"})
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_LABEL_LENGTH: Final = 80
# What a model is called in the cache whose own name may not be shown.
NAMELESS: Final = "model"


def reference_of(spec: ModelSpec, form: str) -> str:
    """Return the name under which is remembered what the source means; it says nothing of its text."""
    source = spec.source
    return digest(
        {
            "scheme": source.scheme,
            "location": source.location,
            "sha256": (source.sha256 or "").lower(),
            "form": form,
        }
    )


def label_of(source: Source) -> str:
    """Return a folder's name for people: the repository, of a URL the file.

    What `${…}` stands for is no name for people.
    """
    if is_nameless(source):
        return NAMELESS
    if source.scheme == "hf":
        name = "--".join(source.location.partition("@")[0].split("/")[:2])
    else:
        name = PurePosixPath(urlsplit(source.location).path).stem
    return _UNSAFE.sub("-", name).strip(".-")[:_LABEL_LENGTH] or NAMELESS


def is_nameless(source: Source) -> bool:
    """Say whether `${…}` stands for a part of what the source is called; behind the `?` of a URL it may."""
    return is_substituted(source.written.partition("?")[0])


def can_move(source: Source) -> bool:
    """Say whether the source can mean something else tomorrow."""
    if source.scheme != "hf" or source.sha256:
        return False
    return not _COMMIT.fullmatch(source.location.partition("@")[2])

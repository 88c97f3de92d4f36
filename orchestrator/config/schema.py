"""The published contract: one JSON Schema (draft-07) per kind of file, shipped with the package.

Editors use the schemas as they stand. Words that start with `x-` are for the
daemon and the reference only: `x-read` names a notation and `x-from`, `x-to`
its bounds; `x-known` the usual words of an open set; `x-later` words that a
later version will have; `x-secret` that a value is never shown; `x-changes`
what an edit of the field leads to.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any, Final

KINDS: Final = ("model", "routing", "settings")


def text(kind: str) -> str:
    """Return the schema of a kind as it is shipped; `kind` is one of KINDS."""
    if kind not in KINDS:
        raise KeyError(kind)
    return files("orchestrator.config").joinpath("schemas", f"{kind}.json").read_text()


@cache
def schema(kind: str) -> dict[str, Any]:
    """Return the schema of a kind, one of KINDS; shared, so not to be changed."""
    loaded: dict[str, Any] = json.loads(text(kind))
    return loaded

"""The published contract: one JSON Schema (draft-07) per kind of file, shipped with the package.

The stored schemas know no engine; `published` adds what the engines say of
themselves, for editors. Words that start with `x-` are for the daemon and the
reference only: `x-read` names a notation and `x-from`, `x-to` its bounds;
`x-known` the usual words of an open set; `x-later` words that a later version
will have; `x-secret` that a value is never shown; `x-engines` that only some
engines have the field; `x-bounds` and `x-argv` how to write what somebody has
written too simply; `x-changes` what an edit of the field leads to.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

from orchestrator.values.engine import EngineTraits

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


def published(kind: str, engines: Mapping[str, EngineTraits]) -> dict[str, Any]:
    """Return the schema of a kind with the engines' names, and with what each takes and needs."""
    stored = schema(kind)
    if kind != "model" or not engines:
        return stored
    said = " ".join(f"`{each.name}` {each.summary.rstrip('.')}." for each in engines.values())
    engine = stored["properties"]["engine"]
    engine = engine | {"description": f"{engine['description']} {said}", "enum": list(engines)}
    return stored | {
        "properties": stored["properties"] | {"engine": engine},
        "allOf": [_of_engine(each) for each in engines.values()],
    }


@cache
def engine_fields() -> tuple[str, ...]:
    """Return the fields of a model file that only some engines have."""
    return tuple(name for name, rule in schema("model")["properties"].items() if rule.get("x-engines"))


def words_of(traits: EngineTraits, field: str) -> list[str]:
    """Return the words that the engine knows of a field; the field's default is always one of them."""
    default = schema("model")["properties"][field].get("default")
    return list(dict.fromkeys([*([default] if default is not None else []), *traits.choices[field]]))


def _of_engine(traits: EngineTraits) -> dict[str, Any]:
    """Return what a file with this engine must and must not have, and the words that it knows."""
    own: dict[str, Any] = {name: False for name in engine_fields() if name not in traits.takes}
    own |= {name: {"enum": words_of(traits, name)} for name in traits.choices}
    then: dict[str, Any] = {"properties": own}
    if traits.needs:
        then["required"] = sorted(traits.needs)
    named = {"properties": {"engine": {"const": traits.name}}, "required": ["engine"]}
    return {"if": named, "then": then}

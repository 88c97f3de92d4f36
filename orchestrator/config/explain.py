"""What a violation of a schema means, in the words of the file that has it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from jsonschema.exceptions import ValidationError

from orchestrator.config.flaw import At, Flaw
from orchestrator.config.notation import Unreadable, one_of, suggestion
from orchestrator.config.read import Data, Tree
from orchestrator.config.substitute import Resolved

LONGEST_SHOWN: Final = 60

TYPES: Final = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
}


def explain(error: ValidationError, tree: Tree, resolved: Resolved) -> Iterator[Flaw]:
    """Return the flaws behind one violation; at least one."""
    at: At = tuple(error.absolute_path)
    rule: Mapping[str, Any] = error.schema if isinstance(error.schema, Mapping) else {}
    match error.validator:
        case "additionalProperties":
            yield from _unknown(cast("Mapping[str, object]", error.instance), rule, tree, at)
        case "required":
            yield from _missing(cast("Mapping[str, object]", error.instance), rule, tree, at)
        case "uniqueItems":
            yield from _repeated(tree, at)
        case _:
            written = _written(tree.data, at)
            secret = rule.get("x-secret", False)
            meant = None if secret or at in resolved.secret else written
            what, fix = _value(error, rule, "the value" if secret else shown(written), meant)
            line, column = tree.place(at)
            yield Flaw(what=f"{_field(at)}{what}", fix=fix, line=line, column=column)


def shown(data: Data) -> str:
    """Return a value as people read it in a message."""
    match data:
        case None:
            return "nothing"
        case bool():
            return "true" if data else "false"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str() if len(data) > LONGEST_SHOWN:
            return repr(data[:LONGEST_SHOWN]) + "…"
        case _:
            return repr(data)


def _unknown(found: Mapping[str, object], rule: Mapping[str, Any], tree: Tree, at: At) -> Iterator[Flaw]:
    known: Sequence[str] = list(rule.get("properties", {}))
    for key in found:
        if key in known:
            continue
        line, column = tree.keys.get((*at, key), (1, 1))
        what = f"{_field(at)}{shown(key)} is not a field"
        yield Flaw(what=what, fix=_fix_word(key, known, rule, "fields"), line=line, column=column)


def _missing(found: Mapping[str, object], rule: Mapping[str, Any], tree: Tree, at: At) -> Iterator[Flaw]:
    line, column = tree.place(at)
    for key in rule["required"]:
        if key not in found:
            example = _yaml(rule["properties"][key]["examples"][0])
            what = f"{_field(at)}'{key}' is missing"
            yield Flaw(what=what, fix=f"add a line such as `{key}: {example}`", line=line, column=column)


def _repeated(tree: Tree, at: At) -> Iterator[Flaw]:
    written = _written(tree.data, at)
    items = written if isinstance(written, list) else []
    twice = [index for index, item in enumerate(items) if item in items[:index]]
    for index in twice:
        line, column = tree.place((*at, index))
        what = f"{_field(at)}{shown(items[index])} is given twice"
        yield Flaw(what=what, fix="keep one of the two", line=line, column=column)
    if not twice:  # they are written differently and resolve to the same
        line, column = tree.place(at)
        yield Flaw(what=f"{_field(at)}an item is given twice", fix="keep one", line=line, column=column)


def _value(error: ValidationError, rule: Mapping[str, Any], value: str, meant: Data) -> tuple[str, str]:
    """Return what is wrong with a value, and the fix. `meant` is None where it must not be looked into."""
    if isinstance(error.cause, Unreadable):
        return f"{value} {error.cause.what}", error.cause.fix
    match error.validator:
        case "type":
            return f"{value} is not {TYPES[rule['type']]}", _fix_type(rule, meant)
        case "enum":
            return f"{value} is not known", _fix_word(meant, rule["enum"], rule, "words")
        case "minimum" | "maximum" | "exclusiveMinimum":
            return f"{value} is out of range", f"write {TYPES[rule['type']]} {_range(rule)}"
        case "minItems":
            return "the list is empty", f"write at least one item, such as {_yaml(rule['examples'][0])}"
        case _:
            return f"{value} cannot be used here", f"write something like {_yaml(rule['examples'][0])}"


def _fix_type(rule: Mapping[str, Any], meant: Data) -> str:
    example = _yaml(rule["examples"][0]) if "examples" in rule else ""
    if rule["type"] == "array" and isinstance(meant, str):
        return f"write it as a list: [{meant}]"
    if rule.get("x-read") in {"duration", "size"} and isinstance(meant, int | float):
        return f"write it with a unit, such as {example}"
    if rule["type"] == "string" and isinstance(meant, int | float):
        return f"put it in quotes, or write something like {example}"
    if meant is None:
        return f"write a value, such as {example}" if example else "write the fields"
    bounds = f" {_range(rule)}" if "minimum" in rule or "exclusiveMinimum" in rule else ""
    return f"write {TYPES[rule['type']]}{bounds}" + (f", such as {example}" if example else "")


def _fix_word(meant: Data, known: Sequence[str], rule: Mapping[str, Any], noun: str) -> str:
    if meant in rule.get("x-later", ()):
        return f"this version does not have '{meant}' yet; " + (
            "remove the line" if noun == "fields" else f"write {one_of(known)}"
        )
    if isinstance(meant, str) and (close := suggestion(meant, known)):
        return f"did you mean '{close}'?"
    return f"use {one_of(known)}" if known else "remove it"


def _range(rule: Mapping[str, Any]) -> str:
    low = f"from {rule['minimum']}" if "minimum" in rule else f"above {rule['exclusiveMinimum']}"
    return f"{low} to {rule['maximum']}" if "maximum" in rule else low


def _field(at: At) -> str:
    """Return `sampling.top_k: `; an item of a list goes by the name of the list."""
    names = [key for key in at if isinstance(key, str)]
    return f"{'.'.join(names)}: " if names else ""


def _written(data: Data, at: At) -> Data:
    found: Any = data
    for key in at:
        found = found[key]
    return cast("Data", found)


def _yaml(example: object) -> str:
    """Return an example in YAML's short form."""
    match example:
        case list():
            return f"[{', '.join(_yaml(item) for item in example)}]"
        case dict():
            return "{" + ", ".join(f"{key}: {_yaml(item)}" for key, item in example.items()) + "}"
        case bool():
            return "true" if example else "false"
        case str() if example.startswith(("[", "$", "{")):
            return f'"{example}"'
        case _:
            return str(example)

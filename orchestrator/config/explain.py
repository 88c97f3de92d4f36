"""What a violation of a schema means, in the words of the file that has it."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from jsonschema.exceptions import ValidationError

from orchestrator.config.flaw import At, Flaw
from orchestrator.config.notation import Unreadable, one_of, suggestion
from orchestrator.config.read import Data, Tree
from orchestrator.config.scalar import NotANumber, resolve
from orchestrator.config.substitute import Resolved

LONGEST_SHOWN: Final = 60

# What is no plain text for YAML, or would not be inside of brackets.
QUOTED: Final = re.compile(r"""^$|^[$&*!|>'"%@`#]|^[?:-](?=\s|$)|[,\[\]{}]|:(?=\s|$)|\s#|^\s|\s$""")

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
        case "pattern" if isinstance(error.instance, str) and "propertyNames" in error.absolute_schema_path:
            line, column = tree.keys.get((*at, error.instance), tree.place(at))
            what = f"{_field(at)}{shown(error.instance)} cannot be the name of a variable"
            fix = "write letters, digits and _, not a digit first"
            yield Flaw(what=what, fix=fix, line=line, column=column)
        case "required":
            yield from _missing(cast("Mapping[str, object]", error.instance), rule, tree, at)
        case "uniqueItems":
            yield from _repeated(tree, at)
        case "oneOf":
            line, column = tree.place(at)
            either = [alternative["required"][0] for alternative in rule["oneOf"]]
            what = f"{_field(at)}write either '{either[0]}' or '{either[1]}'"
            fix = f"keep one of the two, or add a line such as `{either[0]}: {_example(rule, either[0])}`"
            yield Flaw(what=what, fix=fix, line=line, column=column)
        case _:
            written = _written(tree.data, at)
            secret = rule.get("x-secret", False)
            meant = _kind_of(written) if secret or at in resolved.secret else written
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


def yaml_of(example: object) -> str:
    """Return an example in YAML's short form."""
    match example:
        case list():
            return f"[{', '.join(yaml_of(item) for item in example)}]"
        case dict():
            return "{" + ", ".join(f"{key}: {yaml_of(item)}" for key, item in example.items()) + "}"
        case bool():
            return "true" if example else "false"
        case str() if QUOTED.search(example) or not _is_text(example):
            return json.dumps(example, ensure_ascii=False)
        case _:
            return str(example)


def _is_text(plain: str) -> bool:
    """Say whether YAML reads it as a text, and not as a number or another value."""
    try:
        return isinstance(resolve(plain), str)
    except NotANumber:
        return False


def _kind_of(secret: Data) -> Data:
    """Return what tells the type of a value that must not be looked into."""
    return 0 if isinstance(secret, int | float) else None


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
            what = f"{_field(at)}'{key}' is missing"
            fix = f"add a line such as `{key}: {_example(rule, key)}`"
            yield Flaw(what=what, fix=fix, line=line, column=column)


def _example(rule: Mapping[str, Any], key: str) -> str:
    return yaml_of(rule["properties"][key]["examples"][0])


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
    example = yaml_of(rule["examples"][0]) if "examples" in rule else ""
    match error.validator:
        case "type":
            found = f"{value} is not {_type(rule)}", _fix_type(rule, meant)
        case "enum":
            found = f"{value} is not known", _fix_word(meant, rule["enum"], rule, "words")
        case "minimum" | "maximum" | "exclusiveMinimum":
            found = f"{value} is out of range", f"write {_type(rule)} {_range(rule)}"
        case "minItems" | "minProperties":
            noun, one = ("list", "item") if error.validator == "minItems" else ("mapping", "field")
            found = f"the {noun} is empty", f"write at least one {one}, such as {example}"
        case _:
            found = f"{value} cannot be used here", f"write something like {example}"
    return found


def _fix_type(rule: Mapping[str, Any], meant: Data) -> str:
    example = yaml_of(rule["examples"][0]) if "examples" in rule else ""
    match meant:
        case str() if rule["type"] == "array":
            return f"write it as a list: {yaml_of(_argv(meant) if rule.get('x-argv') else [meant])}"
        case bool() | int() | float() if rule.get("x-bounds") or rule["type"] == "string":
            return f"{_fix_number(rule)}{example}"
        case dict() if rule["type"] == "string" and len(meant) == 1 and set(meant.values()) == {None}:
            # {port} without quotes is a mapping in YAML.
            return f'put it in quotes: "{{{next(iter(meant))}}}"'
        case None:
            return f"write a value, such as {example}" if example else "write the fields"
        case _:
            bounds = f" {_range(rule)}" if "minimum" in rule or "exclusiveMinimum" in rule else ""
            return f"write {_type(rule)}{bounds}" + (f", such as {example}" if example else "")


def _fix_number(rule: Mapping[str, Any]) -> str:
    """Return what to do about a number that stands for something else, up to the example."""
    if rule.get("x-bounds"):
        return f"say which side of it is meant ({', '.join(rule['properties'])}), such as "
    if rule.get("x-read") in {"duration", "size", "memory", "recurrence"}:
        return "write it with a unit, such as "
    return "put it in quotes, or write something like "


def _argv(line: str) -> list[str]:
    """Return the words of a command line, as a shell would take them apart."""
    try:
        return shlex.split(line)
    except ValueError:  # a quotation mark without its end
        return line.split()


def _type(rule: Mapping[str, Any]) -> str:
    kinds = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
    return " or ".join(TYPES[kind] for kind in kinds)


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

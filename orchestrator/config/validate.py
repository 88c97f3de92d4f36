"""Data against its schema: every violation as a flaw, with its place and a fix.

Messages show values as they are written, never with `${…}` resolved.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Final

from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from orchestrator.config.explain import explain
from orchestrator.config.flaw import Flaw
from orchestrator.config.notation import (
    GRAPHIC,
    SLIP,
    Unreadable,
    base_url,
    duration_s,
    listen_address,
    memory_bytes,
    recurrence_s,
    size_bytes,
    suggestion,
)
from orchestrator.config.read import Tree
from orchestrator.config.schema import schema
from orchestrator.config.substitute import Resolved

Rule = Mapping[str, Any]


def violations(kind: str, tree: Tree, resolved: Resolved) -> list[Flaw]:
    """Return everything in which the data is not what the schema of `kind` asks for."""
    errors: list[ValidationError] = list(_validator(kind).iter_errors(resolved.data))
    if not errors:
        return []
    # A value of the wrong type has no other fault worth telling.
    mistyped = {tuple(error.absolute_path) for error in errors if error.validator == "type"}
    errors = [e for e in errors if e.validator == "type" or tuple(e.absolute_path) not in mistyped]
    wrong_kind = [error for error in errors if list(error.absolute_path) == ["kind"]]
    flaws: list[Flaw] = []
    for error in wrong_kind or errors:
        flaws.extend(explain(error, tree, resolved))
    # One missing field is one error for jsonschema, but they are all found in the first of them.
    return list(dict.fromkeys(flaws))


@cache
def _validator(kind: str) -> Draft7Validator:
    known: type[Draft7Validator] = extend(  # type: ignore[no-untyped-call]
        Draft7Validator, {"x-read": _read, "pattern": _pattern}
    )
    return known(schema(kind))


def _pattern(
    validator: Draft7Validator, pattern: str, value: object, rule: Rule
) -> Iterator[ValidationError]:
    """Leave the pattern to editors where a notation says the same, and says it better."""
    if "x-read" not in rule:
        yield from Draft7Validator.VALIDATORS["pattern"](validator, pattern, value, rule)


def _read(_validator: Draft7Validator, notation: str, value: object, rule: Rule) -> Iterator[ValidationError]:
    if isinstance(value, str):
        try:
            NOTATIONS[notation](value, rule)
        except Unreadable as unreadable:
            error = ValidationError(unreadable.what)
            error.cause = unreadable
            yield error


def _duration(value: str, rule: Rule) -> None:
    low, high = rule["x-from"], rule["x-to"]
    if not duration_s(low) <= duration_s(value) <= duration_s(high):
        raise Unreadable("is out of range", f"write a duration from {low} to {high}")


def _size(value: str, rule: Rule) -> None:
    low, high = rule["x-from"], rule["x-to"]
    if not size_bytes(low) <= size_bytes(value) <= size_bytes(high):
        raise Unreadable("is out of range", f"write a size from {low} to {high}")


def _memory(value: str, rule: Rule) -> None:
    if memory_bytes(value) is not None:
        _size(value, rule)


def _recurrence(value: str, rule: Rule) -> None:
    low, high = rule["x-from"], rule["x-to"]
    every_s = recurrence_s(value)
    if every_s is not None and not duration_s(low) <= every_s <= duration_s(high):
        raise Unreadable("is out of range", f"write a duration from {low} to {high}")


def _argument(value: str, _rule: Rule) -> None:
    if "\0" in value:
        raise Unreadable("holds a NUL character, which no program can be given", "remove it")


def _capability(value: str, rule: Rule) -> None:
    known = rule["x-known"]
    if not re.search(rule["pattern"], value):
        raise Unreadable("is not a capability", "write lower-case letters, digits, `.`, `_` and `-`")
    if value not in known and (meant := suggestion(value, known, alike=SLIP)):
        raise Unreadable("looks like a slip", f"did you mean '{meant}'?")


def _secret(value: str, _rule: Rule) -> None:
    if not GRAPHIC.fullmatch(value):  # what an HTTP header can carry, without spaces
        raise Unreadable("is not usable as a key", "use a key of printable ASCII characters without spaces")


NOTATIONS: Final[Mapping[str, Callable[[str, Rule], object]]] = {
    "listen": lambda value, _rule: listen_address(value),
    "endpoint": lambda value, _rule: base_url(value),
    "duration": _duration,
    "recurrence": _recurrence,
    "size": _size,
    "memory": _memory,
    "argument": _argument,
    "capability": _capability,
    "secret": _secret,
}

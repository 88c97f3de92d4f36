"""JSON schemas into llama.cpp's grammars, so that an answer cannot be anything but what was asked for."""

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from orchestrator.workers.llama_cpp import bindings
from orchestrator.workers.pattern import REPETITIONS, pattern_rule

# A schema is a client's text: these bound the memory and time that it can cost.
_SCHEMA_BYTES = 65_536
_GRAMMAR_BYTES = 131_072
_ALL_REPETITIONS = 65_536
_VISITS = 10_000
_COUNTS = (("minItems", "maxItems"), ("minLength", "maxLength"))
_REPETITION = re.compile(r"\{([0-9]+),?([0-9]*)\}")

# JSON's own rule; the shipped one lets raw line breaks and control characters into strings.
_CHAR = (
    r'[^"\\\x7F\x00-\x1F] | '
    r'"\\" (["\\/bfnrt] | "u" [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F])'
)
JSON_OBJECT = rf"""
root ::= object
value ::= object | array | string | number | "true" | "false" | "null"
object ::= "{{" space (string ":" space value space ("," space string ":" space value space)*)? "}}"
array ::= "[" space (value space ("," space value space)*)? "]"
string ::= "\"" char* "\""
char ::= {_CHAR}
number ::= "-"? ("0" | [1-9] [0-9]{{0,15}}) ("." [0-9]{{1,15}})? ([eE] [-+]? [0-9]{{1,3}})?
space ::= | " " | "\n" [ \t]{{0,20}}
"""


class SchemaRefused(Exception):
    """The schema cannot be made into a grammar; the text says what stands in the way."""


def grammar_of(schema: Mapping[str, object]) -> str:
    """Return the grammar of the JSON texts that a schema describes.

    `minimum`, `maximum`, `multipleOf`, `uniqueItems` and `not` are not enforced: grammars cannot count so.

    Raises:
        SchemaRefused: it is too large, or uses what cannot be expressed.
    """
    try:
        text = json.dumps(schema)
        if len(text) > _SCHEMA_BYTES:
            raise SchemaRefused(f"the schema is over {_SCHEMA_BYTES} bytes")
        _check_counts(schema)
        converter = _converter()()
        resolved = converter.resolve_refs(json.loads(text), "")
        converter.visit(resolved, "")
        grammar = str(converter.format_grammar())
    except RecursionError as error:
        raise SchemaRefused("the schema is nested too deeply") from error
    except (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise SchemaRefused(f"the schema cannot be made into a grammar: {error}") from error
    counts = (int(most or least) for least, most in _REPETITION.findall(grammar))
    if len(grammar) > _GRAMMAR_BYTES or sum(counts) > _ALL_REPETITIONS:
        raise SchemaRefused("the schema is too large: its grammar would cost more than the answer")
    return grammar


def _check_counts(node: object) -> None:
    if isinstance(node, Mapping):
        for least, most in _COUNTS:
            for name in (least, most):
                count = node.get(name, 0)
                if isinstance(count, Mapping):
                    break  # a property of that name
                if not isinstance(count, int) or not 0 <= count <= REPETITIONS:
                    raise SchemaRefused(f"{name} must be a whole number up to {REPETITIONS}, not {count!r}")
            else:
                if node.get(least, 0) > node.get(most, REPETITIONS):
                    raise SchemaRefused(f"nothing can satisfy {least} {node[least]} and {most} {node[most]}")
        for child in node.values():
            _check_counts(child)
    elif isinstance(node, list):
        for child in node:
            _check_counts(child)


def _repetition(
    item: str,
    least: int,
    most: int | None,
    separator_rule: str | None = None,
    item_rule_is_literal: bool = False,  # noqa: FBT001, FBT002 (the shipped one's signature)
) -> str:
    """Write "so many times" with GBNF's own counts."""
    del item_rule_is_literal
    bound = "" if most is None else str(most)
    if not separator_rule:
        return f"({item}){{{least},{bound}}}"
    if most == 0:
        return ""
    rest = f"{max(least - 1, 0)},{'' if most is None else most - 1}"
    several = f"{item} ({separator_rule} {item}){{{rest}}}"
    return several if least else f"({several})?"


def _spelled_out(schema: Any) -> Any:  # noqa: ANN401 (whatever the client sent)
    """Say in other words what the shipped converter would pass over."""
    if not isinstance(schema, dict):
        return schema
    types = schema.get("type")
    if isinstance(types, list) and not _STRONGER.isdisjoint(schema):
        return {key: value for key, value in schema.items() if key != "type"}
    if isinstance(types, list):
        return {"anyOf": [schema | {"type": one} for one in types]}
    properties = schema.get("properties", {})
    unnamed = [name for name in schema.get("required", ()) if name not in properties]
    if unnamed and not _STRONGER & schema.keys() and "allOf" not in schema:
        others = schema.get("additionalProperties", True)
        if others is False:
            raise SchemaRefused(f"{unnamed[0]!r} is required and not allowed")
        return schema | {"properties": properties | dict.fromkeys(unnamed, others)}
    return schema


@cache
def _converter() -> Any:  # noqa: ANN401 (a class of an untyped module)
    """Return llama-cpp-python's converter, mended where its output is not what the schema says."""
    llama_grammar = bindings("llama_grammar")

    llama_grammar.PRIMITIVE_RULES["char"].content = _CHAR
    llama_grammar._build_repetition = _repetition  # noqa: SLF001 (nested optionals: over 500 are refused)

    class Converter(llama_grammar.SchemaConverter):  # type: ignore[misc,name-defined]  # untyped
        def __init__(self) -> None:
            super().__init__(prop_order={}, allow_fetch=False, dotall=False, raw_pattern=False)
            self._visits = 0
            self._named: dict[str, str] = {}

        def _format_literal(self, literal: str) -> str:
            # The shipped one leaves backslashes alone, which GBNF then reads as escapes.
            escaped = literal.replace("\\", "\\\\")
            return str(super()._format_literal(escaped))

        def _visit_pattern(self, pattern: str, name: str) -> Any:  # noqa: ANN401
            # The shipped one forgets that JSON escapes characters, and runs for ever at a lone bracket.
            return self._add_rule(name, f'"\\"" {pattern_rule(pattern)} "\\"" space')

        def _resolve_ref(self, ref: str) -> str:
            # The shipped one takes the last word for the name, which may be another rule's.
            name = self._named.get(ref)
            if name is None:
                name = self._named[ref] = f"-ref-{len(self._named)}"
                rule = self.visit(self._refs[ref], name)
                if rule != name:
                    self._rules[name] = rule
            return name

        def visit(self, schema: object, name: str) -> Any:  # noqa: ANN401
            self._visits += 1
            if self._visits > _VISITS:
                raise SchemaRefused("the schema is too large: there are too many ways through it")
            # "anything" is any value, not any object; and so is a schema without a type.
            if schema is True or (isinstance(schema, dict) and not _DECISIVE & schema.keys()):
                self._add_primitive("value", llama_grammar.PRIMITIVE_RULES["value"])
                return self._add_rule(name or "root", "value")
            return super().visit(_spelled_out(schema), name)

    return Converter


_STRONGER = frozenset({"$ref", "oneOf", "anyOf", "const", "enum"})  # each decides before a type does
_DECISIVE = frozenset({
    "$ref", "oneOf", "anyOf", "allOf", "type", "const", "enum", "pattern", "format",
    "properties", "additionalProperties", "required", "items", "prefixItems",
})  # fmt: skip

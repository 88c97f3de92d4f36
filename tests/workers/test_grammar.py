import re
from typing import Any

import pytest

from orchestrator.workers.grammar import SchemaRefused, grammar_of

BAD: list[tuple[dict[str, Any], str]] = [
    ({"type": "odd"}, "odd"),
    ({"$ref": "https://example.org/schema.json"}, "not allowed"),
    ({"$ref": "#/definitions/nothing"}, "nothing"),
    ({"type": "string", "pattern": "unanchored"}, "Pattern"),
    ({"type": "string", "maxLength": 10**9}, "maxLength"),
    ({"type": "array", "items": {"type": "string", "minLength": -1}}, "minLength"),
    ({"enum": ["x" * 70_000]}, "over"),
    ({"properties": ["a"]}, "grammar"),
]


@pytest.mark.parametrize(("schema", "word"), BAD, ids=lambda value: str(value)[:40])
def test_what_cannot_be_a_grammar_is_refused_with_the_reason(schema: dict[str, Any], word: str) -> None:
    with pytest.raises(SchemaRefused, match=re.escape(word)):
        grammar_of(schema)


def test_a_schema_nested_too_deeply_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(200):
        schema = {"type": "object", "properties": {"a": schema}}
    with pytest.raises(SchemaRefused, match="too large"):
        grammar_of(schema)
    for _ in range(100_000):
        schema = {"items": schema}
    with pytest.raises(SchemaRefused):
        grammar_of(schema)


def test_strings_take_no_raw_control_characters() -> None:
    assert r"\x00-\x1F" in grammar_of({"type": "string"})


def test_backslashes_of_constants_survive() -> None:
    # JSON writes one backslash as two, a grammar's literal each of these as two.
    assert r'"\"a\\\\b\""' in grammar_of({"const": "a\\b"})


def test_anything_means_any_value() -> None:
    grammar = grammar_of(
        {"type": "object", "properties": {"a": {}, "b": {"description": "x"}}, "required": ["a"]}
    )
    assert "a ::= value" in grammar.splitlines()
    assert "b ::= value" in grammar.splitlines()

import re
from typing import Any

import pytest

from orchestrator.workers.grammar import SchemaRefused, grammar_of

BAD: list[tuple[dict[str, Any], str]] = [
    ({"type": "odd"}, "odd"),
    ({"$ref": "https://example.org/schema.json"}, "not allowed"),
    ({"$ref": "#/definitions/nothing"}, "nothing"),
    ({"type": "string", "pattern": "^(a"}, "a closing parenthesis is missing"),
    ({"type": "string", "pattern": "^a{3,2}$"}, "a count must rise"),
    ({"type": "string", "minLength": 5, "maxLength": 3}, "nothing can satisfy minLength 5 and maxLength 3"),
    ({"type": "array", "items": {}, "minItems": 2, "maxItems": 1}, "nothing can satisfy minItems 2"),
    ({"type": "string", "pattern": "(a{1000})" * 100}, "too large"),
    ({"required": ["a"], "additionalProperties": False}, "'a' is required and not allowed"),
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


def test_more_ways_through_a_schema_than_text_are_refused_in_time() -> None:
    schema: dict[str, Any] = {"type": "null"}
    for _ in range(12):
        schema = {"type": ["object", "array", "object", "object"], "properties": {"a": schema}}
    with pytest.raises(SchemaRefused, match="too many ways"):
        grammar_of(schema)


def test_a_reference_is_not_mistaken_for_a_property_of_its_name() -> None:
    grammar = grammar_of(
        {
            "$defs": {"a": {"type": "integer"}},
            "type": "object",
            "properties": {"a": {"type": "null"}, "b": {"$ref": "#/$defs/a"}},
        }
    ).splitlines()
    assert "-ref-0 ::= integer" in grammar
    assert "b ::= -ref-0" in grammar


def test_a_choice_of_types_keeps_the_other_words() -> None:
    either = grammar_of({"type": ["array", "null"], "items": {"const": 7}})
    assert '"7"' in either
    assert "null" in either
    assert '"null"' not in grammar_of({"type": ["string", "null"], "enum": ["x"]})


def test_what_is_required_is_there_even_where_it_is_not_described() -> None:
    assert "b ::= value" in grammar_of({"type": "object", "required": ["b"]}).splitlines()


def test_a_property_may_be_called_like_a_keyword() -> None:
    assert "minItems" in grammar_of({"properties": {"minItems": {"type": "null"}}})

import json
from typing import Any

import pytest

from orchestrator.workers.fields import BadRequest, Fields
from orchestrator.workers.grammar import JSON_OBJECT
from orchestrator.workers.openai import read_body, read_chat, read_completion, read_embedding

USER = {"role": "user", "content": "hi"}
CHAT: dict[str, Any] = {"messages": [USER]}

BAD_CHATS: list[tuple[dict[str, Any], str]] = [
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": ["hi"]}, "messages[0]"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    ({"messages": [USER, {"role": "user"}]}, "messages[1].content"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
    ({"tools": [{"type": "function"}]}, "tools"),
    ({"functions": [{}]}, "functions"),
    ({"n": 2}, "n"),
    ({"n": 0}, "n"),
    ({"logprobs": True}, "logprobs"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": True}, "stream_options"),
    ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"max_completion_tokens": -1}, "max_completion_tokens"),
    ({"stop": 7}, "stop"),
    ({"stop": ["a", ""]}, "stop"),
    ({"stop": ["a"] * 17}, "stop"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": float("nan")}, "temperature"),
    ({"top_p": 1.1}, "top_p"),
    ({"top_k": 1.5}, "top_k"),
    ({"min_p": 2}, "min_p"),
    ({"repeat_penalty": 0}, "repeat_penalty"),
    ({"frequency_penalty": 3}, "frequency_penalty"),
    ({"presence_penalty": -3}, "presence_penalty"),
    ({"seed": "x"}, "seed"),
    ({"ignore_eos": 1}, "ignore_eos"),
    ({"logit_bias": [1]}, "logit_bias"),
    ({"logit_bias": {"a": 1}}, "logit_bias"),
    ({"logit_bias": {"-5": 1}}, "logit_bias"),
    ({"logit_bias": {"5": 101}}, "logit_bias"),
    ({"response_format": "json"}, "response_format"),
    ({"response_format": {"type": "yaml"}}, "response_format"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "odd"}}}},
        "response_format.json_schema.schema",
    ),
]


@pytest.mark.parametrize(("change", "param"), BAD_CHATS, ids=lambda value: json.dumps(value)[:50])
def test_a_bad_field_of_a_chat_is_named(change: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_chat(Fields(CHAT | change))
    assert caught.value.param == param
    assert param.split("[", maxsplit=1)[0].split(".", maxsplit=1)[0] in str(caught.value) or "schema" in str(
        caught.value
    )


BAD_COMPLETIONS: list[tuple[dict[str, Any], str]] = [
    ({}, "prompt"),
    ({"prompt": ["a", "b"]}, "prompt"),
    ({"prompt": [1, "b"]}, "prompt"),
    ({"prompt": [-1]}, "prompt"),
    ({"prompt": "a", "echo": True}, "echo"),
    ({"prompt": "a", "suffix": "b"}, "suffix"),
    ({"prompt": "a", "best_of": 2}, "best_of"),
]


@pytest.mark.parametrize(("body", "param"), BAD_COMPLETIONS)
def test_a_bad_field_of_a_completion_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_completion(Fields(body))
    assert caught.value.param == param


BAD_EMBEDDINGS: list[tuple[dict[str, Any], str]] = [
    ({}, "input"),
    ({"input": ""}, "input"),
    ({"input": []}, "input"),
    ({"input": ["a", ""]}, "input"),
    ({"input": [["a"]]}, "input"),
    ({"input": 7}, "input"),
    ({"input": "a", "dimensions": 3}, "dimensions"),
    ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
]


@pytest.mark.parametrize(("body", "param"), BAD_EMBEDDINGS)
def test_a_bad_field_of_an_embedding_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_embedding(Fields(body))
    assert caught.value.param == param


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        read_body(body)


def test_null_is_as_good_as_absent_and_unknown_fields_are_ignored() -> None:
    plain = read_chat(Fields(CHAT))
    nulls = dict.fromkeys(
        ["stop", "seed", "temperature", "max_tokens", "stream", "tools", "response_format", "user"]
    )
    assert read_chat(Fields(CHAT | nulls | {"metadata": {"task": "x"}, "store": 3})) == plain


def test_text_parts_are_joined_and_developer_is_the_system() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    chat = read_chat(Fields({"messages": [{"role": "developer", "content": parts}, {"role": "assistant"}]}))
    assert chat.messages == ({"role": "system", "content": "ab"}, {"role": "assistant", "content": ""})


def test_the_newer_name_of_the_limit_wins() -> None:
    both = {"max_tokens": 5, "max_completion_tokens": 7}
    assert read_chat(Fields(CHAT | both)).options.max_tokens == 7


def test_a_prompt_may_be_a_text_a_list_with_one_or_tokens() -> None:
    prompts = [
        read_completion(Fields({"prompt": prompt})).prompt for prompt in ("a", ["a"], [1, 2], [[1, 2]])
    ]
    assert prompts == ["a", "a", (1, 2), (1, 2)]


def test_json_object_asks_for_the_fixed_grammar() -> None:
    chat = read_chat(Fields(CHAT | {"response_format": {"type": "json_object"}}))
    assert chat.options.sampling.grammar == JSON_OBJECT

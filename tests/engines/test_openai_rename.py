"""The model's name in an answer is ours, and nothing else in the answer changes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engines.openai.rename import Renaming

OPENAI = '{"id":"c-1","object":"chat.completion.chunk","created":1,"model":"gpt-x","choices":[{"delta":%s}]}'
LLAMA = '{"choices":[{"index":0,"delta":%s}],"created":1,"id":"c-1","model":"gpt-x","object":"chunk"}'

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(['"model":"x"', "model", "\\", '{"']),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4) | st.sampled_from(["model", "a"]), inner, max_size=3)
    ),
    max_leaves=8,
)
documents = st.dictionaries(
    st.text(max_size=6) | st.sampled_from(["model", "id", "choices"]), json_values, max_size=5
)


def expected(document: dict[str, Any]) -> dict[str, Any]:
    names = isinstance(document.get("model"), str) or document.get("model", 0) is None
    return document | {"model": "ours"} if names else document


@pytest.mark.parametrize("form", [OPENAI, LLAMA])
@pytest.mark.parametrize(
    "content",
    [
        "plain",
        '"model":"gpt-x"',
        ',"model":"gpt-x"',
        'a,"model":"gpt-x","object":"chunk"}',
        '\\"model\\":\\"gpt-x\\"',
        "\\",
        '\\\\","model":"gpt-x"}',
        'end"model',
        "{[}]",
        "naïve \u2028 🙂 \x00",
    ],
)
def test_what_a_text_says_is_not_the_answer_s_name(form: str, content: str) -> None:
    rename = Renaming("ours")
    for delta in ({"content": "warm"}, {"content": content}, {"content": content, "model": "nested"}):
        for escaped in (True, False):
            chunk = (form % json.dumps(delta, ensure_ascii=escaped)).encode()
            wanted = chunk.replace(b'"model":"gpt-x",', b'"model":"ours",', 1)
            if form is LLAMA:
                head, _, tail = chunk.rpartition(b'"model":"gpt-x"')
                wanted = head + b'"model":"ours"' + tail
            assert rename(chunk) == wanted


@given(
    sequence=st.lists(documents, min_size=1, max_size=4),
    spaced=st.booleans(),
    escaped=st.booleans(),
    twice=st.booleans(),
)
def test_any_sequence_of_documents_is_renamed_as_if_read(
    *, sequence: list[dict[str, Any]], spaced: bool, escaped: bool, twice: bool
) -> None:
    rename = Renaming("ours")
    separators = None if spaced else (",", ":")
    for document in sequence * (2 if twice else 1):
        text = json.dumps(document, separators=separators, ensure_ascii=escaped)
        assert json.loads(rename(text.encode("utf-8", "surrogatepass"))) == expected(json.loads(text))


@given(noise=st.binary(max_size=200), named=st.booleans())
def test_what_is_no_json_is_survived(*, noise: bytes, named: bool) -> None:
    rename = Renaming("ours")
    rename((b'{"model":"x",' if named else b"") + noise)
    rename(noise + b'"model":"x"}')


def test_a_name_that_is_an_object_is_left_alone() -> None:
    assert Renaming("ours")(b'{"model":{"id":"x"}}') == b'{"model":{"id":"x"}}'


def test_a_name_with_quotation_marks_is_escaped() -> None:
    assert json.loads(Renaming('o"u\\rs')(b'{"model":"x"}')) == {"model": 'o"u\\rs'}


def test_a_string_that_never_ends_costs_no_more_than_its_length() -> None:
    noise = b'{"a":{},"b":"' + b'\\"' * 2_000_000 + b'"model"'
    assert Renaming("ours")(noise) == noise  # quadratic, it would take hours


def test_embeddings_are_renamed_at_their_end() -> None:
    data = [{"index": index, "embedding": [0.1] * 100} for index in range(50)]
    answer = json.dumps({"object": "list", "data": data, "model": "x", "usage": {"total_tokens": 1}}).encode()
    assert json.loads(Renaming("ours")(answer))["model"] == "ours"

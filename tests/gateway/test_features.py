"""What a request says of itself, in headers and in metadata, and the length of its prompt."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.decide.features import NO_FEATURES, Features
from orchestrator.errors import RequestError
from orchestrator.gateway.features import prompt_tokens, read, without_ours

PRIORITY, TASK, COMPLEXITY = (
    b"x-orchestrator-priority",
    b"x-orchestrator-task",
    b"x-orchestrator-complexity",
)

READ: list[tuple[str, dict[bytes, bytes], object, Features]] = [
    ("nothing", {}, None, NO_FEATURES),
    ("metadata of somebody else's", {}, {"user": "u1"}, NO_FEATURES),
    ("metadata that is no object is nobody's", {}, ["priority"], NO_FEATURES),
    ("what is null is left out", {}, {"priority": None, "task": None}, NO_FEATURES),
    ("headers", {PRIORITY: b" 9 ", TASK: b"code"}, None, Features(priority=9, task="code")),
    ("the complexity too", {COMPLEXITY: b"0.25"}, None, Features(complexity=0.25)),
    (
        "metadata",
        {},
        {"priority": 0, "task": "code", "complexity": 1},
        Features(priority=0, task="code", complexity=1.0),
    ),
    (
        "metadata in OpenAI's form, which is text",
        {},
        {"priority": "10", "complexity": "0.5"},
        Features(priority=10, complexity=0.5),
    ),
    (
        "a header goes before metadata, one by one",
        {PRIORITY: b"1"},
        {"priority": 9, "task": "code"},
        Features(priority=1, task="code"),
    ),
]


@pytest.mark.parametrize(("sentence", "headers", "metadata", "wanted"), READ, ids=[case[0] for case in READ])
def test_what_a_request_says(
    sentence: str, headers: dict[bytes, bytes], metadata: object, wanted: Features
) -> None:
    assert read(headers, {"metadata": metadata}) == wanted, sentence


BAD: list[tuple[str, object]] = [
    ("priority", 11),
    ("priority", -1),
    ("priority", 5.5),
    ("priority", True),
    ("priority", "high"),
    ("priority", ""),
    ("priority", "٣"),
    ("priority", "9" * 5000),
    ("priority", []),
    ("complexity", 1.01),
    ("complexity", -0.1),
    ("complexity", "nan"),
    ("complexity", "much"),
    ("complexity", False),
    ("complexity", 10**400),
    ("task", ""),
    ("task", 7),
    ("task", "x" * 65),
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=[f"{name} {str(value)[:10]!r}" for name, value in BAD])
def test_what_makes_no_sense_is_400_with_the_fix(name: str, value: object) -> None:
    with pytest.raises(RequestError) as raised:
        read({}, {"metadata": {name: value}})
    error = raised.value
    assert (error.status, error.code, error.param) == (400, f"invalid_{name}", f"metadata.{name}")
    assert f"X-Orchestrator-{name.title()}" in error.fix
    assert len(error.what) < 120


def test_a_header_that_makes_no_sense_is_400_too() -> None:
    for value in (b"11", b"-1", b"5.0", b"\xff", b""):
        with pytest.raises(RequestError, match="priority"):
            read({PRIORITY: value}, {})


PROMPTS: list[tuple[str, dict[str, object], int]] = [
    ("nothing", {}, 0),
    ("a message", {"messages": [{"role": "user", "content": "x" * 40}]}, 10),
    ("several, rounded up once", {"messages": [{"content": "xx"}, {"content": "xxx"}]}, 2),
    (
        "the text of a message in parts, and no image",
        {
            "messages": [
                {
                    "content": [
                        {"type": "text", "text": "x" * 8},
                        {"type": "image_url", "image_url": {"url": "data:" + "x" * 99}},
                    ]
                }
            ]
        },
        2,
    ),
    ("no tools", {"messages": [], "tools": [{"function": {"description": "x" * 99}}]}, 0),
    ("a message without text", {"messages": [{"role": "assistant", "content": None, "tool_calls": []}]}, 0),
    ("a prompt", {"prompt": "x" * 9}, 3),
    ("several prompts", {"prompt": ["x" * 4, "x" * 4]}, 2),
    ("tokens count as they are", {"prompt": [[1, 2, 3], [4]]}, 4),
    ("the input of an embedding", {"input": ["x" * 4, "x" * 12]}, 4),
]


@pytest.mark.parametrize(("sentence", "fields", "wanted"), PROMPTS, ids=[case[0] for case in PROMPTS])
def test_prompt(sentence: str, fields: dict[str, object], wanted: int) -> None:
    assert prompt_tokens(fields) == wanted, sentence


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["messages", "prompt", "input", "metadata"]), JSON))
def test_no_body_is_too_strange(fields: dict[str, Any]) -> None:
    assert prompt_tokens(fields) >= 0
    with contextlib.suppress(RequestError):
        assert 0 <= read({}, fields).priority <= 10


@given(st.dictionaries(st.sampled_from(["priority", "task", "complexity", "user", "run"]), JSON))
def test_what_is_meant_for_us_goes_no_further_and_the_rest_does(metadata: dict[str, object]) -> None:
    body = {"model": "fast", "metadata": metadata}
    before = {"model": "fast", "metadata": dict(metadata)}
    theirs = {name: value for name, value in metadata.items() if name in ("user", "run")}
    passed = without_ours(body)
    assert passed.get("metadata", {}) == theirs
    assert ("metadata" in passed) == bool(theirs or not metadata)
    assert str(body) == str(before)
